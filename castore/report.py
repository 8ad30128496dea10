"""
What is to be said about a store as a whole: sizes, ratios, growth, what waits.

Reads all entries and the tables of all frames, no payload, and changes nothing.
Names and paths are gathered only if they are asked for: they may be secrets.
"""

from __future__ import annotations

import functools

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import TypeVar

import attrs

from castore.catalog.rows import SegmentRow
from castore.engine import Engine
from castore.engine.members import members
from castore.errors import CorruptionError, GoneError, NotFoundError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.importer import facts_of
from castore.marking import mark
from castore.store import Stats, Store


KINDS = {
    file_format.JOURNAL: "journal",
    file_format.SIDE: "side",
    file_format.PACK: "pack",
}
FORMS = {
    frame_format.BLOB: "whole",
    frame_format.DIFFERENCE: "difference",
    frame_format.CHUNKED: "chunks",
}


_TRIES = 5
_FAILURES = (CorruptionError, NotFoundError, GoneError)
_Answer = TypeVar("_Answer")


@attrs.frozen
class Amount:
    """
    How much there is of something.

    Attributes:
        count: How many.

        raw_bytes: Their bytes.

        stored_bytes: Of blobs, the bytes of their records before the compression
            of frames; of files the same as *raw_bytes*.
    """

    count: int = 0
    raw_bytes: int = 0
    stored_bytes: int = 0


@attrs.frozen
class SessionSize:
    """
    A session with a living segment.

    Attributes:
        session_id: 32 hex digits.

        name: Its key, or where it was imported from; None if nobody asked.

        segments: Living segments.

        entries: Entries that they own: inherited ones are another's.

        own_bytes: Bodies of these entries and payloads that they name.

        logical_bytes: The same of all their entries, inherited ones included.

        time_ms: Of its newest commit.
    """

    session_id: str
    name: str | None
    segments: int
    entries: int
    own_bytes: int
    logical_bytes: int
    time_ms: int


