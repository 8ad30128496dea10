"""
Forks and compactions: history is shared, lineage is recorded, nothing is copied
and nothing of the source changes.

Spec: spec/conversations.md, "Forks" and "Compaction".
"""

from __future__ import annotations

import shutil
import threading

from pathlib import Path

import attrs
import pytest

from conversationkit import ANSWER, CALL, RESULT, SEED, SYSTEM, Clock

import castore

from castore import ConflictError, CorruptionError, NotFoundError, Store
from castore.conversation.writer import SegmentWriter
from castore.formats.entry import Origin
from castore.limits import KIB
from castore.records.config import RequestConfig
from castore.records.fields import Record
from castore.records.inputs import TextInput
from castore.records.items import ITEMS, ToolCall, ToolResult, text_message, to_logged
from castore.records.state import StartState
from castore.verify import verify


@pytest.fixture
def writer(store: Store) -> SegmentWriter:
    """Return a writer of a session of three turns."""
    made = SegmentWriter.create(store, SEED, clock=Clock())
    for number in range(1, 4):
        turn(made, number)
    return made


def turn(writer: SegmentWriter, number: int) -> None:
    """Save a turn with a tool call."""
    with writer.turn():
        writer.save_user_input([TextInput(content=f"question {number}")])
        writer.save_delta([CALL, RESULT, text_message("assistant", f"answer {number}")])
        writer.save_turn_end(number)


def origin_of(writer: SegmentWriter) -> Origin:
    """Return the origin that the log's own start entry names."""
    start = writer.segment.entry(writer.segment.fork_index).start
    assert start is not None
    assert start.origin is not None
    return start.origin


def own_kinds(writer: SegmentWriter) -> list[str]:
    """Return the kinds of the entries that are no ancestor's."""
    return [one.kind for one in writer.segment.entries(writer.segment.fork_index)]


# --- from memory -------------------------------------------------------------


def test_fork_mints_a_session(store: Store, writer: SegmentWriter) -> None:
    """
    A fork from memory is another session, with one entry of its own, a start that
    names where it comes from; it has all of the history and the prompt, and the
    counts of what is inherited and what is its own.

    Statements: A15, A22, B16, B33.
    """
    before, live = writer.segment.head, writer.state()
    fork = writer.fork(live, key=("agent", "two"))
    state = fork.state()
    assert fork.session_id != writer.session_id
    assert store.session(("agent", "two")).id == fork.session_id
    assert own_kinds(fork) == ["start"]
    assert (state.history, state.system_prompt) == (live.history, SEED.system_prompt)
    assert (state.inherited_count, state.own_count) == (before.count, 1)
    assert (fork.entries_count, fork.own_count) == (before.count + 1, 1)
    origin = origin_of(fork)
    assert (origin.session, origin.segment) == (writer.session_id, writer.segment_id)
    assert (origin.count, origin.last, origin.turn) == (before.count, before.last, 3)
    assert writer.segment.head == before
    assert fork.cursor.turn == 3


def test_a_fork_records_what_was_not_saved(writer: SegmentWriter) -> None:
    """
    What the caller's state has over the log is recorded with the fork: items as
    ordinary entries, the config, the turn; a history or a prompt that does not go
    on from the log is told anew.

    Statements: A15, B16, B18.
    """
    live = writer.state()
    more = attrs.evolve(
        live,
        history=(*live.history, text_message("user", "next"), ANSWER, SYSTEM),
        config=RequestConfig(top_k=1),
        turn_count=4,
    )
    fork = writer.fork(more)
    assert own_kinds(fork) == [
        "start",
        "user_input",
        "assistant_item",
        "hook_injected_item",
        "config_changed",
        "turn_end",
    ]
    state = fork.state()
    assert (state.history, state.config) == (more.history, more.config)
    assert (state.turn_count, fork.cursor.turn) == (4, 4)
    for other in (
        attrs.evolve(live, history=live.history[1:]),
        attrs.evolve(live, system_prompt="q"),
    ):
        fork = writer.fork(other)
        assert own_kinds(fork) == ["start", "segment_start"]
        assert fork.state().history == other.history
        assert fork.state().system_prompt == other.system_prompt
        assert fork.state().usage_history == live.usage_history


def test_ids_that_the_log_drops_are_no_difference(writer: SegmentWriter) -> None:
    """Items in memory have ids and status that are not logged: they are the same."""
    live = writer.state()
    ids = tuple(
        ITEMS.decode({**ITEMS.encode(item), "id": f"i{at}"})
        for at, item in enumerate(live.history)
    )
    assert own_kinds(writer.fork(attrs.evolve(live, history=ids))) == ["start"]


# --- from the past -----------------------------------------------------------


def test_fork_at_an_entry(writer: SegmentWriter) -> None:
    """
    Behind the entry with a hash: one own entry, the history of what lies before,
    and the hash as origin.

    Statements: A16, A22.
    """
    entry = writer.segment.entry(1)
    fork = writer.fork_at(entry=entry.hash, new_session=True)
    assert fork.session_id != writer.session_id
    assert own_kinds(fork) == ["start"]
    assert fork.state().history == writer.state().history[:2]
    assert origin_of(fork).last == entry.hash
    assert origin_of(fork).count == 2


