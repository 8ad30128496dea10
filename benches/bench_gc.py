"""
What does it take to find the garbage among a million blobs?

A million blobs of 40 bytes, each named by one reference; a tenth of them by a segment
that was deleted. Timed: the mark that follows what the catalog knows, and the one that
must agree before anything goes, from the files alone; then all of a collection. Times
of the clock, and of this process at work. Floors: all names out of the catalog's file
and into a set; all frames read, hashed and decompressed. Peer: ``git rev-list
--objects`` over as many blobs. Expected: <= 3 s, <= 10 s, <= 200 MB, all of it <= 300
MB; the default is a tenth of that, ask for more with --count.
"""

import argparse
import random
import shutil
import sqlite3
import subprocess
import time

from functools import partial

from harness import best, compiled, folder, in_child, report, seconds

import castore

from castore.agreeing import named_by_files
from castore.engine.view import listed_frames
from castore.gc import collect
from castore.marking import mark


PER_ENTRY = 200  # references
PER_COMMIT = 10  # entries
GARBAGE = 10  # of so many commits one is for nothing


def payloads(count, seed):
    rng = random.Random(seed)
    return (rng.randbytes(40) for _ in range(count))


def write(path, count, seed):
    coming = payloads(count, seed)
    with castore.open(path, create=True) as store:
        keep, waste = store.create_session(), store.create_session()
        for number in range(count // (PER_ENTRY * PER_COMMIT)):
            entries = []
            for at in range(PER_COMMIT):
                some = (store.put(next(coming)) for _ in range(PER_ENTRY))
                refs = [castore.Reference("part", ref) for ref in some]
                entries.append(castore.NewEntry("turn", b"%d %d" % (number, at), refs))
            (keep if number % GARBAGE else waste).append(entries)
        waste.delete()


def took(step):
    at_work = time.process_time()
    elapsed = seconds(step)
    return {
        "s": round(elapsed, 2),
        "cpu_s": round(time.process_time() - at_work, 2),
    }


def mark_catalog(path):
    with castore.open(path) as store:
        return took(partial(mark, store.engine, None))


def mark_files(path):
    with castore.open(path) as store:
        marks = mark(store.engine, None)
        terms = marks.policy.terms
        return took(partial(named_by_files, store.engine, marks.dead, (), terms))


def collect_all(path):
    with castore.open(path) as store:
        return took(partial(collect, store.engine, grace_s=0))


def read_names(path):
    (file,) = path.glob("catalog-*.sqlite")
    db = sqlite3.connect(file)
    names = {digest for (digest,) in db.execute("SELECT digest FROM place")}
    db.close()
    return len(names)


def read_frames(path):
    with castore.open(path) as store:
        opened = store.engine.state.opened
        for file in opened.headers():
            for frame in listed_frames(file, file.size()):
                len(frame.records.raw)


def measure_git(path, count, seed):
    """Return the seconds of git's own mark over as many blobs."""
    if not shutil.which("git"):
        return "not installed"
    git = ("git", "--git-dir", str(path))
    subprocess.run([*git, "init", "-q", "--bare"], check=True)
    fed = subprocess.Popen([*git, "fast-import", "--quiet"], stdin=subprocess.PIPE)
    for number, data in enumerate(payloads(count, seed), 1):
        fed.stdin.write(b"blob\nmark :%d\ndata %d\n%s\n" % (number, len(data), data))
    fed.stdin.write(b"commit refs/heads/x\ncommitter a <a> 0 +0000\ndata 1\nx\n")
    for number in range(1, count + 1):
        name = b"%d/%d" % (number // PER_ENTRY, number)
        fed.stdin.write(b"M 100644 :%d %s\n" % (number, name))
    fed.stdin.close()
    fed.wait()
    listing = [*git, "rev-list", "--objects", "--all"]
    run = partial(subprocess.run, listing, check=True, stdout=subprocess.DEVNULL)
    return round(seconds(run), 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with compiled(), folder() as path:
        store = path / "store"
        facts = {
            **vars(options),
            "made_s": round(
                seconds(partial(write, store, options.count, options.seed)), 1
            ),
            "floor_names_s": round(best(partial(read_names, store)), 2),
            "floor_frames_s": round(best(partial(read_frames, store)), 2),
            "mark_from_catalog": in_child(mark_catalog, store),
            "mark_from_files": in_child(mark_files, store),
            "peer_git_rev_list_s": measure_git(
                path / "git", options.count, options.seed
            ),
            "collected": in_child(collect_all, store),
        }
    report("gc", facts)


if __name__ == "__main__":
    main()
