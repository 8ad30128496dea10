"""
Attacks on records inside of whole frames, and on blobs and their forms.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from attackkit import Found, at, attack, blob_at, line, started
from framemaker import Item, Stored, blob, chunked, difference, ref_list, refer
from storemaker import Maker

from castore.codec import encode_record
from castore.compress import diff
from castore.digest import blob_digest
from castore.formats import frame as frame_format
from castore.formats.chunked import encode_chunks
from castore.formats.entry import BlobRef, Reference


def _record(folder: Path, *records: Stored, verdict: str = "malformed record") -> Found:
    """Put records into a frame of their own and expect it to be refused."""
    maker, _ = started(folder)
    offset = maker.journal.frame(records)
    maker.mark()
    return {(verdict, at(maker.journal, offset))}


@attack
def record_of_a_reserved_kind(root: Path) -> Found:
    """Kinds 9 to 63 are refused."""
    return _record(root, ([9, 1], b"x"), verdict="unsupported version")


@attack
def record_of_a_later_kind(root: Path) -> Found:
    """Kinds from 64 on may be ignored."""
    _record(root, ([64, 1, "more"], b"x"))
    return set()


@attack
def record_of_no_kind(root: Path) -> Found:
    """Kind 0 is none."""
    return _record(root, ([0, 1], b"x"))


@attack
def records_that_do_not_add_up(root: Path) -> Found:
    """Sizes of a table beyond the raw part."""
    return _record(root, ([1, 2], b"x"))


@attack
def footer_beside_a_blob(root: Path) -> Found:
    """A footer is a hint for who reads backwards; nothing is judged by it."""
    _record(root, blob(b"x"), ([8, 1], b"\x80"))
    return set()


@attack
def footer_with_other_offsets(root: Path) -> Found:
    """A footer of a journal that names no frame."""
    _record(root, ([8, 1], b"\x80"))
    return set()


@attack
def frame_behind_a_footer(root: Path) -> Found:
    """What follows a footer counts."""
    maker, log = started(root)
    maker.journal.footer()
    maker.append(log, [line(b"x")])
    maker.mark()
    return set()


@attack
def entries_without_a_commit(root: Path) -> Found:
    """Entries of a segment that no head covers, in a journal."""
    payload = encode_record([[None, "line", 0, []]])
    table = [frame_format.ENTRIES, len(payload), bytes(16), 0, bytes(32), 1, 0]
    _record(root, blob(b"x"), (table, payload))
    return {("unproven absence", f"segment:{'00' * 16}")}


@attack
def commit_without_its_head(root: Path) -> Found:
    """A frame of a journal from which the head was taken that its commit lists."""
    maker, log = started(root)
    maker.append(log, [line(b"three")])
    frames = maker.journal.records()
    frames[3] = [record for record in frames[3] if record[0][0] != frame_format.HEAD]
    maker.journal.rewrite(frames)
    maker.mark()
    where = at(maker.journal, maker.journal.offsets[3])
    return {("malformed record", where)}


@attack
def ref_list_in_a_second_encoding(root: Path) -> Found:
    """A count that takes a byte more than it needs."""
    reference = encode_record(["", bytes(32), 1, 0, None])
    payload = b"\x98\x01" + reference
    return _record(root, ([frame_format.REF_LIST, len(payload)], payload))


@attack
def chunk_list_that_does_not_add_up(root: Path) -> Found:
    """Sizes of chunks that are not the size of the blob."""
    payload = encode_chunks([(bytes(32), 5)], b"")
    table = [frame_format.CHUNKED, len(payload), bytes(32), 6]
    return _record(root, (table, payload))


@attack
def chunk_list_of_nothing(root: Path) -> Found:
    """A chunk list without chunks."""
    payload = encode_chunks([], b"")
    table = [frame_format.CHUNKED, len(payload), bytes(32), 0]
    return _record(root, (table, payload))


def _packed(folder: Path, *frames: list[Stored]) -> tuple[Maker, list[str]]:
    """Return a store with a listed pack of *frames*, and the places of these."""
    maker, _ = started(folder)
    pack = maker.make_file(3)
    places = [at(pack, pack.frame(frame)) for frame in frames]
    pack.footer()
    maker.list_files([pack])
    maker.mark()
    return maker, places


def _far(body: object, first: int = 0) -> Stored:
    payload = encode_record([[None, "line", body, []]])
    table = [frame_format.ENTRIES, len(payload), bytes(16), first, bytes(32), 1, 1]
    return table, payload


@attack
def bodies_that_are_not_there(root: Path) -> Found:
    """A body number that the next frame does not have."""
    _, places = _packed(root, [_far(1)], [blob(b"x")])
    return {("malformed record", places[0])}


@attack
def bodies_in_a_refused_frame(root: Path) -> Found:
    """Entries whose bodies cannot be read cannot be read; that is all."""
    _, places = _packed(root, [_far(0)], [([9, 1], b"x")])
    return {("unsupported version", places[1])}


@attack
def entries_beyond_the_last_index(root: Path) -> Found:
    """An index that does not exist."""
    _, _places = _packed(root, [_far(0, (1 << 63) - 1)], [blob(b"x")])
    return {("unproven absence", f"segment:{'00' * 16}")}


# --- blobs ---------------------------------------------------------------------


def _needed(folder: Path, records: list[Stored], *refs: Reference) -> Maker:
    maker, log = started(folder)
    maker.append(log, [line(b"x", *refs)], records=records)
    maker.mark()
    return maker


BASE = b"the base of a difference " * 9
NEXT = BASE + b"and more"


@attack
def difference_without_its_base(root: Path) -> Found:
    """A needed difference whose base is nowhere."""
    _needed(root, [difference(BASE, NEXT)], refer("x", NEXT))
    return {("missing blob", blob_at(NEXT))}


@attack
def difference_that_nobody_needs(root: Path) -> Found:
    """What nothing needs may have lost its base."""
    _needed(root, [difference(BASE, NEXT)])
    return set()


@attack
def difference_of_something_else(root: Path) -> Found:
    """A difference that gives other bytes."""
    table, delta = difference(BASE, NEXT)
    table[2] = blob_digest(b"other")
    _needed(root, [blob(BASE), (table, delta)])
    return {("corrupt blob", blob_at(b"other"))}


@attack
def difference_of_another_size(root: Path) -> Found:
    """A difference that states another size than its frame."""
    table, delta = difference(BASE, NEXT)
    table[3] = 7
    _needed(root, [blob(BASE), (table, delta)], Reference("x", BlobRef(table[2], 7)))  # type: ignore[arg-type]
    return {("corrupt blob", blob_at(NEXT)), ("missing blob", blob_at(NEXT))}


@attack
def differences_in_a_circle(root: Path) -> Found:
    """Bases that come back to where they were."""
    one, two = difference(BASE, NEXT), difference(NEXT, BASE)
    _needed(root, [one, two], refer("x", NEXT))
    return {("missing blob", blob_at(NEXT))}


@attack
def difference_of_a_corrupt_one(root: Path) -> Found:
    """What hangs on something corrupt cannot be had."""
    last = NEXT + b"!"
    table, _delta = difference(BASE, NEXT)
    broken = (table, diff(BASE, NEXT[::-1], 3))
    broken[0][1] = len(broken[1])
    _needed(root, [blob(BASE), broken, difference(NEXT, last)], refer("x", last))
    return {("corrupt blob", blob_at(NEXT)), ("missing blob", blob_at(last))}


@attack
def difference_of_a_short_base(root: Path) -> Found:
    """A base of fewer than 8 bytes."""
    _, delta = difference(BASE, NEXT)
    names = [blob_digest(NEXT), len(NEXT), blob_digest(b"short"), 1]
    table: list[object] = [frame_format.DIFFERENCE, len(delta), *names]
    _needed(root, [blob(b"short"), (table, delta)])
    return {("corrupt blob", blob_at(NEXT))}


@attack
def chunk_missing(root: Path) -> Found:
    """A needed chunk list without one of its chunks."""
    record, whole = chunked([b"first", b"second"])
    _needed(root, [blob(b"first"), record], Reference("x", whole))
    return {("missing blob", blob_at(b"firstsecond"))}


@attack
def chunk_of_another_size(root: Path) -> Found:
    """A chunk that is there with another size than the list states."""
    name = blob_digest(b"onetwo")
    chunks = [(blob_digest(b"one"), 4), (blob_digest(b"two"), 2)]
    payload = encode_chunks(chunks, b"")
    record: Stored = ([frame_format.CHUNKED, len(payload), name, 6], payload)
    blobs = [blob(b"one"), blob(b"two"), record]
    _needed(root, blobs, Reference("x", BlobRef(name, 6)))
    return {("corrupt blob", blob_at(b"onetwo")), ("missing blob", blob_at(b"onetwo"))}


@attack
def chunk_that_is_a_chunk_list(root: Path) -> Found:
    """A chunk that stands only as a chunk list is missing."""
    inner, _ = chunked([b"one", b"two"])
    outer, whole = chunked([b"onetwo", b"three"])
    blobs = [blob(b"one"), blob(b"two"), blob(b"three"), inner, outer]
    _needed(root, blobs, Reference("x", whole))
    return {("missing blob", blob_at(b"onetwothree"))}


@attack
def base_that_is_a_chunk_list(root: Path) -> Found:
    """A chunk list is no base."""
    halves = BASE[:99], BASE[99:]
    record, _ = chunked(halves)
    blobs = [*map(blob, halves), record, difference(BASE, NEXT)]
    _needed(root, blobs, refer("x", NEXT))
    return {("missing blob", blob_at(NEXT))}


@attack
def chunk_list_of_other_bytes(root: Path) -> Found:
    """A chunk list under another name."""
    record, _ = chunked([b"one", b"two"])
    record[0][2] = blob_digest(b"other")
    _needed(root, [blob(b"one"), blob(b"two"), record])
    return {("corrupt blob", blob_at(b"other"))}


PARTS = [bytes([n]) * (3 << 20) for n in range(3)]


@attack
def slices_of_other_bytes(root: Path) -> Found:
    """A chunk list whose slices are not those of its bytes."""
    (table, _), whole = chunked(PARTS)
    chunks = [(blob_digest(part), len(part)) for part in PARTS]
    payload = encode_chunks(chunks, bytes(32 * 9))
    table[1] = len(payload)
    blobs = [*map(blob, PARTS), (table, payload)]
    _needed(root, blobs, Reference("x", whole))
    where = f"blob:{whole.digest.hex()}"
    return {("corrupt blob", where), ("missing blob", where)}


@attack
def slices_of_another_reference(root: Path) -> Found:
    """A reference that states other slices than the bytes have, in a list too."""
    record, whole = chunked(PARTS)
    false = Reference("x", attrs.evolve(whole, slices=bytes(32)))
    listed, reference = ref_list([false])
    maker = Maker(root)
    log = maker.new_session()
    blobs = [*map(blob, PARTS), record, listed]
    maker.append(log, [line(b"x", false), line(b"y", reference)], records=blobs)
    maker.append(log, [line(b"z", reference)])
    maker.mark()
    return {("missing blob", f"blob:{whole.digest.hex()}")}


@attack
def reference_of_another_size(root: Path) -> Found:
    """A blob that is there with another size."""
    _needed(root, [blob(b"four")], Reference("x", BlobRef(blob_digest(b"four"), 5)))
    return {("missing blob", blob_at(b"four"))}


@attack
def body_that_is_nowhere(root: Path) -> Found:
    """A body that stands in no file."""
    maker, log = started(root)
    maker.append(log, [Item("line", BlobRef(blob_digest(b"body"), 4))])
    maker.mark()
    return {("missing blob", blob_at(b"body"))}


@attack
def ref_list_that_is_nowhere(root: Path) -> Found:
    """A ref list that stands in no file."""
    _, reference = ref_list([refer("x", b"one")])
    _needed(root, [blob(b"one")], reference)
    return {("missing blob", f"blob:{reference.blob.digest.hex()}")}


@attack
def ref_list_of_another_count(root: Path) -> Found:
    """A reference that counts otherwise than its list."""
    record, reference = ref_list([refer("x", b"one")])
    wrong = attrs.evolve(reference, blob=attrs.evolve(reference.blob, size=2))
    _needed(root, [blob(b"one"), record], wrong)
    return {("missing blob", f"blob:{reference.blob.digest.hex()}")}


@attack
def ref_list_to_nowhere(root: Path) -> Found:
    """What a ref list names is needed."""
    record, reference = ref_list([refer("x", b"first")])
    _needed(root, [record], reference)
    return {("missing blob", blob_at(b"first"))}


@attack
def two_copies_one_corrupt(root: Path) -> Found:
    """A good copy is enough to read, and the other is corrupt all the same."""
    table, _ = difference(BASE, NEXT)
    delta = diff(BASE, NEXT[::-1], 3)
    table[1] = len(delta)
    _needed(root, [blob(BASE), blob(NEXT), (table, delta)], refer("x", NEXT))
    return {("corrupt blob", blob_at(NEXT))}
