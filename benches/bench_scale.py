"""
How fast do thousands of files come in, and one huge one, and in how much memory?

Floors: reading and hashing all bytes (first import), one stat of each file
(second import, nothing changed). Expected: memory <= 150 MB above start; the
second import >= 0.1 of the floor. Arguments: count of files, MB of the huge one;
by default 20,000 and 4,000.
"""

import sys
import time

from pathlib import Path

from blake3 import blake3
from harness import folder, report, seconds


sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bulk import MB, import_times, watched, write_large, write_many


READ_SIZE = 1 << 20


def hash_all(files):
    for path in files:
        whole = blake3()
        with path.open("rb") as file:
            while data := file.read(READ_SIZE):
                whole.update(data)
        whole.digest()


def stat_all(top):
    for path in top.rglob("*.jsonl"):
        path.stat()


def many(count):
    with folder() as below:
        path = below.absolute()
        write_many(path / "in", count)
        files = sorted((path / "in").rglob("*.jsonl"))
        hashed = seconds(lambda: hash_all(files))
        statted = seconds(lambda: stat_all(path / "in"))
        facts = watched(import_times, path / "store", path / "in", 2)
        first, second = facts["seconds"]
        return {
            "files": count,
            "files_per_s": round(count / first),
            "files_per_s_unchanged": round(count / second),
            "floor_hash_files_per_s": round(count / hashed),
            "floor_stat_files_per_s": round(count / statted),
            "unchanged_ratio_to_floor": round(statted / second, 3),
            "memory_above_start_mb": round((facts["peak"] - facts["start"]) / MB),
        }


def huge(size):
    with folder() as below:
        path = below.absolute()
        file = path / "huge.jsonl"
        write_large(file, size * MB)
        hashed = seconds(lambda: hash_all([file]))
        facts = watched(import_times, path / "store", file, 1)
        took = facts["seconds"][0]
        began = time.perf_counter()
        with file.open("ab") as end:
            end.write(b'{"type":"user"}\n')
        grown = watched(import_times, path / "store", file, 1)
        stored = sum(p.stat().st_size for p in (path / "store").rglob("*"))
        return {
            "size_mb": size,
            "mb_per_s": round(size / took),
            "ratio_to_hash_floor": round(took / hashed, 1),
            "grown_s": round(grown["seconds"][0], 2),
            "grown_with_start_of_python_s": round(time.perf_counter() - began, 2),
            "stored_mb": round(stored / MB),
            "memory_above_start_mb": round((facts["peak"] - facts["start"]) / MB),
        }


def main():
    count, size = (int(text) for text in (sys.argv[1:] or ["20000", "4000"]))
    report("scale", {"many": many(count), "huge": huge(size)})


if __name__ == "__main__":
    main()
