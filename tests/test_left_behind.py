"""
Whose own facts are behind the catalog, which others bring on: each answer is whole.

What a process knows beyond the catalog stays as it is while others write the
catalog that it looks into. So each of its look-ups may find more there than the
one before: what packing put together since, and logs that are gone.

Spec: spec/ordering.md, "Reading", "The catalog".
"""

from __future__ import annotations

import contextlib
import itertools

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest

import castore

from castore import BlobRef, GoneError, LockedError, NewEntry, Reference, Segment, Store
from castore.catalog import Overlay
from castore.engine.logs import Logs
from castore.engine.state import State
from castore.engine.upkeep import Upkeep
from castore.engine.view import View
from castore.formats.file import JOURNAL
from castore.gc import collect
from castore.packing import pack
from castore.packing.rewrite import close_journal, closed_files, maintenance, rewrite
from castore.packing.versions import Versions
from castore.report import gather
from castore.verify import verify


ROLE = "checkpoint.state"
STATES = [b"%d" % number * 900 for number in range(6)]
LOOK_UPS = ("segments", "find_segment", "find_deleted", "children", "runs")
Act = Callable[[], object]


@attrs.define
class Scene:
    """
    A store that two have open.

    Attributes:
        segment: The log that is read, as *reader* has it.
    """

    other: Store
    reader: Store
    segment: Segment

    def append(self, *bodies: bytes) -> None:
        """Have the other one append."""
        segment = self.other.segment(self.segment.id)
        for body in bodies:
            ref = Reference(ROLE, self.other.put(body))
            segment.append([NewEntry("user", body, [ref])])

    def state(self, number: int) -> BlobRef:
        """Return one of the states, put."""
        return self.reader.put(STATES[number])

    def delete(self) -> None:
        """
        Have the other one delete the log, and write that to the catalog; not while
        the reader holds the lock.
        """
        with contextlib.suppress(LockedError):
            self.other.segment(self.segment.id).delete()
            self.other.engine.upkeep.apply_all()


@contextlib.contextmanager
def scene(folder: Path, *, read_only: bool = False) -> Iterator[Scene]:
    """Make a store with a log of which some entries stand in a pack."""
    root = folder / "store"
    with castore.open(root, create=True) as other:
        segment = other.create_session()
        for state in STATES[:3]:
            ref = Reference(ROLE, other.put(state))
            segment.append([NewEntry("user", state, [ref])])
        pack(other.engine, level=1)
    with (
        castore.open(root, timeout_s=0) as other,
        castore.open(root, read_only=read_only) as reader,
    ):
        yield Scene(other, reader, reader.segment(segment.id))


def merge(store: Store, *kept: bytes) -> None:
    """Put all into one pack but what stands in the files *kept*."""
    with maintenance(store.engine):
        close_journal(store.engine)
        closed = closed_files(store.engine)
        inputs = [item for item in closed if item.file.id not in kept]
        rewrite(store.engine, inputs, level=1)


def packs(store: Store) -> list[bytes]:
    """Return the packs that are there."""
    closed = closed_files(store.engine)
    return [item.file.id for item in closed if item.file.header.kind != JOURNAL]


@contextlib.contextmanager
def after_look_up(made: Scene, number: int, then: Act) -> Iterator[list[str]]:
    """
    Have *then* called after the reader's look-up with that *number*; give a list of
    those that he did.
    """
    done: list[str] = []

    def instead_of(name: str) -> Callable[..., Any]:
        look_up = getattr(Overlay, name)

        def looking_up(overlay: Overlay, *args: Any) -> Any:
            found = look_up(overlay, *args)
            if overlay is not made.reader.engine.view.known:
                return found
            rows = list(found) if isinstance(found, Iterator) else None
            done.append(name)
            if len(done) == number:
                then()
            return found if rows is None else iter(rows)

        return looking_up

    with contextlib.ExitStack() as steps:
        for name in LOOK_UPS:
            steps.enter_context(mock.patch.object(Overlay, name, instead_of(name)))
        yield done


# --- what others packed since ----------------------------------------------------


def read_forwards(segment: Segment) -> list[bytes]:
    """Return the hashes of all entries."""
    return [entry.hash for entry in segment.entries()]


def read_backwards(segment: Segment) -> list[bytes]:
    """Return the hashes of all entries, read the newest first."""
    return [entry.hash for entry in segment.entries(reverse=True)][::-1]


def read_bodies(segment: Segment) -> list[bytes]:
    """Return the hashes of all entries, read with their bodies."""
    return [entry.hash for entry, _ in segment.read()]


def read_behind(
    folder: Path, read: Callable[[Segment], list[bytes]], *, read_only: bool = False
) -> tuple[list[bytes], list[bytes]]:
    """
    Have somebody read who learnt of a packing before the catalog did, while others
    append, pack that again and bring the catalog past all that he knows.

    Returns:
        What he read, and what is right.
    """
    refresh, apply_all = State.refresh, Upkeep.apply_all
    with scene(folder, read_only=read_only) as made:
        kept = packs(made.other)
        made.append(STATES[3])

        def applying(upkeep: Upkeep) -> None:
            refresh(made.reader.engine.state)
            apply_all(upkeep)

        with mock.patch.object(Upkeep, "apply_all", applying):
            merge(made.other, *kept)
        read(made.segment)  # so he has what stood in the pack that goes

        def more() -> None:
            made.append(STATES[4])
            merge(made.other, *kept)

        acts = iter([more])

        def looking(state: State) -> View:
            view = refresh(state)
            if state is made.reader.engine.state:
                for act in acts:
                    act()
            return view

        with mock.patch.object(State, "refresh", looking):
            found = read(made.segment)
        return found, read(made.other.segment(made.segment.id))


