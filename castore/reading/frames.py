"""
Reading frames: one, or all from an offset on.

Spec: spec/frame.md; spec/checking.md, step 4.
"""

from __future__ import annotations

import functools
import itertools

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from castore.digest import SIZE, blob_digest
from castore.errors import CorruptionError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.frame import FrameHeader, Part, Record
from castore.formats.refuse import placed
from castore.reading.files import OpenFile


_GUESS = 8 << 10  # bytes read at once before the frame's size is known
_FRAME_SIZE = 3 << 10  # bytes that the objects of a decoded frame take, about
_RECORD_SIZE = 256  # and those of a record
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
    def weight(self) -> int:
        """The bytes of memory that it takes with all that can be decoded, about."""
        header = self.header
        objects = _FRAME_SIZE + _RECORD_SIZE * header.record_count
        return header.size + header.raw_size + objects

    @property
    def where(self) -> str:
        """The place, as findings give it."""
        return f"{self.name}@{self.offset}"

    @functools.cached_property
    def table(self) -> list[list[Any]]:
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
    def records(self) -> Records:
        """
        The records with their payloads; decompresses the frame.

        Raises:
            CorruptionError: As `table`, or it does not decompress.
        """
        table = self.table
        with placed(self.where):
            raw = frame_format.decode_raw(self._data, self.header)
            return Records(table, raw)

    @property
    def data(self) -> memoryview:
        """All of it, as it stands in the file."""
        return self._data

    @property
    def stored_part(self) -> Part:
        """The stored part, for writing the same records elsewhere."""
        return frame_format.stored_part(self._data, self.header)

    @functools.cached_property
    def bodies(self) -> Bodies:
        """Digest and size of each whole blob (kind 1), in order."""
        return Bodies(self.records)


class Records(Sequence[Record]):
    """
    The records of a decoded frame, each made when it is asked for: a frame may
    have thousands, and be kept for one.

    Attributes:
        table: Their descriptors.

        raw: All payloads.

        starts: Where each begins in that, and where the last ends.
    """

    def __init__(self, table: Sequence[list[Any]], raw: memoryview) -> None:
        self.table = table
        self.raw = raw
        sizes = [item[1] for item in table]
        self.starts = list(itertools.accumulate(sizes, initial=0))

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, number: int) -> Record:  # type: ignore[override]
        item = self.table[number]
        return Record(item[0], item, self.payload(number))

    def payload(self, number: int) -> memoryview:
        """Return the payload of record *number*."""
        return self.raw[self.starts[number] : self.starts[number + 1]]


_UNKNOWN = (b"", 0)  # instead of digest and size of a blob that is not hashed yet


class Bodies(Sequence[tuple[bytes, int]]):
    """
    Digest and size of each whole blob of *records*, hashed here when asked for.
    """

    def __init__(self, records: Records) -> None:
        self._raw = records.raw
        self._starts = records.starts
        self._numbers = [
            number
            for number, item in enumerate(records.table)
            if item[0] == frame_format.BLOB
        ]
        self._known = [_UNKNOWN] * len(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> tuple[bytes, int]:  # type: ignore[override]
        return self.hashed((range(len(self))[number],))[number]

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        return iter(self.hashed(range(len(self))))

    def hashed(self, numbers: Iterable[int]) -> Sequence[tuple[bytes, int]]:
        """
        Return digest and size of all whole blobs, right only at *numbers*: these
        are hashed, as far as there are such.
        """
        known, count = self._known, len(self._known)
        raw, starts, records = self._raw, self._starts, self._numbers
        for number in numbers:  # without `payload`: there are many
            if number < count and known[number] is _UNKNOWN:
                start, stop = starts[records[number]], starts[records[number] + 1]
                known[number] = (blob_digest(raw[start:stop]), stop - start)
        return known

    def payload(self, number: int) -> memoryview:
        """Return the bytes of whole blob *number*."""
        record = self._numbers[number]
        return self._raw[self._starts[record] : self._starts[record + 1]]


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
    return _read(file, offset, stop, file.read_up_to, _GUESS)


def front_of(file: OpenFile, offset: int, stop: int) -> Frame:
    """
    Return the frame that seems to stand at *offset*: its header and table, and the
    hash that it states. Nothing is hashed, and records cannot be read.

    Raises:
        CorruptionError: ``corrupt frame``: none can stand there.
    """
    room = min(stop, file.size()) - offset
    with placed(f"{file.name}@{offset}"):
        front = file.read_up_to(frame_format.HEADER_SIZE, offset)
        header = frame_format.parse_header(front, room=room)
        size = frame_format.HEADER_SIZE + header.table_size
        front = file.read_up_to(size, offset)
    digest = file.read_up_to(SIZE, offset + header.size - SIZE)
    return Frame(file.id, file.name, offset, header, digest, memoryview(front))


#: Gives *size* bytes from an offset, fewer only where the file ends.
_Get = Callable[[int, int], bytes]


def _read(file: OpenFile, offset: int, stop: int, get: _Get, guess: int) -> Frame:
    room = stop - offset
    with placed(f"{file.name}@{offset}"):
        data = get(max(min(room, guess), 0) + 32, offset - 32)
        prev, front = data[:32], data[32:]
        header = frame_format.parse_header(front, room=min(room, file.size() - offset))
        if header.size > len(front):
            front = get(header.size, offset)
        # A copy of what is the frame's own: it may be kept for long.
        whole = memoryview(front[: header.size])
        digest = frame_format.check_hash(
            whole, header, offset=offset, file_hash=file.hash, prev=prev
        )
    return Frame(file.id, file.name, offset, header, digest, whole)


class _Window:
    """What of a file stands around the place of a walk, read a piece at a time."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._start = 0
        self._data = b""

    def get(self, size: int, offset: int) -> bytes:
        """Return *size* bytes from *offset*, fewer only where the file ends."""
        at = offset - self._start
        if not 0 <= at <= at + size <= len(self._data):
            if size >= _SCAN:
                return self._file.read_up_to(size, offset)
            self._data = self._file.read_up_to(_SCAN, offset)
            self._start, at = offset, 0
        return self._data[at : at + size]


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
    get = _Window(file).get
    offset = start
    while offset < stop:
        frame, what = None, ""
        try:
            frame = _read(file, offset, stop, get, frame_format.HEADER_SIZE)
        except CorruptionError as error:
            what = error.what  # no more: the error holds all the bytes that were read
        if frame is None:
            found = find_frame(file, offset + 1, stop)
            yield Gap(offset, found.offset if found else None, what)
            if found is None:
                return
            offset = found.offset
            continue
        yield frame
        offset = frame.end


def find_frame(file: OpenFile, start: int, stop: int) -> Frame | None:
    """
    Return the first whole frame that begins in ``[start, stop)``, None if none does.

    Args:
        file: What to search.

        start: First offset that is tried, at least 32.

        stop: Where the frame must end at the latest.
    """
    window = _Window(file)
    at = start
    while (at := file.next_data(at, stop)) < stop:
        size = min(_SCAN, stop - at)
        data = file.read_up_to(size + len(frame_format.MAGIC) - 1, at)
        hit = data.find(frame_format.MAGIC)
        while hit >= 0:
            try:
                size_min = frame_format.HEADER_SIZE
                return _read(file, at + hit, stop, window.get, size_min)
            except CorruptionError:
                hit = data.find(frame_format.MAGIC, hit + 1)
        at += size
    return None
