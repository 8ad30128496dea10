"""
A session in the hands of the one that runs it: progress, parking, residency.
"""

from __future__ import annotations

import logging

import attrs
import pytest

from runtimekit import (
    TIME,
    TRANSIENT,
    commit,
    ids,
    message,
    node,
    owner,
    plugins,
    tools,
    usage,
)

import castore

from castore import ABSENT, Store
from castore.records.graph import SessionGraph
from castore.records.persisted import (
    PersistedSessionConfig,
    PersistedSessionState,
    Provider,
    SessionHead,
    SessionHeadMeta,
    SessionPolicy,
    config_of,
    policy_of,
)
from castore.records.usage import TokenUsage, merge_ledger
from castore.runtime import (
    Append,
    ReplaceFull,
    Residency,
    RuntimeCommit,
    RuntimeSession,
    RuntimeStore,
    TurnStamp,
    Unchanged,
)
from castore.runtime.bodies import COMMIT, CommitBody, decode_body


def begun(store: Store) -> tuple[RuntimeSession, PersistedSessionState]:
    """Return a session with one commit."""
    state = PersistedSessionState(session_id="s", tool_state_snapshot=tools(1))
    session = RuntimeSession(RuntimeStore(store, "s"), state)
    state.graph.append_message(message("a"), TIME)
    session.commit()
    return session, state


def bodies(store: Store) -> list[CommitBody]:
    """Return the bodies of the session's commits."""
    log = RuntimeStore(store, "s").segment
    found = [
        decode_body(entry.kind, body, "entry")
        for entry, body in log.read()
        if entry.kind == COMMIT
    ]
    return [body for body in found if isinstance(body, CommitBody)]


# --- progress ----------------------------------------------------------------


def test_progress_writes_the_new_tail(store: Store) -> None:
    """
    The first commit states the graph, the others what was added since, or that
    nothing was.

    Statements: C21, C16.
    """
    session, state = begun(store)
    state.graph.append_message(message("b"), TIME)
    state.graph.append_message(message("now", origin=TRANSIENT), TIME)
    session.commit_progress()
    state.graph.append_message(message("c"), TIME)
    state.graph.append_message(message("d"), TIME)
    session.commit_progress()
    session.commit_progress()
    state.graph_replace_required = True
    session.commit()

    assert [
        ("replace", ["a"]),
        ("append", ["b"]),
        ("append", ["c", "d"]),
        ("keep", []),
        ("replace", ["a", "b", "c", "d"]),
    ] == [(body.change, [name for name, _ in body.nodes]) for body in bodies(store)]
    assert not state.graph_replace_required


def test_usage_is_persisted_once(store: Store) -> None:
    """
    What was used since the last commit goes with the next one, merged; the state
    shows the sums.

    Statements: C21.
    """
    session, state = begun(store)
    session.add_usage([usage(input_tokens=1), usage(input_tokens=2)])
    session.commit_progress()
    session.commit_progress()
    session.add_usage([usage(output_tokens=4)])
    session.commit()

    assert [0, 1, 0, 1] == [len(body.usage) for body in bodies(store)]
    wanted = (usage(input_tokens=3, output_tokens=4),)
    assert wanted == state.token_ledger
    read = RuntimeStore(store, "s").load_state()
    assert read is not None
    assert wanted == read.token_ledger


def test_snapshots_are_let_go_and_carried_forward(store: Store) -> None:
    """
    After a commit the state holds references; the next commit names them again.

    Statements: C18, C21.
    """
    session, state = begun(store)
    name = state.tool_state_ref
    state.plugin_snapshot, state.plugin_snapshot_revision = plugins(3), 3
    state.set_execution_state(b"one")
    session.commit()
    assert state.tool_state_snapshot is None
    assert (name, 2) == (state.tool_state_ref, state.head_revision)
    state.set_execution_state(None)
    session.commit()
    read = RuntimeStore(store, "s").load_state()

    assert read is not None
    assert tools(1) == read.tool_state_snapshot
    assert 1 == read.tool_state_generation
    assert (plugins(3), 3) == (read.plugin_snapshot, read.plugin_snapshot_revision)
    assert (None, None) == (read.execution_state_ref, read.execution_state_snapshot)


