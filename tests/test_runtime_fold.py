"""
The fold of a runtime's log: snapshots, forks, versions, damage.
"""

from __future__ import annotations

import random
import threading

from pathlib import Path
from typing import Any

import attrs
import pytest

from runtimekit import chain, commit, ids, node, owner, snapshot, subject, tools, usage

import castore

from castore import ABSENT, NewEntry, Reference, Store, limits
from castore.codec import decode_object, encode_object
from castore.gc import collect
from castore.records.nodes import Message, Part, message_node
from castore.records.persisted import SessionMeta
from castore.runtime import FullGraph, RuntimeStore
from castore.runtime import log as runtime_log
from castore.runtime.bodies import COMMIT, HIDDEN, META, decode_body
from castore.runtime.fold import Fold


def grown(store: Store, count: int, session: str = "s") -> RuntimeStore:
    """Return a session of *count* commits, each with a node and other snapshots."""
    runtime = RuntimeStore(store, session)
    for number in range(count):
        parent = f"n{number - 1}" if number else None
        made = commit(number, [node(f"n{number}", parent)], number=number)
        runtime.commit_runtime_state(
            attrs.evolve(
                made, session_id=session, usage_deltas=(usage(output_tokens=1),)
            )
        )
    return runtime


# --- snapshots of the fold ---------------------------------------------------


