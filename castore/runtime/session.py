"""
What an agent's loop holds of its session between commits.

Spec: spec/runtime.md, "Progress".
"""

from __future__ import annotations

import enum
import logging

from collections.abc import Iterable

import attrs

from castore.errors import CastoreError, NotFoundError
from castore.records.nodes import SessionNodeRecord
from castore.records.persisted import (
    PersistedSessionState,
    RuntimeCommitResult,
)
from castore.records.usage import TokenLedgerEntry, merge_ledger
from castore.runtime.commit import (
    Append,
    GraphCommitDelta,
    ReplaceFull,
    RuntimeCommit,
    TurnStamp,
    Unchanged,
)
from castore.runtime.lease import SessionLease
from castore.runtime.store import ACTIVE_PATH, FULL_GRAPH, RuntimeStore


_log = logging.getLogger(__name__)


class Residency(enum.Enum):
    """How much of the graph is held: all of it, or the active path."""

    KEEP_ALL = "keep all"
    ACTIVE_PATH_ONLY = "active path only"


class RuntimeSession:
    """
    A session in the hands of the one that runs it.

    Change `state` as the turn goes: its graph, its snapshots, its turn state.
    What was added since the last commit is what the next one writes. Not for
    threads.

    Attributes:
        state: None while parked.

        lease: Under which it commits.
    """

    def __init__(
        self,
        store: RuntimeStore | None,
        state: PersistedSessionState | None = None,
        *,
        residency: Residency = Residency.KEEP_ALL,
        lease: SessionLease | None = None,
    ) -> None:
        """
        Hold *state* of the session of *store*.

        Args:
            store: None for a session that is not kept.

            state: Where nothing was committed before; else `resume`.

            residency: How much of the graph `resume` loads.

            lease: Under which it commits.
        """
        self.state = state
        self.lease = lease
        self._store = store
        self._residency = residency
        self._usage: list[TokenLedgerEntry] = []
        kept = state is not None and state.head_revision is not None
        self._persisted = len(state.graph) if state is not None and kept else 0

    # --- changing hands ------------------------------------------------------

    def resume(self) -> PersistedSessionState:
        """
        Load the state as the residency wants it.

        Raises:
            NotFoundError: Nothing was committed.
        """
        if self._store is None:
            raise NotFoundError(what="a session that is not kept cannot be resumed")
        all_of_it = self._residency is Residency.KEEP_ALL
        state = self._store.load_state(FULL_GRAPH if all_of_it else ACTIVE_PATH)
        if state is None:
            raise NotFoundError(what="nothing was committed to the session")
        self.state = state
        self._persisted = len(state.graph)
        return state

    def park(self) -> None:
        """
        Commit what is new and let go of the state.

        Raises:
            CastoreError: The commit failed; the state is still held.
        """
        self.commit()
        self.state = None

    def get_historic_node(self, node_id: str) -> SessionNodeRecord | None:
        """Return a node, from the store if it is not held."""
        held = self.state.graph.find(node_id) if self.state is not None else None
        if held is not None or self._store is None:
            return held
        return self._store.load_node(node_id)

    # --- committing ----------------------------------------------------------

    def add_usage(self, entries: Iterable[TokenLedgerEntry]) -> None:
        """Take in tokens that were used; the next commit persists them, once."""
        self._usage += entries

    def commit_progress(self) -> RuntimeCommitResult | None:
        """
        Commit what is new, in the middle of a turn.

        A failure is logged, and the turn goes on: the next commit writes what
        this one did not.
        """
        try:
            return self.commit()
        except CastoreError as error:
            _log.warning("a progress commit failed: %s", error)
            return None

    def commit(self, *, stamp: TurnStamp | None = None) -> RuntimeCommitResult | None:
        """
        Commit what is new: nodes added since the last commit, snapshots, usage.

        Without a store the snapshots are let go, and all else stays as it is.

        Raises:
            CastoreError: It failed; nothing of the state was changed.
        """
        state = self._held()
        if self._store is None:
            state.drop_snapshots()
            return None
        usage = merge_ledger(self._usage)
        commit = RuntimeCommit.persisted_state_with_graph_commit(
            state, self._delta(state), usage
        )
        commit = attrs.evolve(commit, stamp=stamp, lease=self.lease)
        result = self._store.commit_runtime_state(commit)
        self._usage.clear()
        self._persisted = len(state.graph)
        state.config = commit.config
        state.token_ledger = merge_ledger((*state.token_ledger, *usage))
        state.apply_persisted_commit_result(result)
        return result

    def _held(self) -> PersistedSessionState:
        if self.state is None:
            raise NotFoundError(what="the session is parked; resume it")
        return self.state

    def _delta(self, state: PersistedSessionState) -> GraphCommitDelta:
        if state.head_revision is None or state.graph_replace_required:
            return ReplaceFull(state.graph)
        leaf = state.graph.leaf_node_id
        new = tuple(state.graph.nodes[self._persisted :])
        return Append(new, leaf) if new else Unchanged(leaf)
