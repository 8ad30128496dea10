"""
Proofs about logs: an entry stands in one, one grew, one began as another.

Spec: spec/proofs.md; spec/merkle.md, "Proofs".
"""

from __future__ import annotations

from typing import Any, Self

import attrs

from castore import merkle
from castore.formats.entry import Entry, Origin, check_start, decode_entry
from castore.formats.head import Head
from castore.formats.refuse import need, refusal
from castore.proofs.form import (
    BAD_PROOF,
    State,
    decode_head,
    encode_fields,
    parse_path,
    parse_state,
    state_record,
    tree_for,
)


@attrs.frozen
class InclusionProof:
    """
    That an entry stands in a log, for whoever trusts *state*.

    Attributes:
        state: Head of the log, or its count and root.

        hashed: The entry's hashed form; it says its index.

        hashes: The path, 32 bytes each, from the leaf upwards.
    """

    KIND = "inclusion"

    state: State
    hashed: bytes
    hashes: tuple[bytes, ...]

    @property
    def count(self) -> int:
        """Entries that *state* covers."""
        return self.state.count

    @property
    def root(self) -> bytes:
        """Root that the path leads to."""
        return self.state.root

    @property
    def index(self) -> int:
        """Of the entry."""
        return self.entry.index

    @property
    def entry(self) -> Entry:
        """
        The entry, decoded.

        Raises:
            CorruptionError: ``malformed record``.
        """
        return decode_entry(self.hashed)

    def check(self) -> None:
        """
        Check the proof; trust in it is trust in *state*.

        Raises:
            CorruptionError: ``bad proof``; ``malformed record``.
        """
        check_entry(self.state, self.entry, self.hashes)

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        return encode_fields(self.KIND, self.fields())

    def fields(self) -> list[Any]:
        """Return what stands in the file behind the kind."""
        return [state_record(self.state), self.hashed, list(self.hashes)]

    @classmethod
    def parse(cls, fields: list[Any]) -> Self:
        """Return the proof that *fields* of a file are, not checked yet."""
        need(len(fields) == 3, "inclusion: not three fields")
        state, hashed, hashes = fields
        need(type(hashed) is bytes, "inclusion: entry")
        decode_entry(hashed)
        return cls(parse_state(state), hashed, parse_path(hashes))


@attrs.frozen
class ConsistencyProof:
    """
    That a log only grew, for whoever trusts *second*.

    Attributes:
        first: The log as it was, 1 or more entries.

        second: The same log later.

        hashes: As `merkle.prove_consistency` gives them.
    """

    KIND = "consistency"

    first: State
    second: State
    hashes: tuple[bytes, ...]

    def check(self) -> None:
        """
        Check the proof; trust in it is trust in *second*.

        Raises:
            CorruptionError: ``bad proof``.
        """
        same = self.first.store, self.first.segment
        right = same == (self.second.store, self.second.segment)
        need(right, "consistency: of two logs", BAD_PROOF)
        check_growth(self.first.count, self.first.root, self.second, self.hashes)

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        states = [state_record(self.first), state_record(self.second)]
        return encode_fields(self.KIND, [*states, list(self.hashes)])

    @classmethod
    def parse(cls, fields: list[Any]) -> Self:
        """Return the proof that *fields* of a file are, not checked yet."""
        need(len(fields) == 3, "consistency: not three fields")
        first, second, hashes = fields
        return cls(parse_state(first), parse_state(second), parse_path(hashes))


