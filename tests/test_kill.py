"""
Processes that are killed at any moment lose nothing that they were told is safe.

Spec: spec/ordering.md, "What holds at any time".
"""

from __future__ import annotations

import functools
import random
import time

from collections.abc import Callable, Sequence
from pathlib import Path

import kill_worker
import pytest

from kill_worker import Acknowledged, Job
from killkit import Worker, check, listen, read_all

import castore

from castore.verify import verify


ROUND_COUNT = 10  # for a budget of 1
ROUND_COUNT_DEEP = 200  # for a budget of 10 or more
READ_EVERY = 10  # of how many rounds of a long campaign one reads all there is
WRITER_COUNT = 4
SHARER_COUNT = 8


def _all_told(workers: Sequence[Worker]) -> bool:
    return all(worker.acknowledged for worker in workers)


def _is_past(at: float) -> bool:
    return time.monotonic() > at


def killing(root: Path, budget: float, *works: Callable[..., None]) -> None:
    """Start processes and kill them, again and again, on one store."""
    deep = ROUND_COUNT_DEEP if budget >= 10 else ROUND_COUNT * budget
    rng = random.Random(9)
    castore.open(root, create=True).close()
    everything: list[Acknowledged] = []
    for number in range(max(1, int(deep))):
        jobs = [Job(root, number * 100 + at) for at in range(len(works))]
        workers = [Worker.start(*each) for each in zip(works, jobs, strict=True)]
        writers = [w for w, work in zip(workers, works, strict=True) if work == _WRITE]
        # Once all have written, some time more.
        listen(workers, functools.partial(_all_told, writers))
        listen(
            workers, functools.partial(_is_past, time.monotonic() + rng.random() / 3)
        )
        for worker in rng.sample(workers, len(workers)):
            worker.end()
        assert [] == [error for worker in workers for error in worker.errors]
        new = [one for worker in workers for one in worker.acknowledged]
        everything += new
        with castore.open(root) as store:
            check(store, new)
            if deep <= ROUND_COUNT or number % READ_EVERY == 0:
                read_all(store)
    with castore.open(root) as store:
        check(store, everything)
        read_all(store)
    assert len(works) <= len(everything)
    assert verify(root).ok


_WRITE = kill_worker.write


def test_killed_writers(tmp_path: Path, budget: float) -> None:
    """What appends of killed processes returned is there, and whole."""
    killing(tmp_path / "store", budget, *[_WRITE] * WRITER_COUNT)


def test_killed_maintenance(tmp_path: Path, budget: float) -> None:
    """Packing and collecting lose nothing either, whenever they are killed."""
    works = [_WRITE, _WRITE, kill_worker.tidy, kill_worker.tidy]
    killing(tmp_path / "store", budget, *works)


@pytest.mark.parametrize("expect", [True, False])
def test_many_writers(expect: bool, tmp_path: Path, budget: float) -> None:
    """Processes that append to one segment get each their place, none twice."""
    root = tmp_path / "store"
    with castore.open(root, create=True) as store:
        shared = store.create_session(body=b"shared").id
    count = int(15 * max(1.0, budget))
    jobs = [Job(root, seed, shared, count, expect) for seed in range(SHARER_COUNT)]
    workers = [Worker.start(kill_worker.share, job) for job in jobs]
    listen(workers, lambda: False)
    for worker in workers:
        worker.process.join()
    assert [] == [error for worker in workers for error in worker.errors]
    everything = [one for worker in workers for one in worker.acknowledged]
    wanted = {shared: 1}
    for one in everything:
        wanted[one.segment] = wanted.get(one.segment, 0) + len(one.bodies)
    with castore.open(root) as store:
        check(store, everything)
        assert wanted == read_all(store)
    assert verify(root).ok
