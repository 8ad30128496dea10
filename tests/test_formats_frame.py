"""
Frames: built and read back, and refused when any bit or the place differs.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from format_strategies import counts, digests, ids
from hypothesis import given
from hypothesis import strategies as st

from castore.codec import decode_record
from castore.errors import CorruptionError, LimitError
from castore.formats import frame as frame_format
from castore.formats.frame import (
    HASH_SIZE,
    HEADER_SIZE,
    FrameHeader,
    Record,
    check_hash,
    check_shape,
    decode_raw,
    decode_table,
    encode_footer,
    finish,
    parse_header,
    seal_part,
    stored_part,
)
from castore.reading.frames import Records


START = 188
blobs = st.binary(max_size=60) | st.binary(min_size=1, max_size=4).map(
    lambda data: data * 100
)
sizes = st.integers(1, 8 << 20)
extras = st.lists(st.none() | st.integers(0, 9) | st.text(max_size=3), max_size=3)


@st.composite
def records(draw: st.DrawFn) -> tuple[list[Any], bytes]:
    """Return a record: its descriptor and payload."""
    data = draw(blobs)
    rest: list[Any] = draw(
        st.sampled_from(
            [
                [1],
                [
                    2,
                    draw(digests),
                    draw(sizes),
                    draw(digests),
                    draw(st.integers(1, 255)),
                ],
                [3, draw(digests), draw(counts)],
                [4, draw(ids), draw(counts), draw(digests), draw(sizes), 1],
                [5],
                [8],
                [draw(st.integers(64, 255)), *draw(extras)],
            ]
        )
    )
    return [rest[0], len(data), *rest[1:]], data


@st.composite
def places(draw: st.DrawFn) -> dict[str, Any]:
    """Return a place of a frame."""
    offset = draw(st.integers(START, 1 << 40))
    group = draw(st.integers(START, offset))
    place = {"offset": offset, "group_start": group}
    return place | {"file_hash": draw(digests), "prev": draw(digests)}


def build(
    items: list[tuple[list[Any], bytes]], place: dict[str, Any], level: int
) -> bytes:
    """Return the frame of *items*."""
    part = seal_part(b"".join(payload for _, payload in items), level)
    return finish(part, [descriptor for descriptor, _ in items], **place)


def read(data: bytes, place: dict[str, Any]) -> tuple[FrameHeader, bytes, list[Record]]:
    """Return header, hash and records of a frame, or refuse it."""
    view = memoryview(data)
    header = parse_header(view, room=len(view))
    where = {name: place[name] for name in ("offset", "file_hash", "prev")}
    digest = check_hash(view[: header.size], header, **where)
    check_shape(header, offset=place["offset"], start=START)
    table = decode_table(view, header)
    return header, digest, list(Records(table, decode_raw(view, header)))


@given(
    st.lists(records(), min_size=1, max_size=5), places(), st.sampled_from([0, 1, 3])
)
def test_frames_come_back(
    items: list[tuple[list[Any], bytes]], place: dict[str, Any], level: int
) -> None:
    """What is put in a frame is read from it; its hash is its last 32 bytes."""
    data = build(items, place, level)
    header, digest, found = read(data, place)

    assert len(data) == header.size
    assert place["group_start"] == header.group_start
    assert data[-HASH_SIZE:] == digest
    assert items == [(item.descriptor, bytes(item.payload)) for item in found]
    assert [item.descriptor[0] for item in found] == [item.kind for item in found]
    part = stored_part(memoryview(data), header)
    assert data == finish(part, [descriptor for descriptor, _ in items], **place)


@given(st.lists(records(), min_size=1, max_size=3), places(), st.data())
def test_any_flipped_bit_is_refused(
    items: list[tuple[list[Any], bytes]], place: dict[str, Any], data: st.DataObject
) -> None:
    """A frame with one flipped bit anywhere is no frame: ``corrupt frame``."""
    frame = bytearray(build(items, place, 3))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptionError) as caught:
        read(bytes(frame), place)

    assert "corrupt frame" == caught.value.verdict


PLACE: dict[str, Any] = {
    "offset": 1000,
    "group_start": 500,
    "file_hash": b"f" * 32,
    "prev": b"p" * 32,
}


def test_every_flipped_bit_of_one_frame_is_refused() -> None:
    """None of the bits of a frame may differ, in whatever part it stands."""
    whole = build([([1, 3], b"abc"), ([64, 2, "x"], b"de")], PLACE, 0)
    for bit in range(len(whole) * 8):
        frame = bytearray(whole)
        frame[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptionError) as caught:
            read(bytes(frame), PLACE)
        assert "corrupt frame" == caught.value.verdict


def test_every_cut_of_one_frame_is_refused() -> None:
    """A frame that ends early is refused wherever it ends."""
    whole = build([([1, 3], b"abc")], PLACE, 0)
    for size in range(len(whole)):
        with pytest.raises(CorruptionError) as caught:
            read(whole[:size], PLACE)
        assert "corrupt frame" == caught.value.verdict


def test_a_frame_does_not_reach_beyond_its_room() -> None:
    """A frame that would end behind the last offset that counts is refused."""
    whole = build([([1, 3], b"abc")], PLACE, 0)
    parse_header(whole, room=len(whole))
    with pytest.raises(CorruptionError, match="cut"):
        parse_header(whole, room=len(whole) - 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("offset", 1001), ("file_hash", b"g" * 32), ("prev", b"q" * 32)],
)
def test_a_frame_is_valid_at_one_place(name: str, value: object) -> None:
    """Moved, copied to another file, or put behind another frame it is refused."""
    whole = build([([1, 3], b"abc")], PLACE, 0)
    with pytest.raises(CorruptionError) as caught:
        read(whole, PLACE | {name: value})

    assert "corrupt frame" == caught.value.verdict


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_are_refused_as_a_frame(data: bytes, room: int) -> None:
    """Bytes that nobody wrote as a frame are refused, and nothing else happens."""
    with pytest.raises(CorruptionError) as caught:
        parse_header(data, room=min(room, len(data)))

    assert "corrupt frame" == caught.value.verdict


@given(st.binary(min_size=16, max_size=300))
def test_any_bytes_behind_a_magic_are_refused(rest: bytes) -> None:
    """A header with made-up sizes leads to no frame and to no large allocation."""
    with pytest.raises(CorruptionError) as caught:
        read(frame_format.MAGIC + rest, PLACE)

    assert "corrupt frame" == caught.value.verdict


def test_compression_is_used_where_it_shrinks() -> None:
    """What does not get smaller is stored as it is; so is what is asked to be."""
    small, random_like = b"z" * 32, bytes(range(256))
    even = b"z" * 1000

    assert frame_format.RAW == seal_part(small, 3).codec
    assert frame_format.RAW == seal_part(random_like, 3).codec
    assert frame_format.RAW == seal_part(even, 0).codec
    assert frame_format.ZSTD == seal_part(even, 3).codec
    assert frame_format.ZSTD == seal_part(even, 3, long=True).codec


def test_a_stored_part_does_not_depend_on_its_place() -> None:
    """A frame can be moved without compressing anew."""
    records = [([1, 1000], b"z" * 1000)]
    data = build(records, PLACE, 3)
    header, _, _ = read(data, PLACE)
    other = PLACE | {"offset": 9000, "group_start": 9000}

    part = stored_part(memoryview(data), header)
    moved = finish(part, [records[0][0]], **other)

    _, _, found = read(moved, other)
    assert records[0][1] == bytes(found[0].payload)
    assert data[HEADER_SIZE:-HASH_SIZE] == moved[HEADER_SIZE:-HASH_SIZE]


LARGE = frame_format.Part(frame_format.ZSTD, 1, b"x", bytes(32))


@pytest.mark.parametrize(
    ("part", "table", "limit"),
    [
        (LARGE, [[1, 0]] * 65_536, 65_535),
        (LARGE, [[64, 0, bytes(4 << 20)]], 4 << 20),
        (attrs.evolve(LARGE, raw_size=(16 << 20) + 1), [[1, 0]], 16 << 20),
        (attrs.evolve(LARGE, data=bytes((17 << 20) + 1)), [[1, 0]], 17 << 20),
    ],
    ids=["records", "table", "raw", "stored"],
)
def test_no_frame_is_built_that_a_reader_would_refuse(
    part: frame_format.Part, table: list[list[object]], limit: int
) -> None:
    """A frame beyond a limit is `LimitError` for who wants to write it."""
    with pytest.raises(LimitError) as caught:
        finish(part, table, **PLACE)

    assert limit == caught.value.limit


@given(st.lists(counts, max_size=9))
def test_footers_come_back(offsets: list[int]) -> None:
    """A footer is a record of the offsets that were put in it."""
    assert offsets == decode_record(encode_footer(offsets), size_max=1 << 20)