@attrs.frozen
class OriginProof:
    """
    That a fork says where it comes from, and began so, for whoever trusts its head;
    and that this is how the other log began, for whoever trusts *parent*.

    Attributes:
        head: Of the fork.

        hashed: Its start entry's hashed form, which names the origin.

        hashes: Path of the start entry.

        growth: Consistency of the inherited entries with *head*.

        parent: Head or point of the log that the origin names; None: *shared prefix
            only*.

        parent_growth: Consistency of the same entries with *parent*.
    """

    KIND = "origin"

    head: Head
    hashed: bytes
    hashes: tuple[bytes, ...]
    growth: tuple[bytes, ...]
    parent: State | None = None
    parent_growth: tuple[bytes, ...] = ()

    @property
    def entry(self) -> Entry:
        """The start entry, decoded."""
        return decode_entry(self.hashed)

    @property
    def origin(self) -> Origin:
        """
        What the start entry says.

        Raises:
            CorruptionError: ``malformed record``: it says nothing.
        """
        start = self.entry.start
        if start is None or start.origin is None:
            raise refusal("origin: not the start entry of a fork")
        return start.origin

    @property
    def is_whole(self) -> bool:
        """Whether the other log is covered, too."""
        return self.parent is not None

    def check(self) -> None:
        """
        Check the proof; trust in it is trust in *head*, and in *parent*.

        Raises:
            CorruptionError: ``bad proof``; ``malformed record``.
        """
        head, entry, origin = self.head, self.entry, self.origin
        right = entry.index == head.fork_index
        need(right, "origin: not the start entry of this fork", BAD_PROOF)
        check_entry(head, entry, self.hashes)
        check_growth(origin.count, origin.root, head, self.growth)
        if self.parent is None:
            return
        found = (self.parent.store, self.parent.segment)
        need(found == (head.store, origin.segment), "origin: another log", BAD_PROOF)
        if isinstance(self.parent, Head):
            same = self.parent.session == origin.session
            need(same, "origin: another session", BAD_PROOF)
        check_growth(origin.count, origin.root, self.parent, self.parent_growth)

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        parent = None if self.parent is None else state_record(self.parent)
        paths = [list(self.hashes), list(self.growth)]
        fields = [self.head.encode(), self.hashed, *paths]
        return encode_fields(self.KIND, [*fields, parent, list(self.parent_growth)])

    @classmethod
    def parse(cls, fields: list[Any]) -> Self:
        """Return the proof that *fields* of a file are, not checked yet."""
        need(len(fields) == 6, "origin: not six fields")
        head, hashed, hashes, growth, parent, parent_growth = fields
        need(type(hashed) is bytes, "origin: entry")
        need(parent is not None or parent_growth == [], "origin: a path to nothing")
        proof = cls(
            decode_head(head),
            hashed,
            parse_path(hashes),
            parse_path(growth),
            None if parent is None else parse_state(parent),
            parse_path(parent_growth),
        )
        proof.check_start()
        return proof

    def check_start(self) -> None:
        """
        Refuse a start entry that is none of a fork, or of another segment.

        Raises:
            CorruptionError: ``malformed record``.
        """
        entry = self.entry
        if entry.start is None or not entry.index:
            raise refusal("origin: not the start entry of a fork")
        ids = {"session": self.head.session, "segment": self.head.segment}
        check_start(entry.start, **ids, index=entry.index, prev=entry.prev)


def check_entry(state: State, entry: Entry, hashes: tuple[bytes, ...]) -> None:
    """
    Check that *entry* stands in the log of *state*.

    Raises:
        CorruptionError: ``bad proof``.
    """
    need(entry.index < state.count, "the entry is behind the head", BAD_PROOF)
    tree = tree_for(state)
    merkle.check_inclusion(
        tree,
        hashes,
        index=entry.index,
        count=state.count,
        leaf_hash=tree.leaf(entry.hash),
        root=state.root,
    )


def check_growth(
    count: int, root: bytes, state: State, hashes: tuple[bytes, ...]
) -> None:
    """
    Check that the log of *state* begins with the *count* entries under *root*.

    Raises:
        CorruptionError: ``bad proof``.
    """
    need(0 < count <= state.count, "the log is not as long", BAD_PROOF)
    merkle.check_consistency(
        tree_for(state),
        hashes,
        first=count,
        second=state.count,
        first_root=root,
        second_root=state.root,
    )
