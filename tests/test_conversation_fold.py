"""
What entries come to.

Spec: spec/conversations.md, "The fold".
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from conversationkit import CONFIG, SESSION, entry, message, start

from castore.conversation.state import Fold, collect_state
from castore.records.config import RequestConfig
from castore.records.entries import ENTRIES, RunFailure
from castore.records.items import LoggedToolCall, ToolCall, ToolResult, role_of
from castore.records.state import RestoredState
from castore.records.system import PodScopeSnapshot


CALL = {"kind": "tool_call", "call_id": "c", "name": "ls", "arguments": "{}"}
RESULT = {"kind": "tool_result", "call_id": "c", "summary": "s", "content": "long"}
USAGE = {
    "history_len": 1,
    "input_total_tokens": 20,
    "cache_read_tokens": 3,
    "cache_write_tokens": 4,
    "output_tokens": 5,
}
FAILED = {"error": {"message": "m"}}
STARTS = ["session_start", "segment_start"]


def texts(state: RestoredState) -> list[str]:
    """Return what each message of the history says."""
    return [item.content[0].text for item in state.history if hasattr(item, "content")]


def test_nothing_comes_to_nothing() -> None:
    """
    No entries: no history, turn 0, nothing locked, no head, none counted.

    Statements: A1.
    """
    state = collect_state([])
    assert (state.history, state.turn_count, state.locked_prefix_len) == ((), 0, 0)
    assert (state.head_hash, state.entries_count) == (None, 0)
    assert not state.last_run_interrupted
    assert state == RestoredState()


@pytest.mark.parametrize("kind", STARTS)
def test_a_start_gives_prompt_config_and_history(kind: str) -> None:
    """
    One start entry: its prompt, its config, its history, its hash as head, and it
    is counted; a segment's tells the session.

    Statements: A2.
    """
    fold = Fold()
    fold.take(ENTRIES.decode(start(kind)), b"h" * 32)
    state = fold.state
    assert state.system_prompt == "be brief"
    assert state.config.encode() == CONFIG
    assert texts(state) == ["before"]
    assert (state.head_hash, state.entries_count) == (b"h" * 32, 1)
    assert state.session_id == (SESSION if kind == "segment_start" else None)


def test_a_start_replaces_history_and_leaves_counts() -> None:
    """A second start replaces prompt, config and history, and nothing else."""
    state = collect_state(
        [
            entry("turn_end", turn_count=4),
            entry("locked", locked_prefix_len=2),
            entry("llm_usage", **USAGE),
            ENTRIES.decode(start()),
        ]
    )
    assert (state.turn_count, state.locked_prefix_len) == (4, 2)
    assert len(state.usage_history) == len(state.history) == 1


def test_a_turn() -> None:
    """
    Start, user, assistant, end of turn 1, finished: two items, turn 1, not
    interrupted; as a hash-chained log tells it and as a segment does.

    Statements: A3.
    """
    chained = [
        ENTRIES.decode(start("session_start", history=[])),
        entry("user_input", item=message("user", "a")),
        entry("assistant_items", items=[message("assistant", "b")]),
        entry("turn_end", turn_count=1),
        entry("run_outcome", outcome="finished", interrupted=False),
    ]
    single = [
        ENTRIES.decode(start(history=[])),
        entry("invoke", trigger="user_send"),
        entry("user_input", segments=[{"kind": "text", "content": "a"}]),
        entry("assistant_item", item=message("assistant", "b", "kind")),
        entry("turn_end", turn_count=1),
        entry("run_completed", result="finished", interrupted=False),
    ]
    for entries in (chained, single):
        state = collect_state(entries)
        assert texts(state) == ["a", "b"]
        assert (state.turn_count, state.last_run_interrupted) == (1, False)
        assert state.entries_count == len(entries)


def test_tools_in_order() -> None:
    """
    User, tool call, tool result, assistant: four items in that order, the same
    from grouped and from single entries.

    Statements: A4.
    """
    grouped = [
        entry("user_input", item=message("user", "a")),
        entry("assistant_items", items=[CALL]),
        entry("tool_results", items=[RESULT]),
        entry("assistant_items", items=[message("assistant", "b")]),
    ]
    single = [
        entry("user_input", item=message("user", "a")),
        entry("assistant_item", item=CALL),
        entry("tool_result", item=RESULT),
        entry("assistant_item", item=message("assistant", "b", "kind")),
    ]
    for entries in (grouped, single):
        history = collect_state(entries).history
        assert [type(item) for item in history[1:3]] == [ToolCall, ToolResult]
        assert [role_of(item) for item in history] == ["user", None, None, "assistant"]
    assert collect_state(grouped) == collect_state(single)


def test_locks() -> None:
    """
    Locked at 2 gives 2, unlocked behind it 0; the older name says the same.

    Statements: A5.
    """
    for name in ("locked", "cache_locked"):
        entries = [entry(name, locked_prefix_len=2), entry("cache_unlocked")]
        assert collect_state(entries[:1]).locked_prefix_len == 2
        assert collect_state(entries).locked_prefix_len == 0


def test_config_is_replaced() -> None:
    """
    A changed config is the config.

    Statements: A6.
    """
    entries = [ENTRIES.decode(start()), entry("config_changed", config={"top_k": 3})]
    assert collect_state(entries).config == RequestConfig(top_k=3)


def test_usage_accumulates() -> None:
    """
    Usage is kept in order and changes no history; without any there is none.

    Statements: A7.
    """
    more = {**USAGE, "output_tokens": 6}
    before = [ENTRIES.decode(start())]
    state = collect_state(
        [*before, entry("llm_usage", **USAGE), entry("llm_usage", **more)]
    )
    assert [one.encode() for one in state.usage_history] == [USAGE, more]
    assert state.history == collect_state(before).history
    assert collect_state(before).usage_history == ()


def test_segments_fold_as_chained_logs_do() -> None:
    """
    Told in a segment's entries, nothing, a start, a turn, tools, a config and usage
    come to the same as told in a hash-chained log's, and every entry is counted.

    Statements: B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11.
    """
    user = entry("user_input", item=message("user", "a"))
    typed = entry("user_input", segments=[{"kind": "text", "content": "a"}])
    both = [
        entry("llm_usage", **USAGE),
        entry("config_changed", config={"top_k": 3}),
        entry("turn_end", turn_count=1),
    ]
    chained = [
        ENTRIES.decode(start("session_start")),
        user,
        entry("assistant_items", items=[CALL]),
        entry("tool_results", items=[RESULT]),
        entry("assistant_items", items=[message("assistant", "b")]),
        *both,
        entry("run_outcome", outcome="finished", interrupted=False),
    ]
    single = [
        ENTRIES.decode(start()),
        typed,
        entry("assistant_item", item=CALL),
        entry("tool_result", item=RESULT),
        entry("assistant_item", item=message("assistant", "b", "kind")),
        *both,
        entry("run_completed", result="finished", interrupted=False),
    ]
    for count in range(len(single) + 1):
        ours, theirs = collect_state(single[:count]), collect_state(chained[:count])
        assert ours.entries_count == count
        assert attrs.evolve(ours, session_id=None, user_segments=()) == theirs
        assert ours.session_id == (SESSION if count else None)
        assert len(ours.user_segments) == (count > 1)


@pytest.mark.parametrize(
    ("kind", "members", "interrupted"),
    [
        ("run_outcome", {"outcome": "paused", "interrupted": True}, True),
        ("run_outcome", {"outcome": FAILED, "interrupted": True}, True),
        ("run_completed", {"result": "paused", "interrupted": True}, True),
        ("run_completed", {"result": "finished", "interrupted": False}, False),
        ("run_errored", {"message": "m", "interrupted": True}, True),
        ("paused_turn_abandoned", {}, False),
    ],
)
def test_how_a_run_ends(kind: str, members: dict[str, Any], interrupted: bool) -> None:
    """
    A run that began is interrupted until something says how it ended, and then is
    what that says. It changes neither history nor turn.

    Statements: A14, B12, B33.
    """
    begun = [ENTRIES.decode(start()), entry("invoke", trigger="wakeup")]
    state = collect_state(begun)
    assert state.last_run_interrupted
    assert (len(state.history), state.turn_count) == (1, 0)
    ended = collect_state([*begun, entry(kind, **members)])
    assert ended.last_run_interrupted == interrupted
    assert ended.history == state.history


def test_an_invocation_names_its_trigger_apart() -> None:
    """
    It is of the kind ``invoke``, and what triggered it is a member of its own.

    Statements: B12.
    """
    invoke = ENTRIES.encode(entry("invoke", trigger="pod_event"))
    assert (invoke["kind"], invoke["trigger"]) == ("invoke", "pod_event")


def test_an_outcome_can_be_an_error() -> None:
    """An error's outcome holds its message, and is written as it was read."""
    read = entry("run_outcome", outcome=FAILED, interrupted=True)
    assert read.outcome == RunFailure(message="m")  # type: ignore[attr-defined]
    assert ENTRIES.encode(read)["outcome"] == FAILED


