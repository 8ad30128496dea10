"""
What a caller of a runtime store asks for: commits, and how much a read gives.

Spec: spec/runtime.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from castore.engine.expect import Expect
from castore.errors import UnsupportedError
from castore.records.checkpoint import HydratedSessionCheckpoint
from castore.records.graph import SessionGraph
from castore.records.nodes import SessionNodeRecord
from castore.records.persisted import (
    PersistedSessionConfig,
    PersistedSessionState,
    config_of,
)
from castore.records.usage import TokenLedgerEntry
from castore.runtime.lease import SessionLease
from castore.segment import ABSENT


# --- reading -----------------------------------------------------------------


@attrs.frozen
class FullGraph:
    """All nodes that are not hidden, in the order in which they were added."""


@attrs.frozen
class ActivePath:
    """
    The path to a leaf, root first.

    It ends where a node is hidden or not there; a leaf that is not there makes
    it empty, and is named all the same.

    Attributes:
        leaf_node_id: None for the leaf of the last commit.
    """

    leaf_node_id: str | None = None


ReadScope = FullGraph | ActivePath


@attrs.define
class UnsupportedReadScopeError(UnsupportedError):
    """
    A store cannot read that much, or that little. Nobody shall read all instead.

    Attributes:
        scope: What was asked for.
    """

    scope: object


# --- committing --------------------------------------------------------------


@attrs.frozen
class Unchanged:
    """No new nodes; the leaf as given."""

    leaf_node_id: str | None = None

    @property
    def nodes(self) -> tuple[SessionNodeRecord, ...]:
        """None."""
        return ()


@attrs.frozen
class Append:
    """New nodes, and the leaf."""

    nodes: tuple[SessionNodeRecord, ...]
    leaf_node_id: str | None


@attrs.frozen
class ReplaceFull:
    """A graph instead of all nodes there were, hidden ones too."""

    graph: SessionGraph

    @property
    def nodes(self) -> tuple[SessionNodeRecord, ...]:
        """Its nodes."""
        return tuple(self.graph.nodes)

    @property
    def leaf_node_id(self) -> str | None:
        """Its leaf."""
        return self.graph.leaf_node_id


GraphCommitDelta = Unchanged | Append | ReplaceFull


@attrs.frozen
class TurnStamp:
    """
    Makes a commit recognisable when it is made again.

    The same turn with the same content returns the first result; with other
    content it is a conflict. What counts as content: spec/runtime.md, "Stamps".
    """

    turn_id: str


@attrs.frozen(kw_only=True)
class RuntimeCommit:
    """
    One atomic change of a session.

    Attributes:
        session_id: The session that the store is bound to.

        expected_head_revision: `ABSENT` (or 0) where nothing was ever committed,
            a revision, or `ANY` to go over whatever is there.

        config: How the session calls its model.

        graph: What changes in the graph.

        checkpoint: What the next load gives; see `HydratedSessionCheckpoint`.

        usage_deltas: Tokens used since the commit before.

        stamp: Makes the commit recognisable.

        lease: Under which it is made, where the session is leased.
    """

    session_id: str
    expected_head_revision: Expect | int
    config: PersistedSessionConfig
    graph: GraphCommitDelta
    checkpoint: HydratedSessionCheckpoint
    usage_deltas: tuple[TokenLedgerEntry, ...] = ()
    stamp: TurnStamp | None = None
    lease: SessionLease | None = None

    @classmethod
    def persisted_state(
        cls,
        state: PersistedSessionState,
        usage_deltas: Iterable[TokenLedgerEntry] = (),
        *,
        stamp: TurnStamp | None = None,
        lease: SessionLease | None = None,
    ) -> RuntimeCommit:
        """
        Return the commit of *state*: of its whole graph where that is required or
        nothing was committed before, else of its leaf alone.
        """
        graph: GraphCommitDelta = Unchanged(state.graph.leaf_node_id)
        if state.graph_replace_required or state.head_revision is None:
            graph = ReplaceFull(state.graph)
        commit = cls.persisted_state_with_graph_commit(state, graph, usage_deltas)
        return attrs.evolve(commit, stamp=stamp, lease=lease)

    @classmethod
    def persisted_state_with_graph_commit(
        cls,
        state: PersistedSessionState,
        graph: GraphCommitDelta,
        usage_deltas: Iterable[TokenLedgerEntry] = (),
    ) -> RuntimeCommit:
        """Return the commit of *state* with *graph* as what changes in the graph."""
        revision = state.head_revision
        return cls(
            session_id=state.session_id,
            expected_head_revision=ABSENT if revision is None else revision,
            config=config_of(state.policy, state.config),
            graph=graph,
            checkpoint=state.checkpoint(),
            usage_deltas=tuple(usage_deltas),
        )
