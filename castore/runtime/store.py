"""
`RuntimeStore`: one session's graph, checkpoint, ledger and metadata.

Spec: spec/runtime.md.
"""

from __future__ import annotations

import threading
import time

from collections.abc import Callable, Iterable
from typing import Final

import attrs

from castore.codec import decode_object
from castore.digest import parse_digest
from castore.engine.expect import Expect
from castore.errors import CastoreError, ConflictError, GoneError, NotFoundError
from castore.formats.entry import BlobRef, Reference
from castore.gc import collect
from castore.records.checkpoint import (
    HydratedSessionCheckpoint,
    PluginSessionSnapshot,
    SessionCheckpoint,
    ToolState,
)
from castore.records.graph import SessionGraph
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
    ARCHIVE_ROLE,
    COMMIT,
    HIDDEN,
    MANIFEST_ROLE,
    META,
    NODE_ROLE,
    SNAPSHOT_ROLES,
    VACUUMED,
    CommitBody,
    HiddenBody,
    MetaBody,
    StampBody,
    VacuumedBody,
)
from castore.runtime.commit import (
    ActivePath,
    FullGraph,
    ReadScope,
    ReplaceFull,
    RuntimeCommit,
    UnsupportedReadScopeError,
)
from castore.runtime.encoding import Encoded, change_of, encode_commit
from castore.runtime.fold import Fold, Node
from castore.runtime.leasing import Leases
from castore.runtime.log import Made, RuntimeLog
from castore.segment import Segment
from castore.store import Store


FULL_GRAPH = FullGraph()
ACTIVE_PATH = ActivePath()


@attrs.frozen
class VacuumReport:
    """
    What a vacuum did.

    Attributes:
        removed_node_count: Hidden nodes that are no nodes any more.

        dangling_node_ids: Nodes that stay and whose parent was one of them.
    """

    removed_node_count: int = 0
    dangling_node_ids: tuple[str, ...] = ()


@attrs.frozen
class GcReport:
    """
    What a collection did.

    Attributes:
        root_count: Living segments, tags and the store log.

        retained_blob_count: Blobs that something needs and that are there.

        deleted_blob_count: Blobs that went.

        missing_blob_count: References that lead nowhere and are explained.
    """

    root_count: int = 0
    retained_blob_count: int = 0
    deleted_blob_count: int = 0
    missing_blob_count: int = 0