def test_a_fold_from_a_snapshot_is_the_fold(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a reader begins at a snapshot or at the first entry, the state is one."""
    monkeypatch.setattr(runtime_log, "SNAPSHOT_EVERY", 7)
    runtime = grown(store, 20)
    runtime.save_session_meta(SessionMeta(session_id="s", session_name="x"))
    runtime.tombstone_nodes(["n3"], force=True)
    runtime.leases.release(runtime.leases.claim(owner("a")))
    runtime.commit_runtime_state(
        commit(20, [node("last", "n19")], number=20, turn="t20")
    )
    first = Fold()
    log = store.session(("runtime", "s")).latest
    for entry, body in log.read():
        if entry.start is not None:
            first.begin(entry.start)
        else:
            first.apply(decode_body(entry.kind, body, "entry"), log.references(entry))
    other = RuntimeStore(store, "s")._log.refresh()
    own = runtime._log.refresh()

    assert other.snapshot is not None
    assert first == other == own
    assert 3 == sum(ref.role == "fold" for entry in log.entries() for ref in entry.refs)


def test_a_load_reads_one_checkpoint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    However long the session is: of 200 commits the newest snapshots are read, and
    the bodies of 64 entries at most.
    """
    grown(store, 200)
    path = store.engine.files.root
    read: list[bytes] = []
    with castore.open(path) as other:
        real = other.engine.read_blob

        def noted(name: bytes) -> bytes:
            read.append(name)
            return real(name)

        monkeypatch.setattr(other.engine, "read_blob", noted)
        bodies: list[int] = []
        segment_read = castore.Segment.read

        def counted(self: Any, *span: int) -> Any:
            for item in segment_read(self, *span):
                bodies.append(1)
                yield item

        monkeypatch.setattr(castore.Segment, "read", counted)
        found = RuntimeStore(other, "s").load_session(FullGraph())
        assert found is not None
        assert 200 == len(found.graph)
        assert found.checkpoint is not None
        assert tools(199) == found.checkpoint.tool_state
    # A snapshot of the fold, the manifest and its three, and each node.
    assert 205 == len(read)
    assert len(bodies) <= runtime_log.SNAPSHOT_EVERY


def test_many_nodes_make_snapshots_rarer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot holds all nodes: with many of them it is not written so often."""
    monkeypatch.setattr(runtime_log, "SNAPSHOT_EVERY", 2)
    runtime = RuntimeStore(store, "s")
    nodes = chain(*(f"n{number}" for number in range(320)))
    runtime.commit_runtime_state(commit(ABSENT, nodes))
    for number in range(1, 21):
        runtime.commit_runtime_state(commit(number, [node(f"m{number}")]))
    log = runtime.segment
    at = [
        entry.index
        for entry in log.entries()
        if any(ref.role == "fold" for ref in log.references(entry))
    ]

    assert [10, 20] == at


def test_a_handle_reads_what_is_new_only(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has folded, its own commits too, it does not read again."""
    runtime, other = RuntimeStore(store, "s"), RuntimeStore(store, "s")
    runtime.commit_runtime_state(commit(ABSENT, [node("a")]))
    runtime.load_head_meta()
    spans: list[tuple[int, int]] = []
    real = castore.Segment.read

    def noted(self: Any, start: int, stop: int) -> Any:
        spans.append((start, stop))
        return real(self, start, stop)

    monkeypatch.setattr(castore.Segment, "read", noted)
    runtime.commit_runtime_state(commit(1, [node("b")]))
    assert [] == spans
    other.commit_runtime_state(commit(2, [node("c")]))
    runtime.load_head_meta()
    runtime.load_head_meta()

    assert [(0, 3), (3, 4)] == spans


# --- forks -------------------------------------------------------------------


def test_a_fork_begins_as_its_parent_was(store: Store) -> None:
    """
    Graph, checkpoint, ledger and revision are those of the commit forked at; both
    then go on by themselves, under sessions and leases of their own.
    """
    parent = grown(store, 5)
    parent.leases.claim(owner("a"))
    fork = parent.fork("other", 3)
    read = fork.load_session()

    assert read is not None
    assert ("other", 3) == (read.session_id, read.head_revision)
    assert ["n0", "n1", "n2"] == ids(read.graph.nodes)
    assert read.checkpoint is not None
    assert tools(2) == read.checkpoint.tool_state
    assert (usage(output_tokens=3),) == read.token_ledger
    made = commit(3, [node("x", "n2")], session="other")
    RuntimeStore(store, "other").commit_runtime_state(made)
    assert 4 == len(fork.load_session().graph)  # type: ignore[union-attr]
    assert 5 == len(parent.load_session().graph)  # type: ignore[union-attr]
    with pytest.raises(castore.NotFoundError):
        parent.fork("more", 9)
    with pytest.raises(castore.ConflictError):
        parent.fork("other")
    with pytest.raises(castore.NotFoundError):
        RuntimeStore(store, "nobody").fork("more")


def test_a_fork_keeps_what_it_inherits(store: Store) -> None:
    """
    A checkpoint that a fork inherits stays when its parent lets go of it.

    Statements: C8.
    """
    parent = grown(store, 5)
    fork = parent.fork("other", 3)
    assert 4 == parent.gc_unreachable().deleted_blob_count
    read = fork.load_session()

    assert read is not None
    assert read.checkpoint is not None
    assert tools(2) == read.checkpoint.tool_state


def test_snapshots_are_differences_in_their_slots(store: Store) -> None:
    """A fork's first snapshot too is stored against the one that it inherits."""
    parent = RuntimeStore(store, "s")
    for number in range(3):
        state = attrs.evolve(snapshot(number), tool_state=tools(number, 500))
        parent.commit_runtime_state(commit(number, checkpoint=state))
    fork = parent.fork("other")
    state = attrs.evolve(snapshot(9), tool_state=tools(9, 500))
    result = fork.commit_runtime_state(commit(3, session="other", checkpoint=state))
    name = result.manifest.tool_state_ref

    assert name is not None
    assert "difference" == store.stat(name).form
    assert store.stat(name).stored_size < 200


def test_a_segment_is_of_one_session(store: Store) -> None:
    """
    A handle on another session's segment reads and writes nothing there.

    Statements: C3.
    """
    segment = grown(store, 1).segment
    other = RuntimeStore(store, "other", segment=segment)
    for attempt in (
        other.load_session,
        lambda: other.commit_runtime_state(commit(1, session="other")),
    ):
        with pytest.raises(castore.ConflictError) as raised:
            attempt()
        assert "binding" == subject(raised.value)


def test_a_deleted_session_is_gone(store: Store) -> None:
    """
    A handle that knew it is told; for others its id is free again. Where a fork
    still has its entries it is not, and what is there is said.
    """
    runtime = grown(store, 1)
    runtime.segment.delete()
    with pytest.raises(castore.GoneError):
        runtime.load_session()
    assert RuntimeStore(store, "s").load_session() is None
    again = grown(store, 1)
    fork = again.fork("other")
    again.segment.delete()
    with pytest.raises(castore.NotFoundError, match="were deleted"):
        RuntimeStore(store, "s").load_session()
    assert ["n0"] == ids(fork.load_session().graph.nodes)  # type: ignore[union-attr]


def test_other_entries_are_passed_over(store: Store) -> None:
    """An agent may write entries of its own into the same log."""
    runtime = grown(store, 1)
    runtime.segment.append([NewEntry("note", b"mine")])

    assert 2 == runtime.commit_runtime_state(commit(1, [node("b")])).head_revision
    assert 2 == len(RuntimeStore(store, "s").load_session().graph)  # type: ignore[union-attr]


# --- archives ----------------------------------------------------------------


def test_archives_are_followed(store: Store) -> None:
    """
    What a pruned part names stays, by a reference of the commit; what cannot be a
    name in this store is kept as text; a name of nothing is refused.
    """
    archived = store.put(b"what was pruned")
    runtime = RuntimeStore(store, "s")
    for number, name in enumerate([str(archived), "sha256:other"]):
        state = {"Deleted": {"breadcrumb": "b", "archive_hash": name}}
        part = Part(id="p", kind="Text", prune_state=state)
        said = Message(id=f"m{number}", role="User", parts=(part,))
        node_of = message_node(said, f"m{number}", None, "now")
        runtime.commit_runtime_state(commit(number, [node_of], number=number))
    collect(store.engine, grace_s=0, keep_checkpoints=1, yes=True)

    assert b"what was pruned" == store.get(archived)
    state = {"Summarized": {"summary": "", "archive_hash": "blake3:" + 64 * "0"}}
    part = Part(id="p", kind="Text", prune_state=state)
    said = Message(id="m9", role="User", parts=(part,))
    with pytest.raises(castore.NotFoundError):
        runtime.commit_runtime_state(commit(2, [message_node(said, "m9", None, "now")]))


# --- versions ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "kind", "match"),
    [
        (None, castore.FormatError, "without a schema version"),
        ("one", castore.FormatError, "schema version is none"),
        (0, castore.FormatError, "schema version is none"),
        (True, castore.FormatError, "schema version is none"),
        (2, castore.UnsupportedError, "schema version 2, expected 1"),
    ],
)
def test_a_version_that_is_not_known_is_refused(
    store: Store, version: Any, kind: type[castore.CastoreError], match: str
) -> None:
    """
    Missing, none, and newer are three errors; the last names what was expected
    and what was found. Nothing is read past such an entry.

    Statements: C14.
    """
    runtime = grown(store, 1)
    body = {"meta": {"session_id": "s"}}
    if version is not None:
        body = {"schema_version": version, **body}
    runtime.segment.append([NewEntry(META, encode_object(body))])
    for handle in (runtime, RuntimeStore(store, "s")):
        with pytest.raises(kind, match=match):
            handle.load_session()


