"""
File headers, the lock file and ``castore.json``: come back, and no flip passes.
"""

from __future__ import annotations

import json

import attrs
import pytest

from format_strategies import headers, ids, locks
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import CorruptionError
from castore.formats.file import (
    SIZE,
    FileHeader,
    decode_header,
    encode_header,
    file_name,
    parse_name,
)
from castore.formats.mark import SIZE as LOCK_SIZE
from castore.formats.mark import LockFile, decode_lock, encode_lock
from castore.formats.marker import decode_marker, encode_marker
from castore.formats.refuse import placed, refusal


STORE = bytes(range(16))
FILE = bytes([0xF0]) * 16
HEADER = FileHeader(3, STORE, FILE)


def flips(data: bytes) -> list[bytes]:
    """Return *data* with each of its bits flipped."""
    found = []
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        found.append(bytes(flipped))
    return found


# --- file header -------------------------------------------------------------


@given(headers(), st.binary(max_size=9))
def test_headers_come_back(header: FileHeader, behind: bytes) -> None:
    """A header that is written is the one that is read, whatever follows it."""
    data = encode_header(header)

    assert SIZE == len(data)
    found = decode_header(data + behind, file=header.id, store=header.store)
    assert header == found
    assert header == decode_header(data, file=header.id, store=None)


def test_every_flipped_bit_of_a_header_is_refused() -> None:
    """A header with one flipped bit is ``corrupt frame``."""
    for data in flips(encode_header(HEADER)):
        with pytest.raises(CorruptionError) as caught:
            decode_header(data, file=FILE, store=STORE)
        assert "corrupt frame" == caught.value.verdict


@given(headers(), st.integers(0, SIZE * 8 - 1))
def test_any_flipped_bit_of_any_header_is_refused(header: FileHeader, bit: int) -> None:
    """The file hash covers all of the header, and stands in it."""
    data = flips(encode_header(header))[bit]
    with pytest.raises(CorruptionError) as caught:
        decode_header(data, file=header.id, store=None)

    assert "corrupt frame" == caught.value.verdict


@given(headers(), ids)
def test_a_header_belongs_to_its_name_and_store(
    header: FileHeader, other: bytes
) -> None:
    """Under another name or in another store a good header is foreign."""
    data = encode_header(header)
    for file, store in ((other, header.store), (header.id, other)):
        if (file, store) != (header.id, header.store):
            with pytest.raises(CorruptionError) as caught:
                decode_header(data, file=file, store=store)
            assert "foreign record" == caught.value.verdict


@given(ids)
def test_file_names_come_back(file: bytes) -> None:
    """A file's name gives its id, and no other name does."""
    folder, _, name = file_name(file).partition("/")

    assert ("files", file) == (folder, parse_name(name))
    for wrong in (
        name.upper(),
        name[1:],
        "0" + name,
        name + ".",
        name.replace(".", "_"),
        name[:-4],
        name[:-3] + "tmp",
        "../" + name,
        "\u0663" + name[1:],
    ):
        assert wrong == name or parse_name(wrong) is None


# --- lock file ---------------------------------------------------------------


@given(locks)
def test_lock_files_come_back(lock: LockFile) -> None:
    """What is written to the lock file is read from it."""
    data = encode_lock(lock)

    assert LOCK_SIZE == len(data)
    assert lock == decode_lock(data)


LOCK = LockFile(FILE, 1, 2, STORE, 300, bytes(32), 4, 5, 6, 7, 8, "host castore")


def test_every_flipped_bit_of_a_lock_file_says_nothing() -> None:
    """A lock file with one flipped bit is as if there were none."""
    assert decode_lock(encode_lock(LOCK)) == LOCK
    assert [] == [data for data in flips(encode_lock(LOCK)) if decode_lock(data)]


@given(st.binary(max_size=300) | st.binary(min_size=256, max_size=256))
def test_other_bytes_say_nothing(data: bytes) -> None:
    """What is not a lock file is as if there were none."""
    assert decode_lock(data) is None


@pytest.mark.parametrize(
    ("holder", "seen"),
    [
        ("h" * 200, "h" * 108),
        ("\u00e9" * 54 + "x", "\u00e9" * 54),
        ("h" + "\u00e9" * 54, "h" + "\u00e9" * 53),
        ("host \udcff", "host ?"),
        ("", ""),
    ],
)
def test_the_holder_is_cut_to_fit(holder: str, seen: str) -> None:
    """Any holder fits, cut between characters; what is no text is replaced."""
    lock = decode_lock(encode_lock(attrs.evolve(LOCK, holder=holder)))

    assert lock is not None
    assert seen == lock.holder


# --- castore.json ------------------------------------------------------------


@given(ids, st.booleans())
def test_markers_come_back(store: bytes, writing: bool) -> None:
    """The store id is read from a marker as it was written."""
    assert store == decode_marker(encode_marker(store), writing=writing)


def test_no_flipped_bit_of_a_marker_passes() -> None:
    """
    A flipped bit in a marker is refused, or names another store; whose files
    then are foreign. The marker has no checksum: people read it.
    """
    for data in flips(encode_marker(STORE)):
        try:
            found = decode_marker(data, writing=False)
        except CorruptionError:
            continue
        assert found != STORE
        assert encode_marker(found) == data


@given(st.binary(max_size=200))
def test_other_bytes_are_no_marker(data: bytes) -> None:
    """Bytes that are no marker are refused, and nothing else happens."""
    with pytest.raises(CorruptionError) as caught:
        decode_marker(data, writing=True)

    assert "malformed record" == caught.value.verdict


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
    ),
    max_leaves=8,
)


@given(st.sampled_from(["castore", "features", "store", "suite"]), json_values)
def test_any_value_in_a_marker_is_judged(name: str, value: object) -> None:
    """Whatever a marker holds in place of a value, it is refused by a verdict."""
    facts = json.loads(encode_marker(STORE))
    changed = facts | {name: value}
    data = (json.dumps(changed, sort_keys=True) + "\n").encode()
    if changed == facts and type(value) is type(facts[name]):
        return
    with pytest.raises(CorruptionError) as caught:
        decode_marker(data, writing=True)

    assert caught.value.verdict in ("malformed record", "unsupported version")


def test_a_deep_marker_is_refused() -> None:
    """Values deeper than the interpreter goes are ``malformed record``."""
    features = json.dumps(json.loads(encode_marker(STORE))["features"])
    for depth in (*range(800, 1010), 3000, 30_000):
        deep = "[" * depth + "]" * depth
        data = encode_marker(STORE).decode().replace(features, deep).encode()
        assert deep.encode() in data
        with pytest.raises(CorruptionError) as caught:
            decode_marker(data, writing=False)
        assert "malformed record" == caught.value.verdict


# --- places ------------------------------------------------------------------


def test_a_place_is_given_once() -> None:
    """The innermost place that is known stands in a refusal; other errors pass."""
    with pytest.raises(CorruptionError) as caught, placed("outer"), placed("inner"):
        raise refusal("what")
    assert "inner" == caught.value.where
    with pytest.raises(KeyError), placed("outer"):
        raise KeyError
    with placed("outer"):
        pass
