"""
Logs made without a store, and proofs about them.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from castore import merkle
from castore.digest import blob_digest
from castore.formats.chunked import slices_digest
from castore.formats.entry import (
    START,
    BlobRef,
    Entry,
    Origin,
    Reference,
    Start,
    decode_entry,
    encode_entry,
    genesis,
)
from castore.formats.head import Head
from castore.formats.seal import HeadTree, Seal, encode_pages
from castore.formats.trees import tree_of
from castore.merkle import Position
from castore.proofs.form import Point
from castore.proofs.logs import ConsistencyProof, InclusionProof, OriginProof
from castore.proofs.notes import Checkpoint, PrivateKey, origin_of, sign
from castore.proofs.ranges import RangeProof
from castore.proofs.seals import Contradiction, SealProof


STORE = bytes(range(16))
SESSION = bytes.fromhex("0190a1b2c3d47e5f8001020304050607")
SEGMENT = bytes.fromhex("0190a1b2c3d57e5f8008090a0b0c0d0e")
CHILD = bytes.fromhex("0190a1b2c3d67e5f800f101112131415")
TIME_MS = 1_794_000_000_000
MIB = 1 << 20


@attrs.define
class MadeLog:
    """A log: its ids, and the hashed form of each of its entries."""

    segment: bytes
    hashed: list[bytes]
    session: bytes = SESSION
    fork_index: int = 0
    hashes: list[bytes] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Hash the entries."""
        self.hashes = [decode_entry(each).hash for each in self.hashed]

    def read(self, positions: list[Position]) -> list[bytes]:
        """Return hashes of complete subtrees, as `merkle` asks for them."""
        tree = tree_of(self.segment, STORE)
        leaves = [tree.leaf(each) for each in self.hashes]
        return [
            merkle.complete(tree, leaves[at << level : at + 1 << level])
            for level, at in positions
        ]

    def root(self, count: int) -> bytes:
        """Return the root over the first *count* entries."""
        tree = tree_of(self.segment, STORE)
        return merkle.root(tree, merkle.peaks_at(count, self.read))

    def head(self, count: int | None = None) -> Head:
        """Return a head over the first *count* entries, all by default."""
        count = len(self.hashed) if count is None else count
        facts = (STORE, self.session, self.segment, self.fork_index, count, count)
        return Head(*facts, self.root(count), self.hashes[count - 1], 2, TIME_MS)

    def point(self, count: int) -> Point:
        """Return the point at *count* entries."""
        return Point(STORE, self.segment, count, self.root(count))

    def inclusion(self, index: int, count: int | None = None) -> InclusionProof:
        """Return the proof of one entry."""
        head = self.head(count)
        tree = tree_of(self.segment, STORE)
        hashes = merkle.prove_inclusion(tree, index, head.count, self.read)
        return InclusionProof(head, self.hashed[index], tuple(hashes))

    def growth(self, first: int, second: int) -> tuple[bytes, ...]:
        """Return the hashes of a proof of consistency."""
        tree = tree_of(self.segment, STORE)
        return tuple(merkle.prove_consistency(tree, first, second, self.read))

    def consistency(self, first: int, second: int | None = None) -> ConsistencyProof:
        """Return the proof that the log grew."""
        head = self.head(second)
        return ConsistencyProof(self.point(first), head, self.growth(first, head.count))

    def fork(self, at: int, count: int) -> MadeLog:
        """Return a fork with its first *at* entries and *count* of its own."""
        origin = Origin(
            self.session, self.segment, at, self.root(at), self.hashes[at - 1], 7
        )
        start = Start(SESSION, CHILD, "fork", origin)
        own = chain(count, at, self.hashes[at - 1], start)
        return MadeLog(CHILD, self.hashed[:at] + own, fork_index=at)

    def origin(self, parent: MadeLog | None) -> OriginProof:
        """Return the proof of origin of this fork, with its parent if there is one."""
        at, count = self.fork_index, len(self.hashed)
        entry = self.inclusion(at)
        fork = (self.head(), entry.hashed, entry.hashes, self.growth(at, count))
        if parent is None:
            return OriginProof(*fork)
        head = parent.head()
        return OriginProof(*fork, head, parent.growth(at, head.count))


