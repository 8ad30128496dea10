"""
Why a blob is alive, and through what; or why it is not.

One pass over all entries, as that of a collection: what it says is what the next
one would do.

Spec: spec/storelog.md, "What is kept"; spec/checking.md, step 8.
"""

from __future__ import annotations

import contextlib

from collections.abc import Collection, Iterator

import attrs

from castore.catalog.rows import Catalog, Place, SegmentRow
from castore.clock import now_ms
from castore.engine import Engine
from castore.engine.expect import living
from castore.engine.members import members, store_log
from castore.engine.needs import stored_needs
from castore.errors import CorruptionError, NotFoundError, StorageError
from castore.formats import file as file_format
from castore.formats.entry import Entry
from castore.formats.storelog import Absence, Rule
from castore.packing.rewrite import closed_files
from castore.reading.stored import StoredRun, digests_in
from castore.retention import Group, Owner, Policy, Terms, group_of
from castore.tracing import Tracer, owner_of


BODY, PAYLOAD, LIST = "body", "payload", "list"
_TRIES = 3


@attrs.frozen
class Hold:
    """
    Why one log keeps something of an entry.

    Attributes:
        segment: Whose log.

        how: ``no policy``, ``start``, ``pinned``, ``newest`` or ``days``.

        rule: The policy that speaks of it, if one does.
    """

    segment: bytes
    how: str
    rule: Rule | None = None


@attrs.frozen
class Naming:
    """
    An entry that names a blob.

    Attributes:
        segment: Who owns the entry.

        index: Of the entry.

        what: What it is to the entry: ``body``, ``payload``, or ``list`` of
            references.

        role: Of a payload.

        hold: Why a log keeps it; None if every log has released it.
    """

    segment: bytes
    index: int
    what: str
    role: str | None
    hold: Hold | None


@attrs.define
class Explanation:
    """
    What is to be said of one blob or list of references.

    Attributes:
        digest: Its name.

        place: Where it is; None if it is not there.

        tags: That keep it.

        kept: Entries that keep it, the first few.

        kept_count: How many there are.

        released: Entries that name it and keep nothing, the first few.

        released_count: How many there are.

        chunk_of: Kept blobs of which it is a part.

        base_count: How many blobs are stored as differences to it. They keep it
            not: they are stored anew when it goes.

        condemned_ms: Since when it waits to go; None if it does not.

        is_held: Whether its file is one that a live process writes: it stays
            until that ends.

        absence: Why it is not there, if an entry says so; or was not, once.
    """

    digest: bytes
    place: Place | None = None
    tags: list[str] = attrs.Factory(list)
    kept: list[Naming] = attrs.Factory(list)
    kept_count: int = 0
    released: list[Naming] = attrs.Factory(list)
    released_count: int = 0
    chunk_of: list[bytes] = attrs.Factory(list)
    base_count: int = 0
    condemned_ms: int | None = None
    is_held: bool = False
    absence: Absence | None = None

    @property
    def is_needed(self) -> bool:
        """Whether something keeps it."""
        return bool(self.tags or self.kept_count or self.chunk_of)

    @property
    def state(self) -> str:
        """``kept``, ``condemned``, ``unneeded``, ``absent``, ``lost``, ``unknown``."""
        if self.place is None:
            if self.absence is not None:
                return "absent"
            return "lost" if self.is_needed else "unknown"
        if self.is_needed:
            return "kept"
        return "unneeded" if self.condemned_ms is None else "condemned"


def explain(
    engine: Engine, names: Collection[bytes], *, limit: int = 10
) -> list[Explanation]:
    """
    Say of each of *names* why it is alive, or why not, as of now.

    Reads every living entry once and the tables of all frames, and of some logs
    entries again to say which policy it was.

    Args:
        engine: The store.

        names: Of blobs and lists of references.

        limit: Entries told of each that keep it, and of each that do not.

    Raises:
        CorruptionError: Something cannot be read.
    """
    for _ in range(_TRIES):
        seq = engine.refresh().position.seq
        try:
            return _explain(engine, names, limit)
        except (CorruptionError, NotFoundError):
            # Where others replaced files meanwhile it is looked at again.
            if engine.refresh().position.seq == seq:
                raise
    return _explain(engine, names, limit)


