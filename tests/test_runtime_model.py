"""
Sessions of a runtime and their model, told the same, are the same.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import tempfile

from pathlib import Path
from typing import Any

import attrs
import pytest

from conftest import MEMORY
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from runtimekit import Clock, commit, ids, node, owner, plugins, subject, tools, usage

import castore

from castore import ABSENT, ANY
from castore.packing import pack
from castore.records.graph import SessionGraph
from castore.records.nodes import SessionNodeRecord
from castore.records.persisted import SessionMeta
from castore.runtime import (
    ActivePath,
    ReplaceFull,
    RuntimeStore,
    SessionLease,
    Unchanged,
    VacuumReport,
)
from castore.runtime import log as runtime_log
from castore.verify import verify


EXAMPLE_COUNT = 50  # for a budget of 1; 50 makes over 100,000 steps
STEP_COUNT = 50
HANDLE_COUNT = 2

sessions = st.sampled_from("aaabbc")
handles = st.integers(0, 2 * HANDLE_COUNT - 1)  # half of them know nothing yet
names = st.sampled_from([f"n{number}" for number in range(16)])
nodes_hidden = st.lists(st.integers(-3, 7), max_size=3)
numbers = st.integers(0, 9)
owners = st.sampled_from("xy")
picks = st.integers(0, 7)
attempts = st.fixed_dictionaries(
    {
        "new": st.lists(st.tuples(names, st.none() | names), max_size=3),
        "leaf": st.sampled_from(["old", "old", "old", "none", "any"]),
        "off": st.sampled_from([0] * 8 + [1, -1, None]),
        "number": numbers,
        "turn": st.sampled_from([None, None, "t1", "t2", "t3"]),
        "replace": st.sampled_from([False] * 7 + [True]),
        "leased": st.sampled_from([True] * 7 + [False]),
    }
)


@attrs.define
class Model:
    """
    A session, as simple as it can be.

    Attributes:
        nodes: By id, in order, each with whether it is hidden.

        checkpoints: Numbers of all commits of its log, inherited ones too.

        past: The model after each commit.

        stamps: For each turn the number and revision of its commit.
    """

    nodes: dict[str, tuple[SessionNodeRecord, bool]] = attrs.Factory(dict)
    leaf: str | None = None
    checkpoints: list[int] = attrs.Factory(list)
    used: int = 0
    meta: str | None = None
    lease: str | None = None
    fencing: int = 0
    stamps: dict[str, tuple[int, int]] = attrs.Factory(dict)
    past: list[Model] = attrs.Factory(list)

    def visible(self) -> list[SessionNodeRecord]:
        """Return the nodes that are to be seen."""
        return [each for each, hidden in self.nodes.values() if not hidden]

    def path(self, leaf: str | None) -> list[str]:
        """Return the path to *leaf*."""
        found: list[str] = []
        while leaf in self.nodes and not self.nodes[leaf][1] and leaf not in found:
            found.insert(0, leaf)
            leaf = self.nodes[leaf][0].parent_node_id
        return found

    def accepts(self, nodes: list[SessionNodeRecord], leaf: str | None) -> str | None:
        """Return why an append is refused, None if it is not."""
        for each in nodes:
            there = self.nodes.get(each.node_id)
            if there is not None and not (there[1] and there[0] == each):
                return "node"
        seen = {*ids(self.visible()), *ids(nodes)}
        return "leaf" if leaf is not None and leaf not in seen else None


class RuntimeMachine(RuleBasedStateMachine):
    """Three sessions in one store, used through two handles."""

    def __init__(self) -> None:
        super().__init__()
        parent = str(MEMORY) if MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="castore-", dir=parent))
        self.path = self.folder / "store"
        self.patches = contextlib.ExitStack()
        self.models: dict[str, Model] = {}
        self.stored: set[int] = set()
        self.leases: dict[str, SessionLease] = {}
        self.stores = [
            castore.open(self.path, create=True) for _ in range(HANDLE_COUNT)
        ]
        self.open: list[dict[str, RuntimeStore]] = [{} for _ in self.stores]

    @initialize(every=st.sampled_from([1, 3, 64]))
    def begin(self, every: int) -> None:
        """Choose how often the fold is written."""
        patch = pytest.MonkeyPatch()
        self.patches.callback(patch.undo)
        patch.setattr(runtime_log, "SNAPSHOT_EVERY", every)

    def runtime(self, h: int, name: str) -> RuntimeStore:
        """Return handle *h* on session *name*."""
        known = self.open[h % HANDLE_COUNT]
        if name not in known or h >= HANDLE_COUNT:
            # The clock stands: no lease expires because a machine is slow.
            known[name] = RuntimeStore(self.store(h), name, clock=Clock())
        return known[name]

    def store(self, h: int) -> castore.Store:
        """Return the store of handle *h*."""
        return self.stores[h % HANDLE_COUNT]

    # --- commits -------------------------------------------------------------

    @rule(h=handles, name=sessions, attempts=st.lists(attempts, min_size=1, max_size=4))
    def commit(self, h: int, name: str, attempts: list[dict[str, Any]]) -> None:
        """Commit nodes, rightly or wrongly; what comes of it is foretold."""
        for each in attempts:
            self.attempt(h, name, **each)

    def attempt(
        self,
        h: int,
        name: str,
        *,
        new: list[tuple[str, str | None]],
        leaf: str,
        off: int | None,
        number: int,
        turn: str | None,
        replace: bool,
        leased: bool,
    ) -> None:
        """Try one commit."""
        model = self.models.get(name, Model())
        nodes = [node(each, parent) for each, parent in dict(new).items()]
        at = {"old": model.leaf, "none": None, "any": "n3"}[leaf]
        revision = len(model.checkpoints)
        expected: Any = ANY if off is None else revision + off
        if expected == 0:
            expected = ABSENT
        held = self.leases.get(name) if model.lease is not None else None
        lease = held if leased else self.leases.get(name)
        more: dict[str, Any] = {}
        if replace:
            at = nodes[-1].node_id if nodes else None
            more["graph"] = ReplaceFull(SessionGraph(list(nodes), at))
        elif not nodes:
            more["graph"] = Unchanged(at)
        made = commit(
            expected,
            nodes,
            at,
            session=name,
            number=number,
            turn=turn,
            usage_deltas=(usage(input_tokens=1),),
            lease=lease,
            **more,
        )
        at = made.graph.leaf_node_id
        runtime = self.runtime(h, name)
        if turn is not None and turn in model.stamps:
            self.replay(runtime, made, model.stamps[turn])
            return
        why = self.refusal(model, nodes, at, off, lease, replace=replace)
        if why is not None:
            with pytest.raises(castore.CastoreError) as raised:
                runtime.commit_runtime_state(made)
            assert why == getattr(raised.value, "subject", "leaf")
            return
        result = runtime.commit_runtime_state(made)
        assert revision + 1 == result.head_revision
        self.models[name] = model
        if replace:
            model.nodes = {}
        for each in nodes:
            model.nodes[each.node_id] = (each, False)
        model.leaf = at
        model.used += 1
        model.checkpoints.append(number)
        self.stored.add(number)
        if turn is not None:
            model.stamps[turn] = (number, revision + 1)
        model.past.append(copy.copy(model))
        model.past[-1].nodes = dict(model.nodes)
        model.past[-1].checkpoints = list(model.checkpoints)
        model.past[-1].stamps = dict(model.stamps)
        model.past[-1].past = list(model.past)

    def replay(self, runtime: RuntimeStore, made: Any, stamp: tuple[int, int]) -> None:
        """A turn that was committed: its result, or a conflict of its content."""
        number, revision = stamp
        try:
            result = runtime.commit_runtime_state(made)
        except castore.ConflictError as error:
            found = subject(error)
        else:
            found = "key"
            assert result.replayed
            turn = result.manifest.turn_state.turn_index
            assert (revision, number) == (result.head_revision, turn)
        assert "key" == found

    def refusal(
        self,
        model: Model,
        nodes: list[SessionNodeRecord],
        leaf: str | None,
        off: int | None,
        lease: SessionLease | None,
        *,
        replace: bool,
    ) -> str | None:
        """Return why a commit is refused, None if it is not."""
        held = lease.token if lease is not None else None
        if model.lease != held:
            return "lease"
        if off:
            return "head"
        if replace:
            return "leaf" if leaf is not None and leaf not in ids(nodes) else None
        return model.accepts(nodes, leaf)

    @rule(h=handles, name=sessions, text=st.sampled_from(["one", "two"]))
    def save_meta(self, h: int, name: str, text: str) -> None:
        """Save metadata."""
        meta = SessionMeta(session_id=name, session_name=text)
        self.runtime(h, name).save_session_meta(meta)
        self.models.setdefault(name, Model()).meta = text

    # --- leases --------------------------------------------------------------

    @rule(h=handles, name=sessions, who=owners)
    def claim(self, h: int, name: str, who: str) -> None:
        """Claim the lease; whoever holds it goes on, others wait."""
        model = self.models.get(name, Model())
        held = self.leases.get(name)
        if model.lease is not None and held is not None:
            if held.owner.owner_id != who:
                with pytest.raises(castore.LockedError):
                    self.runtime(h, name).leases.claim(owner(who))
                return
            again = self.runtime(h, name).leases.claim(owner(who))
            assert (held.token, held.fencing) == (again.token, again.fencing)
            return
        lease = self.runtime(h, name).leases.claim(owner(who))
        assert model.fencing + 1 == lease.fencing
        self.models[name] = model
        self.leases[name] = lease
        model.lease, model.fencing = lease.token, lease.fencing

    @rule(h=handles, name=sessions)
    def release(self, h: int, name: str) -> None:
        """Give up the lease, or one that was given up before."""
        lease = self.leases.get(name)
        if lease is not None:
            model = self.models[name]
            held = model.lease == lease.token
            assert held == self.runtime(h, name).leases.release(lease)
            model.lease = None

    # --- what goes -----------------------------------------------------------

    @rule(h=handles, name=sessions, at=nodes_hidden, force=st.booleans())
    def hide(self, h: int, name: str, at: list[int], force: bool) -> None:
        """Hide nodes; those of the active path by force only."""
        model = self.models.get(name, Model())
        there = [*model.nodes, "nowhere"]
        some = [there[each % len(there)] for each in at]
        if -1 in at and model.leaf is not None:
            some.append(model.leaf)
        seen = [each for each in dict.fromkeys(some) if each in ids(model.visible())]
        active = set(some) & set(model.path(model.leaf))
        if active and not force:
            with pytest.raises(castore.ConflictError):
                self.runtime(h, name).tombstone_nodes(some)
            return
        assert len(seen) == self.runtime(h, name).tombstone_nodes(some, force=force)
        for each in seen:
            model.nodes[each] = (model.nodes[each][0], True)
        if model.leaf in seen:
            model.leaf = None

    @rule(h=handles, name=sessions)
    def vacuum(self, h: int, name: str) -> None:
        """Let go of hidden nodes."""
        model = self.models.get(name, Model())
        gone = {each for each, (_, hidden) in model.nodes.items() if hidden}
        for each in gone:
            del model.nodes[each]
        dangling = tuple(
            each.node_id for each in model.visible() if each.parent_node_id in gone
        )
        assert VacuumReport(len(gone), dangling) == self.runtime(h, name).vacuum()

    @rule(h=handles, name=sessions)
    def collect(self, h: int, name: str) -> None:
        """Collect: of this session the newest checkpoint stays, of others all."""
        runtime = self.runtime(h, name)
        orphan = runtime.put(b"put and never committed")
        runtime.gc_unreachable()
        assert not self.store(h).has(orphan)
        kept: set[int] = set()
        for other, model in self.models.items():
            kept.update(model.checkpoints[-1:] if other == name else model.checkpoints)
        self.stored &= kept
        assert 0 == runtime.gc_unreachable().deleted_blob_count

    # --- the store -----------------------------------------------------------

    @rule(h=handles, parent=sessions, name=sessions, back=picks)
    def fork(self, h: int, parent: str, name: str, back: int) -> None:
        """Fork at the end, or after an earlier commit."""
        model = self.models.get(parent, Model())
        revision = max(0, len(model.checkpoints) - back) if back else None
        runtime = self.runtime(h, parent)
        if not model.checkpoints or revision == 0:
            with pytest.raises(castore.NotFoundError):
                runtime.fork(name, revision)
            return
        if name in self.models:
            with pytest.raises(castore.ConflictError):
                runtime.fork(name, revision)
            return
        runtime.fork(name, revision)
        end = revision is None or revision == len(model.checkpoints)
        made = copy.deepcopy(model if end else model.past[(revision or 1) - 1])
        made.lease = None
        self.models[name] = made

    @rule(h=handles, how=st.sampled_from(["close", "rebuild", "pack", "forget"]))
    def again(self, h: int, how: str) -> None:
        """Open the store again, make its catalog anew, pack it, or forget handles."""
        if how == "rebuild":
            self.store(h).engine.rebuild()
        elif how == "pack":
            pack(self.store(h).engine)
        elif how == "close":
            self.store(h).close()
            self.stores[h % HANDLE_COUNT] = castore.open(self.path)
        self.open[h % HANDLE_COUNT] = {}

    # --- comparing -----------------------------------------------------------

    @rule(h=handles, name=sessions, leaf=st.none() | names)
    def look(self, h: int, name: str, leaf: str | None) -> None:
        """All that a session shows is what the model says."""
        model = self.models.get(name, Model())
        runtime = self.runtime(h, name)
        meta = runtime.load_session_meta()
        assert model.meta == (meta.session_name if meta is not None else None)
        current = runtime.leases.current()
        assert model.lease == (current.token if current is not None else None)
        if not model.checkpoints:
            assert runtime.load_session() is None
            return
        if model.checkpoints[-1] not in self.stored:
            with pytest.raises(castore.GoneError):
                runtime.load_session()
            return
        read = runtime.load_session()
        assert read is not None
        assert (model.visible(), model.leaf) == (
            read.graph.nodes,
            read.graph.leaf_node_id,
        )
        assert len(model.checkpoints) == read.head_revision
        assert (usage(input_tokens=model.used),) == read.token_ledger
        number = model.checkpoints[-1]
        assert read.checkpoint is not None
        assert (tools(number), plugins(number)) == (
            read.checkpoint.tool_state,
            read.checkpoint.plugin_snapshot,
        )
        path = runtime.load_session(ActivePath(leaf))
        assert path is not None
        wanted = leaf if leaf is not None else model.leaf
        assert model.path(wanted) == ids(path.graph.nodes)
        assert wanted == path.graph.leaf_node_id
        for each in (f"n{at}" for at in range(16)):
            known, hidden = model.nodes.get(each, (None, True))
            assert (None if hidden else known) == runtime.load_node(each)

    def teardown(self) -> None:
        """Whatever was done: every session is right, and the files are."""
        try:
            for name in self.models:
                self.look(0, name, None)
                self.look(1, name, None)
            for store in self.stores:
                store.close()
            assert verify(self.path).ok
        finally:
            self.patches.close()
            shutil.rmtree(self.folder)


def test_sessions_are_as_their_model(budget: float) -> None:
    """
    Commits, metadata, leases, hiding, vacuums, collections, forks, and opening
    again, in any order: the store is what the model says.

    Statements: C2, C7, C15, C16, C20, L3, L5, L6, L7.
    """
    wanted = settings(
        max_examples=max(1, round(EXAMPLE_COUNT * budget)),
        stateful_step_count=STEP_COUNT,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(RuntimeMachine, settings=wanted)
