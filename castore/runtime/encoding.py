"""
A commit encoded: the payloads of its checkpoint and nodes, and its content.

Spec: spec/runtime.md, "The checkpoint", "Stamps".
"""

from __future__ import annotations

from typing import Any

import attrs

from castore.codec import encode_object
from castore.digest import blob_digest, format_digest
from castore.errors import ConflictError
from castore.records.checkpoint import (
    HydratedSessionCheckpoint,
    SessionCheckpoint,
    snapshot_refs,
)
from castore.records.nodes import SessionNodeRecord
from castore.runtime.commit import Append, ReplaceFull, RuntimeCommit


@attrs.frozen
class Encoded:
    """
    What a commit stores.

    Attributes:
        bodies: Of the snapshots that the commit gives, by field.

        carried: Names of those that it carries forward, by field.

        manifest: With the names of both.

        manifest_data: It, encoded.

        nodes: Encoded nodes, in order.

        content: What makes two commits of a turn the same, hex; empty without
            a stamp.
    """

    bodies: dict[str, bytes]
    carried: dict[str, str]
    manifest: SessionCheckpoint
    manifest_data: bytes
    nodes: list[bytes]
    content: str

    @property
    def checkpoint_ref(self) -> str:
        """Name of the manifest."""
        return format_digest(blob_digest(self.manifest_data))


def encode_commit(commit: RuntimeCommit) -> Encoded:
    """
    Return *commit* encoded.

    Raises:
        FormatError: Something in it has no encoding.

        ConflictError: Two of its nodes have one id.
    """
    bodies = _bodies(commit.checkpoint)
    given = snapshot_refs(commit.checkpoint)
    names = {slot: format_digest(blob_digest(data)) for slot, data in bodies.items()}
    carried = {slot: ref for slot, ref in given.items() if ref and slot not in bodies}
    manifest = commit.checkpoint.manifest({**dict.fromkeys(given), **carried, **names})
    manifest_data = encode_object(manifest.encode())
    _check_ids(commit)
    return Encoded(
        bodies,
        carried,
        manifest,
        manifest_data,
        [encode_object(node.encode()) for node in commit.graph.nodes],
        _content(commit, manifest) if commit.stamp is not None else "",
    )


def _bodies(checkpoint: HydratedSessionCheckpoint) -> dict[str, bytes]:
    bodies: dict[str, bytes] = {}
    if checkpoint.tool_state is not None:
        bodies["tool_state"] = encode_object(checkpoint.tool_state.encode())
    if checkpoint.plugin_snapshot is not None:
        bodies["plugin_snapshot"] = encode_object(checkpoint.plugin_snapshot.encode())
    if checkpoint.execution_state is not None:
        bodies["execution_state"] = checkpoint.execution_state
    return bodies


def _check_ids(commit: RuntimeCommit) -> None:
    ids = [node.node_id for node in commit.graph.nodes]
    if len(set(ids)) < len(ids):
        raise ConflictError(
            what="two nodes of one commit have one id",
            subject="node",
            expected=f"{len(ids)} ids",
            actual=len(set(ids)),
        )


def change_of(commit: RuntimeCommit) -> str:
    """Return what *commit* does with the nodes, in the word of its body."""
    if isinstance(commit.graph, ReplaceFull):
        return "replace"
    return "append" if isinstance(commit.graph, Append) else "keep"


def _content(commit: RuntimeCommit, manifest: SessionCheckpoint) -> str:
    """Return the digest of what a turn made, whatever it was called and when."""
    said = {
        "config": commit.config.encode(),
        "change": change_of(commit),
        "nodes": [_nameless(node) for node in commit.graph.nodes],
        "checkpoint": manifest.encode(),
        "usage": [entry.encode() for entry in commit.usage_deltas],
    }
    return blob_digest(encode_object(said)).hex()


def _nameless(node: SessionNodeRecord) -> dict[str, Any]:
    value = node.encode()
    for name in ("node_id", "parent_node_id", "timestamp"):
        value.pop(name, None)
    message = (value.get("event") or {}).get("Conversation")
    if type(message) is dict:
        said = {name: one for name, one in message.items() if name != "id"}
        said["parts"] = [_without_id(part) for part in message.get("parts", ())]
        value["event"] = {**value["event"], "Conversation": said}
    return value


def _without_id(part: Any) -> Any:
    if type(part) is not dict:
        return part
    return {name: one for name, one in part.items() if name != "id"}
