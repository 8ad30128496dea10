"""
Attacks on bundles where one rule alone is between them and a good bundle.
"""

from __future__ import annotations

from typing import Any

import attrs

from bundlekit import (
    SESSION,
    Bundle,
    Log,
    blobs_frame,
    entries_frame,
    fork_of,
    manifest_frame,
    new_log,
    numbered,
    ref,
    simple,
)
from bundlescenes import (
    MALFORMED,
    MANIFEST,
    MIB,
    Attack,
    attack,
    large,
    listed,
    lists_frame,
    three,
)

from castore.codec import decode_record, encode_record
from castore.digest import blob_digest
from castore.formats import frame as frame_format
from castore.formats.chunked import encode_chunks, slices_digest
from castore.formats.entry import (
    REF_LIST_FLAG,
    START,
    BlobRef,
    Reference,
    Start,
    encode_ref_list,
    ref_list_digest,
)


# --- manifest ----------------------------------------------------------------


def row_with(bundle: Bundle, **fields: Any) -> Attack:
    """Return *bundle* with other fields, by number, in its first row."""
    table, payloads = bundle.frames[0]
    value = decode_record(payloads[0], size_max=1 << 20)
    for name, field in fields.items():
        value[int(name[1:])] = field
    payload = encode_record(value)
    rest = [[64, len(payload)], *table[1:]]
    bundle.frames[0] = (rest, [payload, *payloads[1:]])
    return bundle.data(), {(MALFORMED, MANIFEST)}


def orphan(**fields: Any) -> Bundle:
    """Return a fork of a parent without a head, of which one entry stands there."""
    log = new_log(b"one", b"two")
    fork = fork_of(log, 2)
    row = attrs.evolve(log.row(1, 2), head=None, proof=())
    row = attrs.evolve(row, **fields)
    frames = [
        manifest_frame([row, fork.row()], {}),
        entries_frame(
            log.run(1, 2, numbered(b"one", b"{}")),
            fork.run(2, 3, numbered(b"one", b"{}")),
        ),
        blobs_frame(b"one", b"{}"),
    ]
    return Bundle(frames)


@attack
def a_row_of_version_two() -> Attack:
    """A row of another version."""
    return row_with(three()[1], _0=2)


@attack
def a_row_of_eleven() -> Attack:
    """A row with a field more."""
    _, bundle = three()
    _, payloads = bundle.frames[0]
    value = decode_record(payloads[0], size_max=1 << 20)
    payload = encode_record([*value[:7], 0, *value[7:]])
    bundle.frames[0] = ([[64, len(payload)]], [payload])
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def a_session_of_fifteen_bytes() -> Attack:
    """A session id that is none, where no head and no start entry says it again."""
    return orphan(session=SESSION[1:]).data(), {(MALFORMED, MANIFEST)}


@attack
def a_proof_to_no_head() -> Attack:
    """A proof of a segment that has no head, and is bound by its fork."""
    return orphan(proof=(bytes(32),)).data(), {(MALFORMED, MANIFEST)}


@attack
def a_truth_for_a_count() -> Attack:
    """A false where a zero should be."""
    return row_with(three()[1], _4=False)


@attack
def a_text_for_a_head() -> Attack:
    """A text where a head should be."""
    return row_with(three()[1], _8="head")


@attack
def a_proof_and_a_byte() -> Attack:
    """A proof of hashes and one byte more."""
    log, bundle = three()
    row = log.row(0, 2)
    run = log.run(0, 2, numbered(b"{}", b"one"))
    frames = [manifest_frame([row], {}), entries_frame(run), blobs_frame(b"{}", b"one")]
    bundle = Bundle(frames)
    return row_with(bundle, _9=b"".join(row.proof) + b"x")


