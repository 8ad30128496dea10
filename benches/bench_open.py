"""
How long until a store answers: open, start of the command, catalog made anew, ls?

Floors: opening an SQLite file of as many 32-byte keys and asking for one; putting
as many sorted keys into one; a Python that does nothing. Peer: ``git --version``,
``git for-each-ref`` of as many packed refs as there are sessions. Expected: a store
of a million blobs opens in <= 50 ms, the command starts in <= 120 ms, 1M records
are rebuilt in <= 60 s, 100k idle segments in <= 10 s, 100k sessions are listed in
<= 0.3 s. The default is a tenth of all that; ask for more with --count, --segments.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys

from functools import partial

from harness import best, compiled, folder, in_child, report, seconds

import castore


def run(*command, **options):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)


def write_blobs(path, count):
    with castore.open(path, create=True) as store:
        segment = store.create_session()
        for at in range(0, count, 1000):
            bodies = (b"%d" % number for number in range(at, at + 1000))
            segment.append([castore.NewEntry("x", body) for body in bodies])


def write_segments(path, count):
    with castore.open(path, create=True) as store:
        for number in range(count):
            store.create_session(key=("bench", f"session-{number}"))


def open_store(path):
    castore.open(path).close()


def rebuild(path):
    with castore.open(path) as store:
        took = seconds(store.engine.rebuild)
        return {"rebuild_s": round(took, 2)}


def write_sqlite(path, count):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE t (k BLOB PRIMARY KEY) WITHOUT ROWID")
    keys = sorted(os.urandom(32) for _ in range(count))
    took = seconds(partial(_insert, db, keys))
    db.close()
    return took


def _insert(db, keys):
    db.executemany("INSERT INTO t VALUES (?)", [(key,) for key in keys])
    db.commit()


def ask_sqlite(path):
    db = sqlite3.connect(path)
    db.execute("SELECT k FROM t WHERE k = ?", (bytes(32),)).fetchall()
    db.close()


def measure_blobs(path, count):
    write_blobs(path / "blobs", count)
    inserted = write_sqlite(path / "floor.db", count)
    opened = best(partial(open_store, path / "blobs"), 5)
    asked = best(partial(ask_sqlite, path / "floor.db"), 5)
    return {
        "blobs": count,
        "open_ms": round(opened * 1e3, 2),
        "floor_sqlite_open_ms": round(asked * 1e3, 2),
        **in_child(rebuild, path / "blobs"),
        "floor_sqlite_insert_s": round(inserted, 2),
    }


def measure_segments(path, count):
    store = path / "segments"
    write_segments(store, count)
    listing = [sys.executable, "-m", "castore", "--store", str(store), "ls"]
    facts = {
        "segments": count,
        "ls_s": round(best(partial(run, *listing)), 3),
        "ls_newest_20_s": round(best(partial(run, *listing, "--limit", "20")), 3),
        **in_child(rebuild, store),
    }
    if shutil.which("git"):
        git = ["git", "--git-dir", str(path / "git")]
        run(*git, "init", "-q", "--bare")
        tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # the empty one
        run(*git, "hash-object", "-t", "tree", "-w", os.devnull)
        refs = "".join(f"create refs/x/{n} {tree}\n" for n in range(count))
        run(*git, "update-ref", "--stdin", input=refs.encode())
        run(*git, "pack-refs", "--all")
        facts["peer_git_refs_s"] = round(best(partial(run, *git, "for-each-ref")), 3)
    return facts


def measure_start(path):
    castore.open(path / "empty", create=True).close()
    command = [sys.executable, "-m", "castore"]
    ways = {
        "version_ms": [*command, "--version"],
        "ls_empty_ms": [*command, "--store", str(path / "empty"), "ls"],
        "floor_python_ms": [sys.executable, "-c", "pass"],
    }
    if shutil.which("git"):
        ways["peer_git_version_ms"] = ["git", "--version"]
    return {
        name: round(best(partial(run, *way), 5) * 1e3, 1) for name, way in ways.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--segments", type=int, default=10_000)
    options = parser.parse_args()
    with compiled(), folder() as path:
        facts = {
            "start": measure_start(path),
            "blobs": measure_blobs(path, options.count),
            "segments": measure_segments(path, options.segments),
        }
    report("open", facts)


if __name__ == "__main__":
    main()