def now_ms() -> int:
    """Return the time, ms since 1970."""
    return time.time_ns() // 1_000_000


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
                    return self._read(fold, scope)
                except GoneError:
                    # A newer commit may have let go of what this one names.
                    seen = fold.head_revision
                    if self._log.refresh().head_revision == seen:
                        raise

    def load_node(self, node_id: str) -> SessionNodeRecord | None:
        """Return the node, None if it is hidden or not there."""
        with self._guard:
            node = self._log.refresh().visible(node_id)
            return None if node is None else self._node(node)

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
        """
        Return a runtime's state, None before the first commit.

        A leaf that is not there is healed, and the next commit states the graph.
        """
        read = self.load_session(scope)
        if read is None:
            return None
        state = PersistedSessionState.from_read(read)
        if isinstance(scope, FullGraph):
            state.graph_replace_required = state.graph.heal_orphaned_leaf()
        return state

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

    def _read(self, fold: Fold, scope: ReadScope) -> PersistedSessionRead:
        if isinstance(scope, FullGraph):
            leaf = fold.leaf
            nodes = [one for one in fold.nodes.values() if not one.is_hidden]
        else:
            leaf = scope.leaf_node_id if scope.leaf_node_id is not None else fold.leaf
            nodes = [fold.nodes[name] for name in fold.path(leaf)]
        return PersistedSessionRead(
            session_id=self.session_id,
            head_revision=fold.head_revision,
            config=fold.config,
            graph=SessionGraph([self._node(node) for node in nodes], leaf),
            checkpoint_ref=fold.checkpoint_ref,
            checkpoint=self._hydrate(fold),
            token_ledger=fold.ledger,
        )

    def _node(self, node: Node) -> SessionNodeRecord:
        value = decode_object(self.store.engine.read_blob(node.blob.digest))
        return SessionNodeRecord.decode(value, "node")

    def _hydrate(self, fold: Fold) -> HydratedSessionCheckpoint:
        read = self.store.engine.read_blob
        data = read(fold.checkpoint[MANIFEST_ROLE].digest)
        manifest = SessionCheckpoint.decode(decode_object(data), "manifest")
        found: dict[str, bytes] = {}
        gone: dict[str, str] = {}
        for slot, role in SNAPSHOT_ROLES.items():
            if role in fold.checkpoint:
                try:
                    found[slot] = read(fold.checkpoint[role].digest)
                except GoneError as error:
                    gone[slot] = str(error)
        tool, plugin = found.get("tool_state"), found.get("plugin_snapshot")
        return HydratedSessionCheckpoint(
            turn_state=manifest.turn_state,
            tool_state_ref=manifest.tool_state_ref,
            tool_state=(
                ToolState.decode(decode_object(tool), "tool_state")
                if tool is not None
                else None
            ),
            plugin_snapshot_ref=manifest.plugin_snapshot_ref,
            plugin_snapshot_revision=manifest.plugin_snapshot_revision,
            plugin_snapshot=(
                PluginSessionSnapshot.decode(decode_object(plugin), "plugin_snapshot")
                if plugin is not None
                else None
            ),
            execution_state_ref=manifest.execution_state_ref,
            execution_state=found.get("execution_state"),
            rest=manifest.rest,
            gone=gone,
        )

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
        self._check_binding(commit.session_id)
        encoded = encode_commit(commit)
        with self._guard:
            refs: list[Reference] | None = None

            def decide(fold: Fold) -> tuple[Made | None, RuntimeCommitResult]:
                nonlocal refs
                replayed = _replay(fold, commit, encoded)
                if replayed is not None:
                    return None, replayed
                self._check(fold, commit, encoded)
                if refs is None:
                    refs = self._store(fold, commit, encoded)
                made = Made(COMMIT, _body(fold, commit, encoded), refs)
                return made, _result(fold.head_revision + 1, encoded)

            result = self._log.change(decide)
            for ref in refs or ():
                self._put.discard(ref.blob.digest)
        if not result.replayed:
            self._after_commit()
        return result

    def _check_binding(self, session_id: str) -> None:
        if session_id != self.session_id:
            raise ConflictError(
                what="the store is bound to another session",
                subject="binding",
                expected=self.session_id,
                actual=session_id,
            )

    def _check(self, fold: Fold, commit: RuntimeCommit, encoded: Encoded) -> None:
        self.leases.check(fold, commit.lease)
        expected = commit.expected_head_revision
        actual = fold.head_revision
        wanted = 0 if expected is Expect.ABSENT else expected
        if expected is not Expect.ANY and wanted != actual:
            raise ConflictError(
                what=f"session {self.session_id} moved on",
                subject="head",
                expected=wanted,
                actual=actual,
            )
        named = {node.node_id for node in commit.graph.nodes}
        if not isinstance(commit.graph, ReplaceFull):
            self._check_nodes(fold, commit, encoded)
            named.update(name for name, one in fold.nodes.items() if not one.is_hidden)
        leaf = commit.graph.leaf_node_id
        if leaf is not None and leaf not in named:
            what = "the leaf is no node of the graph, or hidden; heal_orphaned_leaf"
            raise NotFoundError(what=what)

    def _check_nodes(self, fold: Fold, commit: RuntimeCommit, encoded: Encoded) -> None:
        """Refuse ids that are taken; what was hidden may come back as it was."""
        for node, data in zip(commit.graph.nodes, encoded.nodes, strict=True):
            there = fold.nodes.get(node.node_id)
            if there is None:
                continue
            same = self.store.engine.read_blob(there.blob.digest) == data
            if not (there.is_hidden and same):
                raise ConflictError(
                    what="a node of that id is there already",
                    subject="node",
                    expected="absent",
                    actual="hidden, with other content" if there.is_hidden else "there",
                )

    def _store(
        self, fold: Fold, commit: RuntimeCommit, encoded: Encoded
    ) -> list[Reference]:
        """Put what *commit* stores and return all that its entry references."""
        before = fold.checkpoint
        manifest = self.put(encoded.manifest_data, like=before.get(MANIFEST_ROLE))
        refs = [Reference(MANIFEST_ROLE, manifest)]
        for slot, role in SNAPSHOT_ROLES.items():
            if slot in encoded.bodies:
                blob = self.put(encoded.bodies[slot], like=before.get(role))
                refs.append(Reference(role, blob))
            elif slot in encoded.carried:
                refs.append(Reference(role, self._carried(fold, encoded.carried[slot])))
        refs += [Reference(NODE_ROLE, self.put(data)) for data in encoded.nodes]
        archives = {
            name
            for node in commit.graph.nodes
            for name in node.archives()
            if _is_name(name)
        }
        refs += [
            Reference(ARCHIVE_ROLE, self.store.resolve(name))
            for name in sorted(archives)
        ]
        return refs

    def _carried(self, fold: Fold, name: str) -> BlobRef:
        for ref in fold.checkpoint.values():
            if str(ref) == name:
                return ref
        return self.store.resolve(name)

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
        self._check_binding(meta.session_id)
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
        wanted = dict.fromkeys(node_ids)

        def decide(fold: Fold) -> tuple[Made | None, int]:
            names = tuple(name for name in wanted if fold.visible(name) is not None)
            active = not wanted.keys().isdisjoint(fold.path(fold.leaf))
            if active and not force:
                raise ConflictError(
                    what="the active path would lose nodes; say force if it shall",
                    subject="node",
                    expected="not on the active path",
                    actual="on it",
                )
            body = HiddenBody(nodes=names, forced=active)
            return Made(HIDDEN, body) if names else None, len(names)

        with self._guard:
            return self._log.change(decide)

    def vacuum(self) -> VacuumReport:
        """
        Let go of hidden nodes: they cannot come back, and their ids are free.

        The log still tells of them: history does not change.
        """

        def decide(fold: Fold) -> tuple[Made | None, VacuumReport]:
            gone = {name for name, one in fold.nodes.items() if one.is_hidden}
            dangling = tuple(
                name
                for name, one in fold.nodes.items()
                if name not in gone and one.parent in gone
            )
            made = Made(VACUUMED, VacuumedBody(nodes=tuple(sorted(gone))))
            return made if gone else None, VacuumReport(len(gone), dangling)

        with self._guard:
            return self._log.change(decide)

    # --- collecting ----------------------------------------------------------

    def gc_unreachable(self) -> GcReport:
        """
        Remove what nothing needs, without grace, keeping of this session's
        checkpoints the newest only. Those of other sessions all stay.

        What this handle has put and not committed goes too.

        Raises:
            LostError: A reference leads nowhere. Nothing was deleted.

            CorruptionError: Something cannot be read. Nothing was deleted.

            LockedError: Somebody else maintains the store.
        """
        with self._guard:
            self._log.refresh()
            segment = self._log.segment
            forgotten = self.store.engine.pool.forget(self._put)
            self._put.clear()
        logs = () if segment is None else (segment.id,)
        report = collect(
            self.store.engine, grace_s=0, keep_checkpoints=1, logs=logs, yes=True
        )
        return GcReport(
            report.root_count,
            report.retained_blob_count,
            report.deleted_blob_count + forgotten,
            report.missing_blob_count,
        )

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