def test_a_failed_progress_commit_is_logged(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The turn goes on and nothing of the state is lost; an explicit commit, and
    parking, raise instead, and the state is still held.

    Statements: C21.
    """
    session, state = begun(store)
    RuntimeStore(store, "s").commit_runtime_state(commit(1, [node("foreign")]))
    state.graph.append_message(message("b"), TIME)
    session.add_usage([usage(input_tokens=1)])
    with caplog.at_level(logging.WARNING, "castore.runtime"):
        assert session.commit_progress() is None

    assert 1 == len(caplog.records)
    for fail in (session.commit, session.park):
        with pytest.raises(castore.ConflictError):
            fail()
    assert state is session.state
    state.head_revision = 2
    session.commit()
    read = RuntimeStore(store, "s").load_session()
    assert read is not None
    assert ["a", "foreign", "b"] == ids(read.graph.nodes)
    assert 1 == len(bodies(store)[-1].usage)


def test_without_a_store_snapshots_are_dropped() -> None:
    """
    Graph, usage and revision stay as they are; there is nothing to resume.

    Statements: C21.
    """
    state = PersistedSessionState(tool_state_snapshot=tools(1))
    session = RuntimeSession(None, state)
    state.graph.append_message(message("a"), TIME)
    session.add_usage([usage(input_tokens=1)])

    assert session.commit_progress() is None
    assert (None, None, ()) == (
        state.tool_state_snapshot,
        state.head_revision,
        state.token_ledger,
    )
    assert ["a"] == ids(state.graph.nodes)
    assert state.graph.nodes[0] == session.get_historic_node("a")
    assert session.get_historic_node("b") is None
    with pytest.raises(castore.NotFoundError):
        session.resume()


def test_a_stamped_turn_is_made_once(store: Store) -> None:
    """
    An agent that does not know whether its commit was made makes it again.

    Statements: C15.
    """
    session, state = begun(store)
    state.graph.append_message(message("b"), TIME)
    before = attrs.evolve(state, graph=SessionGraph(list(state.graph.nodes), "b"))
    first = session.commit(stamp=TurnStamp("t"))
    again = RuntimeSession(RuntimeStore(store, "s"), before)
    again._persisted = 1
    second = again.commit(stamp=TurnStamp("t"))

    assert first is not None
    assert second == attrs.evolve(first, replayed=True)


def test_a_session_commits_under_its_lease(store: Store) -> None:
    """
    With the lease that it was given, not without.

    Statements: L7.
    """
    session, _ = begun(store)
    lease = RuntimeStore(store, "s").leases.claim(owner("a"))
    with pytest.raises(castore.ConflictError):
        session.commit()
    session.lease = lease

    assert session.commit() is not None
    assert lease.fencing == bodies(store)[-1].lease


# --- parking -----------------------------------------------------------------


def test_parking_commits_and_lets_go(store: Store) -> None:
    """
    What was new is there when it is resumed; parked, it commits nothing.

    Statements: C21.
    """
    session, state = begun(store)
    state.graph.append_message(message("b"), TIME)
    session.park()
    assert session.state is None
    with pytest.raises(castore.NotFoundError):
        session.commit()

    assert state.graph == session.resume().graph
    with pytest.raises(castore.NotFoundError):
        RuntimeSession(RuntimeStore(store, "nobody")).resume()


def test_the_active_path_may_be_all_that_is_held(store: Store) -> None:
    """
    Other nodes are read when they are asked for, and stay when more is added.
    """
    session, state = begun(store)
    state.graph.append_message(message("old"), TIME)
    state.graph.branch_to("a")
    state.graph.append_message(message("new"), TIME)
    session.park()
    small = RuntimeSession(
        RuntimeStore(store, "s"), residency=Residency.ACTIVE_PATH_ONLY
    )
    held = small.resume()
    assert ["a", "new"] == ids(held.graph.nodes)
    old = small.get_historic_node("old")
    assert old is not None
    assert message("old") == old.message
    assert held.graph.nodes[1] is small.get_historic_node("new")
    held.graph.append_message(message("more"), TIME)
    small.commit()

    read = RuntimeStore(store, "s").load_session()
    assert read is not None
    assert ["a", "old", "new", "more"] == ids(read.graph.nodes)


# --- states ------------------------------------------------------------------


def test_a_state_says_what_is_committed() -> None:
    """
    The whole graph where that is required or nothing was committed, else the
    leaf; the revision it stands on, else absent.

    Statements: C17.
    """
    state = PersistedSessionState(session_id="s")
    state.graph.append_message(message("a"), TIME)
    first = RuntimeCommit.persisted_state(state)
    assert (ReplaceFull(state.graph), ABSENT) == (
        first.graph,
        first.expected_head_revision,
    )
    assert "a" == first.graph.leaf_node_id
    state.head_revision = 4
    made = RuntimeCommit.persisted_state(state, [usage(input_tokens=1)])
    assert (Unchanged("a"), 4) == (made.graph, made.expected_head_revision)
    state.graph_replace_required = True
    assert isinstance(RuntimeCommit.persisted_state(state).graph, ReplaceFull)
    delta = Append((node("b"),), "b")
    other = RuntimeCommit.persisted_state_with_graph_commit(state, delta)
    assert delta == other.graph


def test_a_policy_is_persisted_without_its_provider() -> None:
    """
    Its kind is, no credentials; a model restores even if it has no name, a window
    only where there is one.

    Statements: C1.
    """
    policy = SessionPolicy(
        model="m",
        provider=Provider("acme", handle=object()),
        max_context_tokens=1000,
        model_variant="v",
        execution_mode="plan",
    )
    config = config_of(policy)
    assert {
        "provider_id": "acme",
        "configured_model": "m",
        "context_window": 1000,
        "execution_mode": "plan",
        "standard_context_approach": {"kind": "rolling_history"},
        "model_variant": "v",
    } == config.encode()
    found = policy_of(config)
    assert Provider() == found.provider
    assert attrs.evolve(policy, provider=Provider()) == found
    assert policy_of(PersistedSessionConfig()).max_context_tokens is None
    assert 0 == config_of(SessionPolicy()).context_window


def test_undocumented_config_survives(store: Store) -> None:
    """What another version added to the config is there after a commit of ours."""
    config = PersistedSessionConfig(rest={"model": {"id": "x"}})
    RuntimeStore(store, "s").commit_runtime_state(commit(ABSENT, config=config))
    session = RuntimeSession(RuntimeStore(store, "s"))
    session.resume()
    session.park()
    head = RuntimeStore(store, "s").load_head_meta()

    assert head is not None
    assert {"id": "x"} == head.config.rest["model"]


def test_a_refresh_keeps_what_is_live(store: Store) -> None:
    """
    Provider, session and bound of turns stay; all else is as committed. Without
    a commit the state stays as it is.
    """
    runtime = RuntimeStore(store, "s")
    policy = SessionPolicy(
        model="mine", provider=Provider("p", 1), session_id="live", max_turns=3
    )
    state = PersistedSessionState(session_id="s", policy=policy)
    assert not runtime.refresh_state(state)
    assert policy == state.policy
    runtime.commit_runtime_state(commit(ABSENT, [node("a")]))
    assert runtime.refresh_state(state)

    assert ("m", Provider("p", 1), "live", 3) == (
        state.policy.model,
        state.policy.provider,
        state.policy.session_id,
        state.policy.max_turns,
    )
    assert (1, ["a"]) == (state.head_revision, ids(state.graph.nodes))
    assert tools(1) == state.tool_state_snapshot


def test_heads_have_defaults() -> None:
    """A head of nothing is that of the session ``root`` at revision 0."""
    head = SessionHead()

    assert SessionHeadMeta() == head.meta()
    assert ("root", 0, None, 0, ()) == (
        head.session_id,
        head.head_revision,
        head.meta().leaf_node_id,
        head.meta().graph_node_count,
        head.token_ledger,
    )


# --- usage -------------------------------------------------------------------


def test_the_total_leaves_cached_input_out() -> None:
    """It is part of the input. Yet what used nothing else is kept in a ledger."""
    counts = TokenUsage(
        input_tokens=10, output_tokens=5, cached_input_tokens=8, reasoning_tokens=2
    )
    cached = usage(cached_input_tokens=8)

    assert 17 == counts.total
    assert 0 == cached.usage.total
    assert (cached,) == merge_ledger([usage(model="none"), cached])


def test_usage_does_not_go_down() -> None:
    """A meter that shows less than before is wrong."""
    before = TokenUsage(input_tokens=5)
    assert TokenUsage(input_tokens=2) == TokenUsage(input_tokens=7).since(before)
    with pytest.raises(ValueError, match="smaller"):
        TokenUsage(input_tokens=4, output_tokens=9).since(before)
