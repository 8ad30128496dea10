"""
The frames of a bundle in order, each within its bounds and of one sort.

Spec: spec/bundle.md, "Bytes", "Checking" 2.
"""

from __future__ import annotations

from collections.abc import Iterator

from castore import limits
from castore.bundles.manifest import Manifest, read_manifest
from castore.bundles.opening import BundleFile
from castore.errors import CorruptionError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.refuse import MALFORMED, need, placed
from castore.reading.frames import Frame


ENTRIES, BLOBS, LISTS = "entries", "blobs", "lists"

_SORTS = {
    frame_format.ENTRIES: ENTRIES,
    frame_format.BLOB: BLOBS,
    frame_format.CHUNKED: BLOBS,
    frame_format.REF_LIST: LISTS,
}
_RUN_SIZE_MAX = 256 * limits.KIB
BLOCK_SIZE_MAX = 4 * limits.MIB  # raw bytes of a blob frame
_SIZES_MAX = {ENTRIES: 2 * limits.MIB, BLOBS: BLOCK_SIZE_MAX, LISTS: 12 * limits.MIB}
_ENTRIES_COUNT_MAX = 16_384
# What a file may come to: so much, and so many times its size.
_LOGS_SIZE_MIN, _LOGS_GROWTH = 16 * limits.MIB, 100
_BLOBS_SIZE_MIN, _BLOBS_GROWTH = 256 * limits.MIB, 1000


class Bounds:
    """
    How much a bundle comes to.

    Attributes:
        logs_left: Raw bytes that further entries and lists may have.

        blobs_left: Raw bytes that further blobs may have.
    """

    def __init__(self, size: int) -> None:
        """Take the bundle's *size* in bytes."""
        self.logs_left = _LOGS_SIZE_MIN + _LOGS_GROWTH * size
        self.blobs_left = _BLOBS_SIZE_MIN + _BLOBS_GROWTH * size

    def take(self, sort: str, size: int) -> None:
        """Count *size* raw bytes of a frame of that *sort*."""
        if sort == BLOBS:
            self.take_blobs(size)
        else:
            self.logs_left -= size
            need(self.logs_left >= 0, "the bundle comes to too much")

    def take_blobs(self, size: int) -> None:
        """Count *size* raw bytes of blobs."""
        self.blobs_left -= size
        need(self.blobs_left >= 0, "the bundle comes to too much")


def first_frame(file: BundleFile) -> tuple[Frame, Manifest]:
    """
    Return the manifest's frame and what it says.

    Raises:
        CorruptionError: It is refused.
    """
    frame = file.frame(file_format.SIZE)
    with placed(frame.where):
        manifest = read_manifest(frame, file.id, file.header.store, file.size())
    return frame, manifest


def frames(file: BundleFile, start: int, bounds: Bounds) -> Iterator[tuple[str, Frame]]:
    """
    Yield sort and frame of all frames from *start* to the file's end.

    Raises:
        CorruptionError: The next one is refused, by itself or where it stands.
    """
    offset, stop = start, file.size()
    last = ""
    waiting: Frame | None = None  # entries whose body frame comes next
    while offset < stop:
        frame = file.frame(offset)
        with placed(frame.where):
            sort = _sort_of(frame)
            need(sort in _FOLLOWERS[last], "a frame out of place")
            need(waiting is None or sort == BLOBS, _NO_BODIES)
            bounds.take(sort, frame.header.raw_size)
        yield sort, frame
        offset, last = frame.end, sort
        waiting = frame if sort == ENTRIES and _has_body_frame(frame) else None
    if waiting is not None:
        raise CorruptionError(what=_NO_BODIES, verdict=MALFORMED, where=waiting.where)


_FOLLOWERS = {
    "": {ENTRIES},
    ENTRIES: {ENTRIES, BLOBS, LISTS},
    BLOBS: {ENTRIES, BLOBS, LISTS},
    LISTS: {ENTRIES, LISTS},
}


_NO_BODIES = "no body frame behind its entries"


def _has_body_frame(frame: Frame) -> bool:
    """Return whether entries of *frame* have bodies in the next one."""
    return any(item[6] for item in frame.table if item[0] == frame_format.ENTRIES)


def _sort_of(frame: Frame) -> str:
    sorts = {_SORTS.get(item[0], "") for item in frame.table}
    need(len(sorts) == 1 and sorts != {""}, "records that do not belong together")
    (sort,) = sorts
    need(frame.header.raw_size <= _SIZES_MAX[sort], "too many bytes in a frame")
    if sort == ENTRIES:
        sizes = [item[1] for item in frame.table]
        need(max(sizes) <= _RUN_SIZE_MAX, "entries: too many bytes in a record")
        counts = [item[5] for item in frame.table]
        need(sum(counts) <= _ENTRIES_COUNT_MAX, "entries: too many in a frame")
    return sort
