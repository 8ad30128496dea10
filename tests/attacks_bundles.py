"""
Attacks on bundles: each a bundle and exactly what a checker must say of it.

Whoever made them knows the format: every hash is right around what is wrong.
"""

from __future__ import annotations

from typing import Any

import attrs

from bundlekit import (
    FORK,
    SEGMENT,
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
    MIB,
    MISSING,
    Attack,
    attack,
    blob_at,
    listed,
    lists_frame,
    segment_at,
    three,
    with_fork,
    with_large,
)

from castore.codec import encode_record
from castore.digest import blob_digest
from castore.formats.chunked import encode_chunks
from castore.formats.entry import (
    REF_LIST_FLAG,
    START,
    BlobRef,
    Origin,
    Reference,
    Start,
    encode_ref_list,
)


# --- entries -----------------------------------------------------------------


def forged(log: Log, *blobs: bytes, **fields: Any) -> Bundle:
    """Return the bundle of *log* under a head with other *fields*."""
    row = attrs.evolve(log.row(), head=log.head(**fields))
    run = log.run(row.first, row.stop, numbered(*blobs))
    first = manifest_frame([row], {})
    return Bundle([first, entries_frame(run), blobs_frame(*blobs)])


@attack
def entry_edited() -> Attack:
    """Another log under the head of the first; every hash is recomputed."""
    other = new_log(b"one", b"xxx")
    head = new_log(b"one", b"two").head()
    bundle = forged(other, b"{}", b"one", b"xxx", root=head.root, last=head.last)
    found = {("wrong head", segment_at()), ("root mismatch", segment_at())}
    return bundle.data(), found


@attack
def root_of_other_entries() -> Attack:
    """The head has another root."""
    log, _ = three()
    bundle = forged(log, b"{}", b"one", b"two", root=bytes(32))
    return bundle.data(), {("root mismatch", segment_at())}


@attack
def last_of_other_entries() -> Attack:
    """The head has another last entry."""
    log, _ = three()
    bundle = forged(log, b"{}", b"one", b"two", last=bytes(32))
    return bundle.data(), {("wrong head", segment_at())}


@attack
def proof_of_other_entries() -> Attack:
    """The proof leads to another root."""
    log, _ = three()
    row = log.row(0, 2)
    row = attrs.evolve(row, proof=tuple(bytes(32) for _ in row.proof))
    run = log.run(0, 2, numbered(b"{}", b"one"))
    frames = [manifest_frame([row], {}), entries_frame(run), blobs_frame(b"{}", b"one")]
    return Bundle(frames).data(), {("bad proof", segment_at())}


@attack
def peaks_of_other_entries() -> Attack:
    """The peaks before a range are others."""
    log = new_log(b"one")
    row = attrs.evolve(log.row(1, 2), peaks=(bytes(32),))
    run = log.run(1, 2, numbered(b"one"))
    frames = [manifest_frame([row], {}), entries_frame(run), blobs_frame(b"one")]
    return Bundle(frames).data(), {("root mismatch", segment_at())}


@attack
def link_broken() -> Attack:
    """The second record does not name the entry before."""
    log, _ = three()
    numbers = numbered(b"{}", b"one", b"two")
    other = new_log(b"xxx", b"two")
    frames = [
        manifest_frame([log.row()], {}),
        entries_frame(log.run(0, 2, numbers), other.run(2, 3, numbers)),
        blobs_frame(b"{}", b"one", b"two"),
    ]
    found = {("broken link", segment_at(2)), ("wrong head", segment_at())}
    return Bundle(frames).data(), found | {("root mismatch", segment_at())}


@attack
def genesis_of_another_segment() -> Attack:
    """The log of another segment."""
    log = Log(SESSION, FORK)
    log.add(b"{}", kind=START, start=Start(SESSION, SEGMENT, "new"))
    descriptor, payload = log.run(0, 1, numbered(b"{}"))
    descriptor[2] = log.segment = SEGMENT
    first = manifest_frame([log.row()], {})
    run = (descriptor, payload)
    bundle = Bundle([first, entries_frame(run), blobs_frame(b"{}")])
    return bundle.data(), {("broken link", segment_at(0))}


@attack
def entry_left_out() -> Attack:
    """An entry in the middle is not there."""
    log, _ = three()
    numbers = numbered(b"{}", b"two")
    frames = [
        manifest_frame([log.row()], {}),
        entries_frame(log.run(0, 1, numbers), log.run(2, 3, numbers)),
        blobs_frame(b"{}", b"two"),
    ]
    bundle = Bundle(frames)
    return bundle.data(), {(MALFORMED, bundle.where(1))}


