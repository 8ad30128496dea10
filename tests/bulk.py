"""
Large files and many files, made from a seed, and what is done with them watched.
"""

from __future__ import annotations

import base64
import json
import random
import re
import resource
import subprocess
import sys
import time

from collections.abc import Callable
from pathlib import Path
from typing import Any

import castore
import castore.compress
import castore.packing

from castore.importer import find_segment, import_paths, restore
from castore.scanning import scan


MB = 1_000_000


def write_large(path: Path, size: int, *, line_size: int = 30 * MB) -> None:
    """
    Write a rollout of about *size* bytes in lines of about *line_size*.

    Each line repeats one of three images and brings one of its own.
    """
    rng = random.Random(size)
    shared = [_image(rng, line_size // 2) for _ in range(3)]
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(b'{"timestamp":"2026-01-02T03:04:05.000Z","type":"compacted",')
            file.write(b'"payload":{"replacement_history":["' + rng.choice(shared))
            file.write(b'","' + _image(rng, line_size // 2) + b'"]}}\n')


def _image(rng: random.Random, size: int) -> bytes:
    data = base64.b64encode(rng.randbytes(size * 3 // 4))
    return b"data:image/png;base64," + data


def write_many(folder: Path, count: int, *, seed: int = 1) -> None:
    """Write *count* sessions of a few lines, a hundred to a folder."""
    rng = random.Random(seed)
    for number in range(count):
        below = folder / f"{number // 100:04d}"
        below.mkdir(parents=True, exist_ok=True)
        name = f"{rng.getrandbits(32):08x}-0000-4000-8000-{number:012x}"
        records = [
            {
                "type": ("user", "assistant")[line % 2],
                "uuid": f"{name}-{line}",
                "sessionId": name,
                "timestamp": f"2026-01-02T03:04:{line:02}.000Z",
                "message": {"content": rng.randbytes(rng.randrange(400)).hex()},
            }
            for line in range(rng.randrange(2, 12))
        ]
        text = "".join(f"{json.dumps(record)}\n" for record in records)
        (below / f"{name}.jsonl").write_text(text)


class Compared:
    """A file to write to that compares with one to read."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.same = True

    def write(self, data: bytes) -> int:
        """Compare *data* with what comes next."""
        self.same = self.same and self._file.read(len(data)) == data
        return len(data)

    def ends(self) -> bool:
        """Whether all was compared and is the same."""
        with self._file as file:
            return self.same and not file.read(1)


def comes_back(store: castore.Store, path: Path) -> bool:
    """Whether *path* is given back byte for byte."""
    compared = Compared(path)
    restore(store, find_segment(store, str(path)), compared)  # type: ignore[arg-type]
    return compared.ends()


def import_times(store: str, what: str, times: str) -> dict[str, Any]:
    """Import *what*, *times* times."""
    facts: dict[str, Any] = {"seconds": [], "new": [], "files": []}
    for _ in range(int(times)):
        with castore.open(store, create=True) as opened:
            began = time.perf_counter()
            done = list(import_paths(opened, [what], now_ms=4_000_000_000_000))
            facts["seconds"].append(time.perf_counter() - began)
            facts["new"].append(sum(file.new_entries for file in done))
            facts["files"].append(len(done))
    return facts


def restore_all(store: str, *paths: str) -> dict[str, Any]:
    """Give *paths* back and compare them with what is there."""
    began = time.perf_counter()
    with castore.open(store, read_only=True) as opened:
        same = [comes_back(opened, Path(path)) for path in paths]
    return {"seconds": time.perf_counter() - began, "same": same}


def scan_all(what: str) -> dict[str, Any]:
    """Say what an import of *what* would take."""
    failed: list[str] = []
    began = time.perf_counter()
    found = scan([what], failed=lambda path, _: failed.append(path))
    took = time.perf_counter() - began
    return {"seconds": took, "estimate": found.total("estimate"), "failed": failed}


def _peak() -> int:
    """Return the most bytes of memory that this process had."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux's own answer to the above begins with what the parent had.
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+([0-9]+) kB", status)
    assert found
    return int(found[1]) * 1024


def watched(work: Callable[..., dict[str, Any]], *what: Path | int) -> dict[str, Any]:
    """
    Do *work*, a function of this module, in a process of its own.

    Returns:
        What it returns, and ``start`` and ``peak``: bytes of memory.
    """
    root = str(Path(castore.__file__).parents[1])
    command = [sys.executable, __file__, work.__name__, *map(str, what)]
    done = subprocess.run(
        command, check=True, capture_output=True, env={"PYTHONPATH": root}
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def main() -> None:
    """Do what `watched` asks for."""
    work: dict[str, Callable[..., dict[str, Any]]]
    work = {"import": import_times, "restore": restore_all, "scan": scan_all}
    start = _peak()
    facts = work[sys.argv[1].partition("_")[0]](*sys.argv[2:])
    json.dump({**facts, "start": start, "peak": _peak()}, sys.stdout)


if __name__ == "__main__":
    main()
