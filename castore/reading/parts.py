"""
Whole files, read in parts, so that several may read one store.

Where a part begins is guessed from the sizes that frames state, before anything is
hashed. It is believed if the part before it ended there, as one reader would have
come by; else one reader reads the whole file.

Spec: spec/checking.md, step 4.
"""

from __future__ import annotations

import itertools
import os
import sys

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from castore import limits
from castore.errors import CorruptionError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.frame import FrameHeader
from castore.reading.contents import FileContents, Part, Progress, read_contents
from castore.reading.files import OpenFile


@attrs.frozen
class Span:
    """
    The frames of *file* that begin in ``[start, end)``; the last frame of the file
    ends at *stop* at the latest.
    """

    file: bytes
    start: int
    end: int
    stop: int


#: Reads what stands in each span, and gives it in order.
ReadParts = Callable[[Sequence[Span]], Iterable[Part]]


def read_in_parts(
    files: Mapping[bytes, OpenFile], read: ReadParts, progress: Progress
) -> dict[bytes, FileContents]:
    """
    Return what *files* say, each up to the size that it has now.

    Args:
        files: By id.

        read: Does the reading.

        progress: Told the size of what was read, piece by piece.
    """
    plans = {id_: list(_cut(file, file.size())) for id_, file in files.items()}
    coming = iter(read(list(itertools.chain.from_iterable(plans.values()))))
    found = {}
    for id_, spans in plans.items():
        parts = []
        for span, part in zip(spans, coming, strict=False):
            parts.append(part)
            progress(span.end - span.start)
        found[id_] = _join(files[id_], spans, parts)
    return found


def _join(file: OpenFile, spans: list[Span], parts: list[Part]) -> FileContents:
    stop = spans[-1].stop
    seams = zip(parts[:-1], spans[1:], strict=True)
    if any(part.end != span.start for part, span in seams):
        return read_contents(file, stop)
    frames = itertools.chain.from_iterable(part.frames for part in parts)
    gaps = itertools.chain.from_iterable(part.gaps for part in parts)
    return FileContents(file, stop, list(frames), list(gaps))


def _cut(file: OpenFile, stop: int) -> Iterator[Span]:
    """Yield spans that together are all of *file* up to *stop*, at least one."""
    start = offset = file_format.SIZE
    size = 0
    while offset < stop:
        front = file.read_up_to(frame_format.HEADER_SIZE, offset)
        try:
            header = frame_format.parse_header(front, room=stop - offset)
        except CorruptionError:
            break  # where the next one begins, a reader finds out
        size += header.size + header.raw_size
        end = offset + header.size
        if size >= limits.PART_SIZE and not _waits(file, offset, header):
            yield Span(file.id, start, end, stop)
            start, size = end, 0
        offset = end
    yield Span(file.id, start, stop, stop)


def _waits(file: OpenFile, offset: int, header: FrameHeader) -> bool:
    """Whether the frame seems to have entries whose bodies are in the next."""
    if file.header.kind == file_format.JOURNAL:
        return False
    front = file.read_up_to(frame_format.HEADER_SIZE + header.table_size, offset)
    try:
        table = frame_format.decode_table(memoryview(front), header)
    except CorruptionError:
        return False
    return any(item[0] == frame_format.ENTRIES and item[6] for item in table)


def processor_count() -> int:
    """Return how many processors this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def helper_count(jobs: int, size: int, part_size: int) -> int:
    """
    Return how many processes help to read *size* bytes well; 0 for none.

    Args:
        jobs: How many may.

        size: Bytes of all files.

        part_size: Bytes for which it pays to start one.
    """
    count = min(jobs, size // part_size)
    return count if count > 1 and _is_python(sys.executable) else 0


def _is_python(executable: str | None) -> bool:
    # In a program that embeds Python, or was made of it, it is that program.
    name = Path(executable or "").name
    return name.startswith(("python", "pypy")) and not getattr(sys, "frozen", False)
