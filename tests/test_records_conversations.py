"""
The records of conversations: every documented kind, and what is not documented.

Spec: spec/conversations.md, "Items" to "System items" and "Entries of conversations".
"""

from __future__ import annotations

import json

from typing import Any

import pytest

from conversationkit import CONFIG, SEGMENT, TIME, message, start
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import FormatError
from castore.records.entries import ENTRIES, LogEntry
from castore.records.fields import Unknown
from castore.records.items import (
    EITHER,
    ITEMS,
    LOGGED_ITEMS,
    PARTS,
    Message,
    from_logged,
    to_logged,
)
from castore.records.system import (
    POD_EVENTS,
    SYSTEM_ITEMS,
    ScopeRule,
    history_text,
    render_pod_event,
)


USER = message("user", "hi")
CALL = {"type": "tool_call", "call_id": "c", "name": "ls", "arguments": "{}"}
EVENTS = [
    {"kind": "turn_ended", "pod_name": "p"},
    {"kind": "errored", "pod_name": "p", "message": "two\nlines"},
    {"kind": "shut_down", "pod_name": "p"},
    {
        "kind": "scope_sub_delegated",
        "parent_pod": "p",
        "sub_pod": "q",
        "sub_socket": "s",
        "scope": [{"target": "a"}],
    },
]
SYSTEM = [
    {"kind": "notification", "message": "m", "body": "b"},
    {"kind": "pod_event", "event": EVENTS[0], "body": "b"},
    {"kind": "file_attachment", "path": "p", "body": "b"},
    {"kind": "knowledge", "slug": "s", "body": "b"},
    {"kind": "workflow", "slug": "s", "body": "b"},
]
USAGE = {
    "history_len": 1,
    "input_total_tokens": 2,
    "cache_read_tokens": 3,
    "cache_write_tokens": 4,
    "output_tokens": (1 << 64) - 1,
}
ORIGIN = {"segment_id": SEGMENT, "at_turn_index": 3}
MEMBERS: dict[str, dict[str, Any]] = {
    "session_start": {
        **start("session_start"),
        "forked_from": {"session_id": "s", "at_hash": "ab"},
    },
    "segment_start": {**start(), "compacted_from": ORIGIN},
    "invoke": {"trigger": "notify"},
    "user_input": {"item": USER},
    "assistant_item": {"item": message("assistant", "a", "kind")},
    "assistant_items": {"items": [CALL, message("assistant", "a", "kind")]},
    "tool_result": {"item": {"kind": "tool_result", "call_id": "c", "summary": "s"}},
    "tool_results": {"items": []},
    "system_item": {"item": SYSTEM[1]},
    "system_items": {"items": SYSTEM},
    "hook_injected_item": {"item": message("system", "a", "kind")},
    "hook_injected_items": {"items": [message("system", "a")]},
    "turn_end": {"turn_count": 3},
    "run_outcome": {"outcome": "limit_reached", "interrupted": False},
    "run_completed": {"interrupted": False, "result": "yielded"},
    "run_errored": {"interrupted": True, "message": "m"},
    "paused_turn_abandoned": {},
    "config_changed": {"config": {**CONFIG, "reasoning": {"effort": "high"}}},
    "llm_usage": USAGE,
    "locked": {"locked_prefix_len": 1},
    "cache_unlocked": {},
    "extension": {"domain": "d", "payload": {"any": [1.5, None]}},
    "snapshot": {},
}


def same(one: object, other: object) -> bool:
    """Return whether both are the same JSON, order of members included."""
    return json.dumps(one) == json.dumps(other)