def _body(fold: Fold, commit: RuntimeCommit, encoded: Encoded) -> CommitBody:
    stamp = None
    if commit.stamp is not None:
        stamp = StampBody(turn_id=commit.stamp.turn_id, content=encoded.content)
    return CommitBody(
        session_id=commit.session_id,
        head_revision=fold.head_revision + 1,
        config=commit.config,
        change=change_of(commit),
        nodes=tuple((node.node_id, node.parent_node_id) for node in commit.graph.nodes),
        leaf_node_id=commit.graph.leaf_node_id,
        usage=commit.usage_deltas,
        stamp=stamp,
        lease=commit.lease.fencing if commit.lease is not None else None,
    )


def _result(head_revision: int, encoded: Encoded) -> RuntimeCommitResult:
    return RuntimeCommitResult(head_revision, encoded.checkpoint_ref, encoded.manifest)


def _replay(
    fold: Fold, commit: RuntimeCommit, encoded: Encoded
) -> RuntimeCommitResult | None:
    made = fold.stamps.get(commit.stamp.turn_id) if commit.stamp is not None else None
    if made is None:
        return None
    if made.content != encoded.content:
        raise ConflictError(
            what="the turn was committed with other content",
            subject="key",
            expected=encoded.content,
            actual=made.content,
        )
    return RuntimeCommitResult(
        made.head_revision, made.checkpoint_ref, encoded.manifest, replayed=True
    )


def _is_name(text: str) -> bool:
    try:
        parse_digest(text)
    except CastoreError:
        return False
    return True
