"""
Entries of conversations: every kind that the hash-chained log and the segment
log know, later and older names too.

The kinds of both stand side by side: grouped (``assistant_items``) and single
(``assistant_item``), with items or with logged items.

Spec: spec/conversations.md, "Entries of conversations".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from castore.records.config import (
    RequestConfig,
    SegmentOrigin,
    SessionOrigin,
    UsageRecord,
)
from castore.records.fields import (
    ANYTHING,
    BOOLEAN,
    TEXT,
    U64,
    Record,
    Tagged,
    Type,
    Value,
    choice,
    integer,
    many,
    one,
    optional,
    refuse,
    required,
)
from castore.records.inputs import INPUT_PARTS
from castore.records.items import EITHER, ITEMS
from castore.records.system import SYSTEM_ITEMS


#: Milliseconds since 1970.
TIME = integer(0, (1 << 63) - 1)
USAGE_NAMES = tuple(field.name for field in attrs.fields(UsageRecord)[2:])
RESULTS = ("finished", "paused", "limit_reached", "yielded")


@attrs.frozen(kw_only=True, repr=False)
class LogEntry(Record):
    """
    An entry of a log of a conversation.

    Attributes:
        ts: When it happened, ms since 1970.
    """

    ts: int = required(TIME)


# --- beginning ---------------------------------------------------------------


@attrs.frozen(kw_only=True, repr=False)
class _Start(LogEntry):
    system_prompt: str | None = optional(TEXT, written=True)
    config: RequestConfig = required(one(RequestConfig))
    history: tuple[Record, ...] = required(many(EITHER))


@attrs.frozen(kw_only=True, repr=False)
class SessionStart(_Start):
    """The first entry of a hash-chained log."""

    forked_from: SessionOrigin | None = optional(one(SessionOrigin))
    compacted_from: SessionOrigin | None = optional(one(SessionOrigin))


@attrs.frozen(kw_only=True, repr=False)
class SegmentStart(_Start):
    """The first entry of a segment's file; later in a log: all begins anew."""

    session_id: str | None = optional(TEXT)
    forked_from: SegmentOrigin | None = optional(one(SegmentOrigin))
    compacted_from: SegmentOrigin | None = optional(one(SegmentOrigin))


# --- history -----------------------------------------------------------------


@attrs.frozen(kw_only=True, repr=False)
class Extension(Record):
    """A value that only its *domain* understands."""

    domain: str = required(TEXT)
    payload: Any = required(ANYTHING)


@attrs.frozen(kw_only=True, repr=False)
class UserInput(LogEntry):
    """
    What a user said: one *item*, or *segments*, the input parts as typed.
    """

    item: Record | None = optional(ITEMS.type)
    segments: tuple[Record, ...] | None = optional(many(INPUT_PARTS.type))
    extensions: tuple[Extension, ...] = optional(many(one(Extension)), ())

    def check(self, where: str) -> None:
        """Refuse an input that is neither an item nor segments, or both."""
        if (self.item is None) == (self.segments is None):
            raise refuse(where, "an item or segments, one of both")


@attrs.frozen(kw_only=True, repr=False)
class _OneItem(LogEntry):
    item: Record = required(EITHER)


@attrs.frozen(kw_only=True, repr=False)
class AssistantItem(_OneItem):
    """A message, a tool call or reasoning of the model."""


@attrs.frozen(kw_only=True, repr=False)
class ToolResultItem(_OneItem):
    """What a tool returned."""


@attrs.frozen(kw_only=True, repr=False)
class HookInjectedItem(_OneItem):
    """What neither user, model nor tool said: a hook's item."""


@attrs.frozen(kw_only=True, repr=False)
class SystemItemEntry(LogEntry):
    """Something of the system's own."""

    item: Record = required(SYSTEM_ITEMS.type)


@attrs.frozen(kw_only=True, repr=False)
class _ManyItems(LogEntry):
    items: tuple[Record, ...] = required(many(EITHER))


@attrs.frozen(kw_only=True, repr=False)
class AssistantItems(_ManyItems):
    """Messages, tool calls and reasoning of the model, in a row."""


@attrs.frozen(kw_only=True, repr=False)
class ToolResults(_ManyItems):
    """What tools returned, in a row."""


@attrs.frozen(kw_only=True, repr=False)
class HookInjectedItems(_ManyItems):
    """Items of hooks."""


@attrs.frozen(kw_only=True, repr=False)
class SystemItems(LogEntry):
    """Things of the system's own, in a row."""

    items: tuple[Record, ...] = required(many(SYSTEM_ITEMS.type))


# --- runs --------------------------------------------------------------------


@attrs.frozen(kw_only=True, repr=False)
class RunFailure(Record):
    """How a run failed."""

    message: str = required(TEXT)