@attack
def last_entry_left_out() -> Attack:
    """The last entry that is promised is not there."""
    log, _ = three()
    run = log.run(0, 2, numbered(b"{}", b"one"))
    first = manifest_frame([log.row()], {})
    frames = [first, entries_frame(run), blobs_frame(b"{}", b"one")]
    return Bundle(frames).data(), {("truncated log", segment_at(2))}


@attack
def entry_too_many() -> Attack:
    """An entry more than is promised."""
    log, bundle = three()
    bundle.frames[0] = manifest_frame([log.row(0, 2)], {})
    return bundle.data(), {(MALFORMED, bundle.where(1))}


@attack
def no_such_body() -> Attack:
    """A body number that is not in the body frame."""
    log, _ = three()
    numbers = numbered(b"{}", b"one", b"two")
    run = log.run(0, 3, numbers)
    frames = [manifest_frame([log.row()], {}), entries_frame(run)]
    bundle = Bundle([*frames, blobs_frame(b"{}", b"one")])
    return bundle.data(), {(MALFORMED, bundle.where(1))}


@attack
def second_encoding() -> Attack:
    """Entries in another encoding."""
    _, bundle = three()
    table, payloads = bundle.frames[1]
    payload = b"\x98\x03" + payloads[0][1:]
    bundle.frames[1] = ([[4, len(payload), *table[0][2:]]], [payload])
    return bundle.data(), {(MALFORMED, bundle.where(1))}


@attack
def second_start() -> Attack:
    """A start entry that is not the first."""
    log = new_log()
    log.add(b"{}", kind=START, start=Start(SESSION, SEGMENT, "new"))
    return simple(log, b"{}").data(), {(MALFORMED, segment_at(1))}


@attack
def no_start() -> Attack:
    """A log that does not begin with a start entry."""
    log = Log(SESSION, SEGMENT)
    log.add(b"{}")
    return simple(log, b"{}").data(), {(MALFORMED, segment_at(0))}


@attack
def start_of_another_session() -> Attack:
    """A start entry that names another session."""
    log = Log(SESSION, SEGMENT)
    log.add(b"{}", kind=START, start=Start(bytes(16), SEGMENT, "new"))
    return simple(log, b"{}").data(), {(MALFORMED, segment_at(0))}


@attack
def origin_of_other_entries() -> Attack:
    """The origin has a root that its peaks have not, and its parent neither."""
    log = new_log(b"one", b"two")
    fork = fork_of(log, 2)
    start = Start(
        SESSION, FORK, "fork", Origin(SESSION, SEGMENT, 2, bytes(32), log.hashes[1])
    )
    fork.stored, fork.hashes = [], log.hashes[:2]
    fork.add(b"{}", kind=START, start=start)
    _, _, bundle = with_fork()
    bundle.frames[0] = manifest_frame([log.row(), fork.row()], {})
    bundle.frames[3:] = [entries_frame(fork.run(2, 3))]
    bundle.frames[3][1][0] = fork.run(2, 3)[1]
    return bundle.data(), {("root mismatch", segment_at(2, FORK))}


@attack
def another_parent() -> Attack:
    """The manifest names another parent than the start entry."""
    fork = fork_of(new_log(b"one"), 2)
    row = attrs.evolve(fork.row(), parent=bytes(16))
    run = fork.run(2, 3, numbered(b"{}"))
    frames = [manifest_frame([row], {}), entries_frame(run), blobs_frame(b"{}")]
    return Bundle(frames).data(), {(MALFORMED, segment_at(2, FORK))}


@attack
def parent_that_went_on_otherwise() -> Attack:
    """A fork of entries that are not the parent's."""
    log, other = new_log(b"one", b"two"), new_log(b"xxx", b"two")
    fork = fork_of(other, 2)
    _, _, bundle = with_fork()
    bundle.frames[0] = manifest_frame([log.row(), fork.row()], {})
    bundle.frames[3:] = [entries_frame(fork.run(2, 3))]
    return bundle.data(), {("root mismatch", segment_at(2, FORK))}


# --- payloads ----------------------------------------------------------------


@attack
def payload_missing() -> Attack:
    """A payload that is not there."""
    log = new_log()
    log.add(b"{}", ref(b"abc"))
    return simple(log, b"{}").data(), {(MISSING, blob_at(b"abc"))}


