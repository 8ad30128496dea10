"""
Attacks on the frames and the manifest of bundles.
"""

from __future__ import annotations

from typing import Any

import attrs

from bundlekit import (
    FORK,
    STORE,
    Log,
    blobs_frame,
    manifest_frame,
    new_log,
    ref,
    simple,
)
from bundlescenes import (
    CORRUPT,
    MALFORMED,
    MANIFEST,
    MISSING,
    UNSUPPORTED,
    Attack,
    attack,
    blob_at,
    listed,
    lists_frame,
    three,
    with_fork,
)

from castore.digest import blob_digest
from castore.formats.entry import (
    START,
    Start,
)


# --- frames ------------------------------------------------------------------


@attack
def bit_of_a_frame() -> Attack:
    """A flipped bit of a frame: nothing behind it is looked at."""
    _, bundle = three()
    data = bytearray(bundle.data())
    data[bundle.offset(2) + 40] ^= 1
    return bytes(data), {(CORRUPT, bundle.where(2))}


@attack
def cut_in_a_frame() -> Attack:
    """The last frame is cut."""
    _, bundle = three()
    return bundle.data()[:-1], {(CORRUPT, bundle.where(2))}


@attack
def cut_between_frames() -> Attack:
    """The body frame is not there."""
    _, bundle = three()
    return bundle.data()[: bundle.offset(2)], {(MALFORMED, bundle.where(1))}


@attack
def bytes_behind() -> Attack:
    """Something stands behind the last frame."""
    _, bundle = three()
    bundle.tail = b"x"
    return bundle.data(), {(CORRUPT, f"bundle@{len(bundle.data()) - 1}")}


@attack
def frames_swapped() -> Attack:
    """Two frames of another order, as they were."""
    _, _, bundle = with_fork()
    head, first, a, b, c, d = bundle.pieces()
    return b"".join((head, first, c, d, a, b)), {(CORRUPT, bundle.where(1))}


@attack
def frame_twice() -> Attack:
    """A frame once more, as it is."""
    _, bundle = three()
    data = bundle.data()
    return data + bundle.pieces()[-1], {(CORRUPT, f"bundle@{len(data)}")}


@attack
def frame_of_another_bundle() -> Attack:
    """A frame that is right in another bundle at this place."""
    _, bundle = three()
    other = simple(new_log(b"one", b"xxx"), b"{}", b"one", b"xxx")
    pieces = [*bundle.pieces()[:-1], other.pieces()[-1]]
    return b"".join(pieces), {(CORRUPT, bundle.where(2))}


@attack
def header_of_a_pack() -> Attack:
    """The header says that it is a pack."""
    _, bundle = three()
    bundle.header = {"kind": 3}
    return bundle.data(), {(MALFORMED, "bundle@0")}


@attack
def header_flipped() -> Attack:
    """A flipped bit of the header."""
    data = bytearray(three()[1].data())
    data[20] ^= 1
    return bytes(data), {(CORRUPT, "bundle@0")}


@attack
def header_cut() -> Attack:
    """Nothing but a part of the header."""
    return three()[1].data()[:100], {(CORRUPT, "bundle@0")}


@attack
def header_alone() -> Attack:
    """Nothing behind the header."""
    return three()[1].data()[:188], {(CORRUPT, MANIFEST)}


@attack
def unknown_kind() -> Attack:
    """A record of a kind that is reserved."""
    _, bundle = three()
    bundle.frames.append(([[9, 1]], [b"x"]))
    return bundle.data(), {(UNSUPPORTED, bundle.where(3))}


@attack
def ignorable_kind() -> Attack:
    """A record of a kind that readers of stores may ignore."""
    _, bundle = three()
    bundle.frames.append(([[99, 1]], [b"x"]))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def blob_beside_entries() -> Attack:
    """A blob in a frame of entries."""
    _, bundle = three()
    table, payloads = bundle.frames[1]
    bundle.frames[1] = ([*table, [1, 1]], [*payloads, b"x"])
    return bundle.data(), {(MALFORMED, bundle.where(1))}


@attack
def difference() -> Attack:
    """A record that bundles do not have."""
    _, bundle = three()
    record = [2, 1, blob_digest(b"x"), 1, blob_digest(b"y"), 1]
    bundle.frames.append(([record], [b"x"]))
    return bundle.data(), {(MALFORMED, bundle.where(3))}


