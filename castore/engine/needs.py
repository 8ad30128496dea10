"""
What stored blobs cannot be read without: bases and chunks, from the files' tables.

Spec: spec/blob.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from castore.engine.engine import Engine
from castore.engine.view import listed_frames
from castore.formats import frame as frame_format
from castore.formats.chunked import decode_chunks
from castore.reading.frames import Frame


def stored_needs(
    engine: Engine, files: Mapping[bytes, int]
) -> tuple[dict[bytes, set[bytes]], dict[bytes, tuple[bytes, ...]]]:
    """
    Return the differences to each base and the chunks of each chunk list.

    Of all copies in *files* (id to stop). Reads the tables of all their frames.

    Raises:
        CorruptionError: A frame is not whole.
    """
    heirs: dict[bytes, set[bytes]] = {}
    chunks: dict[bytes, tuple[bytes, ...]] = {}
    opened = engine.state.opened
    for file, stop in files.items():
        for frame in listed_frames(opened.get(file), stop):
            for digest, needed, is_base in needs_of(frame):
                if is_base:
                    heirs.setdefault(needed[0], set()).add(digest)
                else:
                    chunks[digest] = needed
    return heirs, chunks


def needs_of(frame: Frame) -> Iterator[tuple[bytes, tuple[bytes, ...], bool]]:
    """
    Yield name, what it needs, and whether that is a base, for each difference
    and chunk list of *frame*.
    """
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