def _explain(engine: Engine, names: Collection[bytes], limit: int) -> list[Explanation]:
    view = engine.refresh()
    log = store_log(view, engine.store)
    policy = Policy.of(log, Terms(now_ms()))
    heirs, chunks = stored_needs(
        engine, members(view, engine.state.opened, engine.store)
    )
    lists = {each for each in chunks if not set(names).isdisjoint(chunks[each])}
    targets = {name: Explanation(name) for name in (*names, *lists)}
    finder = _Finder(engine, policy, targets, limit)
    finder.trace_all()
    condemned = engine.upkeep.condemned()
    for name, found in targets.items():
        found.tags = sorted(n for n, ref in log.tags.items() if ref.digest == name)
        found.place = view.known.find_place(name)
        found.condemned_ms = condemned.get(name)
        found.absence = log.absent.get(name)
        found.base_count = len(heirs.get(name, ()))
        found.is_held = _is_held(engine, found.place)
        found.kept = [finder.tell(naming) for naming in found.kept]
    for name in lists:
        if targets[name].place and targets[name].is_needed:
            for part in targets.keys() & set(chunks[name]):
                targets[part].chunk_of.append(name)
    return [targets[name] for name in names]


def _is_held(engine: Engine, place: Place | None) -> bool:
    if place is None:
        return False
    kind = engine.state.opened.get(place.file).header.kind
    if kind != file_format.SIDE:
        return False
    # Who may not write the file cannot ask for its lock.
    with contextlib.suppress(StorageError):
        return all(item.file.id != place.file for item in closed_files(engine))
    return False


class _Finder(Tracer):
    """Finds the entries that name *targets*."""

    def __init__(
        self,
        engine: Engine,
        policy: Policy,
        targets: dict[bytes, Explanation],
        limit: int,
    ) -> None:
        super().__init__(engine, policy)
        self._targets = targets
        self._limit = limit
        self._holds = _Holds(engine, policy)

    def _take_run(self, run: StoredRun, start: int, stop: int) -> None:
        targets = self._targets.keys()
        column = run.bodies[(start - run.first) * 32 : (stop - run.first) * 32]
        is_plain = self._is_plain(run, start, stop)
        if is_plain and targets.isdisjoint(digests_in(column + run.wants.digests)):
            return
        found = list(self._named(run, start, stop))
        gone = self._released(run, range(start, stop), found)
        for index, digest in enumerate(digests_in(column), start):
            if digest in targets:
                kept = (index, None) not in gone
                self._note(run, index, BODY, None, digest, kept=kept)
        for index, role, digest in found:
            if digest in targets and not self._is_tag(run, role):
                kept = (index, group_of(role)) not in gone
                self._note(run, index, PAYLOAD, role, digest, kept=kept)
        for want in run.wants:
            if want.flags and want.digest in targets and start <= want.entry < stop:
                self._note(run, want.entry, LIST, None, want.digest, kept=True)

    def _note(
        self,
        run: StoredRun,
        index: int,
        what: str,
        role: str | None,
        digest: bytes,
        *,
        kept: bool,
    ) -> None:
        found = self._targets[digest]
        naming = Naming(run.header.segment, index, what, role, None)
        if kept:
            found.kept_count += 1
        else:
            found.released_count += 1
        into = found.kept if kept else found.released
        if len(into) < self._limit:
            into.append(naming)

    def tell(self, naming: Naming) -> Naming:
        """Return *naming*, which is kept, with the reason."""
        group = None if naming.role is None else group_of(naming.role)
        if naming.what == LIST or naming.segment == self._store:
            return attrs.evolve(naming, hold=Hold(naming.segment, "no policy"))
        hold = self._holds.find(naming.segment, naming.index, group)
        return attrs.evolve(naming, hold=hold)


