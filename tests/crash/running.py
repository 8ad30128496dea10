"""
One campaign, as large as a budget says.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from crash.campaign import Campaign, Options, Report
from crash.workloads import ALL


OPTIONS = Options(grid=1.0, per_step=3.0, again=250, doubtful=28, go_on_every=3)
SHORT = attrs.evolve(OPTIONS, grid=0.4, per_step=1.4, rest_every=20)


def run(name: str, seed: int, folder: Path, kept: Path, budget: float) -> Report:
    """
    Run the campaign of one workload and seed: above a budget of 1 the whole of it,
    else the short one, or a share of that.
    """
    own = folder / f"{name}-{seed}"
    own.mkdir()
    plan, share = (OPTIONS, 1.0) if budget > 1 else (SHORT, budget)
    options = attrs.evolve(plan, grid=plan.grid * share, per_step=plan.per_step * share)
    return Campaign(ALL[name], seed, own, options, kept).run()
