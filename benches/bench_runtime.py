"""
What does it cost to persist an agent's session as an object, turn by turn?

The workload is that of `workload.py`, its messages and its JSON state only: each
turn gives the state as a value, not as bytes, and the messages that are new.
Peers: LangGraph's SqliteSaver, and a JSONL file with one line of messages and
state a turn, each synced. Expected: a hundredth of their bytes; a turn costs what
encoding its state costs, about as much as JSON, and a sync. What is restored is
more than theirs: all messages of the path, and everything is checked.
"""

import argparse
import importlib.util
import json
import os
import time

from functools import partial
from pathlib import Path

from harness import costs, folder, report, seconds
from peers import LangGraph
from workload import turns

import castore

from castore.packing import pack
from castore.records.checkpoint import ToolState
from castore.records.nodes import Message, Part
from castore.records.persisted import PersistedSessionState
from castore.runtime import ActivePath, RuntimeSession, RuntimeStore


SLOT = "checkpoint.tool"
TIME = "2026-01-01T00:00:00Z"


class Runtime:
    """A `RuntimeSession`: branches are branches of its graph."""

    name = "castore"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = castore.open(path, create=True)
        self.state = PersistedSessionState(session_id="bench")
        self.session = RuntimeSession(RuntimeStore(self.store, "bench"), self.state)
        self.leaves = {}
        self.seconds = []

    def take(self, turn, value):
        start = time.perf_counter()
        graph = self.state.graph
        graph.branch_to(self.leaves.get(turn.parent))
        for number, (kind, body) in enumerate(turn.entries):
            name = f"{turn.number}-{number}"
            part = Part(id=f"{name}.0", kind="Text", content=body.decode())
            graph.append_message(Message(id=name, role=kind, parts=(part,)), TIME)
        self.state.tool_state_snapshot = ToolState(generation=turn.number, tools=value)
        self.session.commit()
        self.seconds.append(time.perf_counter() - start)
        self.leaves[turn.number] = graph.leaf_node_id

    def pack(self):
        self.store.close()
        with castore.open(self.path) as store:
            pack(store.engine)
        self.store = castore.open(self.path)

    def size(self):
        return sum(path.stat().st_size for path in (self.path / "files").iterdir())

    def restore(self, _):
        read = RuntimeStore(self.store, "bench").load_session(ActivePath())
        return dict(read.checkpoint.tool_state.tools)


class Saver(LangGraph):
    """LangGraph's saver, which is given the state as a value too."""

    def take(self, turn, value):
        super().take(turn._replace(payloads={SLOT: value}))

    def restore(self, number):
        return super().restore(number)[SLOT]


class Lines:
    """A file to which each turn appends a line."""

    name = "jsonl"

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path / "kept.jsonl"
        self.seconds = []
        self._end = 0

    def take(self, turn, value):
        start = time.perf_counter()
        messages = [body.decode() for _, body in turn.entries]
        line = json.dumps({"messages": messages, "state": value}).encode() + b"\n"
        with self.path.open("ab") as file:
            self._end = file.tell()
            file.write(line)
            file.flush()
            os.fdatasync(file.fileno())
        self.seconds.append(time.perf_counter() - start)

    def pack(self):
        """There is nothing to pack."""

    def size(self):
        return self.path.stat().st_size

    def restore(self, _):
        with self.path.open("rb") as file:
            file.seek(self._end)
            return json.loads(file.read())["state"]


def run(kind, made):
    """Return the facts of *kind* on *made*."""
    with folder() as path:
        keeper = kind(path / "kept")
        for turn, value in made:
            keeper.take(turn, value)
        before = keeper.size()
        packed = seconds(keeper.pack)
        last, value = made[-1]
        assert value == keeper.restore(last.number)
        newest = min(seconds(partial(keeper.restore, last.number)) for _ in range(5))
        after = keeper.size()
    return costs(
        keeper.seconds, before=before, packed=packed, after=after, newest=newest
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    made = [
        (turn, json.loads(turn.payloads[SLOT]))
        for turn in turns(options.seed, count=options.turns)
    ]
    kinds = [Runtime, Lines]
    missing = []
    if importlib.util.find_spec("langgraph"):
        kinds.append(Saver)
    else:
        missing.append("langgraph")
    facts = {kind.name: run(kind, made) for kind in kinds}
    mine = facts["castore"]
    report(
        "runtime",
        {
            "seed": options.seed,
            "turns": options.turns,
            **facts,
            "not_run": missing,
            "ratios": {
                name: {
                    "ingest_faster": round(other["ingest_s"] / mine["ingest_s"], 1),
                    "turn_p50": round(mine["turn_p50_ms"] / other["turn_p50_ms"], 2),
                    "bytes_after": round(mine["bytes_after"] / other["bytes_after"], 4),
                    "restore_newest": round(
                        mine["restore_newest_ms"] / other["restore_newest_ms"], 2
                    ),
                }
                for name, other in facts.items()
                if name != "castore"
            },
        },
    )


if __name__ == "__main__":
    main()