def test_first_opens_at_once_see_a_whole_store(folder: Path) -> None:
    """
    Of threads that make one store at once, each gets a store that works, of one
    format, or finds that it is locked.

    Statements: C14.
    """
    gate = threading.Barrier(4)
    found: list[bytes] = []

    def run(number: int) -> None:
        gate.wait(30)
        with castore.open(folder / "store", create=True) as store:
            found.append(store.id)
            grown(store, 2, f"s{number}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 4 == len(found)
    assert 1 == len(set(found))


@pytest.mark.parametrize(
    ("kind", "body", "roles"),
    [
        (COMMIT, {"nodes": [["x", None]]}, ["checkpoint.manifest"]),
        (COMMIT, {"nodes": []}, []),
        (COMMIT, {"nodes": [["x"]]}, ["checkpoint.manifest", "node"]),
        (COMMIT, {"nodes": [["x", 1]]}, ["checkpoint.manifest", "node"]),
        (COMMIT, {"nodes": [], "change": "add"}, ["checkpoint.manifest"]),
        (HIDDEN, {"nodes": ["nowhere"], "forced": False}, []),
        (HIDDEN, {"nodes": [1], "forced": False}, []),
    ],
)
def test_an_entry_that_does_not_fit_is_refused(
    store: Store, kind: str, body: dict[str, Any], roles: list[str]
) -> None:
    """References that do not fit the body, nodes that are not there, other types."""
    runtime = grown(store, 1)
    blob = store.put(b"x")
    if kind == COMMIT:
        good = next(
            data for entry, data in runtime.segment.read() if entry.kind == kind
        )
        body = {**decode_object(good), **body}
    refs = [Reference(role, blob) for role in roles]
    value = {"schema_version": 1, **body}
    runtime.segment.append([NewEntry(kind, encode_object(value), refs)])
    with pytest.raises(castore.FormatError):
        RuntimeStore(store, "s").load_session()


def test_a_manifest_names_what_its_entry_keeps(store: Store) -> None:
    """Else a collection would keep another snapshot than a load wants."""
    runtime = grown(store, 1)
    (entry,) = runtime.segment.entries(1)
    (body,) = (body for _, body in runtime.segment.read(1))
    refs = [ref for ref in entry.refs if ref.role != "checkpoint.tool_state"]
    value = {**decode_object(body), "head_revision": 2}
    runtime.segment.append([NewEntry(COMMIT, encode_object(value), refs)])
    with pytest.raises(castore.FormatError, match="names another tool_state"):
        runtime.load_session()


@pytest.mark.parametrize("size", [100, 2 * limits.MIB, 9 * limits.MIB])
def test_what_was_put_and_forgotten_is_not_there(store: Store, size: int) -> None:
    """
    Whether it waited in memory, in the side pack, or there in chunks; put again it
    is there again.

    Statements: C9.
    """
    runtime = grown(store, 1)
    data = random.Random(1).randbytes(size)
    orphan = runtime.put(data)
    assert 1 == runtime.gc_unreachable().deleted_blob_count
    assert not store.has(orphan)
    store.tag("kept", runtime.put(data))
    assert 0 == runtime.gc_unreachable().deleted_blob_count
    assert data == store.get(orphan)


# --- damage ------------------------------------------------------------------


def test_an_undecodable_manifest_costs_nothing_else(store: Store) -> None:
    """
    A collection decodes no manifest: all that the newest commit names stays,
    whatever the manifest holds. A load says that it is none.

    Statements: C11.
    """
    runtime = grown(store, 2)
    found = runtime._log.refresh().checkpoint
    bad = store.put(b"\xff no manifest")
    runtime.segment.append(
        [
            NewEntry(
                COMMIT,
                next(
                    encode_object({**decode_object(body), "head_revision": 3})
                    for entry, body in runtime.segment.read()
                    if entry.index == 2
                ),
                [
                    Reference("checkpoint.manifest", bad),
                    *(
                        Reference(role, ref)
                        for role, ref in found.items()
                        if role != "checkpoint.manifest"
                    ),
                    Reference("node", store.put(b"n")),
                ],
            )
        ]
    )
    assert 5 == runtime.gc_unreachable().deleted_blob_count
    for role, ref in found.items():
        if role != "checkpoint.manifest":
            assert store.get(ref)
    with pytest.raises(castore.FormatError):
        RuntimeStore(store, "s").load_session()


def test_a_damaged_manifest_stops_a_collection(folder: Path) -> None:
    """
    Bytes of it that were changed on the medium: nothing is deleted, no child goes.

    Statements: C11.
    """
    path = folder / "store"
    with castore.open(path, create=True) as store:
        runtime = grown(store, 2)
        name = runtime.load_head_meta().checkpoint_ref  # type: ignore[union-attr]
        digest = bytes.fromhex(str(name).removeprefix("blake3:"))
        place = store.engine.refresh().known.find_place(digest)
        assert place is not None
        file = next(
            each.name
            for each in store.engine.state.opened.headers()
            if each.id == place.file
        )
        children = [
            ref
            for role, ref in runtime._log.refresh().checkpoint.items()
            if role != "checkpoint.manifest"
        ]
    data = bytearray((path / file).read_bytes())
    data[place.offset + 40] ^= 1
    (path / file).write_bytes(data)
    with (
        castore.open(path) as store,
        pytest.raises(castore.CorruptionError),
    ):
        RuntimeStore(store, "s").gc_unreachable()
    with castore.open(path, read_only=True) as store:
        assert all(store.has(ref) for ref in children)


def test_what_went_on_purpose_is_said(store: Store) -> None:
    """
    A snapshot that a collection took from an older commit is not there for a fork
    made there later: its manifest is gone, and who took it is named.
    """
    parent = grown(store, 3)
    parent.gc_unreachable()
    fork = parent.fork("other", 1)
    with pytest.raises(castore.GoneError, match="collected"):
        fork.load_session()
