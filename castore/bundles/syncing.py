"""
Sending what another store lacks: a bundle of that, made and taken in.

Spec: spec/bundle.md, "Taking in".
"""

from __future__ import annotations

import tempfile

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import attrs

from castore import merkle
from castore.bundles.choosing import Has, Wish
from castore.bundles.exporting import export_bundle
from castore.bundles.importing import Imported, import_bundle
from castore.catalog.rows import SegmentRow
from castore.engine import Engine
from castore.engine.expect import living
from castore.engine.view import View
from castore.errors import NotFoundError
from castore.formats.trees import SEGMENT_TREE


@attrs.frozen
class Sent:
    """
    What went from one store to another.

    Attributes:
        size: Bytes of the bundle; 0 where there was nothing to send.

        taken: What became of it; None where there was nothing to send.
    """

    size: int
    taken: Imported | None


def shared_segments(source: Engine, target: Engine) -> list[bytes]:
    """Return the living segments that both stores have, in order of id."""
    theirs = target.refresh().known
    rows = source.refresh().known.segments()
    return sorted(
        row.id for row in rows if row.peaks and theirs.find_segment(row.id) is not None
    )


def send(
    source: Engine,
    target: Engine,
    segments: Iterable[bytes],
    *,
    as_fork: bool = False,
) -> Sent:
    """
    Have *target* hold what *source* has of *segments*; only what it lacks is read.

    Goes by a file in the system's folder for such, which is gone afterwards.

    Args:
        source: May be open for reading only.

        target: Is written to.

        segments: Of *source*.

        as_fork: Let what went on otherwise in *target* become a fork.

    Raises:
        NotFoundError: *source* has no such segment.

        ConflictError: A segment went on otherwise in *target*; nothing was sent.

        GoneError: It was deleted in one of them.
    """
    here, there = source.refresh(), target.refresh()
    wishes = []
    for segment in segments:
        row = living(here.known, segment)
        start = _shared_count(here, there, row)
        if start < row.count:
            wishes.append(Wish(segment, start))
    if not wishes:
        return Sent(0, None)

    def has(names: Sequence[bytes]) -> Collection[bytes]:
        return target.refresh().known.find_places(names).keys()

    try:
        return _send(source, target, wishes, has, as_fork=as_fork)
    except NotFoundError:
        # A collection took what the other had a moment ago.
        return _send(source, target, wishes, None, as_fork=as_fork)


def _send(
    source: Engine,
    target: Engine,
    wishes: Sequence[Wish],
    has: Has | None,
    *,
    as_fork: bool,
) -> Sent:
    with tempfile.TemporaryDirectory(prefix="castore-") as folder:
        path = Path(folder, "bundle")
        with path.open("xb") as file:
            made = export_bundle(source, wishes, file, has=has)
        return Sent(made.size, import_bundle(target, path, as_fork=as_fork))


def _shared_count(here: View, there: View, row: SegmentRow) -> int:
    """
    Return how many entries of *row*'s log need not be sent: 0, with what it
    inherits, where it went on otherwise there.
    """
    shared = 0
    for owner, _, stop in here.logs.pieces(row, 0, row.count):
        theirs = there.known.find_segment(owner)
        if theirs is None or there.known.find_deleted(owner) is not None:
            break
        ours = here.known.find_segment(owner) or row
        count = min(stop, theirs.count)
        if _root(here, ours, count) != _root(there, theirs, count):
            return 0
        shared = count
        if count < stop:
            break
    return shared


def _root(view: View, row: SegmentRow, count: int) -> bytes:
    return merkle.root(SEGMENT_TREE, view.logs.peaks_at(row, count))
