"""
How many bytes does the catalog take for what it indexes?

Floor: an SQLite table of as many 32-byte keys, as many rows. Peers keep no index
that could be told apart from their data. Expected after a checkpoint: <= 350 B for
each entry with a body, one commit each, and <= 120 B for each further blob.
"""

import argparse
import os
import sqlite3

from harness import folder, report

import castore


PER_ENTRY = 100  # references


def append_entries(path, count):
    with castore.open(path) as store:
        (session,) = store.sessions()
        for number in range(count):
            body = b"an entry with the number %d" % number
            session.latest.append([castore.NewEntry("turn", body)])


def append_blobs(path, count):
    with castore.open(path) as store:
        (session,) = store.sessions()
        segment = session.latest
        for number in range(0, count, PER_ENTRY):
            some = (b"%d blob" % n for n in range(number, number + PER_ENTRY))
            refs = [castore.Reference("part", store.put(data)) for data in some]
            segment.append([castore.NewEntry("turn", b"", refs)])


def size(path):
    """Return the bytes of the catalog at rest: closing checkpointed it."""
    return sum(file.stat().st_size for file in path.glob("catalog-*.sqlite*"))


def write_sqlite(file, count):
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE t (k BLOB PRIMARY KEY, n INTEGER) WITHOUT ROWID")
    rows = ((os.urandom(32), number) for number in range(count))
    db.executemany("INSERT INTO t VALUES (?, ?)", rows)
    db.commit()
    db.close()
    return file.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--blobs", type=int, default=200_000)
    options = parser.parse_args()
    facts = dict(vars(options))
    with folder() as path:
        store = path / "store"
        with castore.open(store, create=True) as made:
            made.create_session()
        before = size(store)
        append_entries(store, options.entries)

        between = size(store)
        append_blobs(store, options.blobs)
        after = size(store)
        floor = write_sqlite(path / "floor.db", options.blobs)
    facts["bytes_per_entry_and_body"] = round((between - before) / options.entries, 1)
    facts["bytes_per_further_blob"] = round((after - between) / options.blobs, 1)
    facts["floor_bytes_per_key"] = round(floor / options.blobs, 1)
    report("catalog", facts)


if __name__ == "__main__":
    main()
