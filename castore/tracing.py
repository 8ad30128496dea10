"""
What living entries and tags name, kept or released: read from the entries in files.

Spec: spec/checking.md, step 8; spec/storelog.md, "What is kept".
"""

from __future__ import annotations

import contextlib
import itertools

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet

from castore import limits
from castore.catalog.rows import SegmentRow
from castore.engine import Engine
from castore.engine.frames import FrameCache
from castore.engine.logs import Logs
from castore.engine.needs import Need, needs_of
from castore.errors import GoneError, NotFoundError
from castore.formats.stored import decode_stored, times_of
from castore.formats.storelog import TAG_ROLE
from castore.reading.digestset import DigestSet
from castore.reading.frames import Frame
from castore.reading.stored import StoredRun, Want, digests_in
from castore.retention import Group, Keeper, Owner, Policy, group_of, heirs_first


_KEPT_MIN = 256  # records from which a table is decoded only once

#: Why something is needed that no entry names as a payload.
TAGS, LISTS, CHUNKS, BODIES = "tags", "lists", "chunks", "bodies"

Named = tuple[int, str, bytes]  # index of an entry, role and name of its payload


class Names:
    """
    What living entries and tags name.

    Attributes:
        kept: Payloads, by group of role.

        released: The same of references that keep nothing.

        bodies: Bodies that no log keeps.

        others: By reason: bodies that one does, ref lists, tags, chunks.
    """

    def __init__(self) -> None:
        self.kept: dict[str, DigestSet] = {}
        self.released: dict[str, DigestSet] = {}
        self.bodies = DigestSet()
        reasons = (TAGS, LISTS, CHUNKS, BODIES)
        self.others = {reason: DigestSet() for reason in reasons}

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
        sets = (*self.others.values(), *self.kept.values())
        return set().union(*(each.intersection(ordered) for each in sets))


