"""
What does a durable append cost, over the floor of the disk and beside SQLite?

Floor: `pwrite` + `fdatasync` of as many bytes. Peer: SQLite in WAL mode with
synchronous=FULL doing the same work (BLAKE3, chain, zstd of the same bytes).
Expected: p50 of one entry <= 2x the floor; batches of 10 and 100 >= 1.2x and
1.5x the entries/s of SQLite at <= 0.5 of its bytes; 16 threads >= 2x one.
"""

import argparse
import os
import sqlite3
import threading
import time

import zstandard

from blake3 import blake3
from harness import entry_bodies, folder, report, spread, times

import castore


def raw_append(path, bodies):
    fd = os.open(path / "floor", os.O_CREAT | os.O_RDWR)
    offset = 0

    def step(number):
        nonlocal offset
        offset += os.pwrite(fd, bodies[number], offset)
        os.fdatasync(fd)

    found = times(step, len(bodies))
    os.close(fd)
    return found


def castore_append(path, bodies, batch):
    with castore.open(path / f"store-{batch}", create=True) as store:
        segment = store.create_session()
        before = time.process_time()

        def step(number):
            some = bodies[number * batch : number * batch + batch]
            segment.append([castore.NewEntry("assistant", body) for body in some])

        found = times(step, len(bodies) // batch)
        cpu = (time.process_time() - before) / len(found)
        size = store.stats().stored_bytes
    return found, cpu, size


def sqlite_append(path, bodies, batch):
    name = path / f"sqlite-{batch}.db"
    db = sqlite3.connect(name, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE entry (no INTEGER PRIMARY KEY, hash BLOB, body BLOB)")
    db.execute("CREATE TABLE blob (digest BLOB PRIMARY KEY, body BLOB) WITHOUT ROWID")
    compressor = zstandard.ZstdCompressor(level=3)
    prev = b""

    def step(number):
        nonlocal prev
        rows = []
        for body in bodies[number * batch : number * batch + batch]:
            digest = blake3(body).digest()
            prev = blake3(prev + digest).digest()
            rows.append((prev, digest, compressor.compress(body)))
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            "INSERT INTO entry (hash, body) VALUES (?, ?)", [r[:2] for r in rows]
        )
        db.executemany(
            "INSERT OR IGNORE INTO blob VALUES (?, ?)", [r[1:] for r in rows]
        )
        db.execute("COMMIT")

    found = times(step, len(bodies) // batch)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return found, name.stat().st_size


def castore_threads(path, bodies, count):
    with castore.open(path / f"threads-{count}", create=True) as store:
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bodies = entry_bodies(options.count, seed=options.seed, size=1000)
    facts = {"count": options.count, "seed": options.seed}
    with folder() as path:
        floor = raw_append(path, bodies)
        one, cpu, _ = castore_append(path, bodies, 1)
        facts["floor"] = spread(floor)
        facts["one"] = {**spread(one), "cpu_us": round(cpu * 1e6, 1)}
        facts["one_to_floor_p50"] = round(
            facts["one"]["p50_us"] / facts["floor"]["p50_us"], 2
        )
        for batch in (10, 100):
            ours, _, size = castore_append(path, bodies, batch)
            theirs, their_size = sqlite_append(path, bodies, batch)
            facts[f"batch_{batch}"] = {
                "entries_per_s": round(len(bodies) / sum(ours)),
                "sqlite_entries_per_s": round(len(bodies) / sum(theirs)),
                "speed_ratio": round(sum(theirs) / sum(ours), 2),
                "bytes_ratio": round(size / their_size, 2),
            }
        rates = {count: castore_threads(path, bodies, count) for count in (1, 16)}
        facts["threads_entries_per_s"] = {k: round(v) for k, v in rates.items()}
        facts["threads_16_to_1"] = round(rates[16] / rates[1], 2)
    report("append", facts)


if __name__ == "__main__":
    main()
