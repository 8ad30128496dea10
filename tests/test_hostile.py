"""
Hostile stores and files: each is refused, soon, in little memory, and that is all.

All are read by one process that is under limits: of processor time, not of the
clock's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from pathlib import Path
from typing import Any

import pytest

from corruption import ours, theirs
from framemaker import blob
from fuzz_hostile import CASES, MIB, PLANTED, VALUES
from stores import make_small

from castore.reading.files import OpenFile
from castore.reading.frames import Frame, Gap, walk
from castore.storage import Files


MEMORY = 32 * MIB  # bytes above the start
COUNT_MIN = 60
REFUSED = {"FormatError", "CorruptionError", "StorageError", "UnsupportedError"}

#: What no page refuses: a bound of a format that nothing else contradicts.
TAKEN = {"head_of_a_far_seq", "mark_of_a_far_seq"}

#: What the reference would read from end to end, a terabyte of zeros.
ENDLESS = {"journal_with_a_giant_hole"}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which every case is read, and stays."""
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def told(room: Path) -> dict[str, dict[str, Any]]:
    """What became of each case."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("nothing says here how much memory was taken")
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
    own = {"PYTHONPATH": os.pathsep.join(paths), "HOME": str(room), "TMPDIR": str(room)}
    # Memory goes back as soon as it is free: else the next case gets it unseen.
    own |= {f"MALLOC_{name}_THRESHOLD_": "131072" for name in ("TRIM", "MMAP")}
    script = str(Path(__file__).with_name("fuzz_hostile.py"))
    done = subprocess.run(
        [sys.executable, script, str(room)],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = map(json.loads, done.stdout.splitlines())
    found = {line["case"]: line for line in lines}  # the last line of each counts
    assert found, done.stderr
    return found


def test_there_are_enough() -> None:
    """The issue wants sixty."""
    assert len(CASES) >= COUNT_MIN


@pytest.mark.parametrize("name", CASES)
def test_hostile(name: str, told: dict[str, dict[str, Any]]) -> None:
    """A typed error or findings, below 32 MiB and 1 s; nothing is written."""
    found = told[name]

    assert isinstance(found["said"], list), found
    assert bool(found["said"]) != (name in TAKEN)
    if name in VALUES:
        assert set(found["said"]) <= REFUSED
    assert found["memory"] <= MEMORY
    assert not found["wrote"]


@pytest.mark.parametrize("name", sorted(CASES.keys() - VALUES.keys() - ENDLESS))
def test_the_reference_says_the_same(
    name: str, room: Path, told: dict[str, dict[str, Any]]
) -> None:
    """Of each of these stores both checkers say the same."""
    root = room / name / "store"
    assert told[name]
    assert theirs(root) == ours(root)


def test_what_is_planted_is_seen(told: dict[str, dict[str, Any]]) -> None:
    """Memory, a hang, a file outside, another error and none are told of."""
    found = {name: told[name] for name in PLANTED}

    assert found["takes memory"]["memory"] > MEMORY
    assert found["hangs"]["said"] == "hang"
    assert found["writes"]["wrote"]
    assert found["raises another"]["said"].startswith("StopIteration")
    assert found["is taken"]["said"] == ["nothing"]


def test_a_frame_behind_a_hole_is_found(folder: Path) -> None:
    """A hole is skipped; what stands behind it is looked at, to the last byte."""
    maker = make_small(folder / "store")
    journal = maker.journal
    hole = len(journal.data)
    journal.data += bytes(5 * MIB + 3)
    journal.frame([blob(b"behind the hole")])
    whole = bytes(journal.data)
    with journal.path.open("wb") as file:
        file.write(whole[:hole])
        file.seek(journal.offsets[-1])
        file.write(whole[journal.offsets[-1] :])
    opened = OpenFile(Files(maker.root), journal.header.id, maker.store)

    *_, gap, last = walk(opened, 188, opened.size())

    assert isinstance(gap, Gap)
    assert (gap.offset, gap.end) == (hole, journal.offsets[-1])
    assert isinstance(last, Frame)
    assert last.end == len(whole)
    assert theirs(maker.root) == ours(maker.root)
