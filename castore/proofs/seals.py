"""
Proofs about notes: a head is under one; two of them cannot both be true.

Spec: spec/proofs.md; spec/notes.md.
"""

from __future__ import annotations

from typing import Any, Self

import attrs

from castore import merkle
from castore.codec import decode_object
from castore.digest import blob_digest
from castore.errors import FormatError
from castore.formats.head import Head, hash_head
from castore.formats.refuse import is_bytes, is_count, need, refusal
from castore.formats.seal import Seal
from castore.formats.storelog import SEALED
from castore.formats.trees import SEGMENT_TREE, STORE_LOG_TREE
from castore.proofs.form import BAD_PROOF, decode_head, encode_fields, parse_path
from castore.proofs.logs import InclusionProof
from castore.proofs.notes import Checkpoint, Note, PublicKey, store_of


@attrs.frozen
class SealProof:
    """
    That a head is one of those that a ``sealed`` entry covers, for whoever trusts
    the state of the store log that *entry* leads to.

    Attributes:
        entry: The ``sealed`` entry, in the store log.

        head: Of the segment.

        position: Of its leaf.

        body: Of the entry.

        hashes: Path of the head in the tree of heads.
    """

    KIND = "seal"

    entry: InclusionProof
    head: Head
    position: int
    body: bytes
    hashes: tuple[bytes, ...]

    @property
    def seal(self) -> Seal:
        """
        What the entry says.

        Raises:
            CorruptionError: ``malformed record``.
        """
        try:
            value = decode_object(self.body)
        except FormatError as error:
            raise refusal(f"seal: {error.what}") from error
        need(isinstance(value, dict) and [*value] == ["heads", "count"], "seal: body")
        return Seal.parse(value, self.entry.entry.refs)

    def check(self) -> None:
        """
        Check the proof; trust in it is trust in the store log's state.

        Raises:
            CorruptionError: ``bad proof``; ``malformed record``.
        """
        self.entry.check()
        state, entry, seal = self.entry.state, self.entry.entry, self.seal
        need(state.segment == state.store, "seal: no store log", BAD_PROOF)
        need(self.head.store == state.store, "seal: head of another store", BAD_PROOF)
        named = (entry.kind, entry.body.digest, entry.body.size)
        found = (SEALED, blob_digest(self.body), len(self.body))
        need(named == found, "seal: not the body of a sealed entry", BAD_PROOF)
        need(self.position < seal.count, "seal: no such head", BAD_PROOF)
        merkle.check_inclusion(
            SEGMENT_TREE,
            self.hashes,
            index=self.position,
            count=seal.count,
            leaf_hash=SEGMENT_TREE.leaf(hash_head(self.head.encode())),
            root=seal.root,
        )

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        fields = [self.head.encode(), self.position, self.body, list(self.hashes)]
        return encode_fields(self.KIND, [*self.entry.fields(), *fields])

    @classmethod
    def parse(cls, fields: list[Any]) -> Self:
        """Return the proof that *fields* of a file are, not checked yet."""
        need(len(fields) == 7, "seal: not seven fields")
        head, position, body, hashes = fields[3:]
        need(is_count(position) and type(body) is bytes, "seal: position or body")
        entry = InclusionProof.parse(fields[:3])
        proof = cls(entry, decode_head(head), position, body, parse_path(hashes))
        _ = proof.seal
        return proof


@attrs.frozen
class Contradiction:
    """
    That a key signed two notes which cannot both be of one log.

    Attributes:
        key: Whose.

        older: The note with the lower count, or one of two with the same.

        newer: The other.

        root: That the log of *newer* had at the count of *older*.

        hashes: Consistency of that with *newer*.
    """

    KIND = "contradiction"

    key: PublicKey
    older: bytes
    newer: bytes
    root: bytes
    hashes: tuple[bytes, ...] = ()

    def checkpoints(self) -> tuple[Checkpoint, Checkpoint]:
        """
        Return what the notes say, signatures not looked at.

        Raises:
            CorruptionError: ``malformed record``.
        """
        texts = [Note.parse(data).text for data in (self.older, self.newer)]
        older, newer = map(Checkpoint.parse, texts)
        return older, newer

    def check(self) -> None:
        """
        Check the proof; trust in it is trust that the key is whose it is said to be.

        Raises:
            CorruptionError: ``bad proof``; ``bad signature``; ``malformed record``.

            UnsupportedError: The package ``cryptography`` is not there.
        """
        older, newer = self.checkpoints()
        for data in (self.older, self.newer):
            Note.parse(data).verify([self.key])
        need(older.origin == newer.origin, "contradiction: of two logs", BAD_PROOF)
        right = 0 < older.count <= newer.count
        need(right, "contradiction: counts", BAD_PROOF)
        need(self.root != older.root, "contradiction: there is none", BAD_PROOF)
        merkle.check_consistency(
            STORE_LOG_TREE,
            self.hashes,
            first=older.count,
            second=newer.count,
            first_root=self.root,
            second_root=newer.root,
        )

    @property
    def store(self) -> bytes:
        """Store id in the origin; empty for another log."""
        return store_of(self.checkpoints()[0].origin)

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        notes = [str(self.key), self.older, self.newer]
        return encode_fields(self.KIND, [*notes, self.root, list(self.hashes)])

    @classmethod
    def parse(cls, fields: list[Any]) -> Self:
        """Return the proof that *fields* of a file are, not checked yet."""
        need(len(fields) == 5, "contradiction: not five fields")
        key, older, newer, root, hashes = fields
        need(type(key) is str, "contradiction: key")
        need(type(older) is type(newer) is bytes, "contradiction: notes")
        need(is_bytes(root, 32), "contradiction: root")
        try:
            known = PublicKey.parse(key)
        except FormatError as error:
            raise refusal(f"contradiction: {error.what}") from error
        proof = cls(known, older, newer, root, parse_path(hashes))
        proof.checkpoints()
        return proof
