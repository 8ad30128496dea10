"""
What of a session is persisted beside its graph and checkpoint, and a runtime's
state made from it.

Spec: spec/runtime.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from castore.records.checkpoint import (
    HydratedSessionCheckpoint,
    PersistedTurnState,
    PluginSessionSnapshot,
    SessionCheckpoint,
    ToolState,
)
from castore.records.fields import MAPPING, TEXT, U64, Record, optional, required
from castore.records.graph import SessionGraph
from castore.records.usage import PromptUsage, TokenLedgerEntry, TokenUsage


STANDARD = "standard"


@attrs.frozen(kw_only=True, repr=False)
class PersistedSessionConfig(Record):
    """
    How a session calls its model. Never holds credentials.

    Attributes:
        context_window: In tokens, 0 where it is not known.
    """

    provider_id: str = optional(TEXT, "")
    configured_model: str = optional(TEXT, "")
    context_window: int = optional(U64, 0)
    execution_mode: str = optional(TEXT, STANDARD)
    standard_context_approach: Mapping[str, Any] | None = optional(MAPPING)
    model_variant: str | None = optional(TEXT)


@attrs.frozen
class Provider:
    """A live way to a model: only its kind is ever persisted."""

    kind: str = ""
    handle: Any = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class SessionPolicy:
    """How a runtime runs a session."""

    model: str = ""
    provider: Provider = Provider()
    max_context_tokens: int | None = None
    model_variant: str | None = None
    session_id: str | None = None
    autonomous: bool = False
    max_turns: int | None = None
    execution_mode: str = STANDARD
    standard_context_approach: Mapping[str, Any] | None = attrs.field(
        factory=lambda: {"kind": "rolling_history"}
    )
    prompt: Any = attrs.field(default=None, repr=False)


def config_of(
    policy: SessionPolicy, before: PersistedSessionConfig | None = None
) -> PersistedSessionConfig:
    """Return what of *policy* is persisted; with what *before* has besides."""
    return attrs.evolve(
        before if before is not None else PersistedSessionConfig(),
        provider_id=policy.provider.kind,
        configured_model=policy.model,
        context_window=policy.max_context_tokens or 0,
        execution_mode=policy.execution_mode,
        standard_context_approach=policy.standard_context_approach,
        model_variant=policy.model_variant,
    )


def policy_of(config: PersistedSessionConfig) -> SessionPolicy:
    """Return the default policy with what *config* says. No provider: it is live."""
    return SessionPolicy(
        model=config.configured_model,
        max_context_tokens=config.context_window or None,
        execution_mode=config.execution_mode,
        standard_context_approach=config.standard_context_approach,
        model_variant=config.model_variant,
    )


@attrs.frozen(kw_only=True, repr=False)
class SessionMeta(Record):
    """What a session is called; independent of its commits."""

    session_id: str = required(TEXT)
    session_name: str = optional(TEXT, "", written=True)
    created_at: str = optional(TEXT, "", written=True)
    model: str = optional(TEXT, "", written=True)
    cwd: str | None = optional(TEXT)
    parent_session_id: str | None = optional(TEXT)


@attrs.frozen(kw_only=True)
class SessionPickerInfo:
    """What a list of sessions shows."""

    session_id: str
    cwd: str | None
    parent_session_id: str | None
    first_user_message: str | None = attrs.field(repr=False)
    user_message_count: int


@attrs.frozen(kw_only=True)
class SessionHeadMeta:
    """The state of a session without its nodes."""

    session_id: str = "root"
    head_revision: int = 0
    config: PersistedSessionConfig = PersistedSessionConfig()
    checkpoint_ref: str | None = None
    token_ledger: tuple[TokenLedgerEntry, ...] = ()
    leaf_node_id: str | None = None
    graph_node_count: int = 0


@attrs.frozen(kw_only=True)
class SessionHead:
    """The state of a session."""

    session_id: str = "root"
    head_revision: int = 0
    graph: SessionGraph = attrs.Factory(SessionGraph)
    config: PersistedSessionConfig = PersistedSessionConfig()
    checkpoint_ref: str | None = None
    token_ledger: tuple[TokenLedgerEntry, ...] = ()

    def meta(self) -> SessionHeadMeta:
        """Return it without its nodes."""
        return SessionHeadMeta(
            session_id=self.session_id,
            head_revision=self.head_revision,
            config=self.config,
            checkpoint_ref=self.checkpoint_ref,
            token_ledger=self.token_ledger,
            leaf_node_id=self.graph.leaf_node_id,
            graph_node_count=len(self.graph),
        )


@attrs.frozen(kw_only=True)
class PersistedSessionRead:
    """
    What a load gives.

    Attributes:
        graph: As much of it as the scope of the read wants.
    """

    session_id: str
    head_revision: int
    config: PersistedSessionConfig
    graph: SessionGraph
    checkpoint_ref: str | None
    checkpoint: HydratedSessionCheckpoint | None
    token_ledger: tuple[TokenLedgerEntry, ...]

    def head(self) -> SessionHead:
        """Return it without the checkpoint's bodies."""
        return SessionHead(
            session_id=self.session_id,
            head_revision=self.head_revision,
            graph=self.graph,
            config=self.config,
            checkpoint_ref=self.checkpoint_ref,
            token_ledger=self.token_ledger,
        )


