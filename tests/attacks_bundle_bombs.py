"""
Bundles that are small and would come to much: each refused before it does.
"""

from __future__ import annotations

import itertools

import attrs

from bundlekit import (
    Bundle,
    blobs_frame,
    entries_frame,
    manifest_frame,
    new_log,
    numbered,
    simple,
)
from bundlescenes import (
    CORRUPT,
    MALFORMED,
    MANIFEST,
    MIB,
    MISSING,
    Attack,
    attack,
    listed,
    lists_frame,
    three,
)

from castore.digest import blob_digest
from castore.formats import frame as frame_format
from castore.formats.entry import REF_LIST_FLAG, BlobRef, Reference, encode_ref_list


EMPTY = b"\x80"  # an array of nothing, which takes 64 times its size when decoded


def nested(size: int) -> bytes:
    """Return an array of empty arrays, of about *size* bytes."""
    return b"\x9a" + size.to_bytes(4) + EMPTY * size


@attack
def arrays_for_entries() -> Attack:
    """An entries record of a quarter of a MiB of empty arrays."""
    log, bundle = three()
    payload = nested(MIB // 4 - 5)
    descriptor, _ = log.run(0, 3, numbered(b"{}"))
    descriptor[1] = len(payload)
    bundle.frames[1] = entries_frame((descriptor, payload))
    return bundle.data(), {(MALFORMED, bundle.where(1))}


@attack
def entries_beyond_a_record() -> Attack:
    """An entries record that is larger than one may be."""
    log, bundle = three()
    payload = nested(MIB)
    descriptor, _ = log.run(0, 3, numbered(b"{}"))
    descriptor[1] = len(payload)
    bundle.frames[1] = entries_frame((descriptor, payload))
    return bundle.data(), {(MALFORMED, bundle.where(1))}


@attack
def entries_beyond_a_frame() -> Attack:
    """More entries in a frame than one may have."""
    count = 16_385
    log, bundle = three()
    row = attrs.evolve(log.row(), stop=count, head=log.head(count=count))
    descriptor, payload = log.run(0, 3, numbered(b"{}"))
    descriptor[5] = count
    first = manifest_frame([row], {})
    bundle = Bundle([first, entries_frame((descriptor, payload)), blobs_frame(b"{}")])
    return bundle.data(), {(MALFORMED, bundle.where(1))}


@attack
def arrays_for_references() -> Attack:
    """A ref list of MiBs of empty arrays."""
    log, _ = listed(Reference("x", BlobRef(bytes(32), 1)))
    bundle = simple(log, b"{}", b"")
    bundle.frames.append(lists_frame(nested(8 * MIB)))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def arrays_for_chunks() -> Attack:
    """A chunk list of MiBs of empty arrays."""
    log = new_log()
    log.add(b"{}", Reference("z", BlobRef(bytes(32), 2 * MIB)))
    bundle = simple(log, b"{}")
    payload = nested(3 * MIB)
    descriptor = [frame_format.CHUNKED, len(payload), bytes(32), 2 * MIB]
    bundle.frames.append(([descriptor], [payload]))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def many_references_to_nothing() -> Attack:
    """A ref list of 65,536 names: after a thousand nobody wants to know more."""
    refs = [Reference("", BlobRef(number.to_bytes(32), 1)) for number in range(1 << 16)]
    log, payload = listed(*refs)
    bundle = simple(log, b"{}", b"")
    bundle.frames.append(lists_frame(payload))
    names = [number.to_bytes(32).hex() for number in range(1000)]
    return bundle.data(), {(MISSING, f"blob:{name}") for name in names}


@attack
def arrays_for_a_table() -> Attack:
    """A table of empty arrays, as large as one may be."""
    _, bundle = three()
    pieces = bundle.pieces()
    return _with_table(bundle, pieces[:2], nested(MIB // 4 - 5))


@attack
def a_table_beyond_its_bound() -> Attack:
    """A table that is larger than one of a bundle may be."""
    _, bundle = three()
    pieces = bundle.pieces()
    data, _ = _with_table(bundle, pieces[:2], nested(MIB))
    return data, {(CORRUPT, bundle.where(1))}


def _with_table(bundle: Bundle, before: list[bytes], table: bytes) -> Attack:
    from castore.digest import in_context

    offset = sum(map(len, before))
    head = frame_format._HEADER.pack(b"csF1", 0, 0, 1, len(table), 0, 0, 188)
    stored = in_context["stored"](b"")
    place = offset.to_bytes(8)
    parts = (head, table, stored, before[0][-32:], place, before[-1][-32:])
    frame = head + table + in_context["frame"](*parts)
    return b"".join([*before, frame]), {(MALFORMED, f"bundle@{offset}")}


@attack
def a_row_of_arrays() -> Attack:
    """A manifest of empty arrays."""
    _, bundle = three()
    payload = nested(MIB)
    bundle.frames[0] = ([[64, len(payload)]], [payload])
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def more_withheld_than_bytes() -> Attack:
    """More withheld names than the file has room for, packed away."""
    log, bundle = three()
    count = 100_000
    names = b"".join(number.to_bytes(32) + b"\0" for number in range(count))
    table, payloads = manifest_frame([log.row()], {})
    bundle.frames[0] = ([*table, [65, len(names)]], [*payloads, names])
    return _packed(bundle), {(MALFORMED, MANIFEST)}


@attack
def entries_of_nothing() -> Attack:
    """A frame of zeros where entries should be, packed away."""
    log, bundle = three()
    descriptor, _ = log.run(0, 3, numbered(b"{}"))
    descriptor[1] = MIB // 4
    bundle.frames[1] = entries_frame((descriptor, bytes(MIB // 4)))
    return _packed(bundle), {(MALFORMED, _packed_at(bundle, 1))}


@attack
def payloads_of_nothing() -> Attack:
    """Frames of zeros, more than the file may come to."""
    blobs = [bytes(4 * MIB - number) for number in range(90)]
    refs = [Reference("z", BlobRef(blob_digest(blob), len(blob))) for blob in blobs]
    log = new_log()
    log.add(b"{}", *refs)
    bundle = attrs.evolve(simple(log, b"{}"), level=3)
    bundle.frames += [blobs_frame(blob) for blob in blobs]
    data = bundle.data()
    left = 256 * MIB + 1000 * len(data)
    sizes = itertools.accumulate(map(len, blobs), initial=2)
    number = next(number for number, size in enumerate(sizes) if size > left)
    return data, {(MALFORMED, bundle.where(2 + number))}


@attack
def chunks_of_nothing() -> Attack:
    """A chunk list that names one chunk again and again."""
    from castore.formats.chunked import encode_chunks, slices_digest

    count = 1000
    part = bytes(MIB)
    name = blob_digest(part)
    slices = name * count
    payload = encode_chunks([(name, MIB)] * count, slices)
    whole = bytes(32)
    log = new_log()
    ref = BlobRef(whole, count * MIB, slices_digest(slices))
    log.add(b"{}", Reference("z", ref))
    bundle = simple(log, b"{}")
    descriptor = [3, len(payload), whole, count * MIB]
    bundle.frames.append(([[1, MIB], descriptor], [part, payload]))
    return _packed(bundle), {(MALFORMED, _packed_at(bundle, 3))}


@attack
def a_list_of_lists_flag() -> Attack:
    """A reference that counts 2^16 references in a list of one."""
    name, payload = encode_ref_list([Reference("x", BlobRef(bytes(32), 1))])
    log = new_log()
    log.add(b"", Reference("", BlobRef(name, 65_536), REF_LIST_FLAG))
    bundle = simple(log, b"{}", b"")
    bundle.frames.append(lists_frame(payload))
    found = {(MISSING, f"blob:{name.hex()}"), (MISSING, f"blob:{bytes(32).hex()}")}
    return bundle.data(), found


def _packed(bundle: Bundle) -> bytes:
    return attrs.evolve(bundle, level=3).data()


def _packed_at(bundle: Bundle, number: int) -> str:
    return attrs.evolve(bundle, level=3).where(number)
