"""
The mark of garbage collection: everything that a root leads to.

Another one, which has to agree before anything goes, is in `castore.agreeing`.

Roots are the heads of all living segments, the store log and the tags. The
references are read from the entries in the files, never from the catalog.

Spec: spec/checking.md, step 8; spec/storelog.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import attrs

from castore.catalog.columns import PlaceIndex
from castore.catalog.rows import Position
from castore.clock import now_ms
from castore.engine import Engine
from castore.engine.members import members, store_log
from castore.engine.needs import needs_of, stored_needs
from castore.errors import ConflictError
from castore.formats import storelog
from castore.formats.entry import Entry
from castore.formats.storelog import StoreLog
from castore.reading.collecting import no_search
from castore.reading.image import read_run, run_headers
from castore.retention import Policy, Terms
from castore.tracing import CHUNKS, Names, Tracer


PAYLOADS = "payloads"  # a reason, beside those of `castore.tracing`


@attrs.frozen
class GroupMark:
    """Payloads of one group of roles: how many are retained, and which are dead."""

    retained_count: int
    dead: frozenset[bytes]


@attrs.define
class Marks:
    """
    What is alive: all that is not dead.

    Attributes:
        position: Up to where this mark looked.

        policy: What it was told to keep.

        dead: What is there and nothing leads to, by name.

        live_count: Blobs and ref lists that are needed and there.

        lost: Names that are needed, are not there, and nothing explains.

        explained: Names that are named and not there, as the store log says.

        released: Of what is dead, bodies of retained entries and payloads that they
            name.

        by_group: Payloads named by entries, by group of role.

        reasons: How many of what is needed and there for which reason, each counted
            once: ``payloads``, ``tags``, ``lists``, ``chunks``, ``bodies``.

        root_count: Living segments, tags, and the store log.

        raw_size: Raw bytes of what is live.

        heirs: For each dead base the stored differences to it, dead ones too: they
            are stored anew when it goes.

        lists: The chunks of each stored chunk list that is dead.

        copies: Files in which a dead blob or an heir of one stands, where that was
            looked for.

        aged: As of `castore.retention.Keeper`.
    """

    position: Position
    policy: Policy
    dead: PlaceIndex = attrs.Factory(PlaceIndex)
    live_count: int = 0
    lost: set[bytes] = attrs.Factory(set)
    explained: set[bytes] = attrs.Factory(set)
    released: set[bytes] = attrs.Factory(set)
    by_group: dict[str, GroupMark] = attrs.Factory(dict)
    reasons: dict[str, int] = attrs.Factory(dict)
    root_count: int = 0
    raw_size: int = 0
    heirs: dict[bytes, set[bytes]] = attrs.Factory(dict)
    lists: dict[bytes, tuple[bytes, ...]] = attrs.Factory(dict)
    copies: dict[bytes, frozenset[bytes]] = attrs.Factory(dict)
    aged: set[bytes] = attrs.Factory(set)


def digests_of(engine: Engine, entry: Entry) -> Iterator[bytes]:
    """Yield every name that *entry* leads to by itself."""
    yield entry.body.digest
    for ref in entry.refs:
        if ref.flags:
            yield ref.blob.digest
    for ref in engine.view.references(entry):
        yield ref.blob.digest


def names_since(engine: Engine, position: Position) -> Iterator[bytes]:
    """Yield every name that was committed to since *position*; bases, chunks too."""
    for frame in engine.view.frames_since(position):
        for header in run_headers(frame):
            for entry in read_run(frame, header, frame.bodies):
                yield from digests_of(engine, entry)
        for _, needed, _ in needs_of(frame):
            yield from needed


def mark(
    engine: Engine,
    keep_checkpoints: int | None,
    logs: Collection[bytes] | None = None,
) -> Marks:
    """
    Return everything that the roots lead to.

    Reads every living entry once and the tables of all frames. Takes some 100 bytes
    of memory for each name and 60 more for what is dead.

    Args:
        engine: The store.

        keep_checkpoints: See `castore.gc.collect`.

        logs: See there.

    Raises:
        CorruptionError: Something cannot be read.
    """
    with no_search():
        return _mark(engine, keep_checkpoints, logs)


def _mark(
    engine: Engine, keep_checkpoints: int | None, logs: Collection[bytes] | None
) -> Marks:
    position = engine.refresh().position
    log = store_log(engine.view, engine.store)
    marks = Marks(position, Policy.of(log, Terms(now_ms(), keep_checkpoints, logs)))
    tracer = Tracer(engine, marks.policy)
    marks.root_count = tracer.trace_all()
    marks.aged = tracer.keeper.aged
    chunks = _close(engine, tracer, marks)
    _sort(engine, tracer.names, log, marks)
    marks.lists = {name: chunks[name] for name in chunks if name in marks.dead}
    return marks


def _close(
    engine: Engine, tracer: Tracer, marks: Marks
) -> dict[bytes, tuple[bytes, ...]]:
    """Follow chunk lists; return the chunks of each."""
    known, names = engine.view.known, tracer.names
    files = members(engine.view, engine.state.opened, engine.store)
    marks.heirs, chunks = stored_needs(engine, files, tracer.needs_of)
    for name in names.wanted(chunks):
        if known.find_place(name) is not None:
            names.others[CHUNKS].update(chunks[name])
    return chunks


def _sort(engine: Engine, named: Names, log: StoreLog, marks: Marks) -> None:
    """Sort into live, dead, lost and explained."""
    known, absent = engine.view.known, log.absent
    retained = dict.fromkeys(named.groups(), 0)
    dead: dict[str, set[bytes]] = {group: set() for group in retained}
    for first in range(256):
        stop = bytes((first + 1,)) if first < 255 else None
        kept = {group: each.part(first) for group, each in named.kept.items()}
        other = {reason: each.part(first) for reason, each in named.others.items()}
        payloads = set().union(*kept.values())
        names = payloads.union(*other.values())
        stored = known.names(bytes((first,)), stop)
        marks.dead.extend(known.find_places(list(stored - names)).values())
        for digest in names - stored:
            (marks.explained if digest in absent else marks.lost).add(digest)
        _count(marks.reasons, {PAYLOADS: payloads, **other}, stored)
        for group, found in kept.items():
            retained[group] += len(found & stored)
        for group, each in named.released.items():
            found = (each.part(first) - kept.get(group, set())) & stored
            retained[group] += len(found & names)
            dead[group] |= found - names
        marks.released |= (named.bodies.part(first) & stored) - names
    for group, count in retained.items():
        marks.by_group[group] = GroupMark(count, frozenset(dead[group]))
    marks.released.update(*dead.values())
    counts = known.counts()
    marks.live_count = counts.blob_count - len(marks.dead)
    marks.raw_size = counts.raw_size - sum(row.size for row in marks.dead.values())
    # What is dead and stays for now may come alive again: whole.
    marks.heirs = {
        base: set(known.find_places(list(names)))
        for base, names in marks.heirs.items()
        if base in marks.dead
    }


def _count(
    counts: dict[str, int], reasons: dict[str, set[bytes]], stored: set[bytes]
) -> None:
    """Count what of *stored* is needed, each name for the first of *reasons* only."""
    left = stored
    for reason, names in reasons.items():
        counts[reason] = counts.get(reason, 0) + len(left & names)
        left = left - names


def kept_since(engine: Engine, marks: Marks) -> Iterator[bytes]:
    """
    Yield what of the released is kept by forks and pins that came after the mark.

    Raises:
        ConflictError: Of ``blob``: something came that only another mark can weigh:
            a policy, or an entry behind such that counted as old with their log.
    """
    if not marks.released:
        return
    known = engine.view.known
    forks: set[bytes] = set()
    pins: set[tuple[bytes, int]] = set()
    for frame in engine.view.frames_since(marks.position):
        for header in run_headers(frame):
            if header.segment in marks.aged:
                raise _overtaken("an entry behind old ones without a time")
            for entry in read_run(frame, header, frame.bodies):
                if header.segment == engine.store:
                    pins |= _pinned_by(engine, entry)
                elif entry.start is not None and entry.index:
                    forks.add(header.segment)
    for segment, index in pins:
        row = known.find_segment(segment)
        if row is not None and row.fork_index <= index < row.count:
            entry = next(engine.view.logs.entries(row, index, index + 1))
            yield from digests_of(engine, entry)
    tracer = Tracer(engine, marks.policy)
    tracer.trace_forks(each for each in forks if known.find_deleted(each) is None)
    yield from tracer.names.wanted(marks.released)


def _pinned_by(engine: Engine, entry: Entry) -> set[tuple[bytes, int]]:
    """Return what an *entry* of the store log pins; refuse a policy."""
    if entry.kind == storelog.POLICY:
        raise _overtaken("a policy")
    if entry.kind != storelog.PINNED:
        return set()
    log = StoreLog(engine.store)
    body = engine.view.blobs.read(entry.body.digest)
    log.apply(entry.index, entry.kind, body, entry.refs)
    return log.pins


def _overtaken(what: str) -> ConflictError:
    return ConflictError(
        what=f"{what} was committed while it was being deleted",
        subject="blob",
        expected="nothing that changes what is kept",
        actual=what,
    )