@attack
def payload_of_another_size() -> Attack:
    """A reference that states another size."""
    log = new_log()
    log.add(b"{}", Reference("out", BlobRef(blob_digest(b"abc"), 4)))
    return simple(log, b"{}", b"abc").data(), {(MISSING, blob_at(b"abc"))}


@attack
def payload_edited() -> Attack:
    """Another payload in place of one: that one is missing, this one not needed."""
    log = new_log()
    log.add(b"{}", ref(b"abc"))
    bundle = simple(log, b"{}", b"xyz")
    return bundle.data(), {(MISSING, blob_at(b"abc")), (MALFORMED, bundle.where(2))}


@attack
def payload_that_nothing_needs() -> Attack:
    """A payload more."""
    bundle = simple(new_log(), b"{}", b"abc")
    return bundle.data(), {(MALFORMED, bundle.where(2))}


@attack
def payload_twice() -> Attack:
    """A payload twice."""
    bundle = simple(new_log(), b"{}")
    bundle.frames.append(blobs_frame(b"{}"))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def payload_before_its_group() -> Attack:
    """A payload in the group before the one that needs it."""
    log = new_log(b"one")
    frames = [
        manifest_frame([log.row()], {}),
        entries_frame(log.run(0, 1, numbered(b"{}"))),
        blobs_frame(b"{}", b"one"),
        entries_frame(log.run(1, 2)),
    ]
    bundle = Bundle(frames)
    return bundle.data(), {(MALFORMED, bundle.where(2))}


@attack
def list_missing() -> Attack:
    """A ref list that is not there."""
    log, payload = listed(ref(b"x"))
    name, _ = encode_ref_list([ref(b"x")])
    assert payload
    return simple(log, b"{}", b"").data(), {(MISSING, f"blob:{name.hex()}")}


@attack
def list_of_missing() -> Attack:
    """A ref list of something that is not there."""
    log, payload = listed(ref(b"x"))
    bundle = simple(log, b"{}", b"")
    bundle.frames.append(lists_frame(payload))
    return bundle.data(), {(MISSING, blob_at(b"x"))}


@attack
def list_of_lists() -> Attack:
    """A ref list that names a list."""
    inner = Reference("", BlobRef(bytes(32), 1), REF_LIST_FLAG)
    log, payload = listed(inner)
    bundle = simple(log, b"{}", b"")
    bundle.frames.append(lists_frame(payload))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def list_with_something_behind() -> Attack:
    """Bytes behind a ref list."""
    log, payload = listed(ref(b"x"))
    bundle = simple(log, b"{}", b"", b"x")
    bundle.frames.append(lists_frame(payload + b"\x80"))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def chunk_missing() -> Attack:
    """A chunk that is not there."""
    bundle = with_large()
    table, payloads = bundle.frames[3]
    bundle.frames[3] = (table[1:], payloads[1:])
    return bundle.data(), {(MISSING, blob_at(b"z" * MIB))}


@attack
def chunks_of_another_blob() -> Attack:
    """A chunk list that gives another blob."""
    bundle = with_large()
    table, payloads = bundle.frames[3]
    other = bytes(MIB)
    chunks = [(blob_digest(other), MIB), (blob_digest(b"zzzzz"), 5)]
    payload = encode_chunks(chunks, b"")
    descriptor = [3, len(payload), *table[2][2:]]
    bundle.frames[3] = ([*table[:2], descriptor], [other, payloads[1], payload])
    return bundle.data(), {("corrupt blob", blob_at(b"z" * (MIB + 5)))}


@attack
def chunks_of_another_size() -> Attack:
    """A chunk list that is not cut as bundles cut."""
    data = b"z" * (MIB + 5)
    parts = [data[:5], data[5:]]
    payload = encode_chunks([(blob_digest(part), len(part)) for part in parts], b"")
    log = new_log()
    log.add(b"{}", Reference("out", BlobRef(blob_digest(data), len(data))))
    bundle = simple(log, b"{}")
    table: list[list[Any]] = [
        [1, 5],
        [1, MIB],
        [3, len(payload), blob_digest(data), len(data)],
    ]
    bundle.frames.append((table, [*parts, payload]))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def nested_arrays() -> Attack:
    """Arrays where references should be."""
    log, _ = listed(ref(b"x"))
    bundle = simple(log, b"{}", b"", b"x")
    bundle.frames.append(lists_frame(encode_record([[[]]] * 1000)))
    return bundle.data(), {(MALFORMED, bundle.where(3))}