def test_fork_at_a_turn(store: Store, writer: SegmentWriter) -> None:
    """
    Behind the end of a turn: in the same session, one own entry, the history up to
    there, the turn as origin; both segments are listed, and the source is as it was.

    Statements: B17, B33.
    """
    before, live = writer.segment.head, writer.state()
    fork = writer.fork_at(turn=2)
    state = fork.state()
    assert fork.session_id == writer.session_id
    assert own_kinds(fork) == ["start"]
    assert state.history == live.history[:9]
    assert (state.turn_count, origin_of(fork).turn) == (2, 2)
    assert {one.id for one in store.session(writer.session_id).segments()} == {
        writer.segment_id,
        fork.segment_id,
    }
    turn(fork, 3)
    assert fork.state().history == live.history
    assert writer.segment.head == before


def test_turn_zero_is_what_the_log_began_with(writer: SegmentWriter) -> None:
    """
    Behind turn 0 is all before the first entry that is no start; of a compacted log
    that is what was kept, which is behind the turn that it came from, too.

    Statements: B21, B33.
    """
    fork = writer.fork_at(turn=0)
    assert fork.state().history == SEED.history
    assert fork.cursor.fork_index == 1
    compacted = writer.create_compacted(
        StartState(
            history=(text_message("system", "sum"), *writer.state().history[-2:])
        )
    )
    kept = compacted.state().history
    turn(compacted, 4)
    for number in (0, 3):
        assert compacted.fork_at(turn=number).state().history == kept
    assert compacted.fork_at(turn=4).state().history == compacted.state().history
    again = compacted.fork_at(turn=0).create_compacted(StartState())
    assert (again.cursor.turn, again.state().turn_count) == (3, 3)


def test_an_unknown_point_is_an_error(writer: SegmentWriter) -> None:
    """
    A point that the log does not have is not found, and nothing is forked; the end
    has to be asked for.

    Statements: A21, B22, B32, B33.
    """
    head = writer.segment.head
    for point in (
        {"turn": 4},
        {"entry": bytes(32)},
        {"count": head.count + 1},
        {"count": 0},
    ):
        with pytest.raises(NotFoundError):
            writer.fork_at(**point)
    assert len(writer.store.session(writer.session_id).segments()) == 1
    assert writer.fork_at(at_head=True).state().history == writer.state().history
    with pytest.raises(ValueError, match="one of"):
        writer.fork_at()
    with pytest.raises(ValueError, match="one of"):
        writer.fork_at(turn=1, at_head=True)


def test_a_log_is_cut_by_a_fork(writer: SegmentWriter) -> None:
    """
    The first n entries of a log go on as a fork; the log itself keeps all.

    Statements: B32, B33.
    """
    head = writer.segment.head
    cut = writer.fork_at(count=3)
    ours, theirs = list(cut.segment.entries(0, 3)), list(writer.segment.entries(0, 3))
    assert ours == theirs
    assert own_kinds(cut) == ["start"]
    assert writer.segment.head == head


def test_a_fork_of_a_fork(writer: SegmentWriter) -> None:
    """
    Ancestors stay as they are, and the grandchild's origin is its direct parent.

    Statements: B19.
    """
    child = writer.fork_at(turn=2)
    turn(child, 3)
    heads = [writer.segment.head, child.segment.head]
    grandchild = child.fork_at(turn=3)
    turn(grandchild, 4)
    assert origin_of(grandchild).segment == child.segment_id
    assert [writer.segment.head, child.segment.head] == heads
    history = grandchild.state().history
    assert history[:13] == child.state().history
    assert len(history) == 17


# --- two writers -------------------------------------------------------------


def test_a_foreign_writer_makes_a_fork(store: Store, writer: SegmentWriter) -> None:
    """
    If somebody else appended, the writer goes on in a fork at the last entry that
    it knows of: same session, own start, origin there; what it had not saved is in
    the same commit. The log keeps the other's entries, and is not written to.

    Statements: A17, A22, B18, B33.
    """
    other, live = SegmentWriter.restore_by_segment(store, writer.segment_id)
    old = writer.cursor
    turn(other, 4)
    foreign = writer.segment.head
    state = attrs.evolve(live, history=(*live.history, text_message("user", "mine")))
    assert writer.ensure_head_or_fork(state)
    assert writer.segment_id != old.segment
    assert writer.session_id == old.session
    assert own_kinds(writer) == ["start", "user_input"]
    assert writer.segment.head.seq == foreign.seq + 1
    origin = origin_of(writer)
    assert (origin.segment, origin.count, origin.last) == (
        old.segment,
        old.count,
        old.last,
    )
    assert origin.turn == 3
    assert store.segment(old.segment).head == foreign
    assert writer.state().history == state.history
    turn(writer, 4)


