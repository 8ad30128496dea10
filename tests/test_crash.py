"""
Whatever stops whenever: nothing acknowledged is lost, nothing is half, it opens.

Workloads are recorded call by call, then stopped after each call by a kill or a
power cut, in many ways; each state that is left is opened, read, written, opened
again, and some are stopped again while they are being recovered.

Spec: spec/ordering.md, "What holds at any time", "Crash cases".
"""

from __future__ import annotations

import concurrent.futures
import math
import multiprocessing
import os
import shutil
import tempfile

from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.campaign import Campaign, Options, Report
from crash.workloads import ALL


CAMPAIGN_BUDGET_MIN = 2.0
STATE_COUNT_MIN = 20_000  # for a budget of 1
SEED_COUNT = 2  # recordings of each workload, for a budget of 1
PER_STEP = 1.6  # states looked at after each call that was recorded
MEMORY = Path("/dev/shm")  # where there is one, states are put there


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder for many small files, in memory if that is possible."""
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(prefix="castore-", dir=MEMORY))
    yield made
    shutil.rmtree(made)


def run(name: str, seed: int, folder: Path, kept: Path, budget: float) -> Report:
    """Run one campaign, in a process of its own."""
    own = folder / f"{name}-{seed}"
    own.mkdir()
    options = Options(per_step=PER_STEP * min(budget, 1.0))
    return Campaign(ALL[name], seed, own, options, kept).run()


def test_stopped_anywhere(folder: Path, tmp_path: Path, budget: float) -> None:
    """Every state that a stop can leave opens with all that was acknowledged."""
    if budget < CAMPAIGN_BUDGET_MIN:
        pytest.skip("a campaign of many minutes; ask for it with --budget 2")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        running = [
            pool.submit(run, name, seed, folder, tmp_path / "kept", budget)
            for seed in range(math.ceil(SEED_COUNT * budget))
            for name in ALL
        ]
        reports = [each.result() for each in running]
    faults = [fault for report in reports for fault in report.faults]

    assert [] == faults
    assert STATE_COUNT_MIN * budget <= sum(report.count for report in reports)
