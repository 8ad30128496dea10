"""
Taking a bundle in: all of it is checked before anything of it can be seen.

What is new is written into packs, which count for nothing until one commit lists
them and has the segments' new heads. Stopped before that, they are garbage, which
the next maintenance removes.

Spec: spec/bundle.md, "Taking in".
"""

from __future__ import annotations

import os

from collections.abc import Iterable, Sequence

import attrs

from castore.bundles.checking import Checked, Progress, check_bundle
from castore.bundles.groups import first_frame
from castore.bundles.manifest import KNOWN, Manifest
from castore.bundles.opening import BundleFile
from castore.bundles.planning import Planner, State, Step, asked_of
from castore.bundles.taking import Taker
from castore.bundles.writing import LEVEL
from castore.digest import format_digest
from castore.engine import Engine
from castore.engine.change import Append, Change, NewEntry
from castore.engine.expect import Expect
from castore.engine.putting import keep_bytes
from castore.errors import CastoreError, NotFoundError
from castore.formats import storelog
from castore.formats.taken import imported, withheld
from castore.packing.rewrite import maintenance
from castore.packing.writer import PackWriter


_SOME = 4096  # names looked up at once
_TIMEOUT_S = 60.0  # to wait for who maintains the store


@attrs.frozen
class TakenSegment:
    """
    What became of a segment of a bundle.

    Attributes:
        segment: Its id.

        state: ``new``, ``grown``, ``same`` or ``forked``.

        entries: How many of its entries were taken in.

        fork: Where it became a fork: the id of that.
    """

    segment: bytes
    state: str
    entries: int
    fork: bytes | None = None


@attrs.frozen
class Imported:
    """
    A bundle that was taken in.

    Attributes:
        bundle: Bundle id.

        segments: What became of each.

        entries: Entries that were taken in.

        blobs: Blobs and ref lists that were written.

        withheld: Payloads that it lacks and that are not here.

        seq: The commit, None if there was nothing to do.
    """

    bundle: bytes
    segments: tuple[TakenSegment, ...]
    entries: int
    blobs: int
    withheld: int
    seq: int | None


def import_bundle(
    engine: Engine,
    path: str | os.PathLike[str],
    *,
    as_fork: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """
    Take the bundle at *path* in, as a whole or not at all.

    Reads it twice: once to check it, once to copy what is new. Memory does not grow
    with its payloads. Nobody packs or collects meanwhile.

    Args:
        engine: The store.

        path: Of the bundle.

        as_fork: Take in as forks what went on otherwise here.

        progress: Told how many of how many bytes were checked.

    Raises:
        CorruptionError: It is at fault; the first of what is wrong.

        ConflictError: A segment went on otherwise here, or what is before its
            entries is not here, or its session's key is taken.

        GoneError: A segment was deleted here.

        NotFoundError: It was made for who has payloads that are not here.

        LimitError: The store may not grow by that much.

        LockedError: Somebody else maintains the store all that time.
    """
    with maintenance(engine, _TIMEOUT_S):
        _, manifest = first_frame(BundleFile(path))
        view = engine.refresh()
        asked = asked_of(manifest.rows, view)
        checked = check_bundle(path, asked=asked, progress=progress)
        checked.raise_fault()
        if checked.file is None or checked.manifest is None:
            raise NotFoundError(what="no bundle")
        planner = Planner(view, checked.roots)
        steps = planner.plan(checked.manifest.rows, as_fork=as_fork)
        absent = _absent(engine, checked.manifest)
        engine.check_room(checked.file.size())
        return _Taking(engine, checked, steps, absent).take(checked.file)


def _absent(engine: Engine, manifest: Manifest) -> list[bytes]:
    """
    Return what the bundle leaves out, is not here, and nothing explains here.

    Raises:
        NotFoundError: Something that was taken to be here is not.
    """
    known = engine.view.known
    absent = []
    for some in _batches(manifest.withheld):
        there = known.find_places(some)
        for name in some:
            if name in there or known.find_absence(name) is not None:
                continue
            if manifest.withheld[name] == KNOWN:
                what = (
                    f"{format_digest(name)} is not here, and the bundle leaves it out"
                )
                raise NotFoundError(what=what)
            absent.append(name)
    return absent


def _batches(names: Iterable[bytes]) -> Iterable[list[bytes]]:
    some: list[bytes] = []
    for name in names:
        some.append(name)
        if len(some) >= _SOME:
            yield some
            some = []
    if some:
        yield some


class _Taking:
    """Takes a bundle in that is known to fit."""

    def __init__(
        self,
        engine: Engine,
        checked: Checked,
        steps: Sequence[Step],
        absent: list[bytes],
    ) -> None:
        self._engine = engine
        self._checked = checked
        self._steps = steps
        self._absent = absent
        self._writer = PackWriter(engine.state, LEVEL)

    def take(self, file: BundleFile) -> Imported:
        """Copy what is new, and commit it."""
        taker = Taker(self._engine, self._steps, self._writer)
        try:
            taker.take(self._checked, file)
            listings = self._writer.finish()
        except BaseException:
            self._writer.abandon()
            raise
        seq = None
        if listings:
            try:
                seq = self._commit(taker, file)
            except CastoreError:
                # A commit in doubt may list them; else they are garbage.
                if not self._engine.state.is_poisoned:
                    self._writer.abandon()
                raise
        segments = tuple(_taken(step, taker) for step in self._steps)
        return Imported(
            file.id,
            segments,
            taker.entry_count,
            taker.blob_count,
            len(self._absent) if seq is not None else 0,
            seq,
        )

    def _commit(self, taker: Taker, file: BundleFile) -> int:
        grown = [step for step in self._steps if step.state in _GROWN]
        rows = [
            (
                step.row.segment,
                step.row.stop,
                step.row.head.encode() if step.row.head else None,
                b"".join(step.row.proof),
            )
            for step in grown
        ]
        notes = [
            (storelog.PACKS, storelog.packs(self._writer.listings, ())),
            (storelog.IMPORTED, imported(file.id, file.header.store, rows)),
        ]
        if self._absent:
            body = withheld(file.id, self._absent)
            notes.append((storelog.WITHHELD, body))
        engine = self._engine
        entries = tuple(
            NewEntry(kind, keep_bytes(engine, body), content=body)
            for kind, body in notes
        )
        append = Append(engine.store, engine.store, entries, Expect.ANY)
        change = Change((append,), listed=taker.facts, adoptions=taker.adoptions())
        for fork in taker.forks.values():
            change.blobs[fork.body.digest] = fork.body.size
        return engine.commit(change).seq


_GROWN = (State.NEW, State.GROWN)


def _taken(step: Step, taker: Taker) -> TakenSegment:
    fork = taker.forks.get(step.row.segment)
    if fork is not None:
        count, segment = fork.entry_count, fork.segment
        return TakenSegment(step.row.segment, step.state.value, count, segment)
    count = step.row.stop - step.start
    return TakenSegment(step.row.segment, step.state.value, count)
