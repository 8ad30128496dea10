"""
Whatever the order in which two writers and a collector take their steps, and
wherever the collector is killed: nothing that is needed goes, what is not goes
with the next runs, and nobody meets an error that no caller should see.

A budget of 10 tries all orders of each case; a smaller one all of those with one
writer, and of the others some by chance.

Spec: spec/ordering.md, "Packing and deleting", "Commit", "Recovery".
"""

from __future__ import annotations

import itertools
import random
import shutil

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import attrs
import bugs
import orderscene
import pytest

from conftest import new_folder
from orderkit import Orders, Step, by_chance, commute
from orderscene import (
    Program,
    Template,
    collect_too,
    delete,
    fork,
    hit,
    large,
    like,
    move,
    name,
    play,
    tag,
    untag,
)

from castore import CastoreError


ALL = 10  # budget from which all orders of each case are tried
CHANCE_COUNT = 1  # orders of one case and grace, for a budget of 1
BUG_COUNT = 100  # orders in which a bug is looked for by chance first
GRACES_S = (0, orderscene.HOUR_S)
WRITES = (hit, name, large, like, fork, delete, tag, untag, move, collect_too)
ONCE = (delete, untag)  # what can be done once

Case = tuple[Program, ...]
ALONE: list[Case] = [((each,),) for each in WRITES if each is not large]
PAIRS: list[Case] = [
    ((one,), (other,))
    for one, other in itertools.combinations_with_replacement(WRITES, 2)
    if one is not other or one not in ONCE
]
LONGER: list[Case] = [
    ((hit, untag), (delete,)),
    ((fork, hit), (delete, tag)),
    ((large, tag), (hit, name)),
    ((like, delete), (fork, like)),
    ((untag, move), (hit, collect_too)),
]


def text(case: Case) -> str:
    """Return a name of *case*."""
    return ",".join("+".join(each.__name__ for each in one) for one in case)


@attrs.define
class Stage:
    """Where a case is played again and again, each time on a copy of *template*."""

    folder: Path
    case: Case
    template: Template
    kills: bool = False
    _numbers: Iterator[int] = attrs.Factory(itertools.count)

    def play(self, step: Step) -> None:
        """Play it once."""
        root = self.folder / str(next(self._numbers))
        try:
            play(self.template.copy(root), self.case, step, kills=self.kills)
        finally:
            shutil.rmtree(root)

    def play_all(self) -> int:
        """Play it in all orders; return how many there are."""
        return sum(1 for _ in Orders(self.play))

    def search(self) -> None:
        """Play it in some orders by chance, then in all."""
        self.play_some(BUG_COUNT)
        self.play_all()

    def play_some(self, count: int) -> None:
        """Play it in *count* orders."""
        for number in range(count):
            seed = f"{text(self.case)} {self.template.grace_s} {self.kills} {number}"
            self.play(by_chance(random.Random(seed)))


@pytest.fixture(scope="module")
def templates() -> Iterator[dict[int, Template]]:
    """Return what stages of each grace may begin with: to make it takes longest."""
    with new_folder() as root:
        yield {grace_s: Template(root / str(grace_s), grace_s) for grace_s in GRACES_S}


def ids(value: Any) -> str:
    """Return a name for a parameter."""
    return text(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("grace_s", GRACES_S)
@pytest.mark.parametrize("case", ALONE, ids=ids)
def test_one_writer(
    case: Case, grace_s: int, folder: Path, templates: dict[int, Template]
) -> None:
    """Beside a collector one writer has its way in each order, for there are many."""
    assert 1 < Stage(folder, case, templates[grace_s]).play_all()


@pytest.mark.parametrize("kills", [False, True], ids=["runs", "killed"])
@pytest.mark.parametrize("case", [*ALONE, ((large,),), *PAIRS, *LONGER], ids=ids)
def test_two_writers(
    case: Case,
    kills: bool,
    folder: Path,
    templates: dict[int, Template],
    budget: float,
) -> None:
    """Two writers do, with a collector that is killed anywhere or is not."""
    for template in templates.values():
        stage = Stage(folder, case, template, kills)
        if budget >= ALL and case not in LONGER:
            stage.play_all()
        else:
            stage.play_some(max(1, int(CHANCE_COUNT * budget)))


# --- it finds what it is for ----------------------------------------------------


@attrs.frozen
class Planted:
    """
    A bug, and the case in which it shows.

    Attributes:
        bug: While this is on, it is there.
    """

    bug: Callable[[], AbstractContextManager[object]]
    case: Case
    kills: bool = False
    grace_s: int = 0


BUGS = [
    Planted(bugs.not_asked_again, ((hit,),)),
    Planted(bugs.not_asked_again, ((tag,),), grace_s=orderscene.HOUR_S),
    Planted(bugs.not_asked_again, ((like,),)),
    Planted(bugs.recovered_unnoticed, ((hit,),), kills=True),
    Planted(bugs.taken_from_the_living, ((large,),)),
    Planted(bugs.collected_beside_writers, ((hit,),)),
    Planted(bugs.collected_beside_writers, ((move,),)),
    Planted(bugs.collected_beside_writers, ((delete,), (hit,))),
    Planted(bugs.unlinked_before_listed, ((hit,),), kills=True),
    Planted(bugs.packs_left_behind, ((hit,),), kills=True),
]


@pytest.mark.parametrize(
    "planted", BUGS, ids=lambda it: f"{it.bug.__name__}-{text(it.case)}"
)
def test_planted_bug_is_found(
    planted: Planted, folder: Path, templates: dict[int, Template]
) -> None:
    """There is an order in which the bug shows."""
    template = templates[planted.grace_s]
    stage = Stage(folder, planted.case, template, planted.kills)
    with planted.bug(), pytest.raises((AssertionError, CastoreError)):
        stage.search()


def test_steps_that_commute() -> None:
    """Two steps commute if neither changes what the other one touches."""
    assert commute({"a": False, "b": True}, {"a": False, "c": True})
    assert not commute({"a": False}, {"a": True})
    assert not commute({"a": True}, {"a": False})


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        ({"a": "xx", "b": "xx"}, 6),
        ({"a": "xx", "b": "yy"}, 1),
        ({"a": "xy", "b": "x"}, 2),
        ({"a": "xyx", "b": "y", "c": "x"}, 6),
    ],
)
def test_all_orders_are_tried(steps: dict[str, str], count: int) -> None:
    """Of steps that touch the same all orders are tried, of others one."""
    tried = ["".join(each) for each in Orders(lambda step: run_few(steps, step))]

    assert count == len(tried) == len(set(tried))


def run_few(steps: dict[str, str], step: Step) -> None:
    """Have actors do *steps*, each the name of what it changes."""
    turns: Any = Few(dict(steps))
    while step(turns) is not None:
        pass


@attrs.define
class Few:
    """
    Turns of actors that have no threads.

    Attributes:
        left: What each has still to do.
    """

    left: dict[str, str]

    def choices(self) -> list[str]:
        """Return who could go on."""
        return [name for name, left in self.left.items() if left]

    def step(self, name: str) -> dict[str, bool]:
        """Let *name* go on."""
        done, self.left[name] = self.left[name][0], self.left[name][1:]
        return {done: True}
