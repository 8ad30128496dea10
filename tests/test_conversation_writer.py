"""
`SegmentWriter`: what is saved is one commit, comes back, and never lands behind
another writer's entries.

Spec: spec/conversations.md, "Writers" and "Deltas".
"""

from __future__ import annotations

import itertools

from collections.abc import Callable, Iterator

import attrs
import pytest

from conversationkit import (
    ANSWER,
    CALL,
    RESULT,
    SEED,
    SYSTEM,
    THOUGHT,
    TIME,
    USER,
    Clock,
    Json,
    entry,
    message,
)

import castore

from castore import ConflictError, FormatError, NotFoundError, Store
from castore.conversation.reading import fold_log
from castore.conversation.writer import SegmentWriter
from castore.gc import collect
from castore.limits import KIB
from castore.records.config import RequestConfig, UsageRecord
from castore.records.entries import (
    Extension,
    RunFailure,
    TraceEntry,
    TurnEnd,
    UserInput,
)
from castore.records.fields import Unknown
from castore.records.inputs import FileRef, TextInput
from castore.records.items import ToolResult, from_logged, text_message, to_logged
from castore.records.system import Notification, PodScopeSnapshot, ScopeRule


USAGE = UsageRecord(
    history_len=1,
    input_total_tokens=20,
    cache_read_tokens=3,
    cache_write_tokens=4,
    output_tokens=5,
)


@pytest.fixture
def writer(store: Store) -> SegmentWriter:
    """Return a writer of a new session."""
    return SegmentWriter.create(store, SEED, clock=Clock())


def kinds(writer: SegmentWriter) -> list[str]:
    """Return the kinds of all entries of the log."""
    return [one.kind for one in writer.segment.entries()]


def run(writer: SegmentWriter) -> None:
    """Save a turn that uses a tool, as it comes."""
    writer.save_invoke("user_send")
    writer.save_user_input([TextInput(content="list "), FileRef(path="a.py")])
    writer.save_delta([text_message("user", "list @a.py"), THOUGHT, CALL])
    writer.save_delta([RESULT, ANSWER])
    writer.save_usage(USAGE)
    writer.save_turn_end(1)
    writer.save_run_completed("finished", interrupted=False)


# --- beginning ---------------------------------------------------------------


def test_a_session_begins_with_its_start(store: Store, writer: SegmentWriter) -> None:
    """
    A new log is one entry, a start, which tells prompt, config and history; it
    can be found, and was not there before.

    Statements: A2, A24, B26.
    """
    state = writer.state()
    assert kinds(writer) == ["start"]
    assert (state.system_prompt, state.config) == ("be brief", SEED.config)
    assert state.history == SEED.history
    assert (state.entries_count, writer.own_count) == (1, 1)
    assert state.session_id == writer.session_id.hex()
    assert store.segment(writer.segment_id).session_id == writer.session_id


def test_ids_can_be_reserved(store: Store) -> None:
    """
    Reserved ids name nothing until the log is begun with them, and the log is begun
    once: the second time is a conflict and changes nothing.

    Statements: A24, B26.
    """
    ids = SegmentWriter.reserve()
    with pytest.raises(NotFoundError):
        SegmentWriter.restore_by_segment(store, ids[1])
    made = SegmentWriter.create(store, SEED, ids=ids)
    assert (made.session_id, made.segment_id) == ids
    with pytest.raises(ConflictError):
        SegmentWriter.create(store, ids=ids)
    assert made.state().system_prompt == "be brief"
    assert len(made.segment) == 1


# --- saving ------------------------------------------------------------------


def test_a_run_comes_back(store: Store, writer: SegmentWriter) -> None:
    """
    What a run saved is what a restore gives: history, prompt, turn, usage, typed
    input; its head is the writer's, its count the log's, and entry follows entry.

    Statements: A3, A4, A10, A11, A12, A13, B14, B15, B26.
    """
    run(writer)
    again, state = SegmentWriter.restore(store, writer.session_id, writer.segment_id)
    live = [
        text_message("user", "before"),
        text_message("user", "list @a.py"),
        *from_logged(to_logged([THOUGHT, CALL, RESULT, ANSWER])),
    ]
    assert list(state.history) == live
    assert (state.system_prompt, state.turn_count) == ("be brief", 1)
    assert state.usage_history == (USAGE,)
    assert state.user_segments == ((TextInput(content="list "), FileRef(path="a.py")),)
    assert not state.last_run_interrupted
    assert state.head_hash == writer.head_hash == writer.segment.head.last
    assert state.entries_count == writer.entries_count == len(writer.segment) == 10
    assert again.cursor == writer.cursor
    entries = list(writer.segment.entries())
    assert entries[0].kind == "start"
    assert all(two.prev == one.hash for one, two in itertools.pairwise(entries))
    assert {"assistant_item", "tool_result", "run_completed"} <= set(kinds(writer))


