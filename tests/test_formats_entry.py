"""
Entries, references, start records and ref lists: what is written is read back.
"""

from __future__ import annotations

import itertools

from typing import Any

import pytest

from format_strategies import (
    MOST,
    blob_refs,
    counts,
    digests,
    ids,
    list_references,
    plain_references,
    references,
    starts,
    texts,
)
from hypothesis import given
from hypothesis import strategies as st

from castore import limits
from castore.codec import encode_record
from castore.digest import format_digest, in_context
from castore.errors import CorruptionError
from castore.formats.entry import (
    BlobRef,
    Origin,
    Reference,
    Start,
    check_refs,
    check_start,
    decode_ref_list,
    encode_ref_list,
    genesis,
    parse_refs,
    parse_start,
    ref_list_digest,
)
from castore.formats.stored import decode_stored, encode_stored, entries_of


names = st.tuples(digests, counts)


@st.composite
def stored_entries(draw: st.DrawFn) -> list[Any]:
    """Return a stored entry: with the number 0 of a body, or with its name."""
    time = draw(st.none() | st.integers(-5, 5) | counts)
    body: object = draw(st.just(0) | names.map(list))
    refs = [ref.record() for ref in draw(st.lists(references, max_size=3))]
    if draw(st.booleans()):
        start = draw(starts())
        return [time, "start", body, refs, start.record()]
    kind = draw(texts(1, 64).filter(lambda text: text != "start"))
    return [time, kind, body, refs]


@given(st.lists(references, max_size=5))
def test_references_come_back(refs: list[Reference]) -> None:
    """A reference that is written is the one that is read."""
    written = [ref.record() for ref in refs]

    assert tuple(refs) == parse_refs(check_refs(written, count_max=5, lists=True))


@given(st.lists(references, min_size=2, max_size=5))
def test_references_are_counted(refs: list[Reference]) -> None:
    """More references than there may be are refused."""
    written = [ref.record() for ref in refs]
    with pytest.raises(CorruptionError) as caught:
        check_refs(written, count_max=len(refs) - 1, lists=True)

    assert "malformed record" == caught.value.verdict


@given(starts())
def test_start_records_come_back(start: Start) -> None:
    """A start record that is written is the one that is read."""
    assert start == parse_start(start.record())


@given(starts(), st.integers(0, 3))
def test_a_start_record_fits_one_place(start: Start, index: int) -> None:
    """
    A start record stands at index 0, or, a fork's, at the count of its origin,
    behind the last entry of it; in the session and segment that it names.
    """
    own = {"session": start.session, "segment": start.segment}
    origin = start.origin if start.cause == "fork" else None
    at, prev = (origin.count, origin.last) if origin else (0, b"genesis")
    check_start(start, **own, index=at, prev=prev)

    for wrong in (own | {"session": b"x"}, own | {"segment": b"x"}):
        with pytest.raises(CorruptionError, match="another session or segment"):
            check_start(start, **wrong, index=at, prev=prev)
    if index != at:
        with pytest.raises(CorruptionError, match="start record"):
            check_start(start, **own, index=index, prev=prev)
    if origin:
        with pytest.raises(CorruptionError, match="origin of other entries"):
            check_start(start, **own, index=at, prev=b"another")


@given(st.lists(plain_references, min_size=1, max_size=5))
def test_ref_lists_come_back(refs: list[Reference]) -> None:
    """A ref list gives its references, and its name is the hash of its bytes."""
    name, payload = encode_ref_list(refs)

    assert tuple(refs) == decode_ref_list(payload)
    assert name == ref_list_digest(payload) == in_context["refs"](payload)


@given(st.lists(plain_references, max_size=2), list_references)
def test_a_ref_list_holds_no_ref_list(refs: list[Reference], inner: Reference) -> None:
    """What a ref list names are blobs."""
    _, payload = encode_ref_list([*refs, inner])
    with pytest.raises(CorruptionError, match="flags"):
        decode_ref_list(payload)


@given(st.lists(stored_entries(), min_size=1, max_size=4), names, counts, digests)
def test_stored_entries_give_their_hashed_forms(
    stored: list[list[Any]], body: tuple[bytes, int], first: int, prev: bytes
) -> None:
    """
    Stored entries are hashed with index counted up, time summed up, body named,
    each behind the one before.
    """
    count = len(stored)
    first = min(first, MOST - count + 1)
    times, clock = [], 0
    for item in stored:
        clock += item[0] or 0
        times.append(None if item[0] is None else clock)
    payload = encode_record(stored)
    found = decode_stored(payload, count)

    if any(time is not None and not 0 <= time <= MOST for time in times):
        with pytest.raises(CorruptionError, match="time out of range"):
            list(entries_of(found, first_index=first, prev=prev, bodies=[body]))
        return
    rows = list(entries_of(found, first_index=first, prev=prev, bodies=[body]))
    assert stored == found
    for index, (digest, time, form, place) in enumerate(rows, first):
        fields = [1, index, prev, times[index - first], form[1], *place, *form[3:]]
        hashed = encode_record(fields)
        assert digest == in_context["entry"](hashed)
        assert time == times[index - first]
        assert place == (body if form[2] == 0 else tuple(form[2]))
        prev = digest


