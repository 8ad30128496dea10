"""
What stored blobs cannot be read without: bases and chunks, from the files' tables.

Spec: spec/blob.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from castore.engine.engine import Engine
from castore.engine.view import listed_frames
from castore.formats import frame as frame_format
from castore.formats.chunked import decode_chunks
from castore.reading.frames import Frame


#: Name, what it needs, and whether that is a base.
Need = tuple[bytes, tuple[bytes, ...], bool]


def needs_of(frame: Frame) -> Iterator[Need]:
    """Yield what each difference and chunk list of *frame* needs."""
    kinds = {item[0] for item in frame.table}
    if not kinds & _NEEDING:
        return
    for number, item in enumerate(frame.table):
        if item[0] == frame_format.DIFFERENCE:
            yield item[2], (item[4],), True
        elif item[0] == frame_format.CHUNKED:
            listed = decode_chunks(frame.records[number].payload, item[3])
            yield item[2], tuple(digest for digest, _ in listed.chunks), False


_NEEDING = {frame_format.DIFFERENCE, frame_format.CHUNKED}


def stored_needs(
    engine: Engine,
    files: Mapping[bytes, int],
    look: Callable[[Frame], Iterable[Need]] = needs_of,
) -> tuple[dict[bytes, set[bytes]], dict[bytes, tuple[bytes, ...]]]:
    """
    Return the differences to each base and the chunks of each chunk list.

    Of all copies in *files* (id to stop).

    Args:
        engine: The store.

        files: What to read.

        look: Tells what a frame says; decodes its table.

    Raises:
        CorruptionError: A frame is not whole.
    """
    heirs: dict[bytes, set[bytes]] = {}
    chunks: dict[bytes, tuple[bytes, ...]] = {}
    opened = engine.state.opened
    for file, stop in files.items():
        for frame in listed_frames(opened.get(file), stop):
            for digest, needed, is_base in look(frame):
                if is_base:
                    heirs.setdefault(needed[0], set()).add(digest)
                else:
                    chunks[digest] = needed
    return heirs, chunks