def test_restore_by_segment(store: Store, writer: SegmentWriter) -> None:
    """
    A segment is enough to find its session; one that is not there is not found,
    nor one of another session.

    Statements: A24, B15, B26.
    """
    found, _ = SegmentWriter.restore_by_segment(store, writer.segment_id)
    assert found.session_id == writer.session_id
    with pytest.raises(NotFoundError):
        SegmentWriter.restore_by_segment(store, bytes(16))
    with pytest.raises(NotFoundError):
        SegmentWriter.restore(store, bytes(16), writer.segment_id)


def test_all_the_rest_comes_back(writer: SegmentWriter) -> None:
    """
    Each verb saves what the fold then says.

    Statements: A5, A6, A14, B13.
    """
    scope = PodScopeSnapshot(
        allow=(ScopeRule(target="src", permission="write"),), deny=()
    )
    writer.append_system_item(Notification(message="m", body="as shown"))
    writer.save_cache_locked(2)
    assert writer.state().locked_prefix_len == 2
    writer.save_cache_unlocked()
    writer.save_config_changed(RequestConfig(top_k=3))
    writer.save_extension("d", {"any": [1]})
    writer.save_pod_scope(scope)
    writer.save_outcome("paused", interrupted=True)
    state = writer.state()
    assert state.history[-1] == text_message("system", "as shown")
    assert (state.locked_prefix_len, state.config) == (0, RequestConfig(top_k=3))
    assert state.pod_scope == scope
    assert [one.domain for one in state.extensions] == ["d", "pod.scope"]
    assert state.last_run_interrupted
    writer.save_paused_turn_abandoned()
    assert not writer.state().last_run_interrupted
    writer.save_run_errored("it broke", interrupted=True)
    assert writer.state().last_run_interrupted
    writer.save_outcome(RunFailure(message="m"), interrupted=False)
    assert not writer.state().last_run_interrupted
    assert writer.state().notes == ()


def test_input_can_bring_extensions(writer: SegmentWriter) -> None:
    """
    Extensions of a user's input are kept with it.

    Statements: B13.
    """
    extra = Extension(domain="d", payload=[1, None])
    writer.save_user_input([TextInput(content="a")], [extra])
    assert writer.state().extensions == (extra,)


@pytest.mark.parametrize("grouped", [True, False])
def test_an_empty_delta_writes_nothing(writer: SegmentWriter, *, grouped: bool) -> None:
    """
    A delta without items touches nothing.

    Statements: A19, B33.
    """
    before = writer.segment.head
    writer.save_delta([], grouped=grouped)
    writer.append_entry()
    assert writer.segment.head == before


def test_runs_are_grouped(writer: SegmentWriter) -> None:
    """
    In the way of a hash-chained log, runs of the model's items and of results are
    one entry each, users' messages and all others one each, all at one time and
    in one commit; ids are kept.

    Statements: A13, A20.
    """
    seq = writer.segment.head.seq
    items = [USER, ANSWER, CALL, RESULT, RESULT, ANSWER, SYSTEM, SYSTEM]
    writer.save_delta(items, grouped=True)
    assert kinds(writer)[1:] == [
        "user_input",
        "assistant_items",
        "tool_results",
        "assistant_items",
        "hook_injected_items",
        "hook_injected_items",
    ]
    assert len({one.time_ms for one in writer.segment.entries(1)}) == 1
    assert writer.segment.head.seq == seq + 1
    assert list(writer.state().history[1:]) == items


