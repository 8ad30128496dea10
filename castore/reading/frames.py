"""
Reading frames: one, or all from an offset on.

Spec: spec/frame.md; spec/checking.md, step 4.
"""

from __future__ import annotations

import functools

from collections.abc import Iterator

import attrs

from castore.errors import CorruptionError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.frame import FrameHeader, Record
from castore.formats.refuse import placed
from castore.reading.files import OpenFile


_GUESS = 64 << 10  # bytes read at once before the frame's size is known
_SCAN = 1 << 20  # bytes searched at once for a frame's magic


@attrs.define(slots=False, eq=False)
class Frame:
    """
    A whole frame: its hash fits its place.

    Table and records are decoded when asked for and kept.

    Attributes:
        file: File id.

        name: The file's name.

        offset: Of the frame.

        header: Its fixed part.

        hash: Its frame hash.
    """

    file: bytes
    name: str
    offset: int
    header: FrameHeader
    hash: bytes
    _data: memoryview

    @property
    def end(self) -> int:
        """Offset behind the frame."""
        return self.offset + self.header.size

    @property
    def where(self) -> str:
        """The place, as findings give it."""
        return f"{self.name}@{self.offset}"

    @functools.cached_property
    def table(self) -> list[list[object]]:
        """
        Descriptors of the records.

        Raises:
            CorruptionError: ``malformed record`` or ``unsupported version``.
        """
        with placed(self.where):
            frame_format.check_shape(
                self.header, offset=self.offset, start=file_format.SIZE
            )
            return frame_format.decode_table(self._data, self.header)

    @functools.cached_property
    def records(self) -> list[Record]:
        """
        The records with their payloads; decompresses the frame.

        Raises:
            CorruptionError: As `table`, or it does not decompress.
        """
        table = self.table
        with placed(self.where):
            raw = frame_format.decode_raw(self._data, self.header)
            return list(frame_format.split(table, raw))


@attrs.frozen
class Gap:
    """Bytes ``[offset, end)`` that are no whole frame; *end* is where one begins."""

    offset: int
    end: int | None
    what: str


def read_frame(file: OpenFile, offset: int, stop: int) -> Frame:
    """
    Return the whole frame at *offset*.

    Args:
        file: Where it is.

        offset: Where it begins.

        stop: Where it must end at the latest.

    Raises:
        CorruptionError: ``corrupt frame``: no whole frame stands there.
    """
    return _read(file, offset, stop, file.hash)


def _read(file: OpenFile, offset: int, stop: int, file_hash: bytes) -> Frame:
    room = stop - offset
    with placed(f"{file.name}@{offset}"):
        data = file.read_up_to(min(room, _GUESS) + 32, offset - 32)
        prev, front = data[:32], memoryview(data)[32:]
        header = frame_format.parse_header(front, room=min(room, file.size() - offset))
        if header.size > len(front):
            front = memoryview(file.read_up_to(header.size, offset))
        digest = frame_format.check_hash(
            front[: header.size], header, offset=offset, file_hash=file_hash, prev=prev
        )
    return Frame(file.id, file.name, offset, header, digest, front[: header.size])


def walk(file: OpenFile, start: int, stop: int) -> Iterator[Frame | Gap]:
    """
    Yield each frame of ``[start, stop)`` in order, and a gap where there is none.

    Behind a gap the walk goes on at the next whole frame; a gap with end None is
    the last item. Frames are whole; what they hold is not looked at.

    Args:
        file: What to walk.

        start: Where a frame begins.

        stop: Where the last frame must end at the latest; cut to the file's end.
    """
    stop = min(stop, file.size())
    offset = start
    while offset < stop:
        try:
            frame = read_frame(file, offset, stop)
        except CorruptionError as error:
            found = find_frame(file, offset + 1, stop)
            yield Gap(offset, found.offset if found else None, error.what)
            if found is None:
                return
            offset = found.offset
            continue
        yield frame
        offset = frame.end


def find_frame(
    file: OpenFile, start: int, stop: int, file_hash: bytes | None = None
) -> Frame | None:
    """
    Return the first whole frame that begins in ``[start, stop)``, None if none does.

    Args:
        file: What to search.

        start: First offset that is tried.

        stop: Where the frame must end at the latest.

        file_hash: Other than that of the file's header.
    """
    at = start
    while at < stop:
        size = min(_SCAN, stop - at)
        data = file.read_up_to(size + len(frame_format.MAGIC) - 1, at)
        hit = data.find(frame_format.MAGIC)
        while hit >= 0:
            try:
                return _read(file, at + hit, stop, file_hash or file.hash)
            except CorruptionError:
                hit = data.find(frame_format.MAGIC, hit + 1)
        at += size
    return None
