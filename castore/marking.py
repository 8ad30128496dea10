"""
The mark of garbage collection: everything that a root leads to.

Another one, which has to agree before anything goes, is in `castore.agreeing`.

Roots are the heads of all living segments, the store log and the tags. The
references are read from the entries in the files, never from the catalog.

Spec: spec/checking.md, step 8; spec/storelog.md.
"""

from __future__ import annotations

import contextlib
import itertools

from collections.abc import Collection, Iterable, Iterator

import attrs

from castore import limits
from castore.catalog.columns import PlaceIndex
from castore.catalog.rows import Position, SegmentRow
from castore.engine import Engine
from castore.engine.frames import FrameCache
from castore.engine.logs import Logs
from castore.engine.members import members, store_log
from castore.engine.needs import Need, needs_of, stored_needs
from castore.errors import GoneError, NotFoundError
from castore.formats.entry import Entry
from castore.reading.collecting import no_search
from castore.reading.digestset import DigestSet
from castore.reading.frames import Frame
from castore.reading.stored import StoredRun, Want, digests_in


CHECKPOINT = "checkpoint"
_KEPT_MIN = 256  # records from which a table is decoded only once


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
        dead: What is there and nothing leads to, by name.

        live_count: Blobs and ref lists that are needed and there.

        lost: Names that are needed, are not there, and nothing explains.

        explained: Names that are named and not there, as the store log says.

        released: Of what is dead, payloads that retained entries name.

        by_group: Payloads named by entries, by group of role.

        root_count: Living segments, tags, and the store log.

        raw_size: Raw bytes of what is live.

        heirs: For each dead base the stored differences to it, dead ones too: they
            are stored anew when it goes.

        lists: The chunks of each stored chunk list that is dead.

        copies: Files in which a dead blob or an heir of one stands, where that was
            looked for.

        position: Up to where this mark looked.
    """

    dead: PlaceIndex = attrs.Factory(PlaceIndex)
    live_count: int = 0
    lost: set[bytes] = attrs.Factory(set)
    explained: set[bytes] = attrs.Factory(set)
    released: set[bytes] = attrs.Factory(set)
    by_group: dict[str, GroupMark] = attrs.Factory(dict)
    root_count: int = 0
    raw_size: int = 0
    heirs: dict[bytes, set[bytes]] = attrs.Factory(dict)
    lists: dict[bytes, tuple[bytes, ...]] = attrs.Factory(dict)
    copies: dict[bytes, frozenset[bytes]] = attrs.Factory(dict)
    position: Position | None = None


def group_of(role: str) -> str:
    """Return the group that a role belongs to: the part before the first dot."""
    return role.partition(".")[0]


def digests_of(engine: Engine, entry: Entry) -> Iterator[bytes]:
    """Yield every name that *entry* leads to by itself."""
    yield entry.body.digest
    for ref in entry.refs:
        if ref.flags:
            yield ref.blob.digest
    for ref in engine.view.references(entry):
        yield ref.blob.digest


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
    marks = Marks(position=engine.refresh().position)
    marker = _Marker(engine)
    marks.root_count = marker.run(keep_checkpoints, logs)
    chunks = _close(engine, marker, marks)
    _sort(engine, marker.names, marks)
    marks.lists = {name: chunks[name] for name in chunks if name in marks.dead}
    return marks


class _Names:
    """
    What living entries and tags name.

    Attributes:
        kept: Payloads, by group of role.

        released: The same of references that keep nothing.

        others: Bodies, ref lists, tags, chunks.
    """

    def __init__(self) -> None:
        self.kept: dict[str, DigestSet] = {}
        self.released: dict[str, DigestSet] = {}
        self.others = DigestSet()

    def name(self, role: str, digests: Iterable[bytes], *, released: bool) -> None:
        """Take in payloads that entries name in *role*."""
        sets = self.released if released else self.kept
        sets.setdefault(group_of(role), DigestSet()).update(digests)

    def groups(self) -> set[str]:
        """Return the groups of which there are some."""
        return self.kept.keys() | self.released.keys()

    def wanted(self, others: Iterable[bytes]) -> set[bytes]:
        """Return those of *others* that are needed."""
        ordered = sorted(others)
        sets = (self.others, *self.kept.values())
        return set().union(*(each.intersection(ordered) for each in sets))


class _Marker:
    """Collects what living entries and tags name."""

    def __init__(self, engine: Engine) -> None:
        self.names = _Names()
        self._engine = engine
        self._store = engine.store
        self._view = engine.view
        # Each frame is read once: few are kept, and nobody else's go for them.
        self._frames = FrameCache(engine.state.opened, 4 * limits.BLOCK_SIZE)
        self._logs = Logs(
            engine.view.known,
            self._frames,
            engine.store,
            lambda error: engine.state.newest(error).logs,
        )
        self._needs: dict[tuple[bytes, int], list[Need]] = {}

    def run(self, keep_checkpoints: int | None, logs: Collection[bytes] | None) -> int:
        """Go through all roots; return how many there are."""
        known = self._view.known
        rows = list(known.segments())
        alive = [row for row in rows if known.find_deleted(row.id) is None]
        keep = None
        if keep_checkpoints is not None:
            keep = _kept_checkpoints(self._engine, alive, keep_checkpoints, logs)
        living = {row.id for row in alive}
        for row in rows:
            stop = row.count
            if row.id not in living:
                heirs = known.children(row.id)
                stop = max((heir.fork_index for heir in heirs), default=row.fork_index)
            # Deleted meanwhile, and no other inherits it: nothing of it is needed.
            with contextlib.suppress(GoneError):
                for run in self._logs.stored_runs(row, row.fork_index, stop):
                    self._take_run(*run, keep)
                    self._keep_needs(run[0])
        tags = known.tags()
        self.names.others.update(row.digest for row in tags)
        return len(alive) + len(tags)

    def _keep_needs(self, run: StoredRun) -> None:
        """Keep what the frames of *run* say where their tables are large."""
        with contextlib.suppress(NotFoundError):  # packed away: it is asked again
            frames = [self._frames.get(run.file, run.offset)]
            if run.header.bodies:
                frames.append(self._frames.after(frames[0]))
            for frame in frames:
                place = (frame.file, frame.offset)
                if frame.header.record_count > _KEPT_MIN and place not in self._needs:
                    self._needs[place] = list(needs_of(frame))

    def needs_of(self, frame: Frame) -> Iterable[Need]:
        """Return what *frame* says, from what was kept where that was."""
        kept = self._needs.get((frame.file, frame.offset))
        return needs_of(frame) if kept is None else kept

    def _take_run(
        self, run: StoredRun, start: int, stop: int, keep: set[tuple[bytes, int]] | None
    ) -> None:
        first, last = (start - run.first) * 32, (stop - run.first) * 32
        self.names.others.update(digests_in(run.bodies[first:last]))
        is_whole = (start, stop) == (run.first, run.stop)
        if is_whole and keep is None and not any(run.wants.flags):
            self._take_all(run)
            return
        named: dict[tuple[str, bool], list[bytes]] = {}
        for want in run.wants:
            if want.role is None or not start <= want.entry < stop:
                continue
            if want.flags:
                self.names.others.update((want.digest,))
            for role, digest in self._names(want):
                released = self._is_released(run, want.entry, role, keep)
                named.setdefault((role, released), []).append(digest)
        for (role, released), digests in named.items():
            self.names.name(role, digests, released=released)

    def _take_all(self, run: StoredRun) -> None:
        """Take in a run that is wanted as a whole, without ref lists: most are."""
        released = run.header.segment == self._store
        roles = run.wants.roles
        for role in set(roles):
            if role is not None:
                digests = digests_in(run.wants.digests)
                in_role = (other == role for other in roles)
                some = itertools.compress(digests, in_role)
                self.names.name(role, some, released=released)

    def _names(self, want: Want) -> Iterable[tuple[str, bytes]]:
        """Return role and name of each payload that a reference stands for."""
        if not want.flags:
            return ((want.role or "", want.digest),)
        refs = self._view.listed(want.digest)
        return ((ref.role, ref.blob.digest) for ref in refs)

    def _is_released(
        self, run: StoredRun, index: int, role: str, keep: set[tuple[bytes, int]] | None
    ) -> bool:
        segment = run.header.segment
        # A tag's entry names what it kept; the tag itself is the root.
        if segment == self._store:
            return True
        is_kept = keep is None or (segment, index) in keep
        return not is_kept and group_of(role) == CHECKPOINT


def _kept_checkpoints(
    engine: Engine,
    alive: list[SegmentRow],
    count: int,
    logs: Collection[bytes] | None,
) -> set[tuple[bytes, int]]:
    """Return owner and index of each entry whose checkpoint some log keeps."""
    keep: set[tuple[bytes, int]] = set()
    for row in alive:
        found = 0
        most = count if logs is None or row.id in logs else row.count
        with contextlib.suppress(GoneError):  # deleted meanwhile: it keeps none
            for entry in engine.view.logs.entries_reversed(row, 0, row.count):
                if found >= most:
                    break
                at = entry.index
                roles = {group_of(ref.role) for ref in engine.view.references(entry)}
                if CHECKPOINT in roles:
                    keep.add((engine.view.logs.pieces(row, at, at + 1)[0][0], at))
                    found += 1
    return keep


def _close(
    engine: Engine, marker: _Marker, marks: Marks
) -> dict[bytes, tuple[bytes, ...]]:
    """Follow chunk lists; return the chunks of each."""
    known, names = engine.view.known, marker.names
    files = members(engine.view, engine.state.opened, engine.store)
    marks.heirs, chunks = stored_needs(engine, files, marker.needs_of)
    for name in names.wanted(chunks):
        if known.find_place(name) is not None:
            names.others.update(chunks[name])
    return chunks


def _sort(engine: Engine, named: _Names, marks: Marks) -> None:
    """Sort into live, dead, lost and explained."""
    known = engine.view.known
    absent = store_log(engine.view, engine.store).absent
    retained = dict.fromkeys(named.groups(), 0)
    dead: dict[str, set[bytes]] = {group: set() for group in retained}
    for first in range(256):
        stop = bytes((first + 1,)) if first < 255 else None
        kept = {group: each.part(first) for group, each in named.kept.items()}
        names = named.others.part(first).union(*kept.values())
        stored = known.names(bytes((first,)), stop)
        marks.dead.extend(known.find_places(list(stored - names)).values())
        for digest in names - stored:
            (marks.explained if digest in absent else marks.lost).add(digest)
        for group, found in kept.items():
            retained[group] += len(found & stored)
        for group, each in named.released.items():
            found = (each.part(first) - kept.get(group, set())) & stored
            retained[group] += len(found & names)
            dead[group] |= found - names
    for group, count in retained.items():
        marks.by_group[group] = GroupMark(count, frozenset(dead[group]))
    marks.released = set().union(*dead.values())
    counts = known.counts()
    marks.live_count = counts.blob_count - len(marks.dead)
    marks.raw_size = counts.raw_size - sum(row.size for row in marks.dead.values())
    # What is dead and stays for now may come alive again: whole.
    marks.heirs = {
        base: set(known.find_places(list(names)))
        for base, names in marks.heirs.items()
        if base in marks.dead
    }