@pytest.mark.parametrize("kind", sorted(MEMBERS))
def test_every_kind_of_entry_round_trips(kind: str) -> None:
    """
    An entry read and written is what it was, members that nobody documented
    included, and these are told.

    Statements: A7, B12, B13.
    """
    plain = {"kind": kind, "ts": TIME, **MEMBERS[kind]}
    assert list(ENTRIES.decode(plain).unknown("it")) == []
    assert same(ENTRIES.encode(ENTRIES.decode(plain)), plain)
    more = {"new": [1], **plain}
    assert same(ENTRIES.encode(ENTRIES.decode(more)), more)
    assert list(ENTRIES.decode(more).unknown("it")) == ["it: 1 unknown members"]


def test_the_kinds_are_those_of_the_page() -> None:
    """Each documented kind is in the test above; one has an older name."""
    assert set(ENTRIES.classes) == {*MEMBERS, "cache_locked"}
    old = ENTRIES.decode({"kind": "cache_locked", "ts": 1, "locked_prefix_len": 2})
    assert ENTRIES.encode(old)["kind"] == "locked"


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"kind": "turn_end", "turn_count": 1}, "ts: missing"),
        ({"kind": "turn_end", "ts": 1}, "turn_count: missing"),
        ({"kind": "turn_end", "ts": -1, "turn_count": 1}, "ts: not an integer"),
        ({"kind": "invoke", "ts": 1, "trigger": "x"}, "trigger: not one of"),
        ({"kind": "user_input", "ts": 1}, "an item or segments"),
        ({"kind": "user_input", "ts": 1, "item": {}}, "item: no text 'type'"),
        ({"kind": "run_outcome", "ts": 1, "outcome": "x"}, "outcome: not one of"),
        ({"kind": "run_outcome", "ts": 1, "outcome": {"error": {}}}, "error.message"),
        ({"kind": "assistant_item", "ts": 1, "item": 1}, "item: not an object"),
        (
            {"kind": "assistant_items", "ts": 1, "items": [{"kind": "message"}]},
            r"items\[0\].role: missing",
        ),
    ],
)
def test_documented_members_are_strict(value: dict[str, Any], where: str) -> None:
    """A documented member that is missing or of another type is refused."""
    with pytest.raises(FormatError, match=where):
        ENTRIES.decode(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["kind", "type", "text", "item"]), inner)
    ),
    max_leaves=5,
)


@given(st.data(), st.sampled_from(sorted(MEMBERS)), json_values)
def test_whatever_stands_there(data: st.DataObject, kind: str, value: Any) -> None:
    """
    Any value in any place is either kept as it is or refused with the place; nothing
    else happens.
    """
    plain: dict[str, Any] = {"kind": kind, "ts": TIME, **MEMBERS[kind]}
    name = data.draw(st.sampled_from([*plain, "other"]))
    plain[name] = value
    try:
        read = ENTRIES.decode(plain)
    except FormatError as error:
        assert name in str(error) or kind == "user_input"  # noqa: PT017
        return
    assert same(ENTRIES.encode(read), plain)


# --- items -------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        {**USER, "id": "i", "status": "completed"},
        {**CALL, "id": None, "status": "inprogress"},
        {"type": "tool_result", "id": "i", "call_id": "c", "summary": "s"},
        {"type": "reasoning", "text": "t", "status": "incomplete"},
        {"type": "hologram", "x": 1},
        {"type": "message", "role": "user", "content": [{"type": "x", "y": 1}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "refusal", "refusal": "no"}],
        },
    ],
)
def test_items_round_trip(item: dict[str, Any]) -> None:
    """An item read and written is what it was, ids and status included."""
    assert same(ITEMS.encode(ITEMS.decode(item)), item)
    assert same(EITHER.encode(EITHER.decode(item, "")), item)