@attrs.frozen(kw_only=True)
class StoreReport:
    """
    All of it; sizes in bytes.

    Attributes:
        store_id: 32 hex digits.

        totals: As `castore.store.Store.stats`.

        files: Files of the store, by kind: ``journal``, ``side``, ``pack``.

        forms: Blobs by how they are kept: ``whole``, ``difference``, ``chunks``.

        sessions: Sessions, the largest first.

        growth: Time of each living segment's newest commit and `own_bytes` up to
            there, in order of time.

        dead: Blobs that nothing needs.

        condemned_count: How many of them have begun their grace.

        unreadable: What could not be read; None for nothing.

        is_counted: Whether entries and frames could be read; if not, there are no
            figures of forms, sessions, growth and the dead.
    """

    store_id: str
    totals: Stats
    files: dict[str, Amount]
    forms: dict[str, Amount]
    sessions: tuple[SessionSize, ...] = ()
    growth: tuple[tuple[int, int], ...] = ()
    dead: Amount = Amount()
    condemned_count: int = 0
    unreadable: str | None = None
    is_counted: bool = True

    @property
    def logical_bytes(self) -> int:
        """Bytes of all sessions, as if each kept all its entries for itself."""
        return sum(session.logical_bytes for session in self.sessions)

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of files that packing would rewrite."""
        return sum(self.files[kind].raw_bytes for kind in ("journal", "side"))


def gather(store: Store, *, names: bool = False) -> StoreReport:
    """
    Return what there is to say about *store*.

    Where it is damaged, what can be said without its entries is said.

    Args:
        store: Open, read-only too.

        names: Whether to tell keys and paths of sessions.
    """
    engine = store.engine
    totals = store.stats()
    files = dict.fromkeys(KINDS.values(), Amount())
    forms = dict.fromkeys(FORMS.values(), Amount())
    found = StoreReport(
        store_id=store.id.hex(), totals=totals, files=files, forms=forms
    )
    try:
        files.update(_again(engine, _files))
        forms.update(_again(engine, _forms))
        sizes, sessions = _again(
            engine, functools.partial(_measured, store=store, names=names)
        )
        marks = _again(engine, functools.partial(mark, keep_checkpoints=None))
    except _FAILURES as error:
        return attrs.evolve(found, unreadable=str(error), is_counted=False)
    dead = [place.size for place in marks.dead.values()]
    return attrs.evolve(
        found,
        sessions=tuple(sorted(sessions, key=lambda item: -item.own_bytes)),
        growth=tuple(_growth(sizes)),
        dead=Amount(len(dead), sum(dead), 0),
        condemned_count=len(engine.upkeep.condemned()),
        unreadable=f"missing blobs: {len(marks.lost)}" if marks.lost else None,
    )


def _again(engine: Engine, ask: Callable[[Engine], _Answer]) -> _Answer:
    """Return what *ask* finds, asked again where others deleted something meanwhile."""
    for _ in range(_TRIES):
        seq = engine.refresh().position.seq
        try:
            return ask(engine)
        except _FAILURES:
            if engine.refresh().position.seq == seq:
                raise
    return ask(engine)


def _files(engine: Engine) -> dict[str, Amount]:
    opened = engine.state.opened
    sizes = defaultdict(list)
    for file in members(engine.refresh(), opened, engine.store):
        found = opened.get(file)
        sizes[KINDS[found.header.kind]].append(found.size())
    return {
        kind: Amount(len(each), sum(each), sum(each)) for kind, each in sizes.items()
    }


def _forms(engine: Engine) -> dict[str, Amount]:
    """Return how blobs are kept; reads each frame with one once."""
    counts: Counter[str] = Counter()
    raw: Counter[str] = Counter()
    stored: Counter[str] = Counter()
    view = engine.view
    places = defaultdict(list)
    for place in view.known.places():
        places[place.file, place.offset].append((place.record, place.size))
    for (file, offset), records in sorted(places.items()):
        table = view.frames.get(file, offset).table
        for record, size in records:
            form = FORMS.get(table[record][0])
            if form is not None:
                counts[form] += 1
                raw[form] += size
                stored[form] += table[record][1]
    return {form: Amount(counts[form], raw[form], stored[form]) for form in counts}


class _Sizes:
    """
    How large segments are.

    Attributes:
        rows: The living segments but the store log.

        own: Bytes of the entries that each segment owns.

        inherited: Bytes of those that it inherits.
    """

    def __init__(self, engine: Engine) -> None:
        view = engine.view
        rows = [row for row in view.known.segments() if row.id != engine.store]
        self.rows = [row for row in rows if view.known.find_deleted(row.id) is None]
        self.own: dict[bytes, int] = {}
        self.inherited: dict[bytes, int] = {}
        self._engine = engine
        self._children: dict[bytes | None, list[SegmentRow]] = defaultdict(list)
        for row in rows:
            self._children[row.parent].append(row)
        todo = list(self._children[None])
        while todo:
            row = todo.pop()
            self._measure(row)
            todo += self._children[row.id]

    def _measure(self, row: SegmentRow) -> None:
        """Measure *row*, whose parent was measured, and what its heirs inherit."""
        view = self._engine.view
        heirs = sorted(self._children[row.id], key=lambda heir: heir.fork_index)
        stop = row.count
        if view.known.find_deleted(row.id) is not None:
            stop = max((heir.fork_index for heir in heirs), default=row.fork_index)
        size = before = self.inherited.setdefault(row.id, 0)
        at = 0
        for entry in view.logs.entries(row, row.fork_index, stop):
            while at < len(heirs) and heirs[at].fork_index <= entry.index:
                self.inherited[heirs[at].id] = size
                at += 1
            size += entry.body.size
            size += sum(ref.blob.size for ref in view.references(entry))
        for heir in heirs[at:]:
            self.inherited[heir.id] = size
        self.own[row.id] = size - before


def _measured(
    engine: Engine, *, store: Store, names: bool
) -> tuple[_Sizes, list[SessionSize]]:
    """Return how large segments are, and sessions."""
    sizes = _Sizes(engine)
    return sizes, list(_sessions(store, sizes, names=names))


def _sessions(store: Store, sizes: _Sizes, *, names: bool) -> Iterator[SessionSize]:
    rows: dict[bytes, list[SegmentRow]] = defaultdict(list)
    for row in sizes.rows:
        rows[row.session].append(row)
    for session, own in rows.items():
        size = sum(sizes.own[row.id] for row in own)
        yield SessionSize(
            session_id=session.hex(),
            name=_name_of(store, own) if names else None,
            segments=len(own),
            entries=sum(row.count - row.fork_index for row in own),
            own_bytes=size,
            logical_bytes=size + sum(sizes.inherited[row.id] for row in own),
            time_ms=max(row.time_ms for row in own),
        )


def _name_of(store: Store, rows: list[SegmentRow]) -> str | None:
    newest = max(rows, key=lambda row: row.seq)
    facts = facts_of(store, store.segment(newest.id))
    if facts is not None:
        return facts.path
    key = store.session(newest.session).key
    return ":".join(key) if key else None


def _growth(sizes: _Sizes) -> Iterator[tuple[int, int]]:
    total = 0
    for row in sorted(sizes.rows, key=lambda row: (row.time_ms, row.seq)):
        total += sizes.own[row.id]
        yield row.time_ms, total
