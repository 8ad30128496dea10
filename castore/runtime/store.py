"""
`RuntimeStore`: one session's graph, checkpoint, ledger and metadata.

Spec: spec/runtime.md.
"""

from __future__ import annotations

import threading

from collections.abc import Callable, Iterable
from typing import Final

from castore.clock import now_ms
from castore.errors import (
    CastoreError,
    GoneError,
    NotFoundError,
)
from castore.formats.entry import BlobRef, Reference
from castore.records.nodes import SessionNodeRecord
from castore.records.persisted import (
    PersistedSessionRead,
    PersistedSessionState,
    RuntimeCommitResult,
    SessionHeadMeta,
    SessionMeta,
    SessionPickerInfo,
)
from castore.runtime.bodies import (
    COMMIT,
    META,
    MetaBody,
)
from castore.runtime.clearing import (
    GcReport,
    VacuumReport,
    collect_unreachable,
    hide,
    vacuum,
)
from castore.runtime.commit import (
    ActivePath,
    FullGraph,
    ReadScope,
    RuntimeCommit,
    UnsupportedReadScopeError,
)
from castore.runtime.committing import body_of, check_commit, references, replay_of
from castore.runtime.encoding import encode_commit
from castore.runtime.fold import Fold
from castore.runtime.leasing import Leases
from castore.runtime.log import Made, RuntimeLog, check_binding
from castore.runtime.reading import read_node, read_session
from castore.segment import Segment
from castore.store import Store


FULL_GRAPH = FullGraph()
ACTIVE_PATH = ActivePath()