@attack
def a_descriptor_of_three() -> Attack:
    """A descriptor of a row with a field more."""
    _, bundle = three()
    table, payloads = bundle.frames[0]
    bundle.frames[0] = ([[*table[0], 7]], payloads)
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def withheld_twice() -> Attack:
    """Two records of what is withheld."""
    log = new_log()
    log.add(b"", ref(b"abc"))
    bundle = simple(log, b"{}", b"", withheld={blob_digest(b"abc"): 0})
    table, payloads = bundle.frames[0]
    bundle.frames[0] = ([*table, table[1]], [*payloads, payloads[1]])
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def nothing_withheld() -> Attack:
    """A record of what is withheld, and nothing is."""
    _, bundle = three()
    table, payloads = bundle.frames[0]
    bundle.frames[0] = ([*table, [65, 0]], [*payloads, b""])
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def withheld_and_named_in_no_order() -> Attack:
    """Withheld names in another order, all named by entries."""
    log = new_log()
    log.add(b"", ref(b"a"), ref(b"b"))
    bundle = simple(log, b"{}", b"")
    units = sorted((blob_digest(b"a"), blob_digest(b"b")), reverse=True)
    data = b"".join(name + b"\0" for name in units)
    table, payloads = bundle.frames[0]
    bundle.frames[0] = ([*table, [65, len(data)]], [*payloads, data])
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def too_many_segments() -> Attack:
    """One segment more than a bundle may have."""
    logs = []
    for number in range(1024):
        segment = number.to_bytes(16)
        log = Log(SESSION, segment)
        log.add(b"{}", kind=START, start=Start(SESSION, segment, "new"))
        logs.append(log)
    runs = [log.run(0, 1, numbered(b"{}")) for log in logs]
    first = manifest_frame([log.row() for log in logs], {})
    bundle = Bundle([first, entries_frame(*runs), blobs_frame(b"{}")])
    return bundle.data(), {(MALFORMED, MANIFEST)}


# --- frames ------------------------------------------------------------------


@attack
def a_blob_behind_lists_that_an_entry_needs() -> Attack:
    """A blob behind the lists of its group, which no list names."""
    name, payload = encode_ref_list([ref(b"y")])
    log = new_log()
    log.add(b"", Reference("", BlobRef(name, 1), REF_LIST_FLAG), ref(b"x"))
    bundle = simple(log, b"{}", b"", b"y")
    bundle.frames += [lists_frame(payload), blobs_frame(b"x")]
    return bundle.data(), {(MALFORMED, bundle.where(4))}


@attack
def a_body_frame_that_nothing_wants() -> Attack:
    """Entries that say there is a body frame, and there is none."""
    log = new_log(b"{}")
    run = log.run(1, 2, {})
    run[0][6] = 1
    frames = [
        manifest_frame([log.row()], {}),
        entries_frame(log.run(0, 1, numbered(b"{}"))),
        blobs_frame(b"{}"),
        entries_frame(run),
    ]
    bundle = Bundle(frames)
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def a_body_frame_that_does_not_follow() -> Attack:
    """Entries that say there is a body frame; other entries follow."""
    log = new_log(b"{}", b"{}")
    run = log.run(1, 2, {})
    run[0][6] = 1
    frames = [
        manifest_frame([log.row()], {}),
        entries_frame(log.run(0, 1, numbered(b"{}"))),
        blobs_frame(b"{}"),
        entries_frame(run),
        entries_frame(log.run(2, 3)),
    ]
    bundle = Bundle(frames)
    return bundle.data(), {(MALFORMED, bundle.where(4))}


@attack
def a_blob_frame_of_five_mebibytes() -> Attack:
    """A blob frame that is larger than one may be."""
    blobs = [bytes([number]) * MIB for number in range(5)]
    log = new_log()
    log.add(b"", *map(ref, blobs))
    bundle = simple(log, b"{}", b"")
    bundle.frames.append(blobs_frame(*blobs))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def entries_of_three_hundred_kilobytes() -> Attack:
    """A record of entries that is larger than one may be."""
    log = new_log()
    for _ in range(28):
        log.add(b"{}", *[ref(b"{}", "r" * 8)] * 240)
    bundle = simple(log, b"{}")
    return bundle.data(), {(MALFORMED, bundle.where(1))}