class _Holds:
    """Says which log keeps something, and why: log by log, for few entries."""

    def __init__(self, engine: Engine, policy: Policy) -> None:
        self._view = engine.view
        self._policy = policy

    def find(self, segment: bytes, index: int, group: Group) -> Hold | None:
        """Return why the first log keeps what the entry has of *group*, if one does."""
        known = self._view.known
        owner = known.find_segment(segment)
        if owner is None:
            return None
        entry = next(self._view.logs.entries(owner, index, index + 1))
        for row in logs_with(known, owner, index):
            if known.find_deleted(row.id) is None:
                hold = self._of(row, owner, entry, group)
                if hold is not None:
                    return hold
        return None

    def _of(
        self, row: SegmentRow, owner: SegmentRow, entry: Entry, group: Group
    ) -> Hold | None:
        log: Owner = owner_of(row, lives=True)
        rule = self._policy.find(log, group)
        if rule is None:
            return Hold(row.id, "no policy")
        if entry.index == owner.fork_index:
            return Hold(row.id, "start", rule)
        if (owner.id, entry.index) in self._policy.pins:
            return Hold(row.id, "pinned", rule)
        if rule.newest and self._newer(row, entry.index, group, rule.newest):
            return Hold(row.id, "newest", rule)
        since = self._policy.since_ms(rule)
        time_ms = owner.time_ms if entry.time_ms is None else entry.time_ms
        if since is not None and time_ms >= since:
            return Hold(row.id, "days", rule)
        return None

    def _newer(self, row: SegmentRow, index: int, group: Group, newest: int) -> bool:
        """Whether fewer than *newest* entries behind *index* have some of *group*."""
        if group is None:
            return row.count - 1 - index < newest
        found = 0
        view = self._view
        for entry in view.logs.entries_reversed(row, index + 1, row.count):
            found += any(group_of(ref.role) == group for ref in view.references(entry))
            if found >= newest:
                return False
        return True


def logs_with(known: Catalog, owner: SegmentRow, index: int) -> Iterator[SegmentRow]:
    """Yield *owner* and whoever inherits its entry at *index*, nearest first."""
    todo = [owner]
    for row in todo:  # grows
        yield row
        todo += [heir for heir in known.children(row.id) if heir.fork_index > index]


@attrs.frozen
class EntryFacts:
    """
    An entry, as far as keeping goes.

    Attributes:
        segment: Who owns it.

        entry: What it is.

        names: Its body, in no role; then its lists and payloads, each once.

        logs: Living segments whose logs have it.

        is_pinned: Whether it is.
    """

    segment: bytes
    entry: Entry
    names: list[tuple[str | None, bytes]]
    logs: list[bytes]
    is_pinned: bool


def entry_facts(engine: Engine, segment: bytes, index: int) -> EntryFacts:
    """
    Return what there is to say of the entry *index* of a living *segment*'s log.

    Raises:
        GoneError: The segment was deleted.
    """
    view = engine.refresh()
    row = living(view.known, segment)
    entry = next(view.logs.entries(row, index, index + 1))
    owner = view.known.find_segment(view.logs.pieces(row, index, index + 1)[0][0])
    logs = logs_with(view.known, owner or row, index)
    alive = [each.id for each in logs if view.known.find_deleted(each.id) is None]
    names: dict[bytes, str | None] = {entry.body.digest: None}
    for ref in (*(ref for ref in entry.refs if ref.flags), *view.references(entry)):
        names.setdefault(ref.blob.digest, ref.role)
    pin = ((owner or row).id, index)
    pins = store_log(view, engine.store).pins
    pairs = [(role, digest) for digest, role in names.items()]
    return EntryFacts(pin[0], entry, pairs, alive, pin in pins)
