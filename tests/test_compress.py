"""
A frame is read whole and as stated, or refused; a difference is small.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import tracemalloc

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard

from hypothesis import given
from hypothesis import strategies as st

from castore import limits
from castore.compress import compress, decompress, diff, patch
from castore.errors import FormatError


TEXT = b"a frame is read whole and as stated, or refused; " * 12
BASE = TEXT[::-1]
SKIPPABLE = struct.pack("<II", 0x184D2A50, 5) + b"hello"

# Each reads a frame without a base, so that both can be given the same bytes.
READERS: list[Callable[[bytes, int], bytes]] = [
    lambda data, size: decompress(data, raw_size=size),
    lambda data, size: patch(BASE, data, raw_size=size),
]
both = pytest.mark.parametrize("read", READERS, ids=["decompress", "patch"])


def handmade(size: int, *, window_log: int = 20, dict_id: int | None = None) -> bytes:
    """Return a frame that states *size* bytes and holds ``hello``."""
    flags = 0x80 | (dict_id is not None)
    tail = b"" if dict_id is None else bytes([dict_id])
    block = (len(b"hello") << 3 | 1).to_bytes(3, "little") + b"hello"
    head = b"\x28\xb5\x2f\xfd" + bytes([flags, (window_log - 10) << 3]) + tail
    return head + struct.pack("<I", size) + block


def state(size: int) -> bytes:
    """Return *size* bytes like a tool's state: JSON with random contents."""
    source = random.Random(size)
    letters = "abcdefghijklmnop "
    files = [
        {
            "path": "/".join(source.choices(["src", "tests", "docs", "lib"], k=5)),
            "hash": f"{source.getrandbits(256):064x}",
            "text": "".join(source.choices(letters, k=300)),
        }
        for _ in range(size // 400 + 1)
    ]
    return json.dumps(files).encode()[:size]


@given(st.binary(min_size=1, max_size=5000), st.integers(1, 12), st.booleans())
def test_round_trip(data: bytes, level: int, long: bool) -> None:
    """Every level gives the bytes back, also from views."""
    frame = compress(data, level, long=long)

    assert frame == compress(memoryview(data), level, long=long)
    assert data == decompress(frame, raw_size=len(data))
    assert data == decompress(memoryview(frame), raw_size=len(data))


@given(
    st.binary(min_size=limits.DIFFERENCE_BASE_SIZE_MIN, max_size=5000),
    st.binary(min_size=1, max_size=5000),
    st.integers(1, 12),
)
def test_difference_round_trip(base: bytes, data: bytes, level: int) -> None:
    """A difference gives the bytes back, whatever the base."""
    delta = diff(base, data, level)

    assert delta == diff(memoryview(base), memoryview(data), level)
    assert data == patch(base, delta, raw_size=len(data))
    assert data == patch(memoryview(base), memoryview(delta), raw_size=len(data))


@pytest.mark.parametrize(
    "frame",
    [compress(TEXT, 3), compress(TEXT, 9, long=True), diff(BASE, TEXT, 3)],
    ids=["short", "long", "difference"],
)
def test_header(frame: bytes) -> None:
    """A frame states its size and has neither checksum nor dictionary id."""
    header = zstandard.get_frame_parameters(frame)

    assert (len(TEXT), 0, False) == (
        header.content_size,
        header.dict_id,
        header.has_checksum,
    )


@both
def test_handmade_frame(read: Callable[[bytes, int], bytes]) -> None:
    """The frames that the tests below make differ from a good one in one point."""
    assert b"hello" == read(handmade(5), 5)
    assert b"hello" == read(handmade(5, window_log=limits.WINDOW_LOG_MAX), 5)


@both
@pytest.mark.parametrize(
    ("frame", "size"),
    [
        (handmade(6), 6),
        (handmade(4), 4),
        (handmade(5), 6),
        (handmade(5), 4),
        (handmade(5, dict_id=7), 5),
        (handmade(5, window_log=limits.WINDOW_LOG_MAX + 1), 5),
        (handmade(5) + b"\0", 5),
        (handmade(5) + handmade(5), 5),
        (handmade(5) + SKIPPABLE, 5),
        (SKIPPABLE + handmade(5), 5),
        (SKIPPABLE, 5),
        (handmade(5)[:-1], 5),
        (handmade(5)[:5], 5),
        (b"", 5),
        (b"hello", 5),
        (handmade(0), 0),
        (zstandard.compress(b""), 0),
        (zstandard.ZstdCompressor(write_content_size=False).compress(TEXT), len(TEXT)),
    ],
    ids=[
        "states more than it holds",
        "states less than it holds",
        "larger than recorded",
        "smaller than recorded",
        "dictionary id",
        "window",
        "byte behind",
        "second frame",
        "skippable frame behind",
        "skippable frame before",
        "skippable frame",
        "cut",
        "cut in the header",
        "nothing",
        "no frame",
        "states 0, holds 5",
        "empty frame",
        "states no size",
    ],
)
def test_refused(read: Callable[[bytes, int], bytes], frame: bytes, size: int) -> None:
    """What is not one whole frame of the recorded size is refused."""
    with pytest.raises(FormatError):
        read(frame, size)


@both
def test_bombs(read: Callable[[bytes, int], bytes]) -> None:
    """2 KB that hold 64 MiB are refused before anything is allocated."""
    bomb = compress(bytes(64 * limits.MIB), 3)
    assert len(bomb) < 8 * limits.KIB
    tracemalloc.start()
    with pytest.raises(FormatError):
        read(bomb, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < limits.MIB


@both
def test_flipped_bits(read: Callable[[bytes, int], bytes]) -> None:
    """
    A flipped bit is a FormatError or gives bytes of the recorded size, some of
    them wrong and some the same: only hashes of both sides find every flip.
    """
    frame = diff(BASE, TEXT, 3)
    outcomes = set()
    for at in range(8 * len(frame)):
        flipped = bytearray(frame)
        flipped[at // 8] ^= 1 << at % 8
        try:
            raw = read(bytes(flipped), len(TEXT))
        except FormatError:
            outcomes.add("refused")
        else:
            assert len(raw) == len(TEXT)
            outcomes.add("same" if raw == TEXT else "other")
    assert {"refused", "other"} <= outcomes


def test_too_short() -> None:
    """Nothing is no frame, and a base has some bytes."""
    base = bytes(limits.DIFFERENCE_BASE_SIZE_MIN)
    with pytest.raises(ValueError, match="stored as it is"):
        compress(b"", 3)
    with pytest.raises(ValueError, match="needs"):
        diff(base, b"", 3)
    with pytest.raises(ValueError, match="needs"):
        diff(base[1:], b"x", 3)
    with pytest.raises(FormatError, match="base"):
        patch(base[1:], diff(base, b"x", 3), raw_size=1)


def test_wrong_base() -> None:
    """Another base gives an error or other bytes, never the right ones."""
    base = state(100_000)
    delta = diff(base, base, 3)
    try:
        raw = patch(base[::-1], delta, raw_size=len(base))
    except FormatError:
        return
    assert raw != base


@pytest.mark.parametrize("level", [1, 3, 9])
def test_differences_are_small(level: int) -> None:
    """
    An edit, an insertion and a removal in the middle of 3 MB cost less than a
    hundredth of what the whole costs, and so does no change at all.
    """
    base = state(3_000_000)
    middle = len(base) // 2
    whole = len(compress(base, level))
    for data in (
        base,
        base[:middle] + b"#" * 1000 + base[middle + 1000 :],
        base[:middle] + state(1000) + base[middle:],
        base[:middle] + base[middle + 1000 :],
    ):
        delta = diff(base, data, level)

        assert len(delta) < whole / 100
        assert data == patch(base, delta, raw_size=len(data))


def test_largest_difference() -> None:
    """A base and a result of the largest size reach each other's far ends."""
    base = random.Random(1).randbytes(limits.BLOB_RECORD_SIZE_MAX)
    data = base[: limits.MIB] + base[-limits.MIB :] + base[limits.MIB : -limits.MIB]
    delta = diff(base, data, 1)

    assert len(delta) < len(base) / 100
    assert data == patch(base, delta, raw_size=len(data))


def test_long_repetitions() -> None:
    """With *long* a block finds what a low level forgot megabytes ago."""
    block = state(2_000_000)
    data = block + random.Random(2).randbytes(6_000_000) + block
    short, long = (compress(data, 1, long=long) for long in (False, True))

    assert len(short) - len(long) > len(compress(block, 1)) / 2
    assert data == decompress(long, raw_size=len(data))


def test_threads() -> None:
    """Threads that compress and read at once do not disturb each other."""

    def work(seed: int) -> bool:
        source = random.Random(seed)
        for _ in range(60):
            data = source.randbytes(50) * source.randrange(1, 400)
            base = data[: len(data) // 2]
            frame = compress(data, source.choice([1, 3]), long=seed % 2 == 0)
            delta = diff(base, data, 1)
            assert data == decompress(frame, raw_size=len(data))
            assert data == patch(base, delta, raw_size=len(data))
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_prefixes_are_imported_late() -> None:
    """Only the first difference pays for the second library."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    code = f"import sys, castore.compress; sys.exit({name!r} in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
