"""
Import at scale: huge files and thousands of small ones, in bounded memory.

At full size, a file of 4 GB, 20,000 files and a history of 10 GB, with
``--budget 40``.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

from pathlib import Path

import pytest

from bulk import (
    MB,
    comes_back,
    import_times,
    restore_all,
    scan_all,
    watched,
    write_large,
    write_many,
)
from codex_history import image_size, write

import castore

from castore.importer import import_paths
from castore.packing import pack
from castore.verify import verify


MEMORY_MAX = 150 * MB  # above start
LARGE_SIZE = 100 * MB
MANY_COUNT = 500
HISTORY_SIZE = 250 * MB
FULL = 40  # the budget at which these are 4 GB, 20,000 files and 10 GB
ROOT = str(Path(castore.__file__).parents[1])


def test_a_huge_file(tmp_path: Path, budget: float) -> None:
    """Lines of 30 MB come in, and come back, in bounded memory."""
    path = tmp_path / "huge.jsonl"
    write_large(path, int(LARGE_SIZE * min(budget, FULL)))
    facts = watched(import_times, tmp_path / "store", path, 2)

    assert facts["peak"] - facts["start"] <= MEMORY_MAX
    assert [True, False] == [count > 0 for count in facts["new"]]
    with castore.open(tmp_path / "store") as store:
        assert comes_back(store, path)


def test_many_files(tmp_path: Path, budget: float) -> None:
    """Thousands of files come in, once, in bounded memory."""
    count = int(MANY_COUNT * min(budget, FULL))
    write_many(tmp_path / "in", count)
    facts = watched(import_times, tmp_path / "store", tmp_path / "in", 2)
    some = sorted((tmp_path / "in").rglob("*.jsonl"))[:: count // 20]

    assert facts["peak"] - facts["start"] <= MEMORY_MAX
    assert [count, count] == facts["files"]
    assert 0 == facts["new"][1]
    with castore.open(tmp_path / "store") as store:
        assert count == store.stats().segments
        assert all(comes_back(store, path) for path in some)


def test_a_history_that_repeats_itself(tmp_path: Path, budget: float) -> None:
    """
    Images that compactions and sub-agents repeat to GBs are stored once, and of
    the talk around them what is new: 10 GB take a thousandth of that.
    """
    size = int(HISTORY_SIZE * min(budget, FULL))
    top, place = tmp_path / "in", tmp_path / "store"
    top.mkdir()
    paths = write(top, size=size, seed=1)
    took = watched(import_times, place, top, 1)
    looked = watched(scan_all, top)
    with castore.open(place) as store:
        pack(store.engine)
        stored = store.stats().stored_bytes
    back = watched(restore_all, place, *paths)

    assert stored <= 1.06 * image_size(1) + 0.00052 * size
    assert all(back["same"])
    assert len(paths) == len(back["same"])
    assert 0.5 < looked["estimate"] / stored < 1.5
    for facts in (took, looked, back):
        assert facts["peak"] - facts["start"] <= MEMORY_MAX
    assert verify(place).ok


# Waits after each file to be told to go on: whoever kills it finds it there.
_IMPORT = """
import sys
import castore
from castore.importer import import_paths
with castore.open(sys.argv[1], create=True) as store:
    for file in import_paths(store, sys.argv[2:], now_ms=4_000_000_000_000):
        print(flush=True)
        sys.stdin.readline()
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random(tmp_path: Path, budget: float, seed: int) -> None:
    """However often an import is killed, the one that ends has taken in all, once."""
    write_many(tmp_path / "in", 150, seed=seed)
    write_large(tmp_path / "in" / "large.jsonl", 12 * MB, line_size=3 * MB)
    rng = random.Random(seed)
    places = [str(tmp_path / "store"), str(tmp_path / "in")]
    command = [sys.executable, "-c", _IMPORT, *places]
    for _ in range(int(6 * budget)):
        with subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": ROOT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as running:
            assert running.stdin
            assert running.stdout
            for _ in range(rng.randrange(151)):
                running.stdout.readline()
                running.stdin.write(b"\n")
                running.stdin.flush()
            time.sleep(rng.uniform(0, 0.2))
            running.kill()
        assert -signal.SIGKILL == running.returncode
        with (tmp_path / "in" / "large.jsonl").open("ab") as file:
            file.write(b'{"type":"user"}\n')
    with castore.open(tmp_path / "store", create=True) as store:
        done = list(import_paths(store, [tmp_path / "in"], now_ms=4_000_000_000_000))
        again = list(import_paths(store, [tmp_path / "in"], now_ms=4_000_000_000_000))

        assert 151 == len(done) == store.stats().segments
        assert all(comes_back(store, Path(file.path)) for file in done)
        assert 0 == sum(file.new_entries for file in again)
    assert verify(tmp_path / "store").ok