def test_items_are_single(writer: SegmentWriter) -> None:
    """
    In the way of a segment, users' messages are left out, and every other item is
    one entry, in order; a system message is of a kind of its own, and so is what
    nobody knows: nothing is dropped.

    Statements: B23, B33.
    """
    seq = writer.segment.head.seq
    odd = Unknown(rest={"type": "hologram", "x": 1})
    writer.save_delta([USER, THOUGHT, CALL, RESULT, ANSWER, SYSTEM, odd])
    assert kinds(writer)[1:] == [
        "assistant_item",
        "assistant_item",
        "tool_result",
        "assistant_item",
        "hook_injected_item",
        "hook_injected_item",
    ]
    assert len({one.time_ms for one in writer.segment.entries(1)}) == 1
    assert writer.segment.head.seq == seq + 1
    history = writer.state().history[1:]
    assert history == from_logged(
        to_logged([THOUGHT, CALL, RESULT, ANSWER, SYSTEM, odd])
    )
    assert writer.state().notes == ("entry 6.item: unknown kind",)


def test_a_user_item_is_an_input() -> None:
    """
    Where an item has to become an entry by itself, a user's message is an input.

    Statements: B23.
    """
    made = SegmentWriter.classify_history_item(USER, TIME)
    assert made == entry("user_input", item=message("user", "hello"))


# --- one turn, one commit ----------------------------------------------------


def test_a_turn_is_one_commit(store: Store, writer: SegmentWriter) -> None:
    """What a turn saves is there at once at its end, under one number."""
    before = writer.segment.head
    with writer.turn():
        run(writer)
        assert writer.segment.head == before
    head = writer.segment.head
    assert (head.seq, head.revision) == (before.seq + 1, before.revision + 1)
    assert (head.count, writer.cursor.turn) == (10, 1)
    with writer.turn():
        pass
    assert writer.segment.head == head


def test_a_turn_that_fails_leaves_nothing(writer: SegmentWriter) -> None:
    """If anything raises inside of a turn, nothing of it is stored."""
    before, cursor = writer.segment.head, writer.cursor

    def fail() -> None:
        with writer.turn():
            run(writer)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert writer.segment.head == before
    writer.save_delta([ANSWER])
    assert (writer.cursor.count, writer.cursor.turn) == (cursor.count + 1, 0)
    with pytest.raises(ValueError, match="turn"), writer.turn(), writer.turn():
        pass
    with pytest.raises(ValueError, match="turn"), writer.turn():
        writer.save_snapshot()


def test_a_turns_key_makes_it_idempotent(store: Store, writer: SegmentWriter) -> None:
    """The same turn with the same key again is the first one: nothing is appended."""
    twin = SegmentWriter(store, writer.cursor)
    for one in (writer, twin):
        with one.turn(key="turn-1"):
            one.save_turn_end(1)
    assert len(writer.segment) == 2
    assert twin.cursor == writer.cursor
    twin.save_turn_end(2)
    assert kinds(writer) == ["start", "turn_end", "turn_end"]


def test_a_foreign_entry_is_a_conflict(store: Store, writer: SegmentWriter) -> None:
    """
    A writer whose log moved on stores nothing; the other's entry stays the last.

    Statements: A17.
    """
    other, _ = SegmentWriter.restore_by_segment(store, writer.segment_id)
    other.save_turn_end(1)
    with pytest.raises(ConflictError):
        writer.save_delta([ANSWER])
    assert writer.segment.head.last == other.head_hash
    assert writer.entries_count == 1


def test_what_is_stored_can_be_read(writer: SegmentWriter) -> None:
    """An entry that no reader would take is refused before anything is stored."""
    with pytest.raises(FormatError, match="result"):
        writer.save_run_completed("well", interrupted=False)
    with pytest.raises(FormatError, match="turn_count"):
        writer.save_turn_end(-1)
    with pytest.raises(FormatError, match="no bytes"):
        writer.save_extension("d", b"bytes")
    with pytest.raises(FormatError, match="surrogate"):
        writer.save_extension("d", "\ud800")
    with pytest.raises(FormatError, match="kind or time"):
        writer.append_entry(Unknown(rest={"kind": "x"}))
    with pytest.raises(FormatError, match="item or segments"):
        writer.append_entry(UserInput(ts=TIME))
    assert kinds(writer) == ["start"]


