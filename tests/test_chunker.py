"""
Content-defined chunks: together the content, whatever the parts it came in.
"""

from __future__ import annotations

import random
import tracemalloc

from collections.abc import Iterator

import pytest

from hypothesis import given, settings
from hypothesis import strategies as st

from castore.chunker import SIZE_AVERAGE, SPREAD, chunks
from castore.limits import BLOB_RECORD_SIZE_MAX, KIB, MIB


SIZE_MIN, SIZE_MAX = SIZE_AVERAGE // SPREAD, SIZE_AVERAGE * SPREAD
DATA = random.Random(5).randbytes(24 * MIB)
EVEN = bytes(9 * MIB)


def in_parts(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Yield *data* in parts of *sizes*, over and over."""
    at = number = 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        yield data[at : at + size]
        at += size
        number += 1


@pytest.mark.parametrize(
    "size",
    [0, 1, SIZE_MIN - 1, SIZE_MIN, SIZE_MIN + 1, SIZE_MAX, SIZE_MAX + 1, 3 * MIB],
)
def test_chunks_together_are_the_content(size: int) -> None:
    """Nothing is lost, repeated or reordered; no content has no chunks."""
    found = list(chunks([DATA[:size]]))

    assert DATA[:size] == b"".join(found)
    assert bool(size) == bool(found)
    assert b"" not in found


@pytest.mark.parametrize("data", [DATA, EVEN], ids=["random", "even"])
def test_sizes_are_within_bounds(data: bytes) -> None:
    """Chunks have 64 KiB to 1 MiB, the last one perhaps less."""
    sizes = [len(part) for part in chunks([data])]

    assert (64 * KIB, MIB) == (SIZE_MIN, SIZE_MAX)
    assert all(SIZE_MIN <= size <= SIZE_MAX for size in sizes[:-1])
    assert 0 < sizes[-1] <= SIZE_MAX <= BLOB_RECORD_SIZE_MAX


def test_sizes_are_about_the_average() -> None:
    """Random content is cut at about the size that is aimed at."""
    found = list(chunks([DATA]))

    assert SIZE_AVERAGE / 2 < len(DATA) / len(found) < SIZE_AVERAGE * 2


WHOLE = list(chunks([DATA]))


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.sampled_from([64 * KIB, MIB, 3 * MIB + 1, 8 * MIB, 9 * MIB + 7, 20 * MIB])
        | st.integers(10_000, 12 * MIB),
        min_size=1,
        max_size=4,
    )
)
def test_parts_do_not_move_cuts(sizes: list[int]) -> None:
    """The same bytes are cut in the same places, in whatever parts they come."""
    assert list(chunks(in_parts(DATA, sizes))) == WHOLE


def test_small_and_empty_parts_do_not_move_cuts() -> None:
    """Parts of some bytes, and of none, are as good as large ones."""
    data = DATA[: 2 * MIB]
    parts = [part for small in in_parts(data, [1000, 7]) for part in (b"", small)]

    assert list(chunks([data])) == list(chunks(parts))


def test_cuts_move_with_the_content() -> None:
    """What is put in front changes the chunks around it and no others."""
    shifted = set(chunks([b"new" * 1000 + DATA]))

    assert len(shifted & set(WHOLE)) >= len(WHOLE) - 3


def test_chunks_are_bytes_of_their_own() -> None:
    """A chunk keeps no other bytes in memory and does not change with its source."""
    source = bytearray(DATA[: 2 * MIB])
    found = list(chunks([bytes(source)]))
    source[:] = bytes(len(source))

    assert {bytes} == {type(part) for part in found}
    assert DATA[: 2 * MIB] == b"".join(found)


def test_memory_does_not_grow_with_the_content() -> None:
    """Many parts take the memory of a buffer, not that of the blob."""

    def parts(count: int) -> Iterator[bytes]:
        for number in range(count):
            at = number * MIB % len(DATA)
            yield DATA[at : at + MIB]

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            size = sum(len(part) for part in chunks(parts(count)))
            assert count * MIB == size
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(96) < 1.5 * peak(24)
    assert peak(96) < 48 * MIB


def test_nothing_is_read_ahead_of_need() -> None:
    """Parts are taken as chunks are asked for."""
    taken = 0

    def parts() -> Iterator[bytes]:
        nonlocal taken
        for at in range(0, len(DATA), MIB):
            taken += 1
            yield DATA[at : at + MIB]

    next(chunks(parts()))

    assert taken <= 9