@pytest.mark.parametrize(
    "item",
    [
        USER,
        CALL,
        {
            "type": "reasoning",
            "text": "t",
            "summary": ["a", "b"],
            "encrypted_content": "e",
            "signature": "g",
        },
        {"type": "tool_result", "call_id": "c", "summary": "s", "content": "d"},
        {"type": "tool_result", "call_id": "c", "summary": "s", "is_error": True},
        {
            "type": "tool_result",
            "call_id": "c",
            "summary": "s",
            "attachments": [{"kind": "image", "mime_type": "m", "data": "AA=="}],
        },
        {"type": "hologram", "x": 1},
        {**USER, "more": 1},
    ],
)
def test_logged_items_say_the_same(item: dict[str, Any]) -> None:
    """
    What is logged comes back as it was, without id and status; nothing else is
    dropped, not even what is unknown. What is logged already stays.

    Statements: B24.
    """
    read = ITEMS.decode({**item, "id": "i"} if "x" not in item else item)
    logged = to_logged([read])
    told = LOGGED_ITEMS.encode(logged[0])
    assert "id" not in told
    assert "type" not in told
    (back,) = from_logged([LOGGED_ITEMS.decode(told)])
    assert back == ITEMS.decode(item)
    assert to_logged(logged) == logged
    assert from_logged([back]) == (back,)


def test_the_shape_of_a_logged_message() -> None:
    """
    It is ``kind``, ``role``, ``content``, and each part has its own ``kind``.

    Statements: B24.
    """
    told = LOGGED_ITEMS.encode(to_logged([ITEMS.decode(USER)])[0])
    part = {"kind": "text", "text": "hi"}
    assert same(told, {"kind": "message", "role": "user", "content": [part]})


def test_older_reasoning_has_no_signature() -> None:
    """
    Reasoning without the member is read, and written without it.

    Statements: B24.
    """
    old = {"kind": "reasoning", "text": "t", "summary": []}
    (read,) = from_logged([LOGGED_ITEMS.decode(old)])
    assert read.signature is None  # type: ignore[attr-defined]
    assert same(LOGGED_ITEMS.encode(LOGGED_ITEMS.decode(old)), old)


def test_an_items_own_kind_is_no_tag() -> None:
    """A member that is named like the other form's tag does not become one."""
    odd = Message(role="user", content=(), rest={"kind": "x"})
    assert LOGGED_ITEMS.encode(to_logged([odd])[0])["kind"] == "message"
    assert isinstance(PARTS.decode({"type": "x"}), Unknown)


# --- system items ------------------------------------------------------------


@pytest.mark.parametrize("item", SYSTEM)
def test_system_items(item: dict[str, Any]) -> None:
    """
    A system item keeps kind and members, and says its stored body and nothing else.

    Statements: B25.
    """
    read = SYSTEM_ITEMS.decode(item)
    assert same(SYSTEM_ITEMS.encode(read), item)
    assert history_text(read) == "b"


@pytest.mark.parametrize("event", EVENTS)
def test_pod_events_are_one_line(event: dict[str, Any]) -> None:
    """
    An event round-trips, and is one line that names its pod, and its error.

    Statements: B25.
    """
    read = POD_EVENTS.decode(event)
    assert same(POD_EVENTS.encode(read), event)
    line = render_pod_event(read)
    assert "\n" not in line
    assert line.startswith("pod p: ")
    assert ("two lines" in line) == ("message" in event)
    assert ("q" in line) == ("sub_pod" in event)


def test_an_unknown_event_is_a_line_too() -> None:
    """What an event of an unknown kind holds is not shown."""
    assert render_pod_event(POD_EVENTS.decode({"kind": "x", "y": "z"})) == (
        "an event of an unknown kind"
    )


def test_a_rule_is_recursive_unless_it_says_not() -> None:
    """The default of a scope rule is all below its path."""
    rule = {"target": "a", "permission": "read"}
    assert ScopeRule.decode(rule).recursive
    assert not ScopeRule.decode({**rule, "recursive": False}).recursive


def test_a_record_shows_nothing() -> None:
    """Logs and errors must not show contents."""
    read = ENTRIES.decode({"kind": "turn_end", "ts": 1, "turn_count": 1})
    assert isinstance(read, LogEntry)
    assert repr(read) == "<TurnEnd>"
