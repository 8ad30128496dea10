"""
One campaign in a process of its own.

A module that a new process finds by this name, however the tests were started.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from crash.campaign import Campaign, Options, Report
from crash.workloads import ALL


OPTIONS = Options(grid=1.0, per_step=3.0, again=250, doubtful=28, go_on_every=3)
SHARE = 0.68  # of that, for a budget of 1


def run(name: str, seed: int, folder: Path, kept: Path, budget: float) -> Report:
    """Run the campaign of one workload and seed, as much of it as *budget* says."""
    own = folder / f"{name}-{seed}"
    own.mkdir()
    share = min(SHARE * budget, 1.0)
    options = attrs.evolve(OPTIONS, grid=share, per_step=OPTIONS.per_step * share)
    return Campaign(ALL[name], seed, own, options, kept).run()
