"""
A fold made into what a load gives: nodes and snapshots fetched and decoded.

Spec: spec/runtime.md, "Reads".
"""

from __future__ import annotations

from castore.codec import decode_object
from castore.engine import Engine
from castore.errors import FormatError, GoneError
from castore.records.checkpoint import (
    HydratedSessionCheckpoint,
    PluginSessionSnapshot,
    SessionCheckpoint,
    ToolState,
    snapshot_refs,
)
from castore.records.graph import SessionGraph
from castore.records.nodes import SessionNodeRecord
from castore.records.persisted import PersistedSessionRead
from castore.runtime.bodies import MANIFEST_ROLE, SNAPSHOT_ROLES
from castore.runtime.commit import FullGraph, ReadScope
from castore.runtime.fold import Fold, Node


def read_session(
    engine: Engine, fold: Fold, session_id: str, scope: ReadScope
) -> PersistedSessionRead:
    """
    Return the session as *fold* has it.

    Args:
        engine: Where its payloads are.

        fold: Of a session with commits.

        session_id: Its own id.

        scope: How much of the graph.

    Raises:
        GoneError: The manifest, or a node, went on purpose.

        CorruptionError: Something is damaged.

        FormatError: A payload is not what it should be.
    """
    if isinstance(scope, FullGraph):
        leaf = fold.leaf
        nodes = [node for node in fold.nodes.values() if not node.is_hidden]
    else:
        leaf = scope.leaf_node_id if scope.leaf_node_id is not None else fold.leaf
        nodes = [fold.nodes[name] for name in fold.path(leaf)]
    return PersistedSessionRead(
        session_id=session_id,
        head_revision=fold.head_revision,
        config=fold.config,
        graph=SessionGraph([read_node(engine, node) for node in nodes], leaf),
        checkpoint_ref=fold.checkpoint_ref,
        checkpoint=_hydrate(engine, fold),
        token_ledger=fold.ledger,
    )


def read_node(engine: Engine, node: Node) -> SessionNodeRecord:
    """Return what *node* is; raises as `read_session`."""
    data = engine.read_blob(node.blob.digest)
    return SessionNodeRecord.decode(decode_object(data), "node")


def _hydrate(engine: Engine, fold: Fold) -> HydratedSessionCheckpoint:
    data = engine.read_blob(fold.checkpoint[MANIFEST_ROLE].digest)
    manifest = SessionCheckpoint.decode(decode_object(data), "manifest")
    _check_names(manifest, fold)
    found: dict[str, bytes] = {}
    gone: dict[str, str] = {}
    for slot, role in SNAPSHOT_ROLES.items():
        if role in fold.checkpoint:
            try:
                found[slot] = engine.read_blob(fold.checkpoint[role].digest)
            except GoneError as error:
                gone[slot] = str(error)
    return HydratedSessionCheckpoint(
        turn_state=manifest.turn_state,
        tool_state_ref=manifest.tool_state_ref,
        tool_state=_tool_state(found.get("tool_state")),
        plugin_snapshot_ref=manifest.plugin_snapshot_ref,
        plugin_snapshot_revision=manifest.plugin_snapshot_revision,
        plugin_snapshot=_plugin_snapshot(found.get("plugin_snapshot")),
        execution_state_ref=manifest.execution_state_ref,
        execution_state=found.get("execution_state"),
        rest=manifest.rest,
        gone=gone,
    )


def _check_names(manifest: SessionCheckpoint, fold: Fold) -> None:
    """Refuse a manifest that names other snapshots than its entry keeps."""
    named = snapshot_refs(manifest)
    for slot, role in SNAPSHOT_ROLES.items():
        kept = fold.checkpoint.get(role)
        if named[slot] != (str(kept) if kept is not None else None):
            raise FormatError(what=f"the manifest names another {slot} than its entry")


def _tool_state(data: bytes | None) -> ToolState | None:
    if data is None:
        return None
    return ToolState.decode(decode_object(data), "tool_state")


def _plugin_snapshot(data: bytes | None) -> PluginSessionSnapshot | None:
    if data is None:
        return None
    return PluginSessionSnapshot.decode(decode_object(data), "plugin_snapshot")
