"""
Many message sessions: listed, found by name or as the newest, apart by workspace.

Spec: spec/messages.md, "Many sessions".
"""

from __future__ import annotations

import json

from pathlib import Path

import attrs
import pytest

import castore

from castore.errors import ConflictError, FormatError, NotFoundError
from castore.messages import Clock, Transcript
from castore.messages.entries import NAMESPACE
from castore.messages.managed import (
    ManagedSessions,
    OnlyEmptyError,
    fingerprint,
    fnv,
)


def add(store: castore.Store, name: str, updated_at_ms: int, *texts: str) -> None:
    """Store a session that a file tells of."""
    meta = {
        "type": "session_meta",
        "version": 1,
        "session_id": name,
        "created_at_ms": 1,
        "updated_at_ms": updated_at_ms,
    }
    made = Transcript.parse(json.dumps(meta).encode())
    for text in texts:
        made.push_user_text(text)
    made._state.meta = attrs.evolve(made.meta, updated_at_ms=updated_at_ms)
    made.store_in(store)


def test_the_newest_comes_first(store: castore.Store) -> None:
    """
    By when they changed, then by the newest commit, then by name, descending.

    Statements: D16.
    """
    for name, updated in (("old", 5), ("b", 10), ("a", 10), ("new", 20)):
        add(store, name, updated, "x")
    managed = ManagedSessions(store)

    assert [one.session_id for one in managed.sessions()] == ["new", "a", "b", "old"]
    pushed = Transcript.open(store, "old")
    pushed.push_user_text("later")
    pushed.push_prompt_entry("a prompt is no change")
    forked = Transcript.open(store, "b", clock=Clock(lambda: 15)).fork(session_id="f")
    assert [one.session_id for one in managed.sessions()] == [
        "old",
        "new",
        "f",
        "a",
        "b",
    ]
    newest = managed.sessions()[0]
    assert newest.updated_at_ms == pushed.updated_at_ms
    assert managed.sessions()[2].meta == forked.meta


def test_a_commit_in_no_time_counts(store: castore.Store) -> None:
    """
    Of two that changed at one moment, the one with the newer commit is first.

    Statements: D16.
    """
    for name in ("z", "a"):
        add(store, name, 10, "x")

    assert [one.session_id for one in ManagedSessions(store).sessions()] == ["a", "z"]


@pytest.mark.parametrize("alias", ["latest", "last", "recent", "LATEST"])
def test_an_alias_is_the_newest_with_messages(store: castore.Store, alias: str) -> None:
    """
    An alias passes over empty sessions and the one that is excluded.

    Statements: D16.
    """
    add(store, "first", 10, "x")
    add(store, "second", 20, "x")
    add(store, "empty", 30)
    managed = ManagedSessions(store)

    assert managed.resolve(alias) == "second"
    assert managed.open(alias).session_id == "second"
    assert managed.resolve(alias, exclude="second") == "first"
    assert managed.resolve("second") == "second"


def test_none_and_only_empty_ones_are_told_apart(store: castore.Store) -> None:
    """
    No session is one error, only empty ones another.

    Statements: D16.
    """
    managed = ManagedSessions(store)
    with pytest.raises(NotFoundError, match="no message session"):
        managed.latest()
    managed.create()
    managed.create()
    with pytest.raises(OnlyEmptyError) as caught:
        managed.latest()

    assert caught.value.count == 2


def test_making_one_writes_nothing(store: castore.Store, folder: Path) -> None:
    """
    Neither the store nor the workspace's folder changes, or need be there.

    Statements: D16.
    """
    before = store.stats()
    managed = ManagedSessions(store, folder / "nowhere")

    assert managed.sessions() == []
    assert store.stats() == before
    assert not (folder / "nowhere").exists()


def test_links_lead_to_one_workspace(store: castore.Store, folder: Path) -> None:
    """
    Equal folders have one fingerprint of 16 digits, by whatever way.

    Statements: D16.
    """
    (folder / "w").mkdir()
    (folder / "link").symlink_to(folder / "w")
    made = ManagedSessions(store, folder / "w").create()
    found = ManagedSessions(store, folder / "link").open(made.session_id)

    assert found == made
    assert fingerprint(folder / "w") == fingerprint(str(folder / "x" / ".." / "link"))
    assert fingerprint(folder / "w") != fingerprint(folder)
    assert fnv(b"a") == "af63dc4c8601ec8c"
    assert fnv(b"foobar") == "85944171f73967e8"


def test_another_workspace_is_refused(store: castore.Store, folder: Path) -> None:
    """
    A session says where it belongs, and is neither added nor opened elsewhere.

    Statements: D16.
    """
    here, there = (ManagedSessions(store, folder / name) for name in ("a", "b"))
    made = Transcript.new(workspace_root=str(folder / "a"))
    with pytest.raises(ConflictError) as caught:
        there.add(made)
    here.add(made)
    smuggled = Transcript.new(session_id="s", workspace_root=str(folder / "a"))
    smuggled.store_in(store, scope=there.scope)

    assert caught.value.subject == "binding"
    assert (caught.value.expected, caught.value.actual) == (there.scope, here.scope)
    with pytest.raises(ConflictError):
        there.open("s")
    with pytest.raises(NotFoundError):
        there.open(made.session_id)


def test_a_scope_is_apart(store: castore.Store, folder: Path) -> None:
    """
    One name may stand in two workspaces; each lists and deletes its own.

    Statements: D16.
    """
    managed = [ManagedSessions(store, folder / name) for name in ("a", "b")]
    managed.append(ManagedSessions(store))
    for one in managed:
        one.add(Transcript.new(session_id="s"))
    forked = managed[0].open("s").fork("x")
    managed[0].delete("s")

    assert [one.exists("s") for one in managed] == [False, True, True]
    assert [one.session_id for one in managed[0].sessions()] == [forked.session_id]
    assert [len(one.sessions()) for one in managed[1:]] == [1, 1]
    with pytest.raises(NotFoundError):
        managed[0].delete("s")
    with pytest.raises(NotFoundError):
        managed[0].delete("none")


def test_other_sessions_are_not_listed(store: castore.Store) -> None:
    """What is no message session is passed over; one that tells nothing is told."""
    store.create_session(key=("other", "s"))
    store.create_session()
    assert ManagedSessions(store).sessions() == []
    store.create_session(key=(NAMESPACE, "s"))

    with pytest.raises(FormatError, match="tells nothing"):
        ManagedSessions(store).sessions()
