"""
The life of a coding agent, made from a seed: what `bench_agent` feeds to all.

500 turns, of which about a fifth go on from one of the last 50 turns instead of
from the newest. Each turn has 4 - 13 entries (80 B - 20 KB), a JSON tool state of
0.9 MB of which 0.1 - 1 % changes, sometimes by an insertion in its middle; every
fifth turn a SQLite database of 2.6 MB with a few changed rows and a float32 matrix
that grows by 2 - 12 rows; 200 source files of which 0 - 3 are edited.
"""

import json
import random
import sqlite3
import struct

from collections.abc import Iterator
from typing import NamedTuple


FILE_COUNT = 200
RECORD_COUNT = 1300
ROW_COUNT = 12_400
DIMENSION = 384
FORK_SHARE = 0.196
FORK_DEPTH = 50
HEAVY_EVERY = 5


class Turn(NamedTuple):
    """
    One turn.

    *parent* is the turn that it goes on from, None for the first. *entries* are
    kinds and bodies; *payloads* is all that the agent holds now, by slot;
    *changed* names the slots that this turn wrote.
    """

    number: int
    parent: int | None
    entries: list[tuple[str, bytes]]
    payloads: dict[str, bytes]
    changed: frozenset[str]

    def log(self) -> bytes:
        """Return the entries as lines."""
        return b"".join(body for _, body in self.entries)


class _State(NamedTuple):
    tool: dict
    rows: tuple
    matrix: bytes
    payloads: dict[str, bytes]


def turns(seed: int, *, count: int = 500) -> Iterator[Turn]:
    """Yield *count* turns; the same for the same seed."""
    rng = random.Random(seed)
    words = [f"{rng.getrandbits(rng.choice((20, 32, 44))):x}" for _ in range(3000)]
    states: dict[int, _State] = {}
    newest: int | None = None
    for number in range(count):
        parent = newest
        if number > 2 and rng.random() < FORK_SHARE:
            parent = rng.choice(sorted(states)[-FORK_DEPTH:-1])
        state = states[parent] if parent is not None else _begin(rng, words)
        state, changed = _step(state, number, rng, words)
        states[number] = state
        states.pop(number - FORK_DEPTH - 1, None)
        if parent is None:
            changed = frozenset(state.payloads)
        entries = _entries(number, rng, words)
        yield Turn(number, parent, entries, state.payloads, changed)
        newest = number


def _text(rng: random.Random, words: list[str], size: int) -> str:
    return " ".join(rng.choices(words, k=max(1, size // 9)))[:size]


# --- the first state ---------------------------------------------------------


def _begin(rng: random.Random, words: list[str]) -> _State:
    tool = {
        "files": [_record(number, rng, words) for number in range(RECORD_COUNT)],
        "todo": [{"id": n, "text": _text(rng, words, 80)} for n in range(20)],
        "memory": [_text(rng, words, 300) for _ in range(100)],
        "search_cache": {
            f"q{n}": [_text(rng, words, 120) for _ in range(8)] for n in range(100)
        },
        "shell_history": [_text(rng, words, 60) for _ in range(200)],
    }
    rows = tuple(_text(rng, words, 200) for _ in range(ROW_COUNT))
    matrix = _rows_of_matrix(rng, 1500)
    payloads = {
        f"file.src/module_{n:03}.py": _source(rng, words).encode()
        for n in range(FILE_COUNT)
    }
    return _State(tool, rows, matrix, payloads)


def _record(number: int, rng: random.Random, words: list[str]) -> dict:
    return {
        "path": f"src/package_{number % 40}/{rng.choice(words)}_{number}.py",
        "hash": f"{rng.getrandbits(256):064x}",
        "size": rng.randrange(100, 90_000),
        "read_at": 1_700_000_000_000 + rng.randrange(10**9),
        "summary": _text(rng, words, 250),
        "symbols": rng.sample(words, 8),
    }


def _source(rng: random.Random, words: list[str]) -> str:
    lines = [
        f"    {rng.choice(words)} = {rng.choice(words)}({rng.randrange(1000)})"
        for _ in range(rng.randrange(20, 400))
    ]
    return "\n".join(["def run():", *lines, ""])


def _rows_of_matrix(rng: random.Random, count: int) -> bytes:
    values = [rng.gauss(0, 0.05) for _ in range(count * DIMENSION)]
    return struct.pack(f"<{len(values)}f", *values)


def _database(rows: tuple) -> bytes:
    with sqlite3.connect(":memory:") as db:
        db.execute("CREATE TABLE memory (id INTEGER PRIMARY KEY, text TEXT)")
        db.executemany("INSERT INTO memory VALUES (?, ?)", enumerate(rows))
        db.commit()
        return db.serialize()


# --- one turn ----------------------------------------------------------------


def _step(
    state: _State, number: int, rng: random.Random, words: list[str]
) -> tuple[_State, frozenset[str]]:
    tool = {name: value.copy() for name, value in state.tool.items()}
    files = tool["files"]
    for _ in range(rng.randint(1, 10)):
        at = rng.randrange(len(files))
        if rng.random() < 0.1:
            files.insert(at, _record(number, rng, words))
        elif rng.random() < 0.3:
            files[at] = _record(at, rng, words)
        else:
            files[at] = {**files[at], "read_at": 1_700_000_000_000 + number * 1000}
    tool["todo"][rng.randrange(20)] = {"id": number, "text": _text(rng, words, 80)}
    tool["shell_history"] = [*tool["shell_history"][1:], _text(rng, words, 60)]
    if rng.random() < 0.3:
        tool["search_cache"][f"q{rng.randrange(100)}"] = [
            _text(rng, words, 120) for _ in range(8)
        ]
    payloads = dict(state.payloads)
    payloads["checkpoint.tool"] = json.dumps(tool).encode()
    changed = {"checkpoint.tool"}
    rows, matrix = state.rows, state.matrix
    if number % HEAVY_EVERY == 0:
        new = list(rows)
        for _ in range(rng.randint(1, 8)):
            new[rng.randrange(len(new))] = _text(rng, words, 200)
        rows = tuple(new)
        matrix += _rows_of_matrix(rng, rng.randint(2, 12))
        payloads["checkpoint.database"] = _database(rows)
        payloads["checkpoint.matrix"] = matrix
        changed |= {"checkpoint.database", "checkpoint.matrix"}
    for _ in range(rng.randint(0, 3)):
        slot = f"file.src/module_{rng.randrange(FILE_COUNT):03}.py"
        lines = payloads[slot].decode().split("\n")
        at = rng.randrange(1, len(lines) - 1)
        lines[at : at + rng.randint(0, 2)] = _source(rng, words).split("\n")[1:4]
        payloads[slot] = "\n".join(lines).encode()
        changed.add(slot)
    return _State(tool, rows, matrix, payloads), frozenset(changed)


def _entries(
    number: int, rng: random.Random, words: list[str]
) -> list[tuple[str, bytes]]:
    entries = []
    for at in range(rng.randint(4, 13)):
        kind = ("user", "assistant", "tool_call", "tool_result")[at % 4]
        size = int(80 * 250 ** (rng.random() ** 2.5))
        line = {
            "uuid": f"{rng.getrandbits(128):032x}",
            "type": kind,
            "timestamp": f"2026-01-01T{number // 60:02}:{number % 60:02}:{at:02}Z",
            "message": {"role": kind, "content": _text(rng, words, size)},
        }
        entries.append((kind, json.dumps(line).encode() + b"\n"))
    return entries
