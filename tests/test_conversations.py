"""
The conversations of a store: listed, found, named, deleted; the 64 forks.

Spec: spec/conversations.md, "Names" and "Forks".
"""

from __future__ import annotations

import threading

from pathlib import Path

import pytest

from conversationkit import ANSWER, CALL, RESULT

import castore

from castore import ConflictError, FormatError, Store
from castore.conversation.conversations import Conversations
from castore.conversation.writer import SegmentWriter
from castore.limits import KIB
from castore.records.inputs import TextInput
from castore.records.items import text_message


def test_newest_first(store: Store) -> None:
    """
    Sessions, and segments of one, are listed by their newest commit, newest first;
    traces are not among them; an unknown session has no segments.

    Statements: A24, B17, B26, B33.
    """
    all_of_it = Conversations(store)
    assert all_of_it.sessions() == []
    one, two = SegmentWriter.create(store), SegmentWriter.create(store)
    one.append_trace(1, {})
    assert [s.id for s in all_of_it.sessions()] == [two.session_id, one.session_id]
    one.save_turn_end(1)
    assert [s.id for s in all_of_it.sessions()] == [one.session_id, two.session_id]
    fork = one.fork_at(turn=1)
    found = [segment.id for segment in all_of_it.segments(one.session_id)]
    assert found == [fork.segment_id, one.segment_id]
    assert all_of_it.segments(bytes(16)) == []


def test_what_is_there(store: Store) -> None:
    """
    A segment has a session, and exists, from its first entry on, and not before nor
    after it was deleted.

    Statements: A24, B15, B26.
    """
    all_of_it = Conversations(store)
    ids = SegmentWriter.reserve()
    assert (all_of_it.session_of(ids[1]), all_of_it.exists(ids[1])) == (None, False)
    writer = SegmentWriter.create(store, ids=ids)
    assert (all_of_it.session_of(ids[1]), all_of_it.exists(ids[1])) == (ids[0], True)
    for count in range(1, 4):
        assert writer.entries_count == len(writer.segment) == count
        writer.save_turn_end(count)
    writer.segment.delete()
    assert not all_of_it.exists(ids[1])


def test_deleting_a_session(store: Store) -> None:
    """
    Deleting removes one session with its traces and nothing else, and says whether
    there was anything; forks in other sessions keep what they inherit.

    Statements: B30.
    """
    all_of_it = Conversations(store)
    one, two = SegmentWriter.create(store), SegmentWriter.create(store)
    one.save_delta([ANSWER])
    one.append_trace(1, {})
    heir = one.fork()
    assert all_of_it.modified_ms(one.session_id) == one.segment.head.time_ms
    assert all_of_it.delete(one.session_id)
    assert not all_of_it.delete(one.session_id)
    assert all_of_it.modified_ms(one.session_id) is None
    assert all_of_it.modified_ms(bytes(16)) is None
    left = {session.id for session in all_of_it.sessions()}
    assert left == {two.session_id, heir.session_id}
    assert list(one.traces()) == []
    assert heir.state().history == (ANSWER,)


# --- names -------------------------------------------------------------------


def test_names(folder: Path, store: Store) -> None:
    """
    A name leads to what was written last: nothing, then a session alone, then its
    segment too; it survives the process; deleting it twice is no error.

    Statements: B27.
    """
    all_of_it = Conversations(store)
    assert all_of_it.read("agent") is None
    all_of_it.write("agent", {"session": "s"})
    assert all_of_it.read("agent") == {"session": "s"}
    all_of_it.write("agent", {"session": "s", "segment": "t", "children": []})
    all_of_it.write("other", {})
    store.close()
    with castore.open(folder / "store") as again:
        all_of_it = Conversations(again)
        assert all_of_it.names() == ["agent", "other"]
        told = {"session": "s", "segment": "t", "children": []}
        assert all_of_it.read("agent") == told
        all_of_it.forget("agent")
        all_of_it.forget("agent")
        assert all_of_it.read("agent") is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0"])
def test_names_that_are_none(store: Store, name: str) -> None:
    """
    A name that could not be a file's is refused wherever it is used.

    Statements: B27.
    """
    all_of_it = Conversations(store)
    for use in (all_of_it.read, all_of_it.forget):
        with pytest.raises(FormatError):
            use(name)
    with pytest.raises(FormatError):
        all_of_it.write(name, {})


def test_one_session_under_a_key(folder: Path, store: Store) -> None:
    """
    A key belongs to one session: a second one under it is refused, also by another
    process later, and the key still leads to the first.

    Statements: B31.
    """
    key = ("worker", "main")
    writer = SegmentWriter.create(store, key=key)
    store.close()
    with castore.open(folder / "store") as again:
        with pytest.raises(ConflictError):
            SegmentWriter.create(again, key=key)
        assert again.session(key).id == writer.session_id
        assert len(list(again.sessions())) == 1


# --- many forks --------------------------------------------------------------


def test_64_forks_of_a_long_session(folder: Path, store: Store, budget: float) -> None:
    """
    64 forks at once of one long session (50,000 entries with ``--budget 10``) cost at
    most 1 KiB of journal and packs each, restore to what they forked from, and leave
    the source as it was.

    Statements: A15, B16, B18.
    """
    turns = int(100 * min(budget, 10)) if budget > 1 else 20
    writer = SegmentWriter.create(store)
    for number in range(1, turns + 1):
        with writer.turn():
            for step in range(12):
                writer.save_user_input([TextInput(content=f"{number} {step}")])
                writer.save_delta([CALL, RESULT, text_message("assistant", f"{step}")])
            writer.save_turn_end(number)
            writer.save_invoke("user_send")
    writer.save_snapshot()
    expected, head = writer.state(), writer.segment.head
    assert head.count == turns * 50 + 2
    before = store.stats().stored_bytes
    writers = [SegmentWriter(store, writer.cursor) for _ in range(64)]
    forks: list[SegmentWriter] = []
    threads = [
        threading.Thread(target=lambda one=one: forks.append(one.fork()))
        for one in writers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({fork.session_id for fork in forks}) == 64
    assert store.stats().stored_bytes - before <= 64 * KIB
    assert writer.segment.head == head
    for fork in forks:
        state = fork.state()
        assert state.history == expected.history
        assert (state.turn_count, fork.own_count) == (turns, 1)