def test_no_divergence_no_write(writer: SegmentWriter) -> None:
    """
    If the log is where the writer left it, nothing is done, whatever the state.

    Statements: A18, B33.
    """
    cursor, head = writer.cursor, writer.segment.head
    assert not writer.ensure_head_or_fork(StartState(system_prompt="other"))
    assert (writer.cursor, writer.segment.head) == (cursor, head)


def test_a_store_that_lost_entries_is_damage(store: Store, folder: Path) -> None:
    """
    A log that is shorter than what was acknowledged, or has another entry there, is
    no other writer's work: it is reported as what it is, and nothing is forked.

    Statements: B20, B33.
    """
    writer = SegmentWriter.create(store)
    store.close()
    shutil.copytree(folder / "store", folder / "older")
    with castore.open(folder / "store") as now:
        ahead = SegmentWriter(now, writer.cursor)
        ahead.save_turn_end(1)
    with castore.open(folder / "older") as older:
        late = SegmentWriter(older, ahead.cursor)
        with pytest.raises(CorruptionError) as caught:
            late.ensure_head_or_fork()
        assert caught.value.verdict == "truncated log"
        with pytest.raises(ConflictError):
            late.save_turn_end(2)
        twin = SegmentWriter(older, writer.cursor)
        twin.save_turn_end(7)
        with pytest.raises(CorruptionError) as caught:
            late.ensure_head_or_fork()
        assert caught.value.verdict == "fork evidence"
        assert len(list(older.sessions())) == 1
        assert len(older.session(writer.session_id).segments()) == 1


def test_parallel_appends_keep_entries_whole(store: Store) -> None:
    """
    Writers in threads that fork when they collide lose nothing: each one's log has
    what it saved, in order.

    Statements: A17, B18, B33.
    """
    first = SegmentWriter.create(store)
    writers = [SegmentWriter(store, first.cursor) for _ in range(4)]

    def work(number: int, writer: SegmentWriter) -> None:
        for count in range(1, 6):
            while True:
                try:
                    writer.save_extension(str(number), count)
                    break
                except ConflictError:
                    writer.ensure_head_or_fork()

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, writer in enumerate(writers):
        told = [(one.domain, one.payload) for one in writer.state().extensions]
        assert [pair for pair in told if pair[0] == str(number)] == [
            (str(number), count) for count in range(1, 6)
        ]


# --- compaction --------------------------------------------------------------


def test_compaction_refers_to_what_it_keeps(
    store: Store, writer: SegmentWriter
) -> None:
    """
    A compacted segment begins with its own prompt, in the same session, with the
    source and its head as origin; only the summary is new, all that is kept is the
    source's own bodies and large texts; turns go on counting. The source is as it
    was.

    Statements: A23, B33.
    """
    large = ToolResult(call_id="c", summary="s", content="x" * (64 * KIB))
    writer.save_delta([large])
    before, live = writer.segment.head, writer.state()
    summary = text_message("system", "what happened")
    state = attrs.evolve(SEED, history=(summary, *live.history[-5:]))
    compacted = writer.create_compacted(state)
    assert compacted.session_id == writer.session_id
    assert compacted.state().history == state.history
    assert compacted.state().turn_count == compacted.cursor.turn == 3
    assert compacted.state().user_segments == live.user_segments[-1:]
    start, new, *kept = compacted.segment.entries()
    told = {one.body.digest: one.refs for one in writer.segment.entries()}
    assert [one.kind for one in kept] == [*own_kinds(writer)[-6:-2], "tool_result"]
    assert all(told[one.body.digest] == one.refs for one in kept)
    assert new.kind == "hook_injected_item"
    assert start.start is not None
    assert start.start.cause == "compaction"
    origin = origin_of(compacted)
    assert (origin.segment, origin.count) == (writer.segment_id, before.count)
    assert (origin.last, origin.root, origin.turn) == (before.last, before.root, 3)
    assert writer.segment.head == before


def test_a_group_is_kept_whole_or_not_at_all(writer: SegmentWriter) -> None:
    """An entry with several items is referred to only if all of them are kept."""
    call = ToolCall(call_id="c9", name="ls", arguments="{}")
    result = ToolResult(call_id="c9", summary="none")
    items: list[Record] = [ANSWER, call, result]
    writer.save_delta(items, grouped=True)
    whole = writer.create_compacted(StartState(history=tuple(items)))
    assert own_kinds(whole) == ["start", "assistant_items", "tool_results"]
    half = writer.create_compacted(StartState(history=tuple(items[1:])))
    assert own_kinds(half) == ["start", "assistant_item", "tool_results"]
    twice = writer.create_compacted(StartState(history=(*items, *items)))
    assert to_logged(twice.state().history) == to_logged([*items, *items])


def test_a_compacted_log_stands_alone(
    store: Store, folder: Path, writer: SegmentWriter
) -> None:
    """The source can be deleted: what was kept is still there, and verify says so."""
    live = writer.state()
    compacted = writer.create_compacted(
        StartState(history=(text_message("system", "sum"), *live.history[-3:]))
    )
    writer.segment.delete()
    assert compacted.state().history[1:] == live.history[-3:]
    store.close()
    assert verify(folder / "store").ok