@attack
def blobs_first() -> Attack:
    """A blob before any entries."""
    _, bundle = three()
    bundle.frames.insert(1, blobs_frame(b"x"))
    return bundle.data(), {(MALFORMED, bundle.where(1))}


@attack
def blobs_behind_lists() -> Attack:
    """A blob behind the lists of its group."""
    log, payload = listed(ref(b"x"))
    bundle = simple(log, b"{}", b"")
    bundle.frames += [lists_frame(payload), blobs_frame(b"x")]
    found = {(MISSING, blob_at(b"x")), (MALFORMED, bundle.where(4))}
    return bundle.data(), found


# --- manifest ----------------------------------------------------------------


def changed(**fields: Any) -> Attack:
    """Return the bundle of three entries with another row."""
    log, bundle = three()
    bundle.frames[0] = manifest_frame([attrs.evolve(log.row(), **fields)], {})
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def other_id() -> Attack:
    """The header states another bundle id."""
    _, bundle = three()
    bundle.header = {"id": bytes(16)}
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def head_of_another_store() -> Attack:
    """The header is another store's than the heads."""
    _, bundle = three()
    bundle.header = {"store": bytes(16)}
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def head_of_another_segment() -> Attack:
    """The head is of another segment."""
    return changed(head=new_log(b"one", b"two").head(segment=FORK))


@attack
def head_that_counts_less() -> Attack:
    """The head covers fewer entries than stand there."""
    return changed(head=new_log(b"one").head())


@attack
def wrong_count_of_peaks() -> Attack:
    """Peaks where none belong."""
    return changed(peaks=(bytes(32),))


@attack
def proof_without_a_head() -> Attack:
    """A proof that leads to no head."""
    return changed(head=None, proof=(bytes(32),))


@attack
def no_head() -> Attack:
    """Entries that nothing binds."""
    return changed(head=None)


@attack
def empty_range() -> Attack:
    """A segment of which nothing stands there."""
    return changed(stop=0)


@attack
def parent_of_no_fork() -> Attack:
    """A parent where nothing is inherited."""
    return changed(parent=FORK)


@attack
def the_store_log() -> Attack:
    """The segment of the store itself."""
    log = Log(STORE, STORE)
    log.add(b"{}", kind=START, start=Start(STORE, STORE, "new"))
    return simple(log, b"{}").data(), {(MALFORMED, MANIFEST)}


@attack
def fork_before_its_parent() -> Attack:
    """A fork that comes before its parent."""
    log, fork, bundle = with_fork()
    bundle.frames[0] = manifest_frame([fork.row(), log.row()], {})
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def lineage_that_closes() -> Attack:
    """Two forks, each the other's parent."""
    log, fork, bundle = with_fork()
    row = attrs.evolve(log.row(2, 3), fork_index=2, parent=FORK)
    row = attrs.evolve(row, head=log.head(fork_index=2))
    bundle.frames[0] = manifest_frame([row, fork.row()], {})
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def segment_twice() -> Attack:
    """A segment in two rows."""
    log, bundle = three()
    bundle.frames[0] = manifest_frame([log.row(0, 1), log.row(1, 3)], {})
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def more_entries_than_bytes() -> Attack:
    """More entries promised than the file can hold."""
    log, bundle = three()
    head = log.head(count=1 << 40)
    row = attrs.evolve(log.row(), stop=1 << 40, head=head)
    bundle.frames[0] = manifest_frame([row], {})
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def withheld_in_no_order() -> Attack:
    """Withheld names in another order."""
    log, bundle = three()
    units = sorted((blob_digest(b"a"), blob_digest(b"b")), reverse=True)
    data = b"".join(name + b"\0" for name in units)
    table, payloads = manifest_frame([log.row()], {})
    bundle.frames[0] = ([*table, [65, len(data)]], [*payloads, data])
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def withheld_for_no_reason() -> Attack:
    """A reason that there is not."""
    log = new_log(b"x")
    bundle = simple(log, b"{}", withheld={blob_digest(b"x"): 5})
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def withheld_but_not_named() -> Attack:
    """Something is withheld that no entry names."""
    bundle = simple(new_log(), b"{}", withheld={blob_digest(b"x"): 0})
    return bundle.data(), {(MALFORMED, MANIFEST)}


@attack
def withheld_and_there() -> Attack:
    """Something is withheld and stands there."""
    log = new_log(b"one")
    bundle = simple(log, b"{}", b"one", withheld={blob_digest(b"one"): 0})
    return bundle.data(), {(MALFORMED, bundle.where(2))}
