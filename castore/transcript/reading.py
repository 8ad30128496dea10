"""
Bounded reading of files that may be huge and may grow meanwhile.

Every read seeks first, so whoever takes the spans may read their bytes from the
same file in between.
"""

from __future__ import annotations

import codecs

from collections.abc import Iterator
from typing import BinaryIO

from castore.limits import KIB, MIB


READ_SIZE = 256 * KIB  # bytes for `bytes.find` to run through
CHUNK_SIZE = 64 * KIB  # bytes for the tokenizer, whose memory is a multiple
HEAD_SIZE = MIB  # bytes that detection and description look at
MARK = codecs.BOM_UTF8  # some editors begin a file with it; JSON knows no such thing


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Return up to *size* bytes at *offset*; none only at the end of the file."""
    file.seek(offset)
    return file.read(size)


def read_range(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    """Yield ``[start, stop)`` of *file* in chunks, less if it ends before."""
    while data := read_at(file, start, min(CHUNK_SIZE, stop - start)):
        yield data
        start += len(data)


def read_head(file: BinaryIO) -> bytes:
    """
    Return the first `HEAD_SIZE` bytes without a mark; leave the position alone.
    """
    position = file.tell()
    file.seek(0)
    try:
        parts = b"".join(read_range(file, 0, HEAD_SIZE))
    finally:
        file.seek(position)
    return parts.removeprefix(MARK)


def mark_size(file: BinaryIO) -> int:
    """Return 3 if *file* begins with a byte order mark, else 0."""
    return len(MARK) if read_at(file, 0, len(MARK)) == MARK else 0
