"""
Which entry an item of the history becomes, and what one history has over another.

Spec: spec/conversations.md, "Deltas".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from castore.records.entries import (
    AssistantItem,
    AssistantItems,
    ConfigChanged,
    HookInjectedItem,
    HookInjectedItems,
    LogEntry,
    SegmentStart,
    ToolResultItem,
    ToolResults,
    TurnEnd,
    UserInput,
)
from castore.records.fields import Record
from castore.records.items import (
    from_logged,
    is_of_assistant,
    is_tool_result,
    role_of,
    to_logged,
)
from castore.records.state import RestoredState, StartState


def classify_history_item(item: Record, ts: int) -> LogEntry:
    """
    Return the entry that *item* becomes: one item, one entry, none dropped.

    What neither user, model nor tool said, a system message or an item of an
    unknown kind, is an injected item.
    """
    if role_of(item) == "user":
        return UserInput(ts=ts, item=from_logged((item,))[0])
    (logged,) = to_logged((item,))
    if is_tool_result(item):
        return ToolResultItem(ts=ts, item=logged)
    kind = AssistantItem if is_of_assistant(item) else HookInjectedItem
    return kind(ts=ts, item=logged)


def group_history_items(items: Iterable[Record], ts: int) -> Iterator[LogEntry]:
    """
    Yield the entries that *items* become in a hash-chained log: runs of the
    model's items, and runs of tool results, are one entry each. Ids are kept.
    """
    for kind, run in groupby(items, _run_of):
        together = tuple(run)
        if kind is not None:
            yield kind(ts=ts, items=together)
            continue
        for item in together:
            if role_of(item) == "user":
                yield UserInput(ts=ts, item=from_logged((item,))[0])
            else:
                yield HookInjectedItems(ts=ts, items=(item,))


def _run_of(item: Record) -> type[AssistantItems | ToolResults] | None:
    if is_tool_result(item):
        return ToolResults
    return AssistantItems if is_of_assistant(item) else None


def difference(base: RestoredState, state: StartState, ts: int) -> Iterator[LogEntry]:
    """
    Yield the entries that lead from *base* to *state*.

    Items of *state* behind those of *base* become one entry each. If the prompt is
    another, or the history does not go on from that of *base*, everything is told
    anew in one entry.
    """
    known, wanted = to_logged(base.history), to_logged(state.history or ())
    goes_on = wanted[: len(known)] == known
    if goes_on and state.system_prompt == base.system_prompt:
        for item in (state.history or ())[len(known) :]:
            yield classify_history_item(item, ts)
        if state.config != base.config:
            yield ConfigChanged(ts=ts, config=state.config)
    else:
        yield SegmentStart(
            ts=ts,
            system_prompt=state.system_prompt,
            config=state.config,
            history=wanted,
        )
    if state.turn_count > base.turn_count:
        yield TurnEnd(ts=ts, turn_count=state.turn_count)