def _decode_outcome(value: Value, where: str) -> str | RunFailure:
    if type(value) is dict and list(value) == ["error"]:
        return RunFailure.decode(value["error"], f"{where}.error")
    if type(value) is str and value in RESULTS:
        return value
    raise refuse(where, f"not one of {', '.join(RESULTS)} or an error")


def _encode_outcome(value: str | RunFailure) -> Value:
    return value if isinstance(value, str) else {"error": value.encode()}


def _unknown_outcome(value: str | RunFailure, where: str) -> Iterator[str]:
    if isinstance(value, RunFailure):
        yield from value.unknown(where)


OUTCOME = Type(_decode_outcome, _encode_outcome, _unknown_outcome)


@attrs.frozen(kw_only=True, repr=False)
class Invoke(LogEntry):
    """A run begins, and what *trigger* made it begin."""

    trigger: str = required(
        choice("user_send", "notify", "pod_event", "system_reminder", "wakeup")
    )


@attrs.frozen(kw_only=True, repr=False)
class TurnEnd(LogEntry):
    """A turn is complete; *turn_count* counts it."""

    turn_count: int = required(U64)


@attrs.frozen(kw_only=True, repr=False)
class RunOutcome(LogEntry):
    """A run ended, well or not."""

    outcome: str | RunFailure = required(OUTCOME)
    interrupted: bool = required(BOOLEAN)


@attrs.frozen(kw_only=True, repr=False)
class RunCompleted(LogEntry):
    """A run ended well."""

    interrupted: bool = required(BOOLEAN)
    result: str = required(choice(*RESULTS))


@attrs.frozen(kw_only=True, repr=False)
class RunErrored(LogEntry):
    """A run failed; *message* is the rendered error."""

    interrupted: bool = required(BOOLEAN)
    message: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class PausedTurnAbandoned(LogEntry):
    """A paused run will not go on."""


@attrs.frozen(kw_only=True, repr=False)
class ConfigChanged(LogEntry):
    """Requests are made another way from here on."""

    config: RequestConfig = required(one(RequestConfig))


@attrs.frozen(kw_only=True, repr=False)
class LlmUsage(LogEntry):
    """What one request cost; see `UsageRecord`."""

    history_len: int = required(U64)
    input_total_tokens: int = required(U64)
    cache_read_tokens: int = required(U64)
    cache_write_tokens: int = required(U64)
    output_tokens: int = required(U64)

    @property
    def usage(self) -> UsageRecord:
        """The five numbers."""
        return UsageRecord(**{name: getattr(self, name) for name in USAGE_NAMES})


@attrs.frozen(kw_only=True, repr=False)
class Locked(LogEntry):
    """The provider has the first *locked_prefix_len* items in its cache."""

    locked_prefix_len: int = required(U64)


@attrs.frozen(kw_only=True, repr=False)
class CacheUnlocked(LogEntry):
    """No items are held in a cache any more."""


@attrs.frozen(kw_only=True, repr=False)
class ExtensionEntry(LogEntry):
    """A value that only its *domain* understands; the store looks at nothing."""

    domain: str = required(TEXT)
    payload: Any = required(ANYTHING)


@attrs.frozen(kw_only=True, repr=False)
class Snapshot(LogEntry):
    """
    All that the log says up to here; its state is a payload of role
    ``checkpoint.state``.
    """


#: Entries, told apart by ``kind``. ``cache_locked`` is an older name.
ENTRIES = Tagged(
    "kind",
    {
        "session_start": SessionStart,
        "segment_start": SegmentStart,
        "invoke": Invoke,
        "user_input": UserInput,
        "assistant_item": AssistantItem,
        "assistant_items": AssistantItems,
        "tool_result": ToolResultItem,
        "tool_results": ToolResults,
        "system_item": SystemItemEntry,
        "system_items": SystemItems,
        "hook_injected_item": HookInjectedItem,
        "hook_injected_items": HookInjectedItems,
        "turn_end": TurnEnd,
        "run_outcome": RunOutcome,
        "run_completed": RunCompleted,
        "run_errored": RunErrored,
        "paused_turn_abandoned": PausedTurnAbandoned,
        "config_changed": ConfigChanged,
        "llm_usage": LlmUsage,
        "locked": Locked,
        "cache_locked": Locked,
        "cache_unlocked": CacheUnlocked,
        "extension": ExtensionEntry,
        "snapshot": Snapshot,
    },
)


@attrs.frozen(kw_only=True, repr=False)
class TraceEntry(Record):
    """
    An event for who debugs; never a part of a log.

    Attributes:
        ts: When it happened, ms since 1970.

        turn: In which turn.

        event: What the provider sent.

        llm_call: In which request of the turn.

        kind: What it is, where there is more than *event*.
    """

    ts: int = required(TIME)
    turn: int = required(U64)
    event: Any = optional(ANYTHING)
    llm_call: Any = optional(ANYTHING)
    kind: Any = optional(ANYTHING)
