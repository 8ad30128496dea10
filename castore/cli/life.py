"""
An agent's short life: turns, a large state that changes a little, a fork, a
crash, garbage. All through the real engine, from a fixed seed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

from pathlib import Path

import attrs

import castore.errors

from castore.cli.demo import Show, show_pack, show_verify
from castore.cli.text import count_text, size_text
from castore.formats.entry import START, BlobRef, Reference
from castore.gc import collect
from castore.segment import Segment
from castore.store import Store
from castore.store import open as open_store
from castore.writing import NewEntry


TURN_COUNT = 60
FORK_TURN = 30
FORK_TURN_COUNT = 15
FILE_COUNT = 400  # of which the state knows something
CHANGED_COUNT = 3  # of these change in a turn
ACKNOWLEDGED_COUNT = 20  # commits of the process that is killed
SCRATCH_SIZE = 300_000  # bytes of a payload that nobody needs
_WORDS = """
    agent branch build cache change check commit config error file fix function
    import index line log merge module name parse path plan read result retry run
    schema step store table test token tool trace turn type update value verify work
    write
""".split()  # noqa: SIM905 - nobody reads forty quotes


class Agent:
    """
    Says things, calls tools, and keeps a state.

    Attributes:
        state: What it knows of its files.
    """

    def __init__(self, seed: int, state: dict[str, str] | None = None) -> None:
        # Not for secrets: the same words on every run.
        self._dice = random.Random(seed)  # noqa: S311
        self.state = state or {
            f"src/{self._text(2).replace(' ', '/')}_{n}.py": self._text(60)
            for n in range(FILE_COUNT)
        }

    def _text(self, count: int) -> str:
        return " ".join(self._dice.choices(_WORDS, k=count))

    def turn(self) -> list[tuple[str, bytes]]:
        """Live one turn; return kind and body of each entry."""
        for path in self._dice.sample(sorted(self.state), CHANGED_COUNT):
            self.state[path] = self._text(60)
        said = [("user", 20), ("assistant", 120), ("tool", 400)]
        return [
            (
                kind,
                json.dumps({"type": kind, "text": self._text(count)}).encode() + b"\n",
            )
            for kind, count in said
        ]

    def snapshot(self) -> bytes:
        """Return the state as one line of JSON."""
        return json.dumps({"type": "state", "files": self.state}).encode() + b"\n"


@attrs.define
class Log:
    """
    An agent that writes into a segment, and what a JSONL file would hold by then.

    Attributes:
        sizes: Bytes of that file after each turn.

        states: Reference of each state.
    """

    store: Store
    segment: Segment
    agent: Agent
    sizes: list[int] = attrs.Factory(list)
    states: list[BlobRef] = attrs.Factory(list)

    def live(self, count: int) -> None:
        """Live *count* turns, each one commit with the state beside it."""
        for _ in range(count):
            bodies = self.agent.turn()
            snapshot = self.agent.snapshot()
            like = self.states[-1] if self.states else None
            state = self.store.put(snapshot, like=like)
            *rest, (kind, body) = bodies
            entries = [NewEntry(name, data) for name, data in rest]
            keep = Reference("checkpoint", state)
            self.segment.append([*entries, NewEntry(kind, body, [keep])])
            self.states.append(state)
            size = sum(len(data) for _, data in bodies) + len(snapshot)
            self.sizes.append(size + (self.sizes[-1] if self.sizes else 0))

    def fork(self, turn: int) -> Log:
        """Return a log that begins with the first *turn* turns of this one."""
        at = 1 + 3 * turn
        state = json.loads(self.store.get(self.states[turn - 1]))["files"]
        made = Log(self.store, self.segment.fork(at), Agent(turn, state))
        made.sizes = self.sizes[:turn]
        made.states = self.states[:turn]
        return made


def show_life(show: Show, path: Path) -> None:
    """Live, fork, crash, pack, collect and check."""
    with open_store(path, create=True) as store:
        log = Log(store, store.create_session(key=("demo", "life")), Agent(1))
        log.live(TURN_COUNT)
        state = size_text(len(log.agent.snapshot()))
        what = f"{TURN_COUNT} turns, each one durable commit: 3 entries and the state"
        show.step("live", f"{what} ({state}, a little of it new)")
        other = log.fork(FORK_TURN)
        other.live(FORK_TURN_COUNT)
        what = (
            f"at turn {FORK_TURN}, nothing copied; {FORK_TURN_COUNT} turns more there"
        )
        show.step("fork", what)
        show.jsonl_bytes = log.sizes[-1] + other.sizes[-1]
        show.note = " (one line for each entry, one for the state of each turn)"
        _show_crash(show, store, path)
        ids = [(item.segment.id, item.states) for item in (log, other)]
    show_pack(show, path)
    with open_store(path) as store:
        _show_garbage(show, store)
        show.packed_bytes = store.stats().stored_bytes
    show_verify(show, path)
    with open_store(path) as store:
        for segment, states in ids:
            _check(show, store, segment, states)
    if show.ok:
        count = TURN_COUNT + FORK_TURN_COUNT
        show.step(
            "read", f"{count} turns and the state after each: all there, all equal"
        )


def _show_crash(show: Show, store: Store, path: Path) -> None:
    """Kill a process while it appends; what it was told stays, the rest is whole."""
    segment = store.create_session(key=("demo", "crash"))
    told = _kill_writer(path, segment.id.hex())
    found = [
        (entry.kind, body) for entry, body in segment.read() if entry.kind != START
    ]
    wanted = [("line", f"line {n}\n".encode()) for n in range(len(found))]
    ok = told <= len(found) and found == wanted
    what = "a process that was appending was killed with SIGKILL"
    show.step("crash", f"{what}: every commit acknowledged to it is there", ok=ok)


def _kill_writer(path: Path, segment: str) -> int:
    """Return how many appends a process got an answer to before it was killed."""
    source = Path(castore.errors.__file__).parents[1]
    paths = [str(source), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "castore.cli.victim", str(path), segment]
    process = subprocess.Popen(  # noqa: S603 - this package
        command,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    with process:
        answers = process.stdout
        told = 0
        while answers and told < ACKNOWLEDGED_COUNT and answers.readline():
            told += 1
        process.send_signal(signal.SIGKILL)
        rest = answers.read() if answers else b""
    return told + rest.count(b"\n") if told == ACKNOWLEDGED_COUNT else sys.maxsize


def _show_garbage(show: Show, store: Store) -> None:
    """Let go of a payload and collect it; the command waits a day, this does not."""
    data = random.Random(2).randbytes(SCRATCH_SIZE)  # noqa: S311 - as above
    ref = store.put(data, tag="scratch")
    store.untag("scratch")
    report = collect(store.engine, grace_s=0)
    blobs = count_text(report.deleted_blob_count, "blob")
    what = (
        f"{blobs} of {size_text(report.deleted_raw_bytes)} that nothing needs any more"
    )
    ok = report.deleted_blob_count == 1 and not store.has(ref)
    show.step("gc", what, ok=ok)


def _check(show: Show, store: Store, segment: bytes, states: list[BlobRef]) -> None:
    """Read a log to its end and compare the state of each turn with its name."""
    found = [
        ref.blob.digest
        for entry, _ in store.segment(segment).read()
        for ref in entry.refs
    ]
    ok = found == [state.digest for state in states]
    ok = ok and all(len(store.get(state)) == state.size for state in states)
    if not ok:
        show.step("read", f"segment {segment.hex()} differs", ok=False)
