"""
What a runtime needs to go on after a turn: the manifest and its snapshots.

The manifest (`SessionCheckpoint`) is small and names its snapshots; nothing in
it names its session, so that equal ones of several sessions are one payload.

Spec: spec/runtime.md, "The checkpoint".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from castore.records.fields import (
    ANYTHING,
    EMPTY,
    MAPPING,
    TEXT,
    U64,
    Record,
    Value,
    leaf,
    many,
    named,
    one,
    optional,
    refuse,
    required,
)
from castore.records.usage import PromptUsage, TokenUsage


def _bytes(value: Value, where: str) -> bytes:
    # JSON of other systems has an array of numbers where bytes are meant.
    if type(value) is bytes:
        return value
    numbers: list[Any] = value if type(value) is list else [None]
    if not all(type(number) is int and 0 <= number < 256 for number in numbers):
        raise refuse(where, "not bytes")
    return bytes(numbers)


_BYTES = leaf(_bytes, bytes)


@attrs.frozen(kw_only=True, repr=False)
class PersistedTurnState(Record):
    """How far a session's turns are."""

    turn_index: int = optional(U64, 0, written=True)
    token_usage: TokenUsage = optional(one(TokenUsage), TokenUsage(), written=True)
    last_prompt_usage: PromptUsage | None = optional(one(PromptUsage))
    mode_turn_options: Mapping[str, Any] | None = optional(MAPPING)


@attrs.frozen(kw_only=True, repr=False)
class ToolState(Record):
    """
    The tools of a session.

    Attributes:
        generation: Changes whenever they do.

        tools: For each name its definition and where it comes from.
    """

    generation: int = optional(U64, 0, written=True)
    tools: Mapping[str, Any] = optional(named(ANYTHING), EMPTY, written=True)


@attrs.frozen(kw_only=True, repr=False)
class PluginMeta(Record):
    """What a plugin says of its own state."""

    plugin_id: str = required(TEXT)
    plugin_version: str = required(TEXT)
    revision: int = required(U64)
    state: Any = optional(ANYTHING)


@attrs.frozen(kw_only=True, repr=False)
class PluginArtifact(Record):
    """A file of a plugin."""

    name: str = required(TEXT)
    data: bytes = required(_BYTES)


@attrs.frozen(kw_only=True, repr=False)
class PluginState(Record):
    """One plugin in a snapshot."""

    meta: PluginMeta = required(one(PluginMeta))
    artifacts: tuple[PluginArtifact, ...] = optional(
        many(one(PluginArtifact)), (), written=True
    )


@attrs.frozen(kw_only=True, repr=False)
class PluginSessionSnapshot(Record):
    """The plugins of a session, by id."""

    plugins: Mapping[str, PluginState] = optional(
        named(one(PluginState)), EMPTY, written=True
    )


@attrs.frozen(kw_only=True, repr=False)
class SessionCheckpoint(Record):
    """
    The manifest: turn state, and names of payloads as ``blake3:<64 hex>``.
    """

    turn_state: PersistedTurnState = optional(
        one(PersistedTurnState), PersistedTurnState(), written=True
    )
    tool_state_ref: str | None = optional(TEXT)
    plugin_snapshot_ref: str | None = optional(TEXT)
    plugin_snapshot_revision: int | None = optional(U64)
    execution_state_ref: str | None = optional(TEXT)


@attrs.frozen(kw_only=True)
class HydratedSessionCheckpoint:
    """
    A checkpoint with the bodies of its snapshots.

    To be committed: a body given is stored, whatever the reference beside it;
    without one the reference is carried forward.

    Attributes:
        gone: For each snapshot that a reference names and that went on purpose:
            the store's explanation, by name of the field.
    """

    turn_state: PersistedTurnState = PersistedTurnState()
    tool_state_ref: str | None = None
    tool_state: ToolState | None = attrs.field(default=None, repr=False)
    plugin_snapshot_ref: str | None = None
    plugin_snapshot_revision: int | None = None
    plugin_snapshot: PluginSessionSnapshot | None = attrs.field(
        default=None, repr=False
    )
    execution_state_ref: str | None = None
    execution_state: bytes | None = attrs.field(default=None, repr=False)
    rest: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    gone: Mapping[str, str] = attrs.field(factory=dict, eq=False)

    def manifest(self, refs: Mapping[str, str | None]) -> SessionCheckpoint:
        """Return the manifest with *refs*, by name of the field without ``_ref``."""
        return SessionCheckpoint(
            turn_state=self.turn_state,
            tool_state_ref=refs["tool_state"],
            plugin_snapshot_ref=refs["plugin_snapshot"],
            plugin_snapshot_revision=self.plugin_snapshot_revision,
            execution_state_ref=refs["execution_state"],
            rest=self.rest,
        )


def snapshot_refs(
    checkpoint: SessionCheckpoint | HydratedSessionCheckpoint,
) -> dict[str, str | None]:
    """Return the names of its snapshots, by name of the field without ``_ref``."""
    return {
        "tool_state": checkpoint.tool_state_ref,
        "plugin_snapshot": checkpoint.plugin_snapshot_ref,
        "execution_state": checkpoint.execution_state_ref,
    }