@attrs.frozen
class RuntimeCommitResult:
    """
    A commit that is durable.

    Attributes:
        head_revision: Of the session now.

        checkpoint_ref: Name of the manifest.

        manifest: It.

        replayed: Whether its stamp named a commit made before.
    """

    head_revision: int
    checkpoint_ref: str
    manifest: SessionCheckpoint
    replayed: bool = False


@attrs.define(kw_only=True, repr=False)
class PersistedSessionState:
    """
    What a runtime holds of a session between commits.

    Attributes:
        head_revision: That of the commit it stands on; None before the first.

        graph_replace_required: The next commit states the whole graph.
    """

    session_id: str = "root"
    policy: SessionPolicy = attrs.Factory(SessionPolicy)
    config: PersistedSessionConfig = PersistedSessionConfig()
    graph: SessionGraph = attrs.Factory(SessionGraph)
    turn_state: PersistedTurnState = attrs.Factory(PersistedTurnState)
    tool_state_ref: str | None = None
    tool_state_generation: int | None = None
    tool_state_snapshot: ToolState | None = None
    plugin_snapshot_ref: str | None = None
    plugin_snapshot_revision: int | None = None
    plugin_snapshot: PluginSessionSnapshot | None = None
    execution_state_ref: str | None = None
    execution_state_snapshot: bytes | None = None
    checkpoint_rest: Mapping[str, Any] = attrs.Factory(dict)
    checkpoint_ref: str | None = None
    token_ledger: tuple[TokenLedgerEntry, ...] = ()
    head_revision: int | None = attrs.field(default=None, eq=False)
    graph_replace_required: bool = attrs.field(default=False, eq=False)

    @property
    def turn_index(self) -> int:
        """How many turns were made."""
        return self.turn_state.turn_index

    @property
    def token_usage(self) -> TokenUsage:
        """What they used together."""
        return self.turn_state.token_usage

    @property
    def last_prompt_usage(self) -> PromptUsage | None:
        """How full the last prompt was."""
        return self.turn_state.last_prompt_usage

    @classmethod
    def from_read(cls, read: PersistedSessionRead) -> PersistedSessionState:
        """Return the state that was committed. Its provider is not: that is live."""
        head, checkpoint = read.head(), read.checkpoint
        state = cls(
            session_id=head.session_id,
            policy=policy_of(head.config),
            config=head.config,
            graph=head.graph,
            checkpoint_ref=head.checkpoint_ref,
            token_ledger=head.token_ledger,
            head_revision=head.head_revision,
        )
        if checkpoint is not None:
            state.turn_state = checkpoint.turn_state
            state.tool_state_ref = checkpoint.tool_state_ref
            state.tool_state_snapshot = checkpoint.tool_state
            if checkpoint.tool_state is not None:
                state.tool_state_generation = checkpoint.tool_state.generation
            state.plugin_snapshot_ref = checkpoint.plugin_snapshot_ref
            state.plugin_snapshot_revision = checkpoint.plugin_snapshot_revision
            state.plugin_snapshot = checkpoint.plugin_snapshot
            state.execution_state_ref = checkpoint.execution_state_ref
            state.execution_state_snapshot = checkpoint.execution_state
            state.checkpoint_rest = checkpoint.rest
        return state

    def checkpoint(self) -> HydratedSessionCheckpoint:
        """Return what the next commit stores: snapshots held, else references."""
        return HydratedSessionCheckpoint(
            turn_state=self.turn_state,
            tool_state_ref=self.tool_state_ref,
            tool_state=self.tool_state_snapshot,
            plugin_snapshot_ref=self.plugin_snapshot_ref,
            plugin_snapshot_revision=self.plugin_snapshot_revision,
            plugin_snapshot=self.plugin_snapshot,
            execution_state_ref=self.execution_state_ref,
            execution_state=self.execution_state_snapshot,
            rest=self.checkpoint_rest,
        )

    def set_execution_state(self, snapshot: bytes | None) -> None:
        """Hold another execution state; None takes away the one committed, too."""
        self.execution_state_snapshot = snapshot
        if snapshot is None:
            self.execution_state_ref = None

    def drop_snapshots(self) -> None:
        """Let go of the bodies; references stay."""
        self.tool_state_snapshot = None
        self.plugin_snapshot = None
        self.execution_state_snapshot = None

    def apply_persisted_commit_result(self, result: RuntimeCommitResult) -> None:
        """Stand on the commit that *result* tells of; its snapshots are let go."""
        self.head_revision = result.head_revision
        self.checkpoint_ref = result.checkpoint_ref
        self.tool_state_ref = result.manifest.tool_state_ref
        self.plugin_snapshot_ref = result.manifest.plugin_snapshot_ref
        self.execution_state_ref = result.manifest.execution_state_ref
        self.graph_replace_required = False
        self.drop_snapshots()

    def refresh(self, read: PersistedSessionState) -> None:
        """Take over *read*, but keep what is live: provider, session, turn bound."""
        policy = attrs.evolve(
            read.policy,
            provider=self.policy.provider,
            session_id=self.policy.session_id,
            max_turns=self.policy.max_turns,
        )
        for field in attrs.fields(PersistedSessionState):
            setattr(self, field.name, getattr(read, field.name))
        self.policy = policy
