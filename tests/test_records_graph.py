"""
A session's graph in memory: paths, branches, the read state.
"""

from __future__ import annotations

import itertools

import pytest

from hypothesis import given
from hypothesis import strategies as st
from runtimekit import TIME, TRANSIENT, call, chain, ids, message, node, tool

from castore.errors import FormatError
from castore.records.graph import SessionGraph
from castore.records.nodes import Message, Part, SessionNodeRecord, ToolCallRecord


def graph(*names: str) -> SessionGraph:
    """Return a graph of one path."""
    return SessionGraph(list(chain(*names)), names[-1] if names else None)


# --- paths -------------------------------------------------------------------


def test_the_active_path_goes_from_a_root_to_the_leaf() -> None:
    """Siblings and their children are not on it."""
    made = graph("root", "left")
    made.append(node("right", "root"))
    made.append(node("right-leaf", "right"))

    assert ["root", "right", "right-leaf"] == ids(made.active_path())
    assert ["root", "left"] == ids(made.active_path("left"))
    assert ["left"] == made.orphaned_node_ids()


def test_a_path_ends_where_a_node_is_missing() -> None:
    """
    A leaf that is not there gives no path; a missing parent ends it; a circle too.

    Statements: C19.
    """
    made = SessionGraph([node("b", "gone"), node("c", "b")], "c")
    circle = SessionGraph([node("a", "b"), node("b", "a")], "b")

    assert ["b", "c"] == ids(made.active_path())
    assert [] == made.active_path("nowhere")
    assert ["a", "b"] == ids(circle.active_path())


def test_of_an_id_that_comes_twice_the_last_counts() -> None:
    """The index knows the node added last."""
    made = SessionGraph([node("a", text="old"), node("a", text="new")], "a")
    found = made.find("a")

    assert found is not None
    assert found.message == message("a", "new")
    assert ["a"] == [tree.node_id for tree in made.message_tree()]


def test_a_leaf_may_dangle_and_is_healed() -> None:
    """Branching validates nothing; healing falls back to the last message, or none."""
    made = graph("a", "b")
    made.append(tool("t", "b"))
    made.branch_to("nowhere")

    assert [] == made.active_path()
    assert made.heal_orphaned_leaf()
    assert "b" == made.leaf_node_id
    assert not made.heal_orphaned_leaf()
    empty = SessionGraph([], "nowhere")
    assert empty.heal_orphaned_leaf()
    assert empty.leaf_node_id is None
    assert not empty.heal_orphaned_leaf()


def test_a_fork_of_the_path_leaves_the_rest() -> None:
    """It has the nodes of the active path and goes on by itself."""
    made = graph("a", "b")
    made.branch_to("a")
    fork = made.fork_current_path()
    fork.append_message(message("c"), TIME)

    assert ["a", "c"] == ids(fork.nodes)
    assert ["a", "b"] == ids(made.nodes)


# --- what it holds -----------------------------------------------------------


def test_messages_of_the_user_are_counted() -> None:
    """Only those on the active path, only those of the role User."""
    made = SessionGraph()
    made.append_message(message("sys", role="System"), TIME)
    made.append_message(message("one", "hello"), TIME)
    made.append_message(message("two", role="Assistant"), TIME)
    made.append_tool_call(call("t"), TIME)
    made.append_message(message("three"), TIME)

    assert 2 == made.user_message_count()
    assert "hello" == made.first_user_message()
    made.branch_to("sys")
    assert 0 == made.user_message_count()
    assert made.first_user_message() is None


def test_the_tree_of_messages_leaves_out_what_is_none() -> None:
    """Each message stands below the one nearest before it; the active are marked."""
    made = SessionGraph()
    made.append_message(message("a"), TIME)
    made.append_tool_call(call("t"), TIME)
    made.append_message(message("b"), TIME)
    made.branch_to("a")
    made.append_message(message("c"), TIME)
    made.append(node("stray", "missing"))
    made.branch_to("c")
    top, stray = made.message_tree()

    assert ("a", True) == (top.node_id, top.is_active)
    assert [("b", False), ("c", True)] == [
        (tree.node_id, tree.is_active) for tree in top.children
    ]
    assert ("stray", ()) == (stray.node_id, stray.children)


def test_a_long_tree_needs_no_stack() -> None:
    """Ten thousand messages in a row are a tree as any other."""
    made = graph(*(f"n{number}" for number in range(10_000)))
    (tree,) = made.message_tree()
    depth = 1
    while tree.children:
        (tree,) = tree.children
        depth += 1

    assert 10_000 == depth


def test_fresh_ids_say_what_they_are_of() -> None:
    """Messages, events and plugins without an id get one of their own."""
    numbers = itertools.count()
    made = SessionGraph(fresh=lambda: f"{next(numbers):032x}")
    names = [
        made.append_message(Message(id="", role="User"), TIME),
        made.append_event({"Mode": {"mode_id": "plan"}}, TIME),
        made.append_plugin("todo", {"open": 1}, TIME),
    ]

    assert ["m", "e", "x"] == [name[0] for name in names if name]
    assert {33} == {len(name) for name in names if name}
    assert [None, *names[:-1]] == [each.parent_node_id for each in made.nodes]