def test_unknown_entries_survive(writer: SegmentWriter) -> None:
    """An entry of a kind that nobody knows is stored, noted, and reads back."""
    odd = entry("of_next_year", TIME + 9, more={"b": 1, "a": [None]})
    writer.append_entry(odd, TurnEnd(ts=TIME, turn_count=1))
    state = writer.state()
    assert (state.notes, state.turn_count) == (("entry 1: unknown kind",), 1)
    stored = writer.segment.entry(1)
    assert (stored.kind, stored.time_ms) == ("of_next_year", TIME + 9)


# --- large texts -------------------------------------------------------------


def test_large_texts_stand_apart(store: Store, writer: SegmentWriter) -> None:
    """
    A text of 64 KiB is a payload of its own, stored once however often it is told,
    and comes back; a smaller one stays in the body.
    """
    large = "é" * (32 * KIB)
    output = ToolResult(call_id="c", summary="s", content=large)
    small = attrs.evolve(output, content=large[:-1])
    writer.save_delta([output, output, small])
    one, two, three = writer.segment.entries(1)
    assert [ref.role for ref in one.refs] == ["text"]
    assert one.refs == two.refs
    assert one.body.size < KIB
    assert three.refs == ()
    assert store.get(one.refs[0].blob) == large.encode()
    assert writer.state().history[1:] == (output, output, small)


# --- snapshots ---------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3])
def test_a_snapshot_changes_nothing(writer: SegmentWriter, times: int) -> None:
    """With snapshots in between, a log comes to what it comes to without."""
    plain = SegmentWriter.create(writer.store, SEED, clock=Clock())
    for _ in range(times):
        run(writer)
        writer.save_snapshot()
        run(plain)
    writer.save_delta([ANSWER])
    plain.save_delta([ANSWER])
    told, expected = writer.state(), plain.state()
    assert told.entries_count == expected.entries_count + times
    same: Json = {"entries_count": 0, "head_hash": None, "session_id": None}
    assert attrs.evolve(told, **same) == attrs.evolve(expected, **same)


def test_a_restore_begins_at_the_newest_snapshot(
    writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies before the newest snapshot is not read, nor what is not asked for."""
    run(writer)
    writer.save_snapshot()
    writer.save_delta([ANSWER])
    count = writer.entries_count
    read: list[tuple[int, int]] = []
    real: Callable[..., Iterator[object]] = castore.Segment.read

    def spy(self: object, start: int, stop: int) -> Iterator[object]:
        read.append((start, stop))
        return real(self, start, stop)

    monkeypatch.setattr(castore.Segment, "read", spy)
    assert len(writer.state().history) == 7
    assert read == [(count - 1, count)]


def test_a_collected_snapshot_is_passed_over(
    store: Store, writer: SegmentWriter
) -> None:
    """
    Snapshots are checkpoints: retention may let older ones go, and a restore from
    before the newest begins at one that is there, or at the beginning.
    """
    for _ in range(3):
        run(writer)
        writer.save_snapshot()
    points = [one.index for one in writer.segment.entries() if one.kind == "snapshot"]
    expected = [fold_log(store, writer.segment, at + 1) for at in points]
    collect(store.engine, grace_s=0, keep_checkpoints=1, yes=True)
    kept = [has_payload(store, writer.segment.entry(at)) for at in points]
    assert kept == [False, False, True]
    for at, state in zip(points, expected, strict=True):
        assert fold_log(store, writer.segment, at + 1) == state


def has_payload(store: Store, entry: castore.Entry) -> bool:
    """Return whether the entry's payload is there."""
    return store.has(entry.refs[0].blob)


# --- traces ------------------------------------------------------------------


def test_traces_stand_apart(store: Store, writer: SegmentWriter) -> None:
    """
    Traces change nothing of the log, come back in order, and a fork has its own.

    Statements: A24, B33.
    """
    before = writer.segment.head
    assert list(writer.traces()) == []
    writer.append_trace(1, {"ping": 1})
    writer.append_trace(1, {"text": "x" * 100_000}, llm_call=2)
    assert writer.segment.head == before
    assert [one.event for one in writer.traces()] == [
        {"ping": 1},
        {"text": "x" * 100_000},
    ]
    assert [one.llm_call for one in writer.traces()] == [None, 2]
    more = [TraceEntry(ts=TIME, turn=2, event=n) for n in range(3)]
    writer.append_traces(more)
    assert list(writer.traces())[2:] == more
    assert list(writer.fork().traces()) == []
    assert len(store.session(writer.session_id).segments()) == 1
