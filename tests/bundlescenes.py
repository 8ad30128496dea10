"""
Bundles that are good, and what attacks on them are made with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from bundlekit import (
    FORK,
    SEGMENT,
    Bundle,
    Frame,
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

from castore.digest import blob_digest
from castore.formats import frame as frame_format
from castore.formats.chunked import encode_chunks, slices_digest
from castore.formats.entry import (
    REF_LIST_FLAG,
    BlobRef,
    Reference,
    encode_ref_list,
)


MIB = 1 << 20
CORRUPT, MALFORMED, FOREIGN = "corrupt frame", "malformed record", "foreign record"
UNSUPPORTED, MISSING = "unsupported version", "missing blob"
MANIFEST = "bundle@188"

#: A bundle's bytes, and verdict and place of all that is found.
Attack = tuple[bytes, set[tuple[str, str]]]
ATTACKS: dict[str, Callable[[], Attack]] = {}
GOOD: dict[str, Callable[[], Attack]] = {}


def attack(make: Callable[[], Attack]) -> Callable[[], Attack]:
    """Register an attack under its name."""
    ATTACKS[make.__name__] = make
    return make


def good(make: Callable[[], Attack]) -> Callable[[], Attack]:
    """Register a bundle that is good under its name."""
    GOOD[make.__name__] = make
    return make


def segment_at(index: int | None = None, segment: bytes = SEGMENT) -> str:
    """Return the place of a segment, or of an entry of it."""
    name = f"segment:{segment.hex()}"
    return name if index is None else f"{name}[{index}]"


def blob_at(data: bytes) -> str:
    """Return the place of a blob."""
    return f"blob:{blob_digest(data).hex()}"


def three() -> tuple[Log, Bundle]:
    """Return a log of three entries and its bundle."""
    log = new_log(b"one", b"two")
    return log, simple(log, b"{}", b"one", b"two")


def with_fork(at: int = 2) -> tuple[Log, Log, Bundle]:
    """Return a log, a fork of it and the bundle of both; two groups."""
    log = new_log(b"one", b"two")
    fork = fork_of(log, at, b"three")
    first = blobs_frame(b"{}", b"one", b"two")
    frames = [
        manifest_frame([log.row(), fork.row()], {}),
        entries_frame(log.run(0, 3, numbered(b"{}", b"one", b"two"))),
        first,
        entries_frame(fork.run(at, at + 2, numbered(b"three"))),
        blobs_frame(b"three"),
    ]
    return log, fork, Bundle(frames)


# --- good --------------------------------------------------------------------


@good
def whole_log() -> Attack:
    """A whole log."""
    return three()[1].data(), set()


@good
def range_of_a_log() -> Attack:
    """Two entries from the middle of a log, with peaks and a proof."""
    log = new_log(b"one", b"two", b"three")
    row = log.row(1, 3)
    run = log.run(1, 3, numbered(b"one", b"two"))
    frames = [manifest_frame([row], {}), entries_frame(run)]
    return Bundle([*frames, blobs_frame(b"one", b"two")]).data(), set()


@good
def fork_with_its_parent() -> Attack:
    """A fork and the whole log of its parent."""
    return with_fork()[2].data(), set()


@good
def fork_of_a_deleted_parent() -> Attack:
    """A fork; of its parent, which has no head any more, what it inherits."""
    log = new_log(b"one", b"two")
    fork = fork_of(log, 2)
    row = attrs.evolve(log.row(0, 2), head=None, proof=())
    frames = [
        manifest_frame([row, fork.row()], {}),
        entries_frame(
            log.run(0, 2, numbered(b"{}", b"one")),
            fork.run(2, 3, numbered(b"{}", b"one")),
        ),
        blobs_frame(b"{}", b"one"),
    ]
    return Bundle(frames).data(), set()


@good
def fork_alone() -> Attack:
    """A fork without its parent: its origin cannot be checked."""
    fork = fork_of(new_log(b"one"), 2, b"two")
    bundle = simple(fork, b"{}", b"two")
    return bundle.data(), {("origin not covered", segment_at(None, FORK))}


@good
def payload_left_out() -> Attack:
    """A payload that is withheld."""
    log = new_log()
    log.add(b"", ref(b"abc"), ref(b"def"))
    bundle = simple(log, b"{}", b"", b"def", withheld={blob_digest(b"abc"): 0})
    return bundle.data(), {(f"withheld by bundle {bundle.id.hex()}", blob_at(b"abc"))}


@good
def ref_list() -> Attack:
    """An entry with a list of references."""
    log, payload = listed(ref(b"x"), ref(b"y", "a.b"))
    bundle = simple(log, b"{}", b"", b"x", b"y")
    bundle.frames.append(lists_frame(payload))
    return bundle.data(), set()


@good
def bodies_elsewhere() -> Attack:
    """Entries without a body frame name their bodies in full."""
    log = new_log(b"{}")
    first = log.run(0, 1, numbered(b"{}"))
    frames = [
        manifest_frame([log.row()], {}),
        entries_frame(first),
        blobs_frame(b"{}"),
        entries_frame(log.run(1, 2)),
    ]
    return Bundle(frames).data(), set()


def listed(*refs: Reference) -> tuple[Log, bytes]:
    """Return a log whose second entry has a list of *refs*, and the list."""
    name, payload = encode_ref_list(refs)
    log = new_log()
    log.add(b"", Reference("", BlobRef(name, len(refs)), REF_LIST_FLAG))
    return log, payload


def lists_frame(*payloads: bytes) -> Frame:
    """Return a frame of ref lists."""
    return [[frame_format.REF_LIST, len(each)] for each in payloads], list(payloads)


def large(size: int, fill: bytes = b"z") -> tuple[bytes, Frame, BlobRef]:
    """Return a blob of equal bytes, the frame that it stands in, its reference."""
    data = fill * size
    parts = [data[at : at + MIB] for at in range(0, size, MIB)]
    chunks = [(blob_digest(part), len(part)) for part in parts]
    sliced = size > 8 * MIB
    slices = b"".join(name for name, _ in chunks) if sliced else b""
    payload = encode_chunks(chunks, slices)
    descriptor = [frame_format.CHUNKED, len(payload), blob_digest(data), size]
    some = dict.fromkeys(parts)
    table: list[list[Any]] = [[frame_format.BLOB, len(part)] for part in some]
    name = BlobRef(blob_digest(data), size, slices_digest(slices) if sliced else None)
    return data, ([*table, descriptor], [*some, payload]), name


def with_large(size: int = MIB + 5) -> Bundle:
    """Return a bundle with a large payload."""
    _, frame, name = large(size)
    log = new_log()
    log.add(b"{}", Reference("out", name))
    bundle = simple(log, b"{}")
    bundle.frames.append(frame)
    return bundle


@good
def large_payload() -> Attack:
    """A payload that stands as a chunk list."""
    return with_large().data(), set()


@good
def sliced_payload() -> Attack:
    """A payload with slices."""
    return with_large(9 * MIB + 1).data(), set()
