"""
Bodies of the entries that a runtime store writes.

Spec: spec/runtime.md, "Entries".
"""

from __future__ import annotations

from typing import TypeVar

import attrs

from castore.codec import decode_object, encode_object
from castore.errors import FormatError, UnsupportedError
from castore.records.fields import (
    BOOLEAN,
    TEXT,
    U64,
    Record,
    Value,
    choice,
    leaf,
    many,
    one,
    optional,
    refuse,
    required,
)
from castore.records.persisted import PersistedSessionConfig, SessionMeta
from castore.records.usage import TokenLedgerEntry
from castore.runtime.lease import SessionLease


SCHEMA_VERSION = 1

COMMIT = "runtime_commit"
META = "runtime_meta"
HIDDEN = "runtime_hidden"
VACUUMED = "runtime_vacuumed"
LEASE = "runtime_lease"

NODE_ROLE, ARCHIVE_ROLE, FOLD_ROLE = "node", "archive", "fold"
MANIFEST_ROLE = "checkpoint.manifest"
#: Of each snapshot the name of its field and the role of its payload.
SNAPSHOT_ROLES = {
    "tool_state": "checkpoint.tool_state",
    "plugin_snapshot": "checkpoint.plugin_snapshot",
    "execution_state": "checkpoint.execution_state",
}
CHECKPOINT_ROLES = (MANIFEST_ROLE, *SNAPSHOT_ROLES.values())


#: A node's id and its parent's.
Link = tuple[str, str | None]


def _link(value: Value, where: str) -> Link:
    if type(value) is not list or len(value) != 2 or type(value[0]) is not str:
        raise refuse(where, "not a node's id and its parent's")
    if value[1] is not None and type(value[1]) is not str:
        raise refuse(where, "a parent that is no text")
    return value[0], value[1]


LINK = leaf(_link, list)


@attrs.frozen(kw_only=True, repr=False)
class StampBody(Record):
    """
    A stamp in a commit.

    Attributes:
        content: Hex digest of what makes two commits of a turn the same.
    """

    turn_id: str = required(TEXT)
    content: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class CommitBody(Record):
    """
    Body of a `COMMIT`. Its references: manifest, snapshots, then one for each
    node in the order of `nodes`.

    Attributes:
        change: ``keep``, ``append`` or ``replace``: what becomes of the nodes.

        lease: Fencing number under which it was made.
    """

    session_id: str = required(TEXT)
    head_revision: int = required(U64)
    config: PersistedSessionConfig = required(one(PersistedSessionConfig))
    change: str = required(choice("keep", "append", "replace"))
    nodes: tuple[Link, ...] = required(many(LINK))
    leaf_node_id: str | None = optional(TEXT, written=True)
    usage: tuple[TokenLedgerEntry, ...] = required(many(one(TokenLedgerEntry)))
    stamp: StampBody | None = optional(one(StampBody))
    lease: int | None = optional(U64)


@attrs.frozen(kw_only=True, repr=False)
class MetaBody(Record):
    """Body of a `META`: takes the place of the one before."""

    meta: SessionMeta = required(one(SessionMeta))


@attrs.frozen(kw_only=True, repr=False)
class HiddenBody(Record):
    """
    Body of a `HIDDEN`: these nodes are in no read from here on.

    Attributes:
        forced: Whether some were on the active path.
    """

    nodes: tuple[str, ...] = required(many(TEXT))
    forced: bool = required(BOOLEAN)


@attrs.frozen(kw_only=True, repr=False)
class VacuumedBody(Record):
    """Body of a `VACUUMED`: these hidden nodes are no nodes any more."""

    nodes: tuple[str, ...] = required(many(TEXT))


@attrs.frozen(kw_only=True, repr=False)
class LeaseBody(Record):
    """
    Body of a `LEASE`.

    Attributes:
        lease: As granted, or as it is given up.
    """

    change: str = required(choice("granted", "taken", "released"))
    lease: SessionLease = required(one(SessionLease))


Body = CommitBody | MetaBody | HiddenBody | VacuumedBody | LeaseBody
CLASSES: dict[str, type[Body]] = {
    COMMIT: CommitBody,
    META: MetaBody,
    HIDDEN: HiddenBody,
    VACUUMED: VacuumedBody,
    LEASE: LeaseBody,
}
_R = TypeVar("_R", bound=Record)


def encode_versioned(record: Record) -> bytes:
    """Return *record* encoded, with the version of its schema before all else."""
    return encode_object({"schema_version": SCHEMA_VERSION, **record.encode()})


def decode_versioned(kind: type[_R], data: bytes, where: str) -> _R:
    """
    Return the record that `encode_versioned` encoded.

    Args:
        kind: Its class.

        data: The bytes.

        where: What they are, for errors.

    Raises:
        FormatError: They are not as documented, or have no version or none that
            is a version.

        UnsupportedError: A newer version; names both.
    """
    value = decode_object(data)
    if type(value) is not dict:
        raise refuse(where, "not an object")
    if "schema_version" not in value:
        raise FormatError(what=f"{where}: without a schema version")
    version = value.pop("schema_version")
    if type(version) is not int or version < 1:
        raise FormatError(what=f"{where}: its schema version is none")
    if version > SCHEMA_VERSION:
        what = f"{where}: schema version {version}, expected {SCHEMA_VERSION}"
        raise UnsupportedError(what=f"{what}; upgrade castore")
    return kind.decode(value, where)


def decode_body(kind: str, data: bytes, where: str) -> Body:
    """Return the body of an entry of *kind*, one of `CLASSES`."""
    return decode_versioned(CLASSES[kind], data, where)