class Tracer:
    """
    Collects what entries and tags name.

    Attributes:
        names: What was collected.

        keeper: Says what of it is released.
    """

    def __init__(self, engine: Engine, policy: Policy) -> None:
        self.names = Names()
        self.keeper = Keeper(policy)
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

    def trace_all(self) -> int:
        """Go through all roots; return how many there are."""
        known = self._view.known
        rows = {row.id: row for row in known.segments()}
        dead = {each for each in rows if known.find_deleted(each) is not None}
        owners = [owner_of(row, lives=row.id not in dead) for row in rows.values()]
        for owner in heirs_first(owners):
            stop = owner.count
            if stop is None:
                heirs = known.children(owner.id)
                stop = max((h.fork_index for h in heirs), default=owner.fork_index)
            self._trace(owner, rows[owner.id], stop)
        tags = known.tags()
        self.names.others[TAGS].update(row.digest for row in tags)
        return len(rows) - len(dead) + len(tags)

    def trace_forks(self, forks: Iterable[bytes]) -> None:
        """
        Collect what the logs of *forks* alone keep of what they inherit.

        Older entries, of which no rule of theirs keeps anything, are not read.
        """
        known = self._view.known
        rows: dict[bytes, SegmentRow] = {}
        stops: dict[bytes, int] = {}
        alive = set(forks)
        for fork in alive:
            row = known.find_segment(fork)
            stop = row.count if row is not None else 0
            while row is not None:
                rows[row.id] = row
                stops[row.id] = max(stop, stops.get(row.id, 0))
                stop = row.fork_index
                row = known.find_segment(row.parent) if row.parent else None
        owners = [owner_of(row, lives=row.id in alive) for row in rows.values()]
        for owner in heirs_first(owners):
            self._trace(owner, rows[owner.id], stops[owner.id], whole=False)

    def _trace(
        self, owner: Owner, row: SegmentRow, stop: int, *, whole: bool = True
    ) -> None:
        self.keeper.begin(owner)
        # Deleted meanwhile, and no other inherits it: nothing of it is needed.
        with contextlib.suppress(GoneError):
            for run in self._logs.stored_runs(row, row.fork_index, stop):
                if self.keeper.is_done and not whole:
                    break
                self._take_run(*run)
                self._keep_needs(run[0])
        self.keeper.end()

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

    # --- one run -------------------------------------------------------------

    def _take_run(self, run: StoredRun, start: int, stop: int) -> None:
        column = run.bodies[(start - run.first) * 32 : (stop - run.first) * 32]
        if self._is_plain(run, start, stop):
            self.names.others[BODIES].update(digests_in(column))
            self._take_all(run)
            return
        found = list(self._named(run, start, stop))
        gone = self._released(run, range(start, stop), found)
        bodies = list(enumerate(digests_in(column), start))
        kept = (digest for index, digest in bodies if (index, None) not in gone)
        self.names.others[BODIES].update(kept)
        old = (digest for index, digest in bodies if (index, None) in gone)
        self.names.bodies.update(old)
        named: dict[tuple[str, bool], list[bytes]] = {}
        for index, role, digest in found:
            released = self._is_tag(run, role) or (index, group_of(role)) in gone
            named.setdefault((role, released), []).append(digest)
        for (role, released), digests in named.items():
            self.names.name(role, digests, released=released)

    def _is_plain(self, run: StoredRun, start: int, stop: int) -> bool:
        """Whether all of *run* is wanted, has no ref lists, and no rule is about it."""
        if (start, stop) != (run.first, run.stop) or any(run.wants.flags):
            return False
        groups = self.keeper.groups
        roles = {role for role in run.wants.roles if role is not None}
        if run.header.segment == self._store or not groups:
            return True
        return None not in groups and groups.isdisjoint(map(group_of, roles))

    def _take_all(self, run: StoredRun) -> None:
        """Take in the payloads of a run that is plain: most are."""
        roles = run.wants.roles
        for role in set(roles):
            if role is not None:
                digests = digests_in(run.wants.digests)
                in_role = (other == role for other in roles)
                some = itertools.compress(digests, in_role)
                self.names.name(role, some, released=self._is_tag(run, role))

    def _is_tag(self, run: StoredRun, role: str) -> bool:
        """Whether a tag's entry names it so: there the tag itself is the root."""
        return run.header.segment == self._store and role == TAG_ROLE

    def _named(self, run: StoredRun, start: int, stop: int) -> Iterator[Named]:
        """Yield each payload that the entries ``[start, stop)`` of *run* name."""
        for want in run.wants:
            if want.role is None or not start <= want.entry < stop:
                continue
            if want.flags:
                self.names.others[LISTS].update((want.digest,))
            for role, digest in self._payloads(want):
                yield want.entry, role, digest

    def _payloads(self, want: Want) -> Iterable[tuple[str, bytes]]:
        """Return role and name of each payload that a reference stands for."""
        if not want.flags:
            return ((want.role or "", want.digest),)
        refs = self._view.listed(want.digest)
        return ((ref.role, ref.blob.digest) for ref in refs)

    def _released(
        self, run: StoredRun, indices: range, found: Iterable[Named]
    ) -> set[tuple[int, Group]]:
        """Return index and group of what is released of the entries of *run*."""
        if run.header.segment == self._store:
            return set()
        groups = self.keeper.groups
        return self.keeper.released(
            groups_of(indices, ((index, role) for index, role, _ in found), groups),
            self._times(run),
        )

    def _times(self, run: StoredRun) -> Callable[[int], int | None]:
        frame = self._frames.get(run.file, run.offset)
        return times_in(lambda: frame.records.payload(run.header.record), run)


def owner_of(row: SegmentRow, *, lives: bool) -> Owner:
    """Return the segment of *row* as far as retention goes."""
    count = row.count if lives else None
    return Owner(row.id, row.session, row.parent, row.fork_index, count, row.time_ms)


def groups_of(
    indices: range,
    roles: Iterable[tuple[int, str]],
    groups: AbstractSet[Group],
) -> dict[int, set[Group]]:
    """
    Return which of *groups* each entry has, for `Keeper.released`.

    Args:
        indices: Of the entries.

        roles: Index of an entry and role of one of its payloads.

        groups: That some rule speaks of.
    """
    found: dict[int, set[Group]] = {}
    if None in groups:
        found = {index: {None} for index in indices}
    for index, role in roles:
        group = group_of(role)
        if group in groups:
            found.setdefault(index, set()).add(group)
    return found


def times_in(
    payload: Callable[[], bytes | memoryview], run: StoredRun
) -> Callable[[int], int | None]:
    """
    Return what gives the times of the entries of *run*.

    They are decoded from its *payload* when the first is asked for.
    """
    times: list[int | None] = []

    def time_of(index: int) -> int | None:
        if not times:
            times.extend(times_of(decode_stored(payload(), run.header.count)))
        return times[index - run.first]

    return time_of