class RuntimeStore:
    """
    One session in a store. May be used by many threads, each call one at a time.

    Attributes:
        durability: What a commit survives: ``power cut``.

        leases: Who may commit.

        gc_error: Why the last collection that came by itself was given up.
    """

    durability: Final = "power cut"

    def __init__(
        self,
        store: Store,
        session_id: str,
        *,
        segment: Segment | None = None,
        auto_gc_every: int | None = None,
        require_lease: bool = False,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """
        Bind to a session, whether it has begun or not. Writes nothing.

        Args:
            store: Where it is, or will be.

            session_id: The session's own id, any text of 1 to 1024 bytes.

            segment: Which of its segments; the one with the newest commit by
                default.

            auto_gc_every: Collect after every so many commits of this handle.

            require_lease: Refuse commits without a lease also where nobody
                holds one.

            clock: Tells the time in ms since 1970, for leases and entries.
        """
        self.store = store
        self.session_id = session_id
        self.gc_error: CastoreError | None = None
        self._auto_gc_every = auto_gc_every
        self._commit_count = 0
        self._put: set[bytes] = set()
        self._guard = threading.RLock()
        self._log = RuntimeLog(store, session_id, clock, segment)
        self.leases = Leases(self._log, self._guard, clock, require_lease=require_lease)

    @property
    def segment(self) -> Segment:
        """
        The session's log.

        Raises:
            NotFoundError: It has not begun.
        """
        with self._guard:
            self._log.refresh()
            if self._log.segment is None:
                raise NotFoundError(what=f"no session {self.session_id} in this store")
            return self._log.segment

    # --- reading -------------------------------------------------------------

    def load_session(
        self, scope: ReadScope = FULL_GRAPH
    ) -> PersistedSessionRead | None:
        """
        Return the session as the newest commit left it, None before the first.

        Args:
            scope: How much of the graph.

        Raises:
            UnsupportedReadScopeError: The scope is none that this store knows.

            GoneError: The manifest, or a node, went on purpose.

            CorruptionError: Something is damaged.
        """
        if not isinstance(scope, FullGraph | ActivePath):
            what = "a runtime store reads full graphs and active paths"
            raise UnsupportedReadScopeError(what=what, scope=scope)
        while True:
            with self._guard:
                fold = self._log.refresh()
                if not fold.head_revision:
                    return None
                try:
                    return read_session(self.store.engine, fold, self.session_id, scope)
                except GoneError:
                    # A newer commit may have let go of what this one names.
                    seen = fold.head_revision
                    if self._log.refresh().head_revision == seen:
                        raise

    def load_node(self, node_id: str) -> SessionNodeRecord | None:
        """Return the node, None if it is hidden or not there."""
        with self._guard:
            node = self._log.refresh().visible(node_id)
            return None if node is None else read_node(self.store.engine, node)

    def load_head_meta(self) -> SessionHeadMeta | None:
        """Return the state without nodes and payloads, None before the first commit."""
        with self._guard:
            fold = self._log.refresh()
            if not fold.head_revision:
                return None
            return SessionHeadMeta(
                session_id=self.session_id,
                head_revision=fold.head_revision,
                config=fold.config,
                checkpoint_ref=fold.checkpoint_ref,
                token_ledger=fold.ledger,
                leaf_node_id=fold.leaf,
                graph_node_count=sum(not one.is_hidden for one in fold.nodes.values()),
            )

    def load_session_meta(self) -> SessionMeta | None:
        """Return what was saved last, None if nothing was."""
        with self._guard:
            return self._log.refresh().meta

    def load_picker_info(self) -> SessionPickerInfo | None:
        """Return what a list of sessions shows, None before the first commit."""
        read = self.load_session(ACTIVE_PATH)
        if read is None:
            return None
        meta = self.load_session_meta()
        return SessionPickerInfo(
            session_id=self.session_id,
            cwd=meta.cwd if meta is not None else None,
            parent_session_id=meta.parent_session_id if meta is not None else None,
            first_user_message=read.graph.first_user_message(),
            user_message_count=read.graph.user_message_count(),
        )

    def load_state(self, scope: ReadScope = FULL_GRAPH) -> PersistedSessionState | None:
        """Return a runtime's state, None before the first commit."""
        read = self.load_session(scope)
        return None if read is None else PersistedSessionState.from_read(read)

    def refresh_state(self, state: PersistedSessionState) -> bool:
        """
        Make *state* what was committed last, but for what is live in it.

        Returns:
            False where nothing was committed; *state* is then as it was.
        """
        read = self.load_state()
        if read is not None:
            state.refresh(read)
        return read is not None

    # --- committing ----------------------------------------------------------

    def commit_runtime_state(self, commit: RuntimeCommit) -> RuntimeCommitResult:
        """
        Make *commit*, all of it or nothing, durable when this returns.

        Asked in this order: the session, the stamp, the lease, the revision, the
        nodes, the leaf. Costs one commit of the store.

        Raises:
            ConflictError: ``binding``: another session. ``key``: the stamp stands
                for other content. ``lease``: it is not held. ``head``: another
                revision. ``node``: an id that is there already.

            NotFoundError: The leaf is no node, or a reference leads nowhere.

            FormatError: Something in it has no encoding.

            StorageError: The medium failed; whole or absent, the stamp tells.
        """
        check_binding(self.session_id, commit.session_id)
        encoded = encode_commit(commit)
        with self._guard:
            refs: list[Reference] | None = None

            def decide(fold: Fold) -> tuple[Made | None, RuntimeCommitResult]:
                nonlocal refs
                replayed = replay_of(fold, commit, encoded)
                if replayed is not None:
                    return None, replayed
                self.leases.check(fold, commit.lease)
                check_commit(self.store, fold, commit, encoded)
                if refs is None:
                    refs = references(self.store, fold, commit, encoded, self.put)
                body = body_of(fold, commit, encoded)
                result = RuntimeCommitResult(
                    body.head_revision, encoded.checkpoint_ref, encoded.manifest
                )
                return Made(COMMIT, body, refs), result

            result = self._log.change(decide)
            for ref in refs or ():
                self._put.discard(ref.blob.digest)
        if not result.replayed:
            self._after_commit()
        return result

    def put(self, data: bytes, like: BlobRef | None = None) -> BlobRef:
        """
        Take in a payload for a commit to come.

        Until a commit names it, it is garbage for `gc_unreachable`.
        """
        ref = self.store.put(data, like=like)
        with self._guard:
            self._put.add(ref.digest)
        return ref

    def _after_commit(self) -> None:
        with self._guard:
            self._commit_count += 1
            every = self._auto_gc_every
            is_due = every is not None and self._commit_count % every == 0
        if is_due:
            try:
                self.gc_unreachable()
            except CastoreError as error:
                self.gc_error = error  # the commit is made all the same
            else:
                self.gc_error = None

    # --- metadata ------------------------------------------------------------

    def save_session_meta(self, meta: SessionMeta) -> None:
        """
        Keep *meta* instead of what was saved before.

        Raises:
            ConflictError: ``binding``: it is another session's.
        """
        check_binding(self.session_id, meta.session_id)
        with self._guard:
            self._log.change(lambda _: (Made(META, MetaBody(meta=meta)), None))

    # --- nodes that go -------------------------------------------------------

    def tombstone_nodes(self, node_ids: Iterable[str], *, force: bool = False) -> int:
        """
        Hide nodes from every read.

        Args:
            node_ids: Those that are not there, or hidden already, are passed over.

            force: Hide nodes of the active path too. It then ends behind them; a
                hidden leaf leaves the session without one.

        Returns:
            How many were hidden.

        Raises:
            ConflictError: ``node``: some are on the active path. None was hidden.
        """
        with self._guard:
            return hide(self._log, node_ids, force=force)

    def vacuum(self) -> VacuumReport:
        """
        Let go of hidden nodes: they cannot come back, and their ids are free.

        The log still tells of them: history does not change.
        """
        with self._guard:
            return vacuum(self._log)

    # --- collecting ----------------------------------------------------------

    def gc_unreachable(self) -> GcReport:
        """
        Remove what nothing needs, without grace, keeping of this session's
        checkpoints the newest only. Those of other sessions all stay.

        What this handle has put and not committed goes too. What stands in a
        side pack that a process has open (payloads above 1 MiB as stored) waits.

        Raises:
            LostError: A reference leads nowhere. Nothing was deleted.

            CorruptionError: Something cannot be read. Nothing was deleted.

            LockedError: Somebody else maintains the store.
        """
        with self._guard:
            self._log.refresh()
            segment = self._log.segment
            put, self._put = self._put, set()
        log = None if segment is None else segment.id
        return collect_unreachable(self.store.engine, log, put)

    # --- forking -------------------------------------------------------------

    def fork(self, session_id: str, head_revision: int | None = None) -> RuntimeStore:
        """
        Return a new session that begins as this one was.

        One commit of the store, whatever the length of the history.

        Args:
            session_id: Its own id, new in the store.

            head_revision: After which commit of this one; the newest by default.
        """
        with self._guard:
            segment = self._log.fork(session_id, head_revision)
        return RuntimeStore(self.store, session_id, segment=segment)
