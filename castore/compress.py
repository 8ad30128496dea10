"""
Bounded zstd: frames, and differences against a base.

Two libraries for one format. ``zstandard`` keeps its contexts, so that a small
frame costs 2 us instead of 11, but can load a base only as a dictionary, which
finds next to nothing in megabytes. The zstd of the standard library (3.14;
``backports.zstd`` before) takes the base as a prefix, as if it stood before the
data, and stops where it is told to in a stream; it is imported when it is needed.

A frame always states its size and has neither checksum nor dictionary id: what
is stored is hashed elsewhere, stored bytes and contents both, since one content
has many frames and a flipped bit need not be an error. A reader here looks at
the stated size before anything is allocated: ``zstandard`` ignores its own limit
on the output if the frame states a size, and what follows the frame.

Spec: spec/frame.md, spec/blob.md.
"""

from __future__ import annotations

import contextlib
import sys
import threading

from collections.abc import Iterable, Iterator
from functools import cache
from types import ModuleType
from typing import Any, BinaryIO

import zstandard

from castore import limits
from castore.errors import FormatError
from castore.limits import GIB, KIB


LONG_WINDOW_LOG = limits.FRAME_RAW_SIZE_MAX.bit_length() - 1  # a whole frame
DIFFERENCE_LEVEL = 2  # level 3 takes half as long again, and finds less in numbers
_WORTH = 8  # a difference below 1/8 of the raw size is taken unasked
_WINDOW_LOG_MIN = 10  # of zstd


def compress(data: bytes | memoryview, level: int, *, long: bool = False) -> bytes:
    """
    Compress *data* to one frame.

    Args:
        data: At least one byte; nothing at all is stored as it is.

        level: Of zstd, 1 - 22.

        long: Look for repetitions through the whole of a large frame, also
            those that the level would forget.

    Raises:
        ValueError: *data* is empty.
    """
    if not len(data):
        raise ValueError("an empty run of bytes is stored as it is")
    return _of_thread.compressor(level, long=long).compress(data)


def decompress(data: bytes | memoryview, *, raw_size: int) -> bytes:
    """
    Return what the frame *data* holds: *raw_size* bytes, unchecked otherwise.

    Args:
        data: One frame and nothing behind it.

        raw_size: Bytes to expect, at least 1. The caller has compared it with
            its bound: so much is allocated.

    Raises:
        FormatError: No frame of exactly that size, or one with a dictionary id
            or a window above ``2 ** limits.WINDOW_LOG_MAX`` bytes.
    """
    _check_header(data, raw_size)
    try:
        return _of_thread.decompressor.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(f"zstd frame of {len(data)} bytes: {error}") from error


def diff(base: bytes | memoryview, data: bytes | memoryview, level: int) -> bytes:
    """
    Compress *data* to one frame that *base* is needed to read.

    What stands in *base* costs some bytes, wherever it stands. Takes 1.7 ms for
    3 MB at level 2. No reference to *base* is kept.

    Args:
        base: At least `limits.DIFFERENCE_BASE_SIZE_MIN` bytes.

        data: At least one byte.

        level: Of zstd, 1 - 22.

    Raises:
        ValueError: *base* or *data* is too short.
    """
    least = limits.DIFFERENCE_BASE_SIZE_MIN
    if len(base) < least or not len(data):
        raise ValueError(f"a difference needs {least} bytes of base and 1 of data")
    zstd = _stream_zstd()
    window_log = (len(base) + len(data) - 1).bit_length()
    name = zstd.CompressionParameter
    options = {
        name.compression_level: level,
        name.window_log: min(max(window_log, _WINDOW_LOG_MIN), limits.WINDOW_LOG_MAX),
        name.enable_long_distance_matching: 1,
        name.content_size_flag: 1,
        name.checksum_flag: 0,
        name.dict_id_flag: 0,
    }
    prefix = zstd.ZstdDict(base, is_raw=True).as_prefix
    delta: bytes = zstd.compress(data, options=options, zstd_dict=prefix)
    return delta


def diff_that_pays(
    base: bytes | memoryview, data: bytes | memoryview, level: int
) -> bytes | None:
    """Return `diff` if that is less than half of a frame without *base*, else None."""
    delta = diff(base, data, level)
    # Most are so small that nobody need ask what the frame would be.
    if len(delta) * _WORTH <= len(data):
        return delta
    return delta if len(delta) * 2 <= len(compress(data, level)) else None


