"""
Eight writers, a collector without a grace that is killed again and again, a packer
and a reader: nobody meets an error, and all that was acknowledged is there.

A budget of 1 takes a minute, of 5 five of them.

Spec: spec/ordering.md, "What holds at any time", "Packing and deleting".
"""

from __future__ import annotations

import random
import re
import time

from functools import partial
from pathlib import Path

import bugs
import pytest

from crowd import WRITERS, Bug, Crowd


DURATION_S = 60.0  # for a budget of 1
KILL_COUNT = 4  # in a round of a crowd that is to find a bug
ROUND_COUNT_MAX = 25


def test_crowd(folder: Path, budget: float) -> None:
    """Whatever is killed and deleted meanwhile, each gets what it was promised."""
    crowd = Crowd(folder, random.Random(round(budget * 100)))
    stop = time.monotonic() + DURATION_S * budget

    def enough() -> bool:
        is_late = time.monotonic() > stop and crowd.killed_count > 0
        return is_late and all(map(crowd.has, ("deleted", "packed", "read")))

    assert [] == crowd.run(enough)


# --- it finds what it is for ----------------------------------------------------

LOST = "not what|NotFound|Gone|missing|corrupt|lost|truncated"

#: A bug, and what it is found by.
BUGS: list[tuple[Bug, str]] = [
    (bugs.record_dropped, LOST),
    (partial(bugs.unlinked_before_listed, 0.3), LOST + "|StorageError"),
]


def _have_died(crowd: Crowd, count: int) -> bool:
    """Return whether so many collectors were killed."""
    return crowd.killed_count >= count


@pytest.mark.parametrize(("bug", "found"), BUGS, ids=range(len(BUGS)))
def test_planted_bug_is_found(bug: Bug, found: str, folder: Path) -> None:
    """The crowd finds the bug."""
    crowd = Crowd(folder, random.Random(1), bug, life_s=0.8, writers=WRITERS[:2])
    for number in range(1, ROUND_COUNT_MAX + 1):
        if faults := crowd.run(partial(_have_died, crowd, number * KILL_COUNT)):
            assert any(re.search(found, fault) for fault in faults), faults
            return
    pytest.fail(f"not found with {crowd.killed_count} collectors killed")
