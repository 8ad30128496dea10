"""
The state of a session: the fold of its log, as far as no payload is needed.

Spec: spec/runtime.md, "The fold".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from castore.errors import FormatError
from castore.formats.entry import BlobRef, Reference, Start
from castore.records.fields import (
    ANYTHING,
    EMPTY,
    TEXT,
    U64,
    Record,
    many,
    one,
    optional,
    required,
)
from castore.records.graph import upwards
from castore.records.persisted import PersistedSessionConfig, SessionMeta
from castore.records.usage import TokenLedgerEntry, merge_ledger
from castore.runtime.bodies import (
    CHECKPOINT_ROLES,
    FOLD_ROLE,
    MANIFEST_ROLE,
    NODE_ROLE,
    Body,
    CommitBody,
    HiddenBody,
    LeaseBody,
    MetaBody,
    VacuumedBody,
    decode_versioned,
    encode_versioned,
)
from castore.runtime.lease import SessionLease


SESSION_SPACE = "runtime"  # first half of the key of a runtime's session


@attrs.define
class Node:
    """A node as the log names it: `blob` holds what it is."""

    parent: str | None
    blob: BlobRef
    is_hidden: bool = False


@attrs.frozen
class Stamped:
    """The commit that a stamp stands for."""

    content: str
    head_revision: int
    checkpoint_ref: str


@attrs.define
class Fold:
    """
    A session after some entries of its log.

    Attributes:
        session_id: None before anything names it.

        nodes: By id, in the order in which they were added.

        checkpoint: The payloads of the newest commit's checkpoint, by role.

        ledger: By source and model.

        stamps: By turn.

        lease: The newest that was granted and not given up; may have expired.

        fencing: Highest number that was ever given.

        snapshot: Payload of the newest snapshot of a fold.

        since: Entries folded since that one.
    """

    session_id: str | None = None
    head_revision: int = 0
    config: PersistedSessionConfig = PersistedSessionConfig()
    nodes: dict[str, Node] = attrs.Factory(dict)
    leaf: str | None = None
    checkpoint: dict[str, BlobRef] = attrs.Factory(dict)
    ledger: tuple[TokenLedgerEntry, ...] = ()
    stamps: dict[str, Stamped] = attrs.Factory(dict)
    meta: SessionMeta | None = None
    lease: SessionLease | None = None
    fencing: int = 0
    snapshot: BlobRef | None = None
    since: int = 0

    # --- asking --------------------------------------------------------------

    @property
    def checkpoint_ref(self) -> str | None:
        """Name of the newest commit's manifest."""
        ref = self.checkpoint.get(MANIFEST_ROLE)
        return None if ref is None else str(ref)

    def visible(self, node_id: str | None) -> Node | None:
        """Return the node of that id, None if it is hidden or not there."""
        node = self.nodes.get(node_id) if node_id is not None else None
        return None if node is None or node.is_hidden else node

    def path(self, leaf: str | None) -> list[str]:
        """Return the ids of the path to *leaf*, root first."""
        path = upwards(leaf, self.visible, lambda node: node.parent)
        return [name for name, _ in path][::-1]

    # --- folding -------------------------------------------------------------

    def begin(self, start: Start) -> None:
        """Take in the start of a segment: a fork's session is another, unleased."""
        if start.key is not None and start.key[0] == SESSION_SPACE:
            self.session_id = start.key[1]
        self.lease = None

    def apply(self, body: Body, refs: Sequence[Reference]) -> None:
        """
        Take in one entry.

        Raises:
            FormatError: It does not fit its references, or what came before.
        """
        self.since += 1
        if isinstance(body, CommitBody):
            self._commit(body, refs)
        elif isinstance(body, MetaBody):
            self.meta = body.meta
        elif isinstance(body, HiddenBody):
            for name in body.nodes:
                self._there(name).is_hidden = True
            if self.leaf is not None and self.visible(self.leaf) is None:
                self.leaf = None
        elif isinstance(body, VacuumedBody):
            for name in body.nodes:
                self._there(name)
                del self.nodes[name]
        else:
            self._leased(body)
        snapshot = next((ref.blob for ref in refs if ref.role == FOLD_ROLE), None)
        if snapshot is not None:
            self.snapshot, self.since = snapshot, 0

    def _there(self, name: str) -> Node:
        node = self.nodes.get(name)
        if node is None:
            raise FormatError(what="an entry takes away a node that is not there")
        return node

    def _commit(self, body: CommitBody, refs: Sequence[Reference]) -> None:
        blobs = [ref.blob for ref in refs if ref.role == NODE_ROLE]
        if len(blobs) != len(body.nodes):
            raise FormatError(what="a runtime commit without a reference to each node")
        if all(ref.role != MANIFEST_ROLE for ref in refs):
            raise FormatError(what="a runtime commit without a manifest")
        if body.change == "replace":
            self.nodes = {}
        for (name, parent), blob in zip(body.nodes, blobs, strict=True):
            # One that was hidden and is added again keeps its place.
            self.nodes[name] = Node(parent, blob)
        self.session_id = self.session_id or body.session_id
        self.head_revision = body.head_revision
        self.config = body.config
        self.leaf = body.leaf_node_id
        self.checkpoint = {
            ref.role: ref.blob for ref in refs if ref.role in CHECKPOINT_ROLES
        }
        self.ledger = merge_ledger((*self.ledger, *body.usage))
        if body.stamp is not None:
            name, content = body.stamp.turn_id, body.stamp.content
            manifest = str(self.checkpoint[MANIFEST_ROLE])
            self.stamps[name] = Stamped(content, body.head_revision, manifest)

    def _leased(self, body: LeaseBody) -> None:
        if body.change == "released":
            self.lease = None
        else:
            self.lease = body.lease
            self.fencing = max(self.fencing, body.lease.fencing)

    def copy(self) -> Fold:
        """Return a fold that goes on by itself."""
        nodes = {name: attrs.evolve(node) for name, node in self.nodes.items()}
        return attrs.evolve(self, nodes=nodes, stamps=dict(self.stamps))

    # --- as a payload --------------------------------------------------------

    def encode(self) -> bytes:
        """Return the fold as a payload of role ``fold``."""
        record = _Snapshot(
            session_id=self.session_id,
            head_revision=self.head_revision,
            config=self.config,
            nodes=[
                [name, node.parent, _listed(node.blob), node.is_hidden]
                for name, node in self.nodes.items()
            ],
            leaf_node_id=self.leaf,
            checkpoint={role: _listed(ref) for role, ref in self.checkpoint.items()},
            ledger=self.ledger,
            stamps={name: attrs.astuple(one) for name, one in self.stamps.items()},
            meta=self.meta,
            lease=self.lease,
            fencing=self.fencing,
        )
        return encode_versioned(record)

    @classmethod
    def decode(cls, data: bytes, snapshot: BlobRef) -> Fold:
        """
        Return the fold that `encode` encoded; *snapshot* is where it was.

        Raises:
            FormatError: It is none.

            UnsupportedError: A newer version.
        """
        record = decode_versioned(_Snapshot, data, "a fold")
        try:
            nodes = {
                name: Node(parent, BlobRef(*blob), hidden)
                for name, parent, blob, hidden in record.nodes
            }
            checkpoint = {
                role: BlobRef(*ref) for role, ref in record.checkpoint.items()
            }
            stamps = {name: Stamped(*facts) for name, facts in record.stamps.items()}
        except (TypeError, ValueError):
            raise FormatError(what="a fold of another shape") from None
        return cls(
            session_id=record.session_id,
            head_revision=record.head_revision,
            config=record.config,
            nodes=nodes,
            leaf=record.leaf_node_id,
            checkpoint=checkpoint,
            ledger=record.ledger,
            stamps=stamps,
            meta=record.meta,
            lease=record.lease,
            fencing=record.fencing,
            snapshot=snapshot,
        )


def _listed(ref: BlobRef) -> list[Any]:
    return [ref.digest, ref.size, ref.slices]


@attrs.frozen(kw_only=True, repr=False)
class _Snapshot(Record):
    """A fold, encoded."""

    session_id: str | None = optional(TEXT, written=True)
    head_revision: int = required(U64)
    config: PersistedSessionConfig = required(one(PersistedSessionConfig))
    nodes: Any = required(ANYTHING)
    leaf_node_id: str | None = optional(TEXT, written=True)
    checkpoint: Any = optional(ANYTHING, EMPTY, written=True)
    ledger: tuple[TokenLedgerEntry, ...] = required(many(one(TokenLedgerEntry)))
    stamps: Any = optional(ANYTHING, EMPTY, written=True)
    meta: SessionMeta | None = optional(one(SessionMeta))
    lease: SessionLease | None = optional(one(SessionLease))
    fencing: int = required(U64)