def test_the_largest_entry_is_within_its_limit() -> None:
    """Whatever a writer may put into an entry, its hashed form can be read."""
    blob = BlobRef(bytes(32), MOST, bytes(32))
    refs = [Reference("r" * limits.ROLE_SIZE_MAX, blob).record()]
    origin = Origin(bytes(16), bytes(16), MOST, bytes(32), bytes(32), MOST)
    key = ("n" * 64, "k" * limits.NAME_SIZE_MAX)
    start = Start(bytes(16), bytes(16), "compaction", origin, key)
    body = [bytes(32), MOST]
    many = refs * limits.ENTRY_REFS_COUNT_MAX
    stored = [[MOST, "start", body, many, start.record()]]
    found = decode_stored(encode_record(stored), 1)
    rows = list(entries_of(found, first_index=MOST, prev=bytes(32), bodies=[]))
    assert 1 == len(rows)


@given(st.lists(stored_entries(), max_size=3), st.integers(0, 4))
def test_stored_entries_are_as_many_as_stated(
    stored: list[list[Any]], count: int
) -> None:
    """A run of another count than its descriptor says is refused."""
    payload = encode_record(stored)
    if count == len(stored):
        assert stored == decode_stored(payload, count)
        return
    with pytest.raises(CorruptionError, match="not as many"):
        decode_stored(payload, count)


@given(st.lists(stored_entries(), max_size=3))
def test_stored_entries_are_one_record(stored: list[list[Any]]) -> None:
    """A run is encoded as the record that it is, whatever its entries hold."""
    assert encode_record(stored) == encode_stored(stored)


def test_an_entry_is_checked_whatever_stands_before_it() -> None:
    """What is refused by itself is refused behind an entry of the same kind too."""
    times = [None, 0, -1, True, b""]
    kinds = ["kind", "start", "", "k" * 65, 1, []]
    bodies = [0, 1, -1, True, None, [bytes(32), 1], []]
    refs: list[Any] = [[], [[]], b"", None, 0]
    origin = Start(bytes(16), bytes(16), "new")
    before = [[None, "kind", 0, []], [None, "start", 0, [], origin.record()]]

    def is_good(run: list[Any]) -> bool:
        try:
            decode_stored(encode_record(run), len(run))
        except CorruptionError:
            return False
        return True

    found = set()
    for form in itertools.product(times, kinds, bodies, refs):
        for stored in ([*form], [*form[:3]], [*form, 0], form[0]):
            found.add(is_good([stored]))
            assert is_good([stored]) == is_good([*before, stored])
    assert {True, False} == found


@given(stored_entries(), st.data())
def test_a_flipped_bit_never_passes_unseen(
    stored: list[Any], data: st.DataObject
) -> None:
    """A flipped bit in stored entries is refused or changes the entry's hash."""
    payload = bytearray(encode_record([stored]))
    options = {"first_index": 5, "prev": bytes(32), "bodies": [(bytes(32), 1)] * 30}

    def hashes(given: bytes) -> list[bytes]:
        found = decode_stored(given, 1)
        return [digest for digest, *_ in entries_of(found, **options)]  # type: ignore[arg-type]

    try:
        before = hashes(bytes(payload))
    except CorruptionError:
        return
    bit = data.draw(st.integers(0, len(payload) * 8 - 1))
    payload[bit // 8] ^= 1 << bit % 8
    try:
        after = hashes(bytes(payload))
    except CorruptionError:
        return
    assert before != after or stored[2] != decode_stored(bytes(payload), 1)[0][2]


@given(ids, ids)
def test_genesis_binds_session_and_segment(session: bytes, segment: bytes) -> None:
    """The first ``prev`` of a segment is its own."""
    assert genesis(session, segment) == in_context["genesis"](session + segment)


@given(blob_refs())
def test_a_blob_reference_reads_as_its_name(ref: BlobRef) -> None:
    """The text of a blob reference is the blob's name outside of the store."""
    assert format_digest(ref.digest) == str(ref)
