"""
How long does it take to open a store, and to make its catalog anew?

Floor: opening an SQLite file of as many 32-byte keys and asking for one.
Expected: a store of a million blobs opens in <= 50 ms; 1M records are rebuilt in
<= 60 s. The default is a tenth of that; ask for more with --count.
"""

import argparse
import os
import sqlite3

from harness import folder, report, seconds

import castore


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    options = parser.parse_args()
    facts = {"blobs": options.count}
    with folder() as path:
        with castore.open(path / "store", create=True) as store:
            segment = store.create_session()
            for at in range(0, options.count, 1000):
                segment.append(
                    [castore.NewEntry("x", b"%d" % n) for n in range(at, at + 1000)]
                )
        db = sqlite3.connect(path / "floor.db")
        db.execute("CREATE TABLE t (k BLOB PRIMARY KEY) WITHOUT ROWID")
        db.executemany(
            "INSERT INTO t VALUES (?)",
            [(os.urandom(32),) for _ in range(options.count)],
        )
        db.commit()
        db.close()

        def open_store():
            castore.open(path / "store").close()

        def open_sqlite():
            db = sqlite3.connect(path / "floor.db")
            db.execute("SELECT k FROM t WHERE k = ?", (bytes(32),)).fetchall()
            db.close()

        facts["open_ms"] = round(min(seconds(open_store) for _ in range(5)) * 1e3, 2)
        facts["sqlite_ms"] = round(min(seconds(open_sqlite) for _ in range(5)) * 1e3, 2)
        with castore.open(path / "store") as store:
            facts["rebuild_s"] = round(seconds(store.engine.rebuild), 2)
            stats = store.stats()
            facts["catalog_bytes_per_entry"] = round(
                stats.catalog_bytes / stats.entries
            )
    report("open", facts)


if __name__ == "__main__":
    main()
