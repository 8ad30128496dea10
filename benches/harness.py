"""
What every bench shares: temporary folders, percentiles, one JSON object out.

A bench runs castore and its floor or peer in turns in one process, so that both
see the same machine; only ratios mean something.
"""

import json
import os
import platform
import random
import re
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path


@contextmanager
def folder() -> Iterator[Path]:
    """Give a temporary folder beside the working folder, on its file system."""
    path = Path(tempfile.mkdtemp(prefix=".bench-", dir="."))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def entry_bodies(count: int, *, seed: int, size: int = 1400) -> list[bytes]:
    """Return JSON lines of *size* bytes on average, as repetitive as an agent's."""
    rng = random.Random(seed)
    words = [f"{rng.getrandbits(40):x}" for _ in range(2000)]
    lines = []
    for number in range(count):
        text = " ".join(rng.choices(words, k=max(1, (size - 502) // 11)))
        line = {
            "parentUuid": f"{rng.getrandbits(128):032x}",
            "isSidechain": False,
            "userType": "external",
            "cwd": "/home/someone/project",
            "sessionId": "5d0e0f6c-2f6b-4c8e-9b43-7d9a3a2b1c00",
            "version": "2.1.3",
            "gitBranch": "main",
            "type": "assistant",
            "uuid": f"{rng.getrandbits(128):032x}",
            "timestamp": f"2026-01-01T00:00:00.{number % 1000:03d}Z",
            "requestId": f"req_{rng.getrandbits(64):x}",
            "message": {
                "role": "assistant",
                "model": "some-model",
                "id": f"msg_{rng.getrandbits(64):x}",
                "content": [{"type": "text", "text": text}],
                "usage": {"input_tokens": number % 997, "output_tokens": 17},
            },
        }
        lines.append(json.dumps(line).encode() + b"\n")
    return lines


def real_lines() -> list[bytes]:
    """Return the lines of the real transcripts, none without CASTORE_TEST_DATA."""
    data = os.environ.get("CASTORE_TEST_DATA")
    files = sorted(Path(data).glob("*/**/*.jsonl")) if data else []
    lines = []
    for file in files:
        with file.open("rb") as found:
            lines += [line for line in found if line.endswith(b"\n") and is_json(line)]
    return lines


def is_json(line: bytes) -> bool:
    """Return whether *line* is one whole JSON value."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def times(step: Callable[[int], object], count: int) -> list[float]:
    """Return the seconds of each of *count* calls."""
    found = []
    for number in range(count):
        start = time.perf_counter()
        step(number)
        found.append(time.perf_counter() - start)
    return found


def seconds(step: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def p(values: list[float], percent: int) -> float:
    """Return a percentile of *values*."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def spread(values: list[float]) -> dict[str, float]:
    """Return p50 and p99 in microseconds."""
    return {
        "p50_us": round(statistics.median(values) * 1e6, 1),
        "p99_us": round(p(values, 99) * 1e6, 1),
    }


def costs(
    turns: list[float], *, before: int, packed: float, after: int, newest: float
) -> dict[str, float]:
    """
    Return what a life cost that was kept turn by turn.

    Args:
        turns: Seconds of each.

        before: Bytes before it was packed.

        packed: Seconds of packing.

        after: Bytes after it.

        newest: Seconds of going back to the newest turn.
    """
    return {
        "ingest_s": round(sum(turns), 2),
        "turn_p50_ms": round(p(turns, 50) * 1e3, 2),
        "turn_p99_ms": round(p(turns, 99) * 1e3, 2),
        "bytes_before": before,
        "pack_s": round(packed, 2),
        "bytes_after": after,
        "restore_newest_ms": round(newest * 1e3, 1),
    }


@contextmanager
def compiled() -> Iterator[None]:
    """Let new processes find their modules compiled, as those of a package are."""
    with folder() as path:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(path.absolute())
        yield


def best(step: Callable[[], object], rounds: int = 3) -> float:
    """Return the seconds of the fastest of *rounds* calls."""
    return min(seconds(step) for _ in range(rounds))


def in_child(step: Callable[..., object], *arguments: object) -> dict[str, object]:
    """
    Call *step* in a new process; return its facts and the memory that they took.

    ``memory_above_start_mb`` is the most that the process held above what it held
    before; ``with_helpers_mb`` the same with all processes that it started. Looked
    at every 20 ms.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        process, start = pool.submit(_begin).result()
        running = pool.submit(step, *arguments)
        peak = total = start
        while not running.done():
            held = list(map(_held, _family(process)))
            peak, total = max(peak, held[0]), max(total, sum(held))
            time.sleep(0.02)
        facts = running.result()
    return {
        **facts,
        "memory_above_start_mb": round((peak - start) / 1e6),
        "with_helpers_mb": round((total - start) / 1e6),
    }


def _begin() -> tuple[int, int]:
    return os.getpid(), _held(os.getpid())


def _held(process: int) -> int:
    """Return the bytes of memory that *process* holds, 0 where nobody tells."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmRSS:\s+([0-9]+) kB", status)
    return int(found[1]) * 1024 if found else 0


def _family(process: int) -> list[int]:
    """Return *process* and all that it started, as far as anybody tells."""
    children = []
    for told in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            children += map(int, told.read_text().split())
    return [process, *(each for child in children for each in _family(child))]


def report(question: str, facts: dict[str, object]) -> None:
    """Print one JSON object."""
    machine = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": platform.system(),
    }
    json.dump({"bench": question, "machine": machine, **facts}, sys.stdout, indent=1)
    sys.stdout.write("\n")
