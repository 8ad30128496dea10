"""
Large files and many files, made from a seed, and an import of them watched.
"""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys

from pathlib import Path
from typing import Any

import castore


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


_WATCHED = """
import json, pathlib, re, resource, sys, time
import castore
from castore.importer import import_paths
import castore.compress, castore.importer.content, castore.packing
def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux's own answer to the above begins with what the parent had.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+([0-9]+) kB", status)[1]) * 1024
facts = {"start": peak(), "seconds": [], "new": [], "files": []}
for _ in range(int(sys.argv[3])):
    with castore.open(sys.argv[1], create=True) as store:
        began = time.perf_counter()
        done = list(import_paths(store, [sys.argv[2]], now_ms=4_000_000_000_000))
        facts["seconds"].append(time.perf_counter() - began)
        facts["new"].append(sum(file.new_entries for file in done))
        facts["files"].append(len(done))
facts["peak"] = peak()
print(json.dumps(facts))
"""


def watched_import(store: Path, what: Path, *, times: int = 1) -> dict[str, Any]:
    """
    Import *what* in a process of its own, *times* times.

    Returns:
        ``start`` and ``peak``: bytes of memory; and of each time ``seconds``,
        ``new`` entries and ``files``.
    """
    root = str(Path(castore.__file__).parents[1])
    command = [sys.executable, "-c", _WATCHED, str(store), str(what), str(times)]
    done = subprocess.run(
        command, check=True, capture_output=True, env={"PYTHONPATH": root}
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts
