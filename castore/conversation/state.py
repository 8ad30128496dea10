"""
What a log says, folded: the state with which a conversation goes on.

Spec: spec/conversations.md, "The fold".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from castore.errors import FormatError
from castore.records import entries as kinds
from castore.records.config import RequestConfig
from castore.records.entries import Extension
from castore.records.fields import Record
from castore.records.inputs import flatten
from castore.records.items import from_logged, text_message
from castore.records.state import RestoredState, StartState
from castore.records.system import POD_SCOPE_DOMAIN, PodScopeSnapshot, history_text


_LISTS = ("history", "usage_history", "extensions", "user_segments", "notes")


class Fold:
    """Entries in, one after the other; the state they come to out."""

    def __init__(self, state: RestoredState | None = None) -> None:
        """Go on from *state*, by default from nothing."""
        self._members: dict[str, Any] = {
            field.name: getattr(state or RestoredState(), field.name)
            for field in attrs.fields(RestoredState)[2:]
        }
        for name in _LISTS:
            self._members[name] = list(self._members[name])

    @property
    def state(self) -> RestoredState:
        """The state up to here."""
        lists = {name: tuple(self._members[name]) for name in _LISTS}
        return RestoredState(**{**self._members, **lists})

    def take(self, entry: Record | None, head: bytes | None = None) -> None:
        """
        Take in the next entry.

        Args:
            entry: One of `castore.records.entries`; None counts and says nothing.

            head: Its hash, if it has one.
        """
        index = self._members["entries_count"]
        self._members["entries_count"] = index + 1
        self._members["head_hash"] = head
        if entry is None:
            return
        self.note(entry.unknown(f"entry {index}"))
        self._members["history"] += items_of(entry)
        self._step(entry, f"entry {index}")

    def note(self, notes: Iterable[str]) -> None:
        """Keep *notes* of what was not understood."""
        self._members["notes"] += notes

    def begin(self, session: str, inherited: int, state: StartState | None) -> None:
        """
        Take in a start entry of the store's.

        Args:
            session: Session id, 32 hex digits.

            inherited: Its index.

            state: What the log begins with; None if it goes on from its parent's.
        """
        self._members["session_id"] = session
        self._members["inherited_count"] = inherited
        if state is not None:
            self._replace(state)
            self._members["turn_count"] = state.turn_count
            self.note(state.unknown(f"entry {inherited}"))

    # --- one kind each -------------------------------------------------------

    def _step(self, entry: Record, where: str) -> None:
        state = self._members
        match entry:
            case kinds.UserInput():
                if entry.segments is not None:
                    state["user_segments"].append(entry.segments)
                state["extensions"] += entry.extensions or ()
            case kinds.LlmUsage():
                state["usage_history"].append(entry.usage)
            case kinds.TurnEnd():
                state["turn_count"] = entry.turn_count
            case kinds.Invoke():
                state["last_run_interrupted"] = True
            case kinds.RunOutcome() | kinds.RunCompleted() | kinds.RunErrored():
                state["last_run_interrupted"] = entry.interrupted
            case kinds.PausedTurnAbandoned():
                state["last_run_interrupted"] = False
            case kinds.ConfigChanged():
                state["config"] = entry.config
            case kinds.Locked():
                state["locked_prefix_len"] = entry.locked_prefix_len
            case kinds.CacheUnlocked():
                state["locked_prefix_len"] = 0
            case kinds.ExtensionEntry():
                self._extend(entry, where)
            case kinds.SegmentStart():
                self._replace(entry)
                state["session_id"] = entry.session_id or state["session_id"]
            case kinds.SessionStart():
                self._replace(entry)

    def _replace(self, start: Any) -> None:
        self._members["system_prompt"] = start.system_prompt
        self._members["config"] = start.config or RequestConfig()
        self._members["history"] = list(from_logged(start.history or ()))

    def _extend(self, entry: kinds.ExtensionEntry, where: str) -> None:
        pair = Extension(domain=entry.domain, payload=entry.payload)
        self._members["extensions"].append(pair)
        if entry.domain != POD_SCOPE_DOMAIN:
            return
        try:
            scope = PodScopeSnapshot.decode(entry.payload, f"{where}.payload")
        except FormatError as error:
            self.note([f"{error}; the scope before stays"])
        else:
            self._members["pod_scope"] = scope


def items_of(entry: Record) -> tuple[Record, ...]:
    """Return the items that *entry* adds to the history; a start entry adds none."""
    match entry:
        case kinds.AssistantItem() | kinds.ToolResultItem() | kinds.HookInjectedItem():
            return from_logged((entry.item,))
        case kinds.AssistantItems() | kinds.ToolResults() | kinds.HookInjectedItems():
            return from_logged(entry.items)
        case kinds.UserInput(item=None, segments=parts):
            return (text_message("user", flatten(parts or ())),)
        case kinds.UserInput(item=item):
            return (item,) if item is not None else ()
        case kinds.SystemItemEntry():
            return _system_items((entry.item,))
        case kinds.SystemItems():
            return _system_items(entry.items)
    return ()


def _system_items(items: Iterable[Record]) -> tuple[Record, ...]:
    texts = map(history_text, items)
    return tuple([text_message("system", text) for text in texts if text is not None])


def collect_state(entries: Iterable[Record]) -> RestoredState:
    """Return what *entries* of `castore.records.entries` come to."""
    fold = Fold()
    for entry in entries:
        fold.take(entry)
    return fold.state
