"""
Nodes, messages and commits for the tests of runtime sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

import castore

from castore.engine.expect import Expect
from castore.errors import CastoreError
from castore.records.checkpoint import (
    HydratedSessionCheckpoint,
    PersistedTurnState,
    PluginMeta,
    PluginSessionSnapshot,
    PluginState,
    ToolState,
)
from castore.records.nodes import (
    Message,
    Part,
    SessionNodeRecord,
    ToolCallRecord,
    message_node,
    tool_node,
)
from castore.records.persisted import PersistedSessionConfig
from castore.records.usage import TokenLedgerEntry, TokenUsage
from castore.runtime import (
    Append,
    FullGraph,
    LeaseOwner,
    RuntimeCommit,
    RuntimeStore,
    TurnStamp,
    Unchanged,
)
from castore.runtime.commit import ReadScope


TIME = "2026-11-21T12:00:00Z"
TRANSIENT = {"kind": "plugin", "transient": True}


@attrs.define
class Clock:
    """A clock that goes when it is told to."""

    now_ms: int = 1_000_000

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ms


def message(name: str, text: str = "", role: str = "User", **more: Any) -> Message:
    """Return a message of one part."""
    part = Part(id=f"{name}.0", kind="Text", content=text or name, prune_state="Intact")
    return Message(id=name, role=role, parts=(part,), **more)


def call(name: str, result: Any = "done") -> ToolCallRecord:
    """Return a tool call."""
    return ToolCallRecord(call_id=name, tool="read", args={"path": name}, result=result)


def node(name: str, parent: str | None = None, text: str = "") -> SessionNodeRecord:
    """Return a node with a message."""
    return message_node(message(name, text), name, parent, TIME)


def tool(name: str, parent: str | None = None) -> SessionNodeRecord:
    """Return a node with a tool call."""
    return tool_node(call(name), name, parent, TIME)


def chain(*names: str, parent: str | None = None) -> tuple[SessionNodeRecord, ...]:
    """Return nodes, each below the one before."""
    return tuple(
        node(name, above)
        for name, above in zip(names, (parent, *names[:-1]), strict=True)
    )


def tools(generation: int, size: int = 20) -> ToolState:
    """Return a tool state; those of neighbouring generations are alike."""
    files = {f"f{at}": {"n": at, "text": "x" * 20} for at in range(size)}
    return ToolState(generation=generation, tools={**files, "now": generation})


def plugins(revision: int) -> PluginSessionSnapshot:
    """Return a plugin snapshot."""
    meta = PluginMeta(plugin_id="p", plugin_version="1", revision=revision, state=[1])
    return PluginSessionSnapshot(plugins={"p": PluginState(meta=meta)})


def snapshot(number: int) -> HydratedSessionCheckpoint:
    """Return a checkpoint with all its bodies."""
    return HydratedSessionCheckpoint(
        turn_state=PersistedTurnState(turn_index=number),
        tool_state=tools(number),
        plugin_snapshot=plugins(number),
        plugin_snapshot_revision=number,
        execution_state=bytes([number % 256]) * 40,
    )


def usage(source: str = "turn", model: str = "m", **counts: int) -> TokenLedgerEntry:
    """Return what was used."""
    used = TokenUsage.decode(counts)
    return TokenLedgerEntry(source=source, model=model, usage=used)


def commit(
    expected: Expect | int,
    nodes: Sequence[SessionNodeRecord] = (),
    leaf: str | None = None,
    *,
    session: str = "s",
    number: int = 1,
    turn: str | None = None,
    **more: Any,
) -> RuntimeCommit:
    """Return a commit of *nodes*; the last is the leaf, unless *leaf* says another."""
    at = leaf if leaf is not None or not nodes else nodes[-1].node_id
    facts: dict[str, Any] = {
        "session_id": session,
        "expected_head_revision": expected,
        "config": PersistedSessionConfig(provider_id="p", configured_model="m"),
        "graph": Append(tuple(nodes), at) if nodes else Unchanged(at),
        "checkpoint": snapshot(number),
        "stamp": TurnStamp(turn) if turn is not None else None,
    }
    return RuntimeCommit(**{**facts, **more})


def ids(nodes: Sequence[SessionNodeRecord]) -> list[str]:
    """Return the ids of *nodes*."""
    return [each.node_id for each in nodes]


def owner(name: str, incarnation: str = "1", **more: Any) -> LeaseOwner:
    """Return who wants a lease."""
    return LeaseOwner(owner_id=name, incarnation_id=incarnation, **more)


def subject(error: CastoreError) -> str:
    """Return what a conflict is about."""
    assert isinstance(error, castore.ConflictError)
    return error.subject


def loaded(runtime: RuntimeStore, scope: ReadScope | None = None) -> Any:
    """Return the session, which is there."""
    read = runtime.load_session(FullGraph() if scope is None else scope)
    assert read is not None
    return read