@attack
def entries_by_the_thousand() -> Attack:
    """More entries in a frame than one may have."""
    log = new_log(*[b"{}"] * 16_384)
    bundle = simple(log, b"{}")
    return bundle.data(), {(MALFORMED, bundle.where(1))}


@attack
def entries_behind_the_last() -> Attack:
    """Entries of one more segment than the manifest has."""
    log, bundle = three()
    bundle.frames.append(entries_frame(log.run(2, 3)))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def lists_that_come_to_too_much() -> Attack:
    """Ref lists of one name again and again, packed away."""
    lists = [encode_ref_list([ref(b"{}", f"r{n}")] * 65_536) for n in range(8)]
    log = new_log()
    refs = [Reference("", BlobRef(name, 65_536), REF_LIST_FLAG) for name, _ in lists]
    log.add(b"{}", *refs)
    bundle = attrs.evolve(simple(log, b"{}"), level=3)
    bundle.frames += [lists_frame(payload) for _, payload in lists]
    data = bundle.data()
    left = 16 * MIB + 100 * len(data) - len(bundle.frames[1][1][0])
    number = left // len(lists[0][1])
    return data, {(MALFORMED, bundle.where(3 + number))}


# --- payloads ----------------------------------------------------------------


@attack
def a_chunk_list_of_little() -> Attack:
    """A chunk list of a blob that is no larger than a chunk."""
    data = b"abc"
    payload = encode_chunks([(blob_digest(data), 3)], b"")
    log = new_log()
    log.add(b"{}", ref(b"abc"))
    bundle = simple(log, b"{}")
    table = [[frame_format.CHUNKED, len(payload), blob_digest(data), 3]]
    bundle.frames.append((table, [payload]))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def slices_of_other_chunks() -> Attack:
    """A chunk list with slices that are not those of its chunks."""
    _, (table, payloads), name = large(9 * MIB)
    slices = bytes(32 * 9)
    chunks = [(blob_digest(payloads[0]), MIB)] * 9
    payload = encode_chunks(chunks, slices)
    log = new_log()
    wrong = attrs.evolve(name, slices=slices_digest(slices))
    log.add(b"{}", Reference("out", wrong))
    bundle = simple(log, b"{}")
    descriptor = [table[-1][0], len(payload), *table[-1][2:]]
    bundle.frames.append(([table[0], descriptor], [payloads[0], payload]))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def a_list_of_too_many() -> Attack:
    """A ref list with one reference more than one may have."""
    payload = encode_record([ref(b"{}").record()] * 65_537)
    log = new_log()
    name = BlobRef(ref_list_digest(payload), 65_536)
    log.add(b"{}", Reference("", name, REF_LIST_FLAG))
    bundle = attrs.evolve(simple(log, b"{}"), level=3)
    bundle.frames.append(lists_frame(payload))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def a_list_in_another_encoding() -> Attack:
    """A ref list whose count takes a byte more than it needs."""
    _, payload = listed(ref(b"x"))
    payload = b"\x98\x01" + payload[1:]
    log = new_log()
    name = BlobRef(ref_list_digest(payload), 1)
    log.add(b"", Reference("", name, REF_LIST_FLAG))
    bundle = simple(log, b"{}", b"", b"x")
    bundle.frames.append(lists_frame(payload))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def withheld_and_named_beyond_the_file() -> Attack:
    """More withheld names than the file has room for, all named, packed away."""
    names = [number.to_bytes(32) for number in range(65_536)]
    name, payload = encode_ref_list(
        [Reference("", BlobRef(digest, 1)) for digest in names]
    )
    log = new_log()
    log.add(b"{}", Reference("", BlobRef(name, len(names)), REF_LIST_FLAG))
    withheld = dict.fromkeys(names, 0)
    bundle = attrs.evolve(simple(log, b"{}", withheld=withheld), level=3)
    bundle.frames.append(lists_frame(payload))
    return bundle.data(), {(MALFORMED, MANIFEST)}
