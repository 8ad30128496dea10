"""
What every runtime store promises about checkpoints, collections and stamps.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from runtimekit import chain, commit, loaded, node, tools, usage

import castore

from castore import ABSENT
from castore.digest import blob_digest
from castore.records.checkpoint import HydratedSessionCheckpoint
from castore.records.graph import SessionGraph
from castore.runtime import ReplaceFull


class CheckpointTests:
    """The promises about what is large, and what goes."""

    # --- checkpoints ---------------------------------------------------------

    def test_references_are_carried_forward(self, place: Any) -> None:
        """
        A body given wins over a reference; without one the reference stays as it
        is, body and all; with neither there is no snapshot.

        Statements: C18.
        """
        runtime = place.open()
        first = runtime.commit_runtime_state(commit(ABSENT)).manifest
        refs = HydratedSessionCheckpoint(
            tool_state_ref=first.tool_state_ref,
            tool_state=tools(2),
            execution_state_ref=first.execution_state_ref,
        )
        second = runtime.commit_runtime_state(commit(1, checkpoint=refs)).manifest
        found = loaded(place.open()).checkpoint

        assert tools(2) == found.tool_state
        assert first.tool_state_ref != second.tool_state_ref
        assert first.execution_state_ref == found.execution_state_ref
        assert bytes([1]) * 40 == found.execution_state
        assert (None, None) == (found.plugin_snapshot_ref, found.plugin_snapshot)

    def test_a_reference_that_leads_nowhere_is_refused(self, place: Any) -> None:
        """No commit names what is not there."""
        runtime = place.open()
        lost = HydratedSessionCheckpoint(tool_state_ref="blake3:" + 64 * "0")
        with pytest.raises(castore.NotFoundError):
            runtime.commit_runtime_state(commit(ABSENT, checkpoint=lost))

        assert runtime.load_session() is None

    def test_equal_checkpoints_are_one(self, place: Any) -> None:
        """The same content has the same name, in whatever session."""
        refs = {
            place.open(name)
            .commit_runtime_state(commit(ABSENT, session=name))
            .checkpoint_ref
            for name in ("a", "b")
        }

        assert 1 == len(refs)

    def test_gc_keeps_the_newest(self, place: Any) -> None:
        """
        What an older checkpoint alone names goes, what the newest names stays and
        loads; a second collection has nothing to do.

        Statements: C8.
        """
        runtime = place.open()
        for number in range(2):
            runtime.commit_runtime_state(commit(number, number=number))
        report = runtime.gc_unreachable()

        assert report.root_count >= 1
        assert report.retained_blob_count >= 1
        assert report.deleted_blob_count == 4
        assert 0 == runtime.gc_unreachable().deleted_blob_count
        assert tools(1) == loaded(place.open()).checkpoint.tool_state

    def test_gc_deletes_what_nothing_names(self, place: Any) -> None:
        """
        One blob that was put and never committed goes; the checkpoint and each of
        its children stay.

        Statements: C9.
        """
        runtime = place.open()
        result = runtime.commit_runtime_state(commit(ABSENT))
        orphan = runtime.put(b"nobody names this")
        report = runtime.gc_unreachable()

        assert 1 == report.deleted_blob_count
        assert not place.store.has(orphan)
        manifest = result.manifest
        for name in (
            result.checkpoint_ref,
            manifest.tool_state_ref,
            manifest.plugin_snapshot_ref,
            manifest.execution_state_ref,
        ):
            assert name is not None
            assert name == f"blake3:{blob_digest(place.store.get(name)).hex()}"

    def test_gc_of_one_session_leaves_others_alone(self, place: Any) -> None:
        """
        Every checkpoint of another session stays, the old ones too.

        Statements: C8.
        """
        for name in ("a", "b"):
            for number in range(3):
                made = commit(number, session=name, number=number + (name == "b") * 9)
                place.open(name).commit_runtime_state(made)

        assert 8 == place.open("a").gc_unreachable().deleted_blob_count
        assert 8 == place.open("b").gc_unreachable().deleted_blob_count

    def test_gc_comes_by_itself(self, place: Any) -> None:
        """
        After every commit, if that is wanted: an orphan is gone, nothing waits.

        Statements: C10.
        """
        runtime = place.open(auto_gc_every=1)
        orphan = runtime.put(b"nobody names this")
        first = runtime.commit_runtime_state(commit(ABSENT))
        assert not place.store.has(orphan)
        runtime.commit_runtime_state(commit(1, number=2))

        with pytest.raises(castore.GoneError):
            place.store.get(first.checkpoint_ref)
        assert runtime.gc_error is None
        assert 0 == runtime.gc_unreachable().deleted_blob_count

    def test_the_durability_is_said(self, place: Any) -> None:
        """
        A store says what a commit survives.

        Statements: C13.
        """
        assert "power cut" == place.open().durability

    # --- stamps --------------------------------------------------------------

    def test_a_stamped_commit_is_made_once(self, place: Any) -> None:
        """
        Made again, also opened again and at a revision that is wrong now, it
        gives the first result and changes nothing.

        Statements: C15.
        """
        runtime = place.open()
        made = commit(
            ABSENT, chain("a", "b"), turn="t1", usage_deltas=(usage(input_tokens=3),)
        )
        first = runtime.commit_runtime_state(made)
        runtime.commit_runtime_state(commit(1, [node("c")], number=2))
        before = loaded(runtime)
        for _ in range(2):
            again = place.open().commit_runtime_state(made)
            assert again.replayed
            assert attrs.evolve(again, replayed=False) == first
            place.reopen()
        assert before == loaded(place.open())

    def test_a_stamp_stands_for_content(self, place: Any) -> None:
        """
        Names and times do not count, nor do revision and leaf; anything else is
        other content, which is a conflict.

        Statements: C15.
        """
        runtime = place.open()
        nodes = [node("a", text="x"), node("b", "a", "y")]
        first = runtime.commit_runtime_state(commit(ABSENT, nodes, turn="t"))
        renamed = [
            attrs.evolve(node("c", "z", "x"), timestamp="2027-01-01T00:00:00Z"),
            node("d", text="y"),
        ]
        again = runtime.commit_runtime_state(commit(9, renamed, "c", turn="t"))
        assert (1, first.checkpoint_ref) == (again.head_revision, again.checkpoint_ref)
        for other in (
            commit(1, renamed[:1], turn="t"),
            commit(1, [node("a", text="x"), node("b", text="z")], turn="t"),
            commit(1, nodes, number=2, turn="t"),
            commit(1, nodes, turn="t", usage_deltas=(usage(input_tokens=1),)),
            commit(1, graph=ReplaceFull(SessionGraph(nodes, "b")), turn="t"),
        ):
            with pytest.raises(castore.ConflictError) as raised:
                runtime.commit_runtime_state(other)
            assert "key" == raised.value.subject
        assert 1 == loaded(runtime).head_revision
