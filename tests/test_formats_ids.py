"""
Ids of sessions and segments.
"""

from __future__ import annotations

import threading
import uuid

import pytest

from hypothesis import given
from hypothesis import strategies as st

from castore.formats import ids
from castore.formats.ids import make_id


NOW_MS = 1_794_000_000_000


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the ids that were made before."""
    monkeypatch.setattr(ids, "_latest", -1)


def forget() -> None:
    """Forget the ids that were made before."""
    ids._latest = -1


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_an_id_is_a_uuid_of_version_7(now_ms: int, random: bytes) -> None:
    """An id has version, variant and time of a UUIDv7, and the random bits given."""
    forget()
    made = make_id(now_ms, random)
    found = uuid.UUID(bytes=made)
    kept = int.from_bytes(random) & ~(0xF << 76) & ~(0x3 << 62)

    assert (7, uuid.RFC_4122) == (found.version, found.variant)
    assert made[:6] == now_ms.to_bytes(6)
    assert kept == found.int & ((1 << 80) - 1) & ~(0xF << 76) & ~(0x3 << 62)


times = st.integers(NOW_MS - 2, NOW_MS + 2)
randoms = st.sampled_from([bytes(10), b"\xff" * 10]) | st.binary(
    min_size=10, max_size=10
)


@given(st.lists(st.tuples(times, randoms), min_size=2, max_size=20))
def test_ids_rise(steps: list[tuple[int, bytes]]) -> None:
    """Each id is greater than the one before, also when the clock goes back."""
    forget()
    made = [make_id(*step) for step in steps]

    assert sorted(set(made)) == made
    for found in (uuid.UUID(bytes=item) for item in made):
        assert (7, uuid.RFC_4122) == (found.version, found.variant)


def test_ids_rise_beyond_full_random_bits() -> None:
    """Where the random bits are all ones the next id carries into what stands above."""
    made = [make_id(NOW_MS, b"\xff" * 10) for _ in range(3)]

    assert sorted(set(made)) == made
    for found in (uuid.UUID(bytes=item) for item in made):
        assert (7, uuid.RFC_4122) == (found.version, found.variant)


def test_ids_are_unique_among_threads() -> None:
    """Threads that make ids at once with one clock and no chance get different ones."""
    made: list[bytes] = []

    def work() -> None:
        made.extend([make_id(NOW_MS, bytes(10)) for _ in range(200)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 800 == len(set(made))
