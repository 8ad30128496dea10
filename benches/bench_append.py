"""
What does a durable append cost, over the floor of the disk and beside SQLite?

Floor: `pwrite` + `fdatasync` of as many bytes. Peer: SQLite in WAL mode with
synchronous=FULL doing the same work (BLAKE3, chain, zstd of the same bytes).
Expected: p50 of one entry <= 2x the floor, <= 120 us of CPU (what the floor takes
of it is given beside), p99 <= 25 ms over a run in which journals are closed, applied
and the catalog is checkpointed; batches of 10 and 100 >= 1.2x and 1.5x the entries/s of
SQLite at <= 0.5 of its bytes; 16 threads >= 2x one. Floor and peers take turns with
castore, a slice of the entries each: the disk is not the same for long.
"""

import argparse
import os
import random
import sqlite3
import statistics
import threading
import time

from functools import partial

import zstandard

from blake3 import blake3
from harness import entry_bodies, folder, report, seconds, spread

import castore


TURN = 20  # batches that each appends before it is another's turn
THREADS = 16
ROUNDS = 3  # of one thread and of many; the median counts


class Floor:
    """`pwrite` and `fdatasync` of the bytes as they are."""

    def __init__(self, path):
        self.fd = os.open(path / "floor", os.O_CREAT | os.O_RDWR)
        self.end = 0

    def append(self, bodies):
        self.end += os.pwrite(self.fd, b"".join(bodies), self.end)
        os.fdatasync(self.fd)

    def close(self):
        os.close(self.fd)
        return self.end


class Castore:
    """The public interface: one segment, one commit for each batch."""

    def __init__(self, path):
        self.store = castore.open(path / "store", create=True)
        self.segment = self.store.create_session()

    def append(self, bodies):
        self.segment.append([castore.NewEntry("assistant", body) for body in bodies])

    def close(self):
        size = self.store.stats().stored_bytes
        self.store.close()
        return size


class Sqlite:
    """SQLite doing the same work, one transaction for each batch."""

    def __init__(self, path):
        self.name = path / "sqlite.db"
        self.db = sqlite3.connect(self.name, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute(
            "CREATE TABLE entry (no INTEGER PRIMARY KEY, hash BLOB, body BLOB)"
        )
        self.db.execute(
            "CREATE TABLE blob (digest BLOB PRIMARY KEY, body BLOB) WITHOUT ROWID"
        )
        self.compressor = zstandard.ZstdCompressor(level=3)
        self.prev = b""

    def append(self, bodies):
        rows = []
        for body in bodies:
            digest = blake3(body).digest()
            self.prev = blake3(self.prev + digest).digest()
            rows.append((self.prev, digest, self.compressor.compress(body)))
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany(
            "INSERT INTO entry (hash, body) VALUES (?, ?)", [r[:2] for r in rows]
        )
        self.db.executemany(
            "INSERT OR IGNORE INTO blob VALUES (?, ?)", [r[1:] for r in rows]
        )
        self.db.execute("COMMIT")

    def close(self):
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.db.close()
        return self.name.stat().st_size


def race(kinds, bodies, batch):
    """Let each kind append all *bodies*, turn by turn; return what is known of each."""
    with folder() as path:
        racers = {kind.__name__.lower(): kind(path) for kind in kinds}
        took = {name: [] for name in racers}
        cpu = dict.fromkeys(racers, 0.0)
        batches = [bodies[at : at + batch] for at in range(0, len(bodies), batch)]
        for at in range(0, len(batches), TURN):
            for name, racer in racers.items():
                before = time.process_time()
                for some in batches[at : at + TURN]:
                    took[name].append(seconds(partial(racer.append, some)))
                cpu[name] += time.process_time() - before
        return {
            name: {
                **spread(took[name]),
                "cpu_us": round(cpu[name] / len(batches) * 1e6, 1),
                "entries_per_s": round(len(bodies) / sum(took[name])),
                "bytes": racer.close(),
            }
            for name, racer in racers.items()
        }


def measure_long(count, seed):
    """Append bodies that do not shrink, until journals were closed and applied."""
    rng = random.Random(seed)
    bodies = [rng.randbytes(1000) for _ in range(1000)]
    with folder() as path:
        racers = {"castore": Castore(path), "floor": Floor(path)}
        took = {name: [] for name in racers}
        for number in range(count):
            body = b"%d " % number + bodies[number % 1000]
            for name, racer in racers.items():
                took[name].append(seconds(partial(racer.append, [body])))
        journals = len(list((path / "store" / "files").iterdir()))
        for racer in racers.values():
            racer.close()
    return {
        "appends": count,
        "journals": journals,
        **{
            name: {**spread(each), "max_us": round(max(each) * 1e6)}
            for name, each in took.items()
        },
    }


def threads_rate(path, bodies, count):
    """Return the entries/s of *count* threads, each with a segment of one store."""
    with castore.open(path / f"threads-{time.perf_counter_ns()}", create=True) as store:
        segments = [store.create_session() for _ in range(count)]
        share = len(bodies) // count

        def work(number):
            for body in bodies[number * share : (number + 1) * share]:
                segments[number].append([castore.NewEntry("assistant", body)])

        threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return share * count / (time.perf_counter() - start)


def measure_threads(bodies):
    with folder() as path:
        rates = {1: [], THREADS: []}
        for _ in range(ROUNDS):
            for count, found in rates.items():
                found.append(threads_rate(path, bodies, count))
    one, many = (statistics.median(found) for found in rates.values())
    return {"one": round(one), "many": round(many), "ratio": round(many / one, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--long", type=int, default=120_000)
    options = parser.parse_args()
    bodies = entry_bodies(options.count, seed=options.seed, size=options.size)
    facts = vars(options)
    one = facts["one"] = race([Floor, Castore], bodies, 1)
    facts["one_to_floor_p50"] = round(
        one["castore"]["p50_us"] / one["floor"]["p50_us"], 2
    )
    facts["one_cpu_over_floor_us"] = round(
        one["castore"]["cpu_us"] - one["floor"]["cpu_us"], 1
    )
    for batch in (10, 100):
        found = facts[f"batch_{batch}"] = race([Castore, Sqlite], bodies, batch)
        ours, theirs = found["castore"], found["sqlite"]
        found["speed_ratio"] = round(ours["entries_per_s"] / theirs["entries_per_s"], 2)
        found["bytes_ratio"] = round(ours["bytes"] / theirs["bytes"], 2)
    facts["threads_16_to_1"] = measure_threads(bodies[: options.count // 2])
    facts["long"] = measure_long(options.long, options.seed)
    report("append", facts)


if __name__ == "__main__":
    main()
