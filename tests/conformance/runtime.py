"""
What every runtime store promises, one method per promise.

An implementation's own test file subclasses `RuntimeTests` and gives the fixture
`place`: where sessions are kept, opened and opened again.
"""

from __future__ import annotations

import threading

from typing import Any, Protocol

import attrs
import pytest

from conformance.runtime_checkpoints import CheckpointTests
from conformance.runtime_leases import LeaseTests
from runtimekit import chain, commit, ids, loaded, node, plugins, subject, tools, usage

import castore

from castore import ABSENT, ANY, Store
from castore.records.checkpoint import HydratedSessionCheckpoint
from castore.records.graph import SessionGraph
from castore.records.persisted import SessionMeta
from castore.runtime import (
    ActivePath,
    ReplaceFull,
    RuntimeStore,
    Unchanged,
    UnsupportedReadScopeError,
    VacuumReport,
)


class Place(Protocol):
    """Where sessions are kept."""

    store: Store

    def open(self, session: str = "s", **options: Any) -> RuntimeStore:
        """Return another handle on *session*."""

    def reopen(self) -> None:
        """Close all, and open it again as another process would."""


class RuntimeTests(CheckpointTests, LeaseTests):
    """All promises; those about checkpoints and leases are inherited."""

    # --- commits and loads ---------------------------------------------------

    def test_nothing_was_committed(self, place: Place) -> None:
        """Before the first commit there is no session, no node, no metadata."""
        runtime = place.open()

        assert runtime.load_session() is None
        assert runtime.load_node("a") is None
        assert runtime.load_session_meta() is None
        assert runtime.load_picker_info() is None
        assert runtime.load_head_meta() is None
        assert VacuumReport() == runtime.vacuum()
        assert 0 == runtime.tombstone_nodes(["a"])
        with pytest.raises(castore.NotFoundError):
            _ = runtime.segment

    def test_a_commit_reads_back(self, place: Place) -> None:
        """
        Session, graph, checkpoint with its bodies, and config, here and opened
        again; metadata too.

        Statements: C1, C12.
        """
        runtime = place.open()
        made = commit(ABSENT, chain("a", "b"))
        result = runtime.commit_runtime_state(made)
        meta = SessionMeta(session_id="s", session_name="first", model="m", cwd="/x")
        runtime.save_session_meta(meta)
        for _ in range(2):
            read = loaded(place.open())
            assert ("s", 1) == (read.session_id, read.head_revision)
            assert SessionGraph(list(chain("a", "b")), "b") == read.graph
            assert made.config == read.config
            assert result.checkpoint_ref == read.checkpoint_ref
            assert made.checkpoint.tool_state == read.checkpoint.tool_state
            assert made.checkpoint.plugin_snapshot == read.checkpoint.plugin_snapshot
            assert made.checkpoint.execution_state == read.checkpoint.execution_state
            assert result.manifest.tool_state_ref == read.checkpoint.tool_state_ref
            assert {} == read.checkpoint.gone
            assert meta == place.open().load_session_meta()
            place.reopen()

    def test_revisions_count_commits(self, place: Place) -> None:
        """Each commit makes the revision one higher, whatever else is written."""
        runtime = place.open()
        runtime.save_session_meta(SessionMeta(session_id="s"))
        assert runtime.load_session() is None
        for number in range(3):
            made = commit(number, [node(f"n{number}")])
            assert number + 1 == runtime.commit_runtime_state(made).head_revision
            runtime.save_session_meta(SessionMeta(session_id="s"))
        head = runtime.load_head_meta()

        assert head is not None
        assert (3, 3, "n2") == (
            head.head_revision,
            head.graph_node_count,
            head.leaf_node_id,
        )

    @pytest.mark.parametrize("wrong", [ABSENT, 0, 2, 7])
    def test_another_revision_is_a_conflict(self, place: Place, wrong: Any) -> None:
        """
        Absent, too low or too high: refused with both sides, nothing changes.
        Only `ANY` goes over what is there.

        Statements: C17.
        """
        runtime = place.open()
        runtime.commit_runtime_state(commit(ABSENT, [node("a")]))
        with pytest.raises(castore.ConflictError) as raised:
            runtime.commit_runtime_state(commit(wrong, [node("b")], number=2))

        wanted = 0 if wrong is ABSENT else wrong
        assert ("head", wanted, 1) == (
            raised.value.subject,
            raised.value.expected,
            raised.value.actual,
        )
        assert ["a"] == ids(loaded(runtime).graph.nodes)
        made = commit(ANY, [node("b")])
        assert 2 == runtime.commit_runtime_state(made).head_revision

    def test_an_expected_revision_of_nothing_is_a_conflict(self, place: Place) -> None:
        """Where nothing was committed, only absent, 0 and `ANY` are right."""
        with pytest.raises(castore.ConflictError):
            place.open().commit_runtime_state(commit(1, [node("a")]))

        assert place.open().load_session() is None
        assert 1 == place.open().commit_runtime_state(commit(ANY)).head_revision

    def test_one_of_two_commits_wins(self, place: Place) -> None:
        """
        Of commits at one revision through two handles, at once, exactly one is
        made; the other hears of the revision.

        Statements: C2.
        """
        for number in range(10):
            errors: list[castore.CastoreError] = []
            gate = threading.Barrier(2)

            def attempt(name: str, expected: int, gate: threading.Barrier) -> None:
                runtime = place.open()
                made = commit(expected, [node(f"{name}{expected}")])
                gate.wait(30)
                try:
                    runtime.commit_runtime_state(made)
                except castore.CastoreError as error:
                    errors.append(error)  # noqa: B023 - joined below

            threads = [
                threading.Thread(target=attempt, args=(name, number, gate))
                for name in ("a", "b")
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert ["head"] == [subject(error) for error in errors]
            read = loaded(place.open())
            assert (number + 1, number + 1) == (read.head_revision, len(read.graph))

    def test_another_session_is_refused(self, place: Place) -> None:
        """
        A commit, or metadata, of another session names both; nothing changes.
        It is looked at before the revision.

        Statements: C3.
        """
        runtime = place.open("one")
        runtime.commit_runtime_state(commit(ABSENT, [node("a")], session="one"))
        for attempt in (
            lambda: runtime.commit_runtime_state(commit(9, session="two")),
            lambda: runtime.save_session_meta(SessionMeta(session_id="two")),
        ):
            with pytest.raises(castore.ConflictError, match="one") as raised:
                attempt()
            assert ("binding", "one", "two") == (
                raised.value.subject,
                raised.value.expected,
                raised.value.actual,
            )
        assert 1 == loaded(runtime).head_revision
        assert place.open("two").load_session() is None

    def test_checkpoint_and_usage_are_hydrated(self, place: Place) -> None:
        """
        Generation, revision of the plugins, and usage come back as they were.

        Statements: C4.
        """
        used = usage(input_tokens=5, output_tokens=7, cached_input_tokens=3)
        made = commit(
            ABSENT,
            checkpoint=HydratedSessionCheckpoint(
                tool_state=tools(9),
                plugin_snapshot=plugins(12),
                plugin_snapshot_revision=12,
            ),
            usage_deltas=(used,),
        )
        place.open().commit_runtime_state(made)
        read = loaded(place.open())

        assert 9 == read.checkpoint.tool_state.generation
        assert 12 == read.checkpoint.plugin_snapshot_revision
        assert (used,) == read.token_ledger
        assert read.checkpoint.execution_state is None

    def test_usage_is_added_up(self, place: Place) -> None:
        """
        By source and model, in the order first seen; what used only cached input
        stays, what used nothing does not.

        Statements: C4.
        """
        runtime = place.open()
        for number in range(2):
            deltas = (
                usage("turn", "m", input_tokens=10, output_tokens=1),
                usage("observer", "m", cached_input_tokens=8),
                usage("turn", "other"),
                usage("turn", "m", reasoning_tokens=2),
            )
            runtime.commit_runtime_state(commit(number, usage_deltas=deltas))

        assert (
            usage("turn", "m", input_tokens=20, output_tokens=2, reasoning_tokens=4),
            usage("observer", "m", cached_input_tokens=16),
        ) == loaded(place.open()).token_ledger

    # --- scopes --------------------------------------------------------------

    def test_a_scope_gives_that_much(self, place: Place) -> None:
        """
        All nodes in the order of insertion, or the path to a leaf.

        Statements: C5.
        """
        nodes = [
            node("root"),
            node("left", "root"),
            node("left-leaf", "left"),
            node("right-leaf", "root"),
        ]
        runtime = place.open()
        runtime.commit_runtime_state(commit(ABSENT, nodes, "left-leaf"))
        full = loaded(runtime).graph
        path = loaded(runtime, ActivePath()).graph
        other = loaded(runtime, ActivePath("right-leaf")).graph

        assert (ids(nodes), "left-leaf") == (ids(full.nodes), full.leaf_node_id)
        assert ["root", "left", "left-leaf"] == ids(path.nodes)
        assert "left-leaf" == path.leaf_node_id
        assert ["root", "right-leaf"] == ids(other.nodes)
        assert "right-leaf" == other.leaf_node_id

    def test_an_unknown_leaf_gives_no_path(self, place: Place) -> None:
        """
        The leaf of the read is the one that was asked for; no leaf, no path.

        Statements: C19.
        """
        runtime = place.open()
        runtime.commit_runtime_state(commit(ABSENT, [node("a")]))
        graph = loaded(runtime, ActivePath("nowhere")).graph

        assert ([], "nowhere") == (graph.nodes, graph.leaf_node_id)
        runtime.commit_runtime_state(commit(1, graph=Unchanged(None)))
        graph = loaded(runtime, ActivePath()).graph
        assert ([], None) == (graph.nodes, graph.leaf_node_id)

    def test_an_unknown_scope_is_refused(self, place: Place) -> None:
        """What a store cannot read it says so of, and reads nothing instead."""
        runtime = place.open()
        scope: Any = "every second node"
        with pytest.raises(UnsupportedReadScopeError) as raised:
            runtime.load_session(scope)

        assert scope == raised.value.scope

    # --- the graph -----------------------------------------------------------

    def test_deltas(self, place: Place) -> None:
        """
        Unchanged moves the leaf only; append adds; replace leaves just its own.

        Statements: C16.
        """
        runtime = place.open()
        runtime.commit_runtime_state(commit(ABSENT, chain("a", "b")))
        runtime.commit_runtime_state(commit(1, graph=Unchanged("a")))
        assert "a" == loaded(runtime).graph.leaf_node_id
        runtime.commit_runtime_state(commit(2, [node("c", "a")]))
        assert ["a", "b", "c"] == ids(loaded(runtime).graph.nodes)
        assert node("c", "a") == runtime.load_node("c")
        runtime.tombstone_nodes(["b"])
        graph = SessionGraph(list(chain("b", "x")), "b")
        runtime.commit_runtime_state(commit(3, graph=ReplaceFull(graph)))
        place.reopen()

        assert graph == loaded(place.open()).graph
        assert place.open().load_node("a") is None

    def test_an_id_that_is_there_is_refused(self, place: Place) -> None:
        """
        Nothing of such a commit stays: no node, no usage, no checkpoint.

        Statements: C16.
        """
        runtime = place.open()
        runtime.commit_runtime_state(commit(ABSENT, chain("a", "b")))
        before = loaded(runtime)
        size = place.store.stats().raw_bytes
        for nodes in ([node("new"), node("a")], [node("x"), node("x")]):
            made = commit(1, nodes, number=7, usage_deltas=(usage(input_tokens=1),))
            with pytest.raises(castore.ConflictError) as raised:
                runtime.commit_runtime_state(made)
            assert "node" == raised.value.subject

        assert before == loaded(place.open())
        assert size == place.store.stats().raw_bytes

    def test_a_leaf_that_is_no_node_is_refused(self, place: Place) -> None:
        """
        Whatever the delta is: of the new nodes or of those that are to be seen.

        Statements: C16.
        """
        runtime = place.open()
        nodes = [node("a"), node("b", "a"), node("c", "a")]
        runtime.commit_runtime_state(commit(ABSENT, nodes, "b"))
        runtime.tombstone_nodes(["c"])
        graph = SessionGraph([node("z")], "a")
        for made in (
            commit(1, graph=Unchanged("nowhere")),
            commit(1, graph=Unchanged("c")),
            commit(1, [node("d")], "nowhere"),
            commit(1, graph=ReplaceFull(graph)),
        ):
            with pytest.raises(castore.NotFoundError, match="leaf"):
                runtime.commit_runtime_state(made)

        assert 1 == loaded(runtime).head_revision

    # --- metadata ------------------------------------------------------------

    def test_metadata_round_trips(self, place: Place) -> None:
        """
        Field by field, undocumented ones too; what was saved last is kept.

        Statements: C6.
        """
        runtime = place.open()
        for name in ("first", "second"):
            meta = SessionMeta(
                session_id="s",
                session_name=name,
                created_at="2026-11-21",
                model="m",
                cwd="/work",
                parent_session_id="p",
                rest={"relation": {"kind": "child"}},
            )
            runtime.save_session_meta(meta)
        place.reopen()
        found = place.open().load_session_meta()

        assert meta == found
        assert found is not None
        assert {"kind": "child"} == found.rest["relation"]

    def test_a_picker_shows_what_a_list_needs(self, place: Place) -> None:
        """The first words of the user, how many there are, and where it was."""
        runtime = place.open()
        nodes = [node("a", text="hello"), node("b", "a"), node("c")]
        runtime.commit_runtime_state(commit(ABSENT, nodes, "b"))
        runtime.save_session_meta(SessionMeta(session_id="s", cwd="/here"))
        info = runtime.load_picker_info()

        assert info is not None
        assert ("s", "/here", None, "hello", 2) == attrs.astuple(info)

    # --- nodes that go -------------------------------------------------------

    def test_hidden_nodes_are_in_no_read(self, place: Place) -> None:
        """
        Nor is a vacuumed one, whose id is free then; what is not there is passed
        over; the vacuum counts what it removed; a collection is safe.

        Statements: C7.
        """
        runtime = place.open()
        nodes = [node("a"), node("b", "a"), node("c", "a")]
        runtime.commit_runtime_state(commit(ABSENT, nodes, "b"))
        assert node("c", "a") == runtime.load_node("c")
        assert 1 == runtime.tombstone_nodes(["c", "nowhere", "c"])
        assert 0 == runtime.tombstone_nodes(["c"])
        assert 0 == runtime.tombstone_nodes([])
        for _ in range(2):
            assert runtime.load_node("c") is None
            assert ["a", "b"] == ids(loaded(runtime).graph.nodes)
            place.reopen()
            runtime = place.open()
        assert VacuumReport(1) == runtime.vacuum()
        assert VacuumReport() == runtime.vacuum()
        assert runtime.gc_unreachable().deleted_blob_count >= 0
        assert ["a", "b"] == ids(loaded(runtime).graph.nodes)
        runtime.commit_runtime_state(commit(1, [node("c", text="other")]))
        assert node("c", text="other") == runtime.load_node("c")

    def test_the_active_path_is_hidden_by_force_only(self, place: Place) -> None:
        """
        Refused else, and nothing is hidden. Then the path ends behind what was
        hidden, and a hidden leaf leaves the session without one.

        Statements: C20.
        """
        runtime = place.open()
        runtime.commit_runtime_state(commit(ABSENT, chain("a", "b", "c", "d")))
        with pytest.raises(castore.ConflictError) as raised:
            runtime.tombstone_nodes(["nowhere", "b"])
        assert "node" == raised.value.subject
        assert 1 == runtime.tombstone_nodes(["b"], force=True)
        path = loaded(runtime, ActivePath()).graph
        assert (["c", "d"], "d") == (ids(path.nodes), path.leaf_node_id)
        assert VacuumReport(1, ("c",)) == runtime.vacuum()
        assert 1 == runtime.tombstone_nodes(["d"], force=True)
        place.reopen()
        graph = loaded(place.open()).graph

        assert (["a", "c"], None) == (ids(graph.nodes), graph.leaf_node_id)
        assert [] == loaded(place.open(), ActivePath()).graph.nodes

    def test_a_hidden_node_comes_back_as_it_was(self, place: Place) -> None:
        """
        Appended again it is to be seen in its old place; another of its id is
        refused until it was vacuumed.

        Statements: C16.
        """
        runtime = place.open()
        nodes = [node("a"), node("b", "a"), node("c", "a")]
        runtime.commit_runtime_state(commit(ABSENT, nodes, "c"))
        runtime.tombstone_nodes(["b"])
        with pytest.raises(castore.ConflictError):
            runtime.commit_runtime_state(commit(1, [node("b", text="other")]))
        runtime.commit_runtime_state(commit(1, [node("b", "a")]))

        assert ["a", "b", "c"] == ids(loaded(runtime).graph.nodes)
