"""
What goes into a bundle: the segments with what they inherit, and what is left out.

Spec: spec/bundle.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import attrs

from castore import limits, merkle
from castore.blobfile import BlobReader
from castore.bundles.manifest import (
    COLLECTED,
    ERASED,
    KNOWN,
    LOST,
    REDACTED,
    ROW_COUNT_MAX,
    WITHHELD_COUNT_MAX,
    Manifest,
    Row,
    Withheld,
)
from castore.catalog.rows import SegmentRow
from castore.digest import blob_digest
from castore.engine import Engine
from castore.engine.expect import living, newest_head
from castore.engine.view import View
from castore.errors import CorruptionError, LimitError, NotFoundError
from castore.formats import storelog
from castore.formats.entry import START, BlobRef, Entry
from castore.formats.trees import SEGMENT_TREE
from castore.reading.findings import blob_place


_SOME = 1024  # names looked up at once
_REASONS = {
    storelog.COLLECTED: COLLECTED,
    storelog.ERASED: ERASED,
    storelog.LOST: LOST,
}

#: Gives those of some names that whoever gets the bundle has already.
Has = Callable[[Sequence[bytes]], Collection[bytes]]


@attrs.frozen
class Wish:
    """
    Entries ``[start, stop)`` of a segment's log, inherited ones included.

    Of several for one log all from the first to the last entry goes in.

    Attributes:
        stop: All by default.
    """

    segment: bytes
    start: int = 0
    stop: int | None = None


@attrs.frozen
class Redaction:
    """
    What is left out of a bundle.

    Attributes:
        roles: Payloads of these roles, or groups of roles.

        bodies: Whether the bodies of all entries but start entries.
    """

    roles: Collection[str] = ()
    bodies: bool = False

    def names(self, entry: Entry, refs: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
        """Yield what of *entry* is left out; *refs* are role and name of payloads."""
        if self.bodies and entry.kind != START:
            yield entry.body.digest
        for role, digest in refs:
            if role in self.roles or role.partition(".")[0] in self.roles:
                yield digest


@attrs.frozen
class Choice:
    """
    What goes into a bundle.

    Attributes:
        manifest: What stands in its first frame.

        sources: Rows of the segments, as the manifest orders them.
    """

    manifest: Manifest
    sources: tuple[SegmentRow, ...]


def choose(
    engine: Engine, wishes: Iterable[Wish], redaction: Redaction, has: Has | None
) -> Choice:
    """
    Return what a bundle of *wishes* holds.

    Reads all entries that go in once.

    Raises:
        NotFoundError: There is no such segment.

        GoneError: It was deleted.

        IndexError: It has no such range.

        LimitError: Too many segments, or too much is left out.

        CorruptionError: ``missing blob``: something is not there, and nothing
            says why.
    """
    view = engine.refresh()
    spans = _spans(view, engine.store, wishes)
    sources = sorted(
        (row for row, _, _ in spans.values()),
        key=lambda row: (_depth(view, row), row.id),
    )
    rows = tuple(_row(view, *spans[source.id]) for source in sources)
    withheld = _Leaving(engine, view, redaction, has).withheld(sources, rows)
    if len(withheld) > WITHHELD_COUNT_MAX:
        what = f"{len(withheld)} payloads are left out, too many for one bundle"
        raise LimitError(what=what, limit=WITHHELD_COUNT_MAX)
    return Choice(Manifest(rows, withheld), tuple(sources))


def _spans(
    view: View, store: bytes, wishes: Iterable[Wish]
) -> dict[bytes, tuple[SegmentRow, int, int]]:
    """Return, by owner, the row of a segment and which of its own entries go in."""
    spans: dict[bytes, tuple[SegmentRow, int, int]] = {}
    for wish in wishes:
        if wish.segment == store:
            raise NotFoundError(what="the store's own log goes into no bundle")
        row = living(view.known, wish.segment)
        stop = row.count if wish.stop is None else wish.stop
        if not 0 <= wish.start < stop <= row.count:
            raise IndexError(f"entries {wish.start} to {stop} of {row.count}")
        for owner, first, last in view.logs.pieces(row, wish.start, stop):
            source = row if owner == row.id else view.known.find_segment(owner)
            if source is None:
                raise NotFoundError(what=f"no segment {owner.hex()} in this store")
            _, low, high = spans.get(owner, (source, first, last))
            spans[owner] = (source, min(low, first), max(high, last))
    if len(spans) > ROW_COUNT_MAX:
        what = f"{len(spans)} segments, with those that they inherit from"
        raise LimitError(what=f"{what}; make several bundles", limit=ROW_COUNT_MAX)
    return spans


def _depth(view: View, row: SegmentRow) -> int:
    depth = 0
    parent = row.parent
    while parent is not None:
        depth += 1
        above = view.known.find_segment(parent)
        parent = above.parent if above else None
    return depth


def _row(view: View, source: SegmentRow, first: int, stop: int) -> Row:
    def read(positions: list[merkle.Position]) -> list[bytes]:
        return view.logs.read_tree(source, positions)

    head = newest_head(source) if source.peaks else None
    proof: list[bytes] = []
    if head is not None:
        proof = merkle.prove_consistency(SEGMENT_TREE, stop, head.count, read)
    return Row(
        source.session,
        source.id,
        source.parent,
        source.fork_index,
        first,
        stop,
        tuple(view.logs.peaks_at(source, first)) if first else (),
        head,
        tuple(proof),
    )


class _Leaving:
    """Finds out what is left out, and why."""

    def __init__(
        self, engine: Engine, view: View, redaction: Redaction, has: Has | None
    ) -> None:
        self._engine = engine
        self._view = view
        self._redaction = redaction
        self._has = has
        self._seen: set[bytes] = set()
        self._waiting: list[bytes] = []
        self._large: list[BlobRef] = []
        self._why: dict[bytes, int] = {}

    def withheld(self, sources: Sequence[SegmentRow], rows: Sequence[Row]) -> Withheld:
        """Return what is left out of the entries of *rows*."""
        for source, row in zip(sources, rows, strict=True):
            for entry in self._view.logs.entries(source, row.first, row.stop):
                self._take(entry)
        self._look_up()
        if self._why:
            self._look_into_large()
        return Withheld.of(self._why)

    def _take(self, entry: Entry) -> None:
        refs = list(self._view.references(entry))
        named = [(ref.role, ref.blob.digest) for ref in refs]
        for digest in self._redaction.names(entry, named):
            self._why[digest] = REDACTED
        for blob in (entry.body, *(ref.blob for ref in refs)):
            if blob.digest not in self._seen:
                self._seen.add(blob.digest)
                self._waiting.append(blob.digest)
                if blob.size > limits.SLICE_SIZE:
                    self._large.append(blob)
        if len(self._waiting) >= _SOME:
            self._look_up()

    def _look_up(self) -> None:
        names, self._waiting = self._waiting, []
        known = self._view.known.find_places(names)
        for digest in names:
            if digest not in known:
                self._why.setdefault(digest, self._reason(digest))
        for digest in self._has(names) if self._has else ():
            self._why.setdefault(digest, KNOWN)

    def _reason(self, digest: bytes) -> int:
        row = self._view.known.find_absence(digest)
        if row is None:
            raise CorruptionError(
                what="an entry names it, it is not there, and nothing says why",
                verdict="missing blob",
                where=blob_place(digest),
            )
        return _REASONS.get(row.how, REDACTED)

    def _look_into_large(self) -> None:
        """What stands in a large blob as a chunk is not left out by its name alone."""
        for ref in self._large:
            if ref.digest in self._why:
                continue
            reader = BlobReader(self._engine, self._engine.sliced(ref))
            names = set()
            while part := reader.read(limits.SLICE_SIZE):
                names.add(blob_digest(part))
            found = names & self._why.keys()
            if any(self._why[name] == REDACTED for name in found):
                self._why[ref.digest] = REDACTED
            else:
                for name in found:
                    del self._why[name]