def test_extensions_are_kept_in_order() -> None:
    """
    All extensions are kept, those of a user's input too, each with its domain; a
    payload is any value.

    Statements: B13.
    """
    payload = {"a": [1, None, {"b": True}], "f": 0.5}
    state = collect_state(
        [
            entry("extension", domain="one", payload=payload),
            entry(
                "user_input",
                segments=[],
                extensions=[{"domain": "two", "payload": None}],
            ),
            entry("extension", domain="one", payload="again"),
        ]
    )
    pairs = [(one.domain, one.payload) for one in state.extensions]
    assert pairs == [("one", payload), ("two", None), ("one", "again")]


def test_the_newest_readable_scope_counts() -> None:
    """
    A scope is an extension of its own domain; the newest wins, and one that is
    malformed changes nothing and is noted.

    Statements: B13.
    """
    rule = {"target": "src", "permission": "write"}
    good = {"allow": [rule], "deny": []}
    state = collect_state(
        [
            entry("extension", domain="pod.scope", payload={"allow": [], "deny": []}),
            entry("extension", domain="pod.scope", payload=good),
            entry("extension", domain="pod.scope", payload={"allow": [{}]}),
        ]
    )
    assert state.pod_scope == PodScopeSnapshot.decode(good)
    assert state.pod_scope.allow[0].recursive
    assert len(state.extensions) == 3
    (note,) = state.notes
    assert note.startswith("entry 2.payload.allow[0].target: missing")


