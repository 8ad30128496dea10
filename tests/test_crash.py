"""
Whatever stops whenever: nothing acknowledged is lost, nothing is half, it opens.

Workloads are recorded call by call, then stopped after each call: by a kill, and
by a power cut that keeps, drops, tears, zeroes or keeps in part what was not
synced, each with the catalog missing, as of its last checkpoint, older and
newest; and in other ways by chance. Each state that is left is opened and read,
some are written to and checked, and some are stopped again while they are being
recovered. States with the same files and the same promises count once.

A budget of 1 looks at more than 20,000 states, in some two minutes on two idle
cores, chosen by chance; less at a share of them. More looks at twice as many, of so
many recordings.

Spec: spec/ordering.md, "What holds at any time", "Crash cases".
"""

from __future__ import annotations

import concurrent.futures
import math
import multiprocessing

from pathlib import Path

from crash.running import run
from crash.workloads import ALL


STATE_COUNT = 20_000  # at least, for each whole 1 of the budget
PROCESS_COUNT = 2


def test_stopped_anywhere(folder: Path, tmp_path: Path, budget: float) -> None:
    """Every state that a stop can leave opens with all that was acknowledged."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        PROCESS_COUNT, mp_context=context
    ) as pool:
        running = [
            pool.submit(run, name, seed, folder, tmp_path / "kept", budget)
            for seed in range(math.ceil(budget))
            for name in ALL
        ]
        reports = [each.result() for each in running]

    assert [] == [fault for report in reports for fault in report.faults]
    assert STATE_COUNT * int(budget) <= sum(report.count for report in reports)
