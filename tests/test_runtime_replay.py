"""
Real sessions of another runtime, committed line by line and collected.
"""

from __future__ import annotations

import base64
import json
import shutil

from pathlib import Path
from typing import Any

import attrs
import pytest

from clikit import call
from runtimekit import node, snapshot, usage

import castore

from castore import Store
from castore.gc import collect
from castore.records.usage import TokenUsage, merge_ledger
from castore.runtime import ActivePath, RuntimeStore, replay_file
from castore.runtime.replaying import CommitLine
from castore.verify import verify


Line = dict[str, Any]
COUNTS = [field.name for field in attrs.fields(TokenUsage) if "tokens" in field.name]


@pytest.fixture(scope="module")
def files(data: Path) -> dict[Path, list[Line]]:
    """Return the lines of each real file."""
    found = sorted((data / "runtime").glob("*.jsonl"))
    return {
        path: [json.loads(line) for line in path.read_bytes().splitlines()]
        for path in found
    }


@pytest.fixture(scope="module")
def expected(data: Path) -> Any:
    """Return what a collection must retain and delete."""
    return json.loads((data / "runtime" / "EXPECTED.json").read_bytes())


def halves(files: dict[Path, list[Line]], folder: Path) -> tuple[Path, Path]:
    """Write the first half of the lines of each file, and all of them, to folders."""
    first, whole = folder / "first", folder / "whole"
    first.mkdir()
    whole.mkdir()
    for path in files:
        lines = path.read_bytes().splitlines(keepends=True)
        (whole / path.name).write_bytes(b"".join(lines))
        some = lines[: (len(lines) + 1) // 2]
        (first / path.name).write_bytes(b"".join(some))
    return first, whole


def check_session(store: Store, lines: list[Line]) -> None:
    """Compare a session with the lines that it was committed by."""
    runtime = RuntimeStore(store, lines[0]["session_id"])
    read = runtime.load_session()
    assert read is not None
    nodes = [each for line in lines for each in line["append_nodes"]]
    last = lines[-1]
    leaf = last["leaf_node_id"]
    assert len(lines) == read.head_revision
    assert nodes == [each.encode() for each in read.graph.nodes]
    assert leaf == read.graph.leaf_node_id
    assert last["config"] == read.config.encode()
    checkpoint = read.checkpoint
    assert checkpoint is not None
    wanted = last["checkpoint"]
    assert wanted["turn_state"] == checkpoint.turn_state.encode()
    assert checkpoint.tool_state is not None
    assert wanted["tool_state"] == checkpoint.tool_state.encode()
    assert checkpoint.plugin_snapshot is not None
    assert wanted["plugin_snapshot"] == checkpoint.plugin_snapshot.encode()
    assert wanted["plugin_snapshot_revision"] == checkpoint.plugin_snapshot_revision
    state = wanted["execution_state"]
    state = base64.b64decode(state) if state is not None else None
    assert state == checkpoint.execution_state
    assert list(path_of(nodes, leaf)) == [
        each.encode()
        for each in runtime.load_session(ActivePath()).graph.nodes  # type: ignore[union-attr]
    ]
    assert ledger_of(lines) == read.token_ledger


def path_of(nodes: list[Line], leaf: str | None) -> list[Line]:
    """Return the active path, worked out in another way."""
    by_id = {each["node_id"]: each for each in nodes}
    path: list[Line] = []
    while leaf in by_id:
        path.insert(0, by_id[leaf])
        leaf = by_id[leaf].get("parent_node_id")
    return path


def ledger_of(lines: list[Line]) -> tuple[Any, ...]:
    """Return what all lines used, by source and model."""
    deltas = [delta for line in lines for delta in line["usage_deltas"]]
    return merge_ledger(
        usage(one["source"], one["model"], **{name: one[name] for name in COUNTS})
        for one in deltas
    )


def test_real_sessions_read_back(
    files: dict[Path, list[Line]], expected: Any, folder: Path
) -> None:
    """
    All in one store, which is opened again halfway: graph, active path, ledger
    and checkpoint of each are what was committed.

    Statements: C1, C4, C5, C12.
    """
    first, whole = halves(files, folder)
    path = folder / "store"
    with castore.open(path, create=True) as store:
        made = [replay_file(store, each) for each in sorted(first.iterdir())]
    assert 22 == len(made)
    with castore.open(path) as store:
        done = [replay_file(store, each) for each in sorted(whole.iterdir())]
        new = sum(each.new_commits for each in [*made, *done])
        assert expected["total"]["commits"] == new
        for lines in files.values():
            check_session(store, lines)
        size = sum(each.stat().st_size for each in whole.iterdir())
        assert store.stats().stored_bytes < size / 5


def test_the_command_collects_what_is_expected(
    files: dict[Path, list[Line]], expected: Any, folder: Path
) -> None:
    """
    Of all sessions in one store just the newest checkpoints stay; a second run
    has nothing to do; verify says which run took the others.

    Statements: C8, C9.
    """
    first, whole = halves(files, folder)
    path = folder / "store"
    for part in (first, whole):
        result = call("--store", path, "import", "--format", "runtime", "--json", part)
        assert 0 == result.code
        assert 22 == len(result.object["files"])
    keep = ("gc", "--grace", "0", "--keep-checkpoints", "1", "--yes", "--json")
    report = call("--store", path, *keep).object
    again = call("--store", path, *keep).object
    total = {name: expected["total"][name] for name in ("retained", "deleted")}
    checked = call("--store", path, "verify", "--json").object

    assert total == report["by_role"]["checkpoint"]
    assert total["deleted"] == report["deleted_blob_count"]
    assert 0 == again["deleted_blob_count"]
    assert checked["ok"]
    assert total["deleted"] == len(checked["explained"])
    assert all("collected by run" in one["verdict"] for one in checked["explained"])
    with castore.open(path) as store:
        for lines in files.values():
            check_session(store, lines)


def test_each_session_alone(
    files: dict[Path, list[Line]], expected: Any, folder: Path
) -> None:
    """
    In a store of its own each session keeps four checkpoint blobs, or as many as
    it has.

    Statements: C8.
    """
    for number, path in enumerate(files):
        wanted = expected["sessions"][path.stem]
        place = folder / f"store{number}"
        with castore.open(place, create=True) as store:
            done = replay_file(store, path)
            assert (wanted["commits"], wanted["commits"] + 1) == (
                done.commits,
                done.entries,
            )
            report = collect(store.engine, grace_s=0, keep_checkpoints=1, yes=True)
        roles = report.by_role
        live, distinct = wanted["live"], wanted["distinct"]
        assert (live, distinct - live) == attrs.astuple(roles["checkpoint"])
        assert wanted["nodes"] == roles["node"].retained
        assert verify(place).ok
        shutil.rmtree(place)


# --- lines -------------------------------------------------------------------


def line(number: int, **changes: Any) -> Line:
    """Return a line of one node."""
    made = snapshot(number)
    assert made.tool_state is not None
    assert made.plugin_snapshot is not None
    value = {
        "session_id": "s",
        "config": {"provider_id": "p", "model": {"id": "m"}},
        "append_nodes": [node(f"n{number}").encode()],
        "leaf_node_id": f"n{number}",
        "checkpoint": {
            "turn_state": made.turn_state.encode(),
            "tool_state": made.tool_state.encode(),
            "plugin_snapshot": made.plugin_snapshot.encode(),
            "plugin_snapshot_revision": number,
            "execution_state": "AAEC",
            "later": {"kept": True},
        },
        "usage_deltas": [{"source": "turn", "model": "m", "input_tokens": 1}],
    }
    return {**value, **changes}


def write(path: Path, *lines: Any) -> Path:
    """Write *lines* to *path*."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    path.write_text("\n".join(texts), "utf-8")
    return path


def test_a_file_may_grow(store: Store, folder: Path) -> None:
    """
    Lines that were committed before are recognised, blank ones passed over; a
    changed one is a conflict.

    Statements: C15.
    """
    path = write(folder / "a.jsonl", line(1))
    assert (1, 1) == counts(replay_file(store, path))
    assert (1, 0) == counts(replay_file(store, path))
    write(path, line(1), "", line(2), " ", line(3))
    assert (3, 2) == counts(replay_file(store, path))
    write(path, line(1), line(9))
    with pytest.raises(castore.ConflictError) as raised:
        replay_file(store, path)

    assert "key" == raised.value.subject
    read = RuntimeStore(store, "s").load_session()
    assert read is not None
    assert (usage(input_tokens=3),) == read.token_ledger
    assert read.checkpoint is not None
    assert {"later": {"kept": True}} == read.checkpoint.rest
    assert bytes(range(3)) == read.checkpoint.execution_state


def counts(done: Any) -> tuple[int, int]:
    """Return how many commits a file has, and how many were new."""
    return done.commits, done.new_commits


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[]",
        "1" * 5000,
        line(2, session_id=3),
        line(2, config={"large": 1 << 64}),
        line(2, config={"text": "\ud800"}),
        line(2, append_nodes={}),
        line(2, more=1),
        line(2, checkpoint={}),
        line(2, usage_deltas=[{"source": "x"}]),
        line(2, usage_deltas=[1]),
        line(2, checkpoint={"turn_state": {}, "execution_state": "not base64"}),
        line(2, checkpoint={"turn_state": {}, "execution_state": 7}),
    ],
)
def test_a_line_that_is_no_commit_is_named(
    store: Store, folder: Path, bad: Any
) -> None:
    """What came before it is committed; the error names file and line."""
    path = write(folder / "a.jsonl", line(1), "", bad)
    with pytest.raises(castore.FormatError, match=r"a\.jsonl: line 3"):
        replay_file(store, path)

    assert 1 == RuntimeStore(store, "s").load_head_meta().head_revision  # type: ignore[union-attr]


def test_a_file_is_of_one_session(store: Store, folder: Path) -> None:
    """
    A line of another session is refused; so is a file without any line, and one
    that is not there.

    Statements: C3.
    """
    path = write(folder / "a.jsonl", line(1), line(2, session_id="t"))
    with pytest.raises(castore.ConflictError):
        replay_file(store, path)
    with pytest.raises(castore.FormatError, match="no commits"):
        replay_file(store, write(folder / "b.jsonl", "", " "))
    with pytest.raises(castore.NotFoundError):
        replay_file(store, folder / "none.jsonl")
    with pytest.raises(castore.StorageError):
        replay_file(store, folder)


def test_a_line_encodes_as_it_came() -> None:
    """Whatever was understood of it, it can be written again."""
    value = line(1)
    decoded = CommitLine.decode(value)
    usage_delta = {"source": "turn", "model": "m", "usage": {"input_tokens": 1}}
    other = CommitLine.decode(line(1, usage_deltas=[usage_delta]))

    assert other.usage_deltas == decoded.usage_deltas
    for name in ("append_nodes", "checkpoint", "config", "leaf_node_id"):
        assert value[name] == decoded.encode()[name]


def test_the_command_says_what_failed(folder: Path) -> None:
    """One bad file does not keep others out; originals are not removed."""
    write(folder / "a.jsonl", line(1), "{")
    write(folder / "b.jsonl", line(1, session_id="t"))
    store = folder / "store"
    options = ("--format", "runtime", "--json")
    result = call("--store", store, "import", *options, folder)
    refused = call(
        *("--store", store, "import", *options, "--remove", "--older-than", "1d"),
        folder,
    )

    assert (3, 2) == (result.code, refused.code)
    assert ["b.jsonl"] == [Path(one["path"]).name for one in result.object["files"]]
    assert ["a.jsonl"] == [Path(one["path"]).name for one in result.object["failed"]]