def chain(
    count: int,
    first: int,
    prev: bytes,
    start: Start,
    refs: Sequence[Reference] = (),
) -> list[bytes]:
    """Return *count* linked entries, the first a start entry, the last with *refs*."""
    found = []
    for number in range(count):
        body = b"body %d" % (first + number)
        blob = BlobRef(blob_digest(body), len(body))
        is_start = number == 0
        named = tuple(refs) if number == count - 1 else ()
        entry = Entry(
            first + number,
            b"",
            prev,
            TIME_MS + number if number % 3 else None,
            START if is_start else "line",
            blob,
            named,
            start if is_start else None,
        )
        found.append(encode_entry(entry))
        prev = decode_entry(found[-1]).hash
    return found


def made(count: int, refs: Sequence[Reference] = ()) -> MadeLog:
    """Return a log of *count* entries."""
    start = Start(SESSION, SEGMENT, "new")
    return MadeLog(SEGMENT, chain(count, 0, genesis(SESSION, SEGMENT), start, refs))


def store_log(count: int) -> MadeLog:
    """Return a log of *count* entries with the tree of a store log."""
    start = Start(STORE, STORE, "new")
    entries = chain(count, 0, genesis(STORE, STORE), start)
    return MadeLog(STORE, entries, session=STORE)


def large(slices: int = 10, more: int = 5) -> tuple[bytes, Reference]:
    """Return the slices of a blob of so many MiB and bytes, and its reference."""
    digests = b"".join(blob_digest(bytes([n]) * MIB) for n in range(slices))
    digests += blob_digest(b"\xff" * more) if more else b""
    size = slices * MIB + more
    name = blob_digest(b"a large blob")
    return digests, Reference("x", BlobRef(name, size, slices_digest(digests)))


def ranged(start: int = MIB, stop: int = 3 * MIB) -> RangeProof:
    """Return the proof of a range, of the second reference of an entry."""
    slices, ref = large()
    small = Reference("y", BlobRef(blob_digest(b"small"), 5))
    log = made(6, [small, ref])
    return RangeProof(log.inclusion(5), None, 1, start, stop, slices)


# --- notes -------------------------------------------------------------------

SIGNER = PrivateKey(origin_of(STORE), bytes(range(32, 64)))
OTHER_SIGNER = PrivateKey("somebody.example/else", bytes(range(64, 96)))


def note_of(log: MadeLog, count: int, signer: PrivateKey = SIGNER) -> bytes:
    """Return a note over the first entries of a store log, signed."""
    checkpoint = Checkpoint(origin_of(STORE), count, log.root(count))
    return sign(checkpoint.text(), signer)


def sealed(heads: Sequence[Head], kind: str = "sealed", role: str = "heads") -> MadeLog:
    """Return a store log of four entries whose third one seals *heads*."""
    log = store_log(2)
    encoded = [head.encode() for head in heads]
    body = Seal(HeadTree(encoded).root, len(heads)).encode()
    pages = [BlobRef(blob_digest(page), len(page)) for page in encode_pages(encoded)]
    refs = tuple(Reference(role, page) for page in pages)
    blob = BlobRef(blob_digest(body), len(body))
    entry = encode_entry(Entry(2, b"", log.hashes[1], TIME_MS, kind, blob, refs))
    prev = decode_entry(entry).hash
    last = Entry(3, b"", prev, None, "line", BlobRef(blob_digest(b""), 0))
    return MadeLog(STORE, [*log.hashed, entry, encode_entry(last)], session=STORE)


def heads() -> list[Head]:
    """Return three heads of segments, sorted."""
    log = made(7)
    return [
        log.head(),
        log.fork(5, 4).head(),
        attrs.evolve(log.head(3), segment=b"z" * 16),
    ]


def seal_proof(position: int = 1, covered: Sequence[Head] | None = None) -> SealProof:
    """Return the proof that a head is under a seal, by default of three."""
    covered = heads() if covered is None else covered
    log = sealed(covered)
    tree = HeadTree(head.encode() for head in covered)
    body = Seal(tree.root, len(covered)).encode()
    entry = attrs.evolve(log.inclusion(2, 3), state=log.point(3))
    hashes = tuple(tree.prove(position))
    return SealProof(entry, covered[position], position, body, hashes)


def contradiction(older: int = 3, newer: int = 6) -> Contradiction:
    """Return the proof that notes over two histories were signed."""
    log, other = store_log(7), sealed(heads())
    key = SIGNER.public_key
    notes = note_of(other, older), note_of(log, newer)
    return Contradiction(key, *notes, log.root(older), log.growth(older, newer))