READS = pytest.mark.parametrize("read", [read_forwards, read_backwards, read_bodies])


@READS
@pytest.mark.parametrize("read_only", [False, True], ids=["writer", "reader"])
def test_packed_past_a_reader(
    read: Callable[[Segment], list[bytes]], folder: Path, *, read_only: bool
) -> None:
    """
    What a reader knows of a run does not hide the longer run that took its place.
    """
    found, expected = read_behind(folder, read, read_only=read_only)
    assert expected == found


@READS
def test_a_run_that_hides_a_longer_one_is_found(
    read: Callable[[Segment], list[bytes]], folder: Path
) -> None:
    """Who believes his own facts although the catalog is further misses entries."""
    with (
        mock.patch.object(Overlay, "_is_passed", return_value=False),
        pytest.raises(castore.CorruptionError, match="truncated log"),
    ):
        read_behind(folder, read)


# --- logs that others deleted since ------------------------------------------------


def fork(segment: Segment) -> None:
    """Fork in the middle."""
    segment.fork(2)


def prove(segment: Segment) -> None:
    """Prove that an entry is there."""
    segment.prove(1)


def prove_consistency(segment: Segment) -> None:
    """Prove that the log only grew."""
    segment.prove_consistency(2)


TOLD = [read_forwards, read_backwards, read_bodies, fork, prove, prove_consistency]


@pytest.mark.parametrize("work", TOLD)
def test_deleted_under_a_reader(work: Callable[[Segment], Any], folder: Path) -> None:
    """Of a log that is deleted once it was looked up it is said that it is gone."""
    with (
        scene(folder) as made,
        after_look_up(made, 1, made.delete),
        pytest.raises(GoneError, match="was deleted"),
    ):
        work(made.segment)


def mark_all(store: Store) -> None:
    """Collect what nothing names."""
    collect(store.engine, grace_s=0, yes=True, level=1)


def mark_checkpoints(store: Store) -> None:
    """Collect the states of all checkpoints but the newest of each log."""
    collect(store.engine, grace_s=0, yes=True, level=1, keep_checkpoints=1)


def report(store: Store) -> None:
    """Report."""
    found = gather(store, names=True)
    assert (True, None) == (found.is_counted, found.unreadable)


def pack_all(store: Store) -> None:
    """Pack."""
    merge(store)


WORK = [mark_all, mark_checkpoints, report, pack_all]


def faults(
    folder: Path, work: Callable[[Store], None], *, forked: bool = False
) -> list[str]:
    """
    Do *work* while others delete a log after one of its look-ups: after each once.

    Args:
        folder: For stores.

        work: What is done.

        forked: Whether another log inherits from it.

    Returns:
        What went wrong.
    """
    wrong = []
    for number in itertools.count(1):
        with scene(folder / str(number)) as made:
            others = made.reader.create_session()
            others.append([NewEntry("x", b"", [Reference("x", made.state(0))])])
            left = made.segment.fork(3) if forked else others
            try:
                with after_look_up(made, number, made.delete) as done:
                    work(made.reader)
            except castore.CastoreError as error:
                wrong.append(f"after {number} look-ups: {error!r}")
            if len(done) < number:
                return wrong
            for segment in (left, others):
                for entry, _ in segment.read():
                    if [made.reader.has(ref.blob) for ref in entry.refs] == [False]:
                        wrong.append(f"after {number} look-ups: a payload is gone")
            wrong += [str(each) for each in verify(made.reader.engine.files).findings]
    raise AssertionError


@pytest.mark.parametrize("forked", [False, True], ids=["alone", "forked"])
@pytest.mark.parametrize("work", WORK)
def test_deleted_while_all_are_read(
    work: Callable[[Store], None], folder: Path, *, forked: bool
) -> None:
    """Who goes over all logs does without one that others delete meanwhile."""
    assert [] == faults(folder, work, forked=forked)


@pytest.mark.parametrize("work", WORK[:2])
def test_who_takes_a_log_for_damaged_is_found(
    work: Callable[[Store], None], folder: Path
) -> None:
    """Who does not ask whether it is there still takes a log for truncated."""
    with mock.patch.object(Logs, "check_kept"):
        assert "truncated log" in str(faults(folder, work))


def test_deleted_while_its_versions_are_followed(folder: Path) -> None:
    """Nor does packing need what came before entries that are no longer needed."""
    begin = Versions.begin
    with scene(folder) as made:
        kept = packs(made.other)
        made.append(*STATES[3:])
        acts = iter([made.delete])

        def beginning(versions: Versions, row: Any, index: int) -> None:
            if row.id == made.segment.id:
                for act in acts:
                    act()
            begin(versions, row, index)

        with mock.patch.object(Versions, "begin", beginning):
            merge(made.reader, *kept)
        assert not list(acts)
        assert verify(made.reader.engine.files).ok


def test_a_log_that_others_inherit_is_no_deleted_one(folder: Path) -> None:
    """A gap in what others inherit from a deleted log is damage, not a deletion."""
    with scene(folder) as made:
        made.segment.fork(3)
        row = made.reader.engine.refresh().known.find_segment(made.segment.id)
        assert row is not None
        made.segment.delete()
        logs = made.reader.engine.view.logs
        with (
            mock.patch.object(Overlay, "runs", return_value=[]),
            pytest.raises(castore.CorruptionError, match="truncated log"),
        ):
            list(logs.entries(row, 0, 3))
