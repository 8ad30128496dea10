"""
Whatever stops whenever: nothing acknowledged is lost, nothing is half, it opens.

Workloads are recorded call by call, then stopped after each call: by a kill, and
by a power cut that keeps, drops, tears, zeroes or keeps in part what was not
synced, each with the catalog missing, as of its last checkpoint, older and
newest; and in other ways by chance. Each state that is left is opened and read,
some are written to and checked, and some are stopped again while they are being
recovered. States with the same files and the same promises count once.

A budget of 1 looks at more than 20,000 states, chosen by chance; less at a share of
them. More looks at twice as many, of so many recordings.

Spec: spec/ordering.md, "What holds at any time", "Crash cases".
"""

from __future__ import annotations

import math

from pathlib import Path

import pytest

from crash.running import run
from crash.workloads import ALL


#: How many there are at least of each workload, for each whole 1 of the budget.
STATE_COUNTS = {
    "making": 200,
    "talk": 980,
    "payloads": 930,
    "journals": 1780,
    "handles": 1970,
    "threads": 1180,
    "failing": 1950,
    "torn_mark": 930,
    "packing": 2140,
    "collecting": 1820,
    "versions": 3060,
    "erasing": 2430,
    "large": 630,
}


@pytest.mark.parametrize("name", ALL)
def test_stopped_anywhere(
    name: str, folder: Path, tmp_path: Path, budget: float
) -> None:
    """Every state that a stop can leave opens with all that was acknowledged."""
    reports = [
        run(name, seed, folder, tmp_path / "kept", budget)
        for seed in range(math.ceil(budget))
    ]

    assert [] == [fault for report in reports for fault in report.faults]
    found = sum(report.count for report in reports)
    assert STATE_COUNTS[name] * int(budget) <= found


def test_there_are_enough() -> None:
    """All workloads together come to 20,000 states."""
    assert ALL.keys() == STATE_COUNTS.keys()
    assert 20_000 <= sum(STATE_COUNTS.values())
