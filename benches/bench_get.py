"""
What does one payload cost out of a 4 MiB block, cold and warm?

Cold: a store just opened, whose first question this is; the file system's cache is
warm. Floor: `pread` of the frame, zstd and BLAKE3 of the whole block, which nobody
can go below who reads one. Peer: a row of SQLite, the file opened for each cold
one. Expected: cold <= 10 ms, warm <= 50 us.
"""

import argparse
import random
import sqlite3
import statistics
import time

from functools import partial

import zstandard

from blake3 import blake3
from harness import entry_bodies, folder, report, seconds, spread

import castore

from castore import limits
from castore.packing import pack


WARM = 2000  # reads of blocks that are decoded


def write(path, bodies):
    """Return the names of *bodies* in a packed store."""
    with castore.open(path, create=True) as store:
        segment = store.create_session()
        for at in range(0, len(bodies), 500):
            segment.append(
                [castore.NewEntry("x", body) for body in bodies[at : at + 500]]
            )
        pack(store.engine)
        return [entry.body for entry in segment.entries(1)]


def write_sqlite(file, bodies, names):
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE t (k BLOB PRIMARY KEY, body BLOB) WITHOUT ROWID")
    rows = [(ref.digest, body) for ref, body in zip(names, bodies, strict=True)]
    db.executemany("INSERT INTO t VALUES (?, ?)", rows)
    db.commit()
    db.close()


def read_cold(path, ref):
    """Return the seconds of the first read of a store, without those of opening."""
    with castore.open(path, read_only=True) as store:
        return seconds(partial(store.get, ref))


def read_sqlite(file, digest):
    db = sqlite3.connect(file)
    db.execute("SELECT body FROM t WHERE k = ?", (digest,)).fetchone()
    db.close()


def read_floor(block, size):
    start = time.perf_counter()
    blake3(block).digest()
    blake3(zstandard.ZstdDecompressor().decompress(block)).digest()
    return {
        "raw_size": size,
        "stored_size": len(block),
        "ms": round((time.perf_counter() - start) * 1e3, 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--cold", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    bodies = entry_bodies(options.count, seed=options.seed)
    raw = b"".join(bodies)[: limits.BLOCK_SIZE]
    with folder() as path:
        names = write(path / "store", bodies)
        write_sqlite(path / "peer.db", bodies, names)
        some = rng.choices(names, k=options.cold)
        cold = [read_cold(path / "store", ref) for ref in some]
        peer = [seconds(partial(read_sqlite, path / "peer.db", r.digest)) for r in some]
        with castore.open(path / "store", read_only=True) as store:
            # Blocks that fit the cache of decoded ones: `limits.CACHE_SIZE`.
            near = [rng.choice(names[:5000]) for _ in range(WARM)]
            for ref in near:
                store.get(ref)
            warm = [seconds(partial(store.get, ref)) for ref in near]
        db = sqlite3.connect(path / "peer.db")
        ask = partial(db.execute, "SELECT body FROM t WHERE k = ?")
        peer_warm = [seconds(lambda r=r: ask((r.digest,)).fetchone()) for r in near]
        db.close()
    floor = read_floor(zstandard.ZstdCompressor(level=9).compress(raw), len(raw))
    facts = {
        **vars(options),
        "cold": spread(cold),
        "floor_block": floor,
        "cold_to_floor": round(statistics.median(cold) * 1e3 / floor["ms"], 2),
        "peer_sqlite_cold": spread(peer),
        "warm": spread(warm),
        "peer_sqlite_warm": spread(peer_warm),
    }
    report("get", facts)


if __name__ == "__main__":
    main()
