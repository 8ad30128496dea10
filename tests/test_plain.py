"""
Entries full of references, taken apart at once: as if it were done one by one.
"""

from typing import Any
from unittest import mock

import pytest

from format_strategies import counts, digests, texts
from hypothesis import example, given
from hypothesis import strategies as st

from castore import limits
from castore.codec import encode_record
from castore.errors import CorruptionError
from castore.formats import plain
from castore.formats.plain import PlainRefs, split_entries
from castore.formats.stored import decode_stored, entries_of


sizes = st.integers(0, 300) | st.integers(0, limits.SLICED_SIZE_MIN - 1)
plain_refs = st.tuples(texts(0, 23), digests, sizes, st.just(0), st.none()).map(list)
entries = st.tuples(
    st.none() | st.integers(-300, 300) | counts,
    texts(1, 23).filter(lambda kind: kind != "start"),
    st.integers(0, 300),
    st.lists(plain_refs, max_size=30),
).map(list)
runs = st.lists(entries, min_size=1, max_size=4)


def decoded(payload: bytes, count: int, *, at_once: bool) -> list[Any] | str:
    """Return stored entries, or what they are refused for."""
    with mock.patch.object(plain, "_ENTRY_SIZE_MIN", 0 if at_once else 1 << 40):
        try:
            return decode_stored(payload, count)
        except CorruptionError as error:
            return error.what


def hashes(stored: list[Any]) -> list[bytes] | str:
    """Return the hashes of stored entries, or what they are refused for."""
    place = {"first_index": 3, "prev": bytes(32), "bodies": [(bytes(32), 1)] * 301}
    try:
        return [digest for digest, *_ in entries_of(stored, **place)]  # type: ignore[arg-type]
    except CorruptionError as error:
        return error.what


@given(runs)
@example([[None, "k", 0, [["r", bytes(32), 7, 0, None]] * 256]])
def test_what_is_taken_apart_at_once(run: list[list[Any]]) -> None:
    """It gives what was stored, the references' bytes, and the same hashes."""
    payload = encode_record(run)
    with mock.patch.object(plain, "_ENTRY_SIZE_MIN", 0):
        found = split_entries(payload, len(run))

    assert run == found
    for entry in found:
        refs = entry[3]
        if refs:
            assert isinstance(refs, PlainRefs)
            assert refs.encoded == encode_record(list(refs))
            assert [refs[at] for at in range(len(refs))] == list(refs)
    assert hashes(run) == hashes(found)


@given(runs, st.data())
def test_it_refuses_what_one_by_one_is_refused(
    run: list[list[Any]], data: st.DataObject
) -> None:
    """Whatever byte is changed: both ways refuse it, or both read the same."""
    payload = bytearray(encode_record(run))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] = data.draw(st.integers(0, 255))
    count = data.draw(st.sampled_from([len(run), len(run), len(run) + 1]))

    given_ = bytes(payload)
    assert decoded(given_, count, at_once=True) == decoded(given_, count, at_once=False)


@pytest.mark.parametrize(
    "ref",
    [
        ["r" * 24, bytes(32), 7, 0, None],
        ["r", bytes(32), limits.SLICED_SIZE_MIN, 0, bytes(32)],
        ["", bytes(32), 7, 1, None],
        ["r", bytes(32), limits.SLICED_SIZE_MIN, 0, None],
        ["r", bytes(31), 7, 0, None],
        ["r", bytes(32), -1, 0, None],
        ["r", bytes(32), 7, 0],
    ],
)
def test_other_references_among_many(ref: list[Any]) -> None:
    """One that is not plain has the whole run read one by one."""
    usual = ["r", bytes(32), 7, 0, None]
    payload = encode_record([[None, "k", 0, [usual] * 20 + [ref]]])

    with mock.patch.object(plain, "_ENTRY_SIZE_MIN", 0):
        assert split_entries(payload, 1) is None
    assert decoded(payload, 1, at_once=True) == decoded(payload, 1, at_once=False)
