"""
Pack, import, restore and gc in a loop, killed at random: nothing is lost, and the
store comes to rest.

A budget of 1 takes 30 s, of 10 five minutes. What stops a power cut leaves is not
seen here: what a process wrote is there when it was killed, synced or not. That is
`test_crash`.

Spec: spec/ordering.md, "What holds at any time".
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import re
import time

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import attrs
import bugs
import pytest

from loopkit import Loop


DURATION_S = 30.0  # for a budget of 1
ROUND_COUNT_MIN = 5  # however slow it is
ROUND_COUNT_MAX = 500  # of a loop that is to find a bug: that takes chance
CONTENT_SIZE_MAX = 1_500_000  # bytes of a transcript


def generated(rng: random.Random) -> Iterator[bytes]:
    """Yield transcripts: some begin as others do, results and images come again."""
    results = [rng.randbytes(rng.choice([50, 800, 5_000])).hex() for _ in range(40)]
    images = [base64.b64encode(rng.randbytes(20_000)).decode() for _ in range(4)]
    made: list[list[bytes]] = []
    while True:
        name = f"{rng.getrandbits(128):032x}"
        lines = []
        if made and rng.random() < 0.3:
            other = rng.choice(made)
            lines = other[: rng.randrange(40, len(other))]
        for number in range(rng.randrange(100, 400)):
            text = rng.choice(images if rng.random() < 0.05 else results)
            record = {
                "type": ("user", "assistant")[number % 2],
                "uuid": f"{name}-{number}",
                "sessionId": name,
                "timestamp": f"2026-01-02T03:04:{number % 60:02}.000Z",
                "message": {"content": [{"type": "text", "text": text}]},
            }
            lines.append(json.dumps(record).encode() + b"\n")
        made.append(lines)
        yield b"".join(lines)


def contents(rng: random.Random) -> Iterator[bytes]:
    """Yield what transcripts hold: real ones if there are some, else made up."""
    folder = os.environ.get("CASTORE_TEST_DATA")
    if not folder:
        return generated(rng)
    files = sorted(Path(folder, "claude-code").rglob("*.jsonl"))
    rng.shuffle(files)
    return (path.read_bytes()[:CONTENT_SIZE_MAX] for path in itertools.cycle(files))


def at_rest(loop: Loop) -> list[str]:
    """Leave *loop* in peace; return what is wrong, and whether it goes on changing."""
    sizes = {}
    for _ in range(3):
        sizes = loop.sizes()
        if faults := loop.rest():
            return faults
    if sizes != loop.sizes():
        return [f"no rest: {sizes} became {loop.sizes()}"]
    return []


def test_loop(folder: Path, budget: float) -> None:
    """Whatever is killed, what was acknowledged comes back, and garbage goes."""
    rng = random.Random(round(budget * 100))
    loop = Loop(folder, contents(rng), rng)
    loop.begin()
    stop = time.monotonic() + DURATION_S * budget
    count = 0
    while count < ROUND_COUNT_MIN or time.monotonic() < stop:
        assert [] == loop.round()
        count += 1

    assert loop.killed_count
    assert loop.ended_count
    assert [] == at_rest(loop)


# --- bugs --------------------------------------------------------------------


@attrs.frozen
class Planted:
    """
    A bug, and how it is found.

    Attributes:
        bug: While this is on, it is there.

        found: What is wrong then, a regular expression.

        tasks: That show it, and how often each is done.

        pause_s: How long it waits to be killed.

        rests: Whether it shows only when the store is left in peace.
    """

    bug: Callable[[float], AbstractContextManager[object]]
    found: str
    tasks: dict[str, int]
    pause_s: float = 0.2
    rests: bool = False


#: What was acknowledged is not there, or not whole.
LOST = (
    "lost|missing|corrupt|truncated|wrong head|not what was|NotFound|Gone|no such file"
)
BUGS = [
    Planted(bugs.unlinked_before_listed, LOST, {"import": 1, "pack": 2}),
    Planted(bugs.record_dropped, LOST, {"import": 1, "pack": 2}),
    Planted(bugs.acknowledged_before_commit, LOST, {"import": 1}),
    Planted(bugs.remembered_before_commit, LOST, {"import": 1}),
    Planted(bugs.collected_beside_writers, LOST, {"put": 4, "tag": 1, "gc": 2}, 0.6),
    Planted(bugs.cut_below_the_mark, LOST, {"import": 1, "put": 1}, 0.1),
    Planted(bugs.wrong_base, LOST, {"agent": 2, "pack": 2}),
    Planted(bugs.packed_again, "no rest", {"import": 1, "pack": 1}, rests=True),
    Planted(bugs.packs_left_behind, "garbage", {"import": 1, "pack": 2}, rests=True),
]
REST_AFTER = 5  # rounds


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: planted.bug.__name__)
def test_planted_bug_is_found(planted: Planted, folder: Path) -> None:
    """The loop finds the bug."""
    rng = random.Random(1)
    bug = partial(planted.bug, planted.pause_s)
    loop = Loop(folder, generated(rng), rng, bug, planted.tasks)
    loop.begin()
    for number in range(ROUND_COUNT_MAX):
        if planted.rests and number % REST_AFTER == REST_AFTER - 1:
            faults = at_rest(loop)
        else:
            faults = loop.round()
        if faults:
            assert any(re.search(planted.found, fault) for fault in faults), faults
            return
    pytest.fail(f"{planted.bug.__name__} was not found in {ROUND_COUNT_MAX} rounds")