def patch(
    base: bytes | memoryview, delta: bytes | memoryview, *, raw_size: int
) -> bytes:
    """
    Return the *raw_size* bytes that `diff` made *delta* of.

    With another base the result is an error or other bytes: compare its digest.

    Args:
        base: What `diff` was given.

        delta: One frame and nothing behind it.

        raw_size: As in `decompress`.

    Raises:
        FormatError: As in `decompress`, or *base* is too short.
    """
    _check_header(delta, raw_size)
    least = limits.DIFFERENCE_BASE_SIZE_MIN
    if len(base) < least:
        raise FormatError(f"a base of {len(base)} bytes, below {least}")
    zstd = _stream_zstd()
    options = {zstd.DecompressionParameter.window_log_max: limits.WINDOW_LOG_MAX}
    prefix = zstd.ZstdDict(base, is_raw=True).as_prefix
    reader = zstd.ZstdDecompressor(zstd_dict=prefix, options=options)
    try:
        # One byte more than there may be, so that the end of the frame is seen.
        raw: bytes = reader.decompress(delta, max_length=raw_size + 1)
    except zstd.ZstdError as error:
        raise FormatError(f"difference of {len(delta)} bytes: {error}") from error
    if not reader.eof or reader.unused_data or len(raw) != raw_size:
        raise FormatError(
            f"difference of {len(delta)} bytes: no whole frame, or bytes behind it"
        )
    return raw


PIECE_SIZE = 128 * KIB  # bytes that a stream gives at once
FREE_SIZE = GIB  # bytes that any stream may give
RATIO_MAX = 1000  # bytes that a stream may give for each it takes, above that
STREAM_LEVEL = 3
# What a file begins with that holds frames, or frames to be skipped.
_MAGIC = (b"\x28\xb5\x2f\xfd", *(bytes([n]) + b"\x2a\x4d\x18" for n in range(80, 96)))


def is_stream(head: bytes) -> bool:
    """Return whether a file that begins with *head* is made of zstd frames."""
    return head.startswith(_MAGIC)


class Unpacking:
    """
    What a file of zstd frames holds, as far as it can be had; iterate it once.

    Yields pieces of at most `PIECE_SIZE` bytes in bounded memory, whatever the
    input: nothing in it raises. It may be anybody's file.

    Attributes:
        state: Good after the last piece. ``whole``; ``torn``: it ends inside of
            a frame; ``damaged``: what follows is no zstd, or needs a window
            above ``2 ** limits.WINDOW_LOG_MAX`` bytes; ``over``: it would give
            more than `FREE_SIZE` and than `RATIO_MAX` times what it takes.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.state = "torn"
        self._chunks = chunks
        self._begun = False  # whether a frame is

    def __iter__(self) -> Iterator[bytes]:
        zstd = _stream_zstd()
        taken = given = 0
        decoder = _decoder(zstd)
        for chunk in self._chunks:
            taken += len(chunk)
            data = chunk
            while data or not decoder.needs_input:
                try:
                    piece = decoder.decompress(data, PIECE_SIZE)
                except zstd.ZstdError:
                    self.state = "damaged"
                    return
                given += len(piece)
                if given > max(FREE_SIZE, RATIO_MAX * taken):
                    self.state = "over"
                    return
                self._begun = not decoder.eof
                data = decoder.unused_data if decoder.eof else b""
                if decoder.eof:
                    decoder = _decoder(zstd)
                if piece:
                    yield piece
        self.state = "torn" if self._begun else "whole"


@contextlib.contextmanager
def packing(out: BinaryIO) -> Iterator[BinaryIO]:
    """Give a file to write to whose content goes to *out* as one zstd frame."""
    compressor = zstandard.ZstdCompressor(STREAM_LEVEL, write_checksum=True)
    with compressor.stream_writer(out, closefd=False) as writer:
        yield writer


class _OfThread(threading.local):
    """
    Contexts of this thread. Those of ``zstandard`` are not thread-safe: two
    threads in one give wrong bytes or end the process.
    """

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor(
            max_window_size=1 << limits.WINDOW_LOG_MAX
        )
        self._compressors: dict[tuple[int, bool], zstandard.ZstdCompressor] = {}

    def compressor(self, level: int, *, long: bool) -> zstandard.ZstdCompressor:
        """Return this thread's compressor for *level*."""
        key = (level, long)
        if key not in self._compressors:
            self._compressors[key] = _make_compressor(level, long=long)
        return self._compressors[key]


_of_thread = _OfThread()


def _make_compressor(level: int, *, long: bool) -> zstandard.ZstdCompressor:
    if not long:
        return zstandard.ZstdCompressor(
            level, write_content_size=True, write_checksum=False
        )
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        window_log=LONG_WINDOW_LOG,
        enable_ldm=True,
        write_content_size=True,
        write_checksum=False,
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def _check_header(data: bytes | memoryview, raw_size: int) -> None:
    try:
        header = zstandard.get_frame_parameters(data)
    except zstandard.ZstdError as error:
        raise FormatError(f"no zstd frame: {error}") from error
    if header.content_size != raw_size or not raw_size:
        raise FormatError(f"zstd frame that does not state {raw_size} bytes, above 0")
    if header.dict_id:
        raise FormatError("zstd frame with a dictionary id")
    if header.window_size > 1 << limits.WINDOW_LOG_MAX:
        raise FormatError(f"zstd frame with a window of {header.window_size} bytes")


def _decoder(zstd: ModuleType) -> Any:
    limit = {zstd.DecompressionParameter.window_log_max: limits.WINDOW_LOG_MAX}
    return zstd.ZstdDecompressor(options=limit)


@cache
def _stream_zstd() -> ModuleType:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