def test_ids_of_messages_and_tools_avoid_each_other() -> None:
    """A message's node has its id, or one made of it; a tool's its stable key."""
    made = SessionGraph(fresh=lambda: "f")
    for _ in range(4):
        made.append_message(message("a"), TIME)
    for _ in range(2):
        made.append_tool_call(call("k"), TIME)

    assert [
        "a",
        "message:a",
        "message:a:2",
        "message:a:3",
        "plugin:k",
        "plugin:k:f",
    ] == ids(made.nodes)


def test_a_tool_call_without_an_id_is_known_by_what_it_is() -> None:
    """The same tool, arguments and result have the same key."""
    one = ToolCallRecord(tool="read", args={"a": 1}, result="x")
    same = ToolCallRecord(tool="read", args={"a": 1}, result="x", duration_ms=5)
    other = ToolCallRecord(tool="read", args={"a": 1}, result="y")

    assert one.stable_key.startswith("anon-")
    assert len("anon-") + 12 == len(one.stable_key)
    assert one.stable_key == same.stable_key != other.stable_key


# --- the read state ----------------------------------------------------------


def test_transient_messages_are_never_added() -> None:
    """
    Neither by themselves, nor as part of a read state.

    Statements: C22.
    """
    made = graph("a")
    fleeting = message("now", origin=TRANSIENT)

    assert made.append_message(fleeting, TIME) is None
    assert [] == made.append_active_read_delta([fleeting], [], TIME)
    made.replace_active_read_state([fleeting, message("a")], [], TIME)
    assert ["a"] == ids(made.nodes)


def test_replacing_the_read_state_keeps_what_is_common() -> None:
    """
    The common beginning stays, with what is neither message nor tool call; only
    the tail is added, and the old tail stands beside it.

    Statements: C22.
    """
    made = SessionGraph()
    made.append_message(message("a"), TIME)
    made.append_event({"Mode": {"mode_id": "plan"}}, TIME)
    made.append_tool_call(call("t"), TIME)
    made.append_message(message("b"), TIME)
    kept = ids(made.nodes)
    added = made.replace_active_read_state(
        [message("a"), message("c")], [call("t"), call("u")], TIME
    )

    assert ["c", "plugin:u"] == added
    assert [*kept[:3], "c", "plugin:u"] == ids(made.active_path())
    assert [*kept, "c", "plugin:u"] == ids(made.nodes)


def test_the_same_read_state_changes_nothing() -> None:
    """
    Not even what stands behind the last message; a shorter one moves the leaf.

    Statements: C22.
    """
    made = graph("a", "b")
    made.append_event({"Mode": {}}, TIME)
    before = made.leaf_node_id

    assert [] == made.replace_active_read_state([message("a"), message("b")], [], TIME)
    assert before == made.leaf_node_id
    assert [] == made.replace_active_read_state([message("a")], [], TIME)
    assert "a" == made.leaf_node_id


def test_messages_come_once() -> None:
    """
    Of a message id that comes twice the second is dropped; what is there already
    is not added again, tool calls neither.

    Statements: C22.
    """
    made = graph("a")
    twice = [message("a"), message("b"), message("b", "again")]

    assert ["b"] == made.replace_active_read_state(twice, [], TIME)
    assert ["plugin:t"] == made.append_active_read_delta(
        twice, [call("t"), call("t")], TIME
    )
    assert [] == made.append_active_read_delta(twice, [call("t")], TIME)
    assert [message("a"), message("b")] == made.active_messages()
    assert [call("t")] == made.active_tool_calls()


@given(
    st.lists(st.sampled_from("abcdef"), unique=True),
    st.lists(st.sampled_from("abcdef"), unique=True),
)
def test_a_replaced_read_state_reads_back(before: list[str], after: list[str]) -> None:
    """
    Whatever the path was, it then holds just the messages given.

    Statements: C22.
    """
    made = SessionGraph()
    made.replace_active_read_state([message(name) for name in before], [], TIME)
    count = len(made)
    wanted = [message(name) for name in after]
    added = made.replace_active_read_state(wanted, [], TIME)
    pairs = zip(before, after, strict=False)
    common = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))

    assert wanted == made.active_messages()
    assert len(after) - common == len(added) == len(made) - count


# --- nodes -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["event", "plugin"])
def test_a_node_has_what_its_kind_has(kind: str) -> None:
    """An event has its event, a plugin's node its type; other kinds are kept."""
    bare = {"node_id": "a", "timestamp": TIME, "kind": kind}
    with pytest.raises(FormatError, match="without its"):
        SessionNodeRecord.decode(bare)

    other = {**bare, "kind": "later", "more": [1]}
    assert other == SessionNodeRecord.decode(other).encode()


def test_pruned_parts_name_their_archive() -> None:
    """Deleted and summarized parts refer to what they were, intact ones do not."""
    states = [
        "Intact",
        "Cleared",
        {"Deleted": {"breadcrumb": "b", "archive_hash": "one"}},
        {"Summarized": {"summary": "s", "archive_hash": "two"}},
        {"Later": "x"},
        None,
    ]
    parts = tuple(
        Part(id=str(at), kind="Text", prune_state=state)
        for at, state in enumerate(states)
    )
    made = SessionGraph()
    made.append_message(Message(id="a", role="User", parts=parts), TIME)

    assert ["one", "two"] == list(made.nodes[0].archives())
