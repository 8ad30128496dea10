"""
Two processes that commit to one session.
"""

from __future__ import annotations

import multiprocessing

from pathlib import Path

import runtime_racer

import castore

from castore.runtime import RuntimeStore
from castore.verify import verify


ROUND_COUNT = 50  # for a budget of 1; 20 makes 1,000
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["castore.runtime", "runtime_racer"])


def test_one_of_two_processes_wins(folder: Path, budget: float) -> None:
    """
    At every revision exactly one commit is made; the other process is told of a
    conflict of the head, never of the database or the file below.

    Statements: C2.
    """
    root = folder / "store"
    castore.open(root, create=True).close()
    pipes, processes = [], []
    for name in ("a", "b"):
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(
            target=runtime_racer.race, args=(root, name, theirs), daemon=True
        )
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    rounds = round(ROUND_COUNT * budget)
    wins = []
    for expected in range(rounds):
        for pipe in pipes:
            pipe.send(expected)
        answers = [pipe.recv() for pipe in pipes]
        assert ["lost", "won"] == sorted(answers), expected
        wins.append("ab"[answers.index("won")])
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join(60)
        assert 0 == process.exitcode
    with castore.open(root, read_only=True) as store:
        read = RuntimeStore(store, "s").load_session()
    assert read is not None
    assert rounds == read.head_revision
    assert [f"{name}{at}" for at, name in enumerate(wins)] == [
        each.node_id for each in read.graph.nodes
    ]
    assert verify(root).ok


def test_a_killed_writer_leaves_its_commit_or_none(folder: Path) -> None:
    """
    Whoever is killed while it commits: the next one finds a whole session, and
    goes on with it.

    Statements: C1, C12.
    """
    root = folder / "store"
    castore.open(root, create=True).close()
    revision = 0
    for number in range(5):
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(
            target=runtime_racer.race, args=(root, f"k{number}-", theirs), daemon=True
        )
        process.start()
        theirs.close()
        for _ in range(3):
            ours.send(revision)
            assert "won" == ours.recv()
            revision += 1
        ours.send(revision)
        process.kill()
        process.join(60)
        with castore.open(root) as store:
            read = RuntimeStore(store, "s").load_session()
        assert read is not None
        assert read.head_revision in (revision, revision + 1)
        assert read.head_revision == len(read.graph)
        revision = read.head_revision
    assert verify(root).ok