def test_typed_input_is_one_message() -> None:
    """
    Text, paste and file become one user's message, put together without a gap,
    and stay as they were typed beside it; an unknown part is a placeholder, and
    survives.

    Statements: B14.
    """
    parts = [
        {"kind": "text", "content": "see "},
        {"kind": "paste", "id": 1, "chars": 4, "lines": 1, "content": "this"},
        {"kind": "file_ref", "path": "a.py"},
        {"kind": "knowledge_ref", "slug": "k"},
        {"kind": "workflow_invoke", "slug": "w"},
        {"kind": "hologram", "secret": 1},
    ]
    read = entry("user_input", segments=parts)
    state = collect_state([read])
    assert texts(state) == ["see this@a.py#k/w[input of an unknown kind]"]
    assert ENTRIES.encode(read)["segments"] == parts
    assert state.user_segments == (read.segments,)  # type: ignore[attr-defined]


def test_system_items_say_what_was_stored() -> None:
    """
    A system item adds a system message with its stored body, single or in a row; of
    an unknown kind too, if it has one.

    Statements: B33.
    """
    note = {"kind": "notification", "message": "m", "body": "as it was"}
    later = {"kind": "task_reminder", "body": "new"}
    other = {"kind": "prompt_provenance"}
    state = collect_state(
        [
            entry("system_item", item=note),
            entry("system_items", items=[note, later, other]),
        ]
    )
    assert texts(state) == ["as it was", "as it was", "new"]
    assert {role_of(item) for item in state.history} == {"system"}


def test_hooks_items_are_history() -> None:
    """What a hook injected is history, single and grouped."""
    state = collect_state(
        [
            entry("hook_injected_items", items=[message("system", "a")]),
            entry("hook_injected_item", item=message("system", "b", "kind")),
        ]
    )
    assert texts(state) == ["a", "b"]


def test_what_is_unknown_is_counted_and_noted() -> None:
    """
    Entries, members and items of unknown kinds change nothing else, and each is
    noted with its place.
    """
    state = collect_state(
        [
            entry("of_next_year", more=1),
            entry("turn_end", turn_count=1, more=1),
            entry("assistant_item", item={"kind": "dream", "x": 1}),
            entry("assistant_item", item={**CALL, "more": 1}),
        ]
    )
    assert state.notes == (
        "entry 0: unknown kind",
        "entry 1: 1 unknown members",
        "entry 2.item: unknown kind",
        "entry 3.item: 1 unknown members",
    )
    assert (state.turn_count, state.entries_count, len(state.history)) == (1, 4, 2)


def test_a_state_round_trips() -> None:
    """A state encoded and decoded is the state: what a snapshot rests on."""
    state = collect_state(
        [
            ENTRIES.decode(start()),
            entry("user_input", segments=[{"kind": "text", "content": "a"}]),
            entry("assistant_item", item=CALL),
            entry("llm_usage", **USAGE),
            entry("extension", domain="d", payload=[1]),
            entry("of_next_year"),
        ]
    )
    back = RestoredState.decode(state.encode())
    assert back == state
    assert not any(isinstance(item, LoggedToolCall) for item in back.history[:1])
