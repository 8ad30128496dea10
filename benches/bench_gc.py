"""
What does it take to find the garbage among a million blobs?

A million blobs of 40 bytes, each named by one reference; a tenth of them by a segment
that was deleted. Timed: the mark that follows what the catalog knows, and the one that
must agree before anything goes, from the files alone; then all of a collection. Times
of the clock, and of this process at work. Floors: all names out of the catalog's file
and into a set; all frames read, hashed and decompressed. Peers, over the same blobs as
files of two snapshots, one of which is forgotten: ``git gc --prune=now`` (and its mark
alone, ``git rev-list --objects``), ``restic prune``, ``borg compact`` with the
``delete`` before it, which is borg's mark. Expected: <= 3 s, <= 10 s, <= 200 MB, all of
it <= 300 MB; the default is a tenth of that, ask for more with --count. With --sessions
each so many blobs are a session of their own.
"""

import argparse
import json
import os
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


def is_garbage(number):
    """Return whether blob *number* is needed by nothing at last."""
    return number // (PER_ENTRY * PER_COMMIT) % GARBAGE == 0


def write(path, count, seed):
    coming = payloads(count, seed)
    with castore.open(path, create=True) as store:
        keep, waste = store.create_session(), store.create_session()
        for first in range(0, count, PER_ENTRY * PER_COMMIT):
            entries = []
            for at in range(PER_COMMIT):
                some = (store.put(next(coming)) for _ in range(PER_ENTRY))
                refs = [castore.Reference("part", ref) for ref in some]
                entries.append(castore.NewEntry("turn", b"%d %d" % (first, at), refs))
            (waste if is_garbage(first) else keep).append(entries)
        waste.delete()


def write_sessions(path, count, seed, sessions):
    """Write as many blobs as so many sessions of one entry each."""
    coming = payloads(count, seed)
    with castore.open(path, create=True) as store:
        for number in range(sessions):
            some = [store.put(next(coming)) for _ in range(count // sessions)]
            refs = [castore.Reference("part", ref) for ref in some]
            segment = store.create_session()
            segment.append([castore.NewEntry("turn", b"%d" % number, refs)])
            if number % GARBAGE == 0:
                segment.delete()


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


# --- peers -------------------------------------------------------------------


def write_files(path, count, seed):
    """Write the blobs as files of two folders; *waste* is to be forgotten."""
    for number, data in enumerate(payloads(count, seed)):
        kind = "waste" if is_garbage(number) else "keep"
        file = path / kind / f"{number // PER_ENTRY}" / f"{number}"
        if number % PER_ENTRY == 0:
            file.parent.mkdir(parents=True)
        file.write_bytes(data)


def run(*command, path):
    environment = {
        **os.environ,
        "BORG_BASE_DIR": str(path),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "RESTIC_PASSWORD": "bench",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    done = subprocess.run(
        command, check=True, env=environment, cwd=path, capture_output=True
    )
    return done.stdout


def git(path, count, seed):
    """Return the seconds of git's mark, and of all of its collection."""
    done = partial(run, "git", "--git-dir", "store", path=path)
    run("git", "init", "-q", "--bare", "store", path=path)
    with (path / "stream").open("wb") as stream:
        for number, data in enumerate(payloads(count, seed), 1):
            stream.write(b"blob\nmark :%d\ndata %d\n%s\n" % (number, len(data), data))
        for wanted in (False, True):
            ref = b"waste" if wanted else b"keep"
            stream.write(b"commit refs/heads/%s\ncommitter a <a> 0 +0000\n" % ref)
            stream.write(b"data 1\nx\n")
            for number in range(count):
                if is_garbage(number) is wanted:
                    name = b"%d/%d" % (number // PER_ENTRY, number)
                    stream.write(b"M 100644 :%d %s\n" % (number + 1, name))
    with (path / "stream").open("rb") as stream:
        subprocess.run(
            ["git", "--git-dir", path / "store", "fast-import", "--quiet"],
            check=True,
            stdin=stream,
        )
    done("update-ref", "-d", "refs/heads/waste")
    marked = seconds(partial(done, "rev-list", "--objects", "--all"))
    gone = seconds(partial(done, "gc", "--prune=now", "--quiet"))
    return {"rev_list_s": round(marked, 2), "gc_prune_now_s": round(gone, 2)}


def restic(path, count, seed):
    """Return the seconds of ``restic prune``."""
    done = partial(run, "restic", "-q", "-r", "store", path=path)
    done("init")
    write_files(path / "in", count, seed)
    for kind in ("keep", "waste"):
        done("backup", "--tag", kind, f"in/{kind}")
    (waste,) = json.loads(done("snapshots", "--tag", "waste", "--json"))
    done("forget", waste["id"])
    return {"prune_s": round(seconds(partial(done, "prune", "--max-unused=0")), 2)}


def borg(path, count, seed):
    """Return the seconds of ``borg delete`` and ``borg compact``."""
    done = partial(run, "borg", path=path)
    done("init", "-e", "none", "store")
    write_files(path / "in", count, seed)
    for kind in ("keep", "waste"):
        done("create", f"store::{kind}", f"in/{kind}")
    deleted = seconds(partial(done, "delete", "store::waste"))
    compacted = seconds(partial(done, "compact", "--threshold=0", "store"))
    return {"delete_s": round(deleted, 2), "compact_s": round(compacted, 2)}


def measure(peer, count, seed):
    if not shutil.which(peer.__name__):
        return "not installed"
    with folder() as path:
        return peer(path.absolute(), count, seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=0)
    options = parser.parse_args()
    made = (options.count, options.seed)
    step, more = (
        (write_sessions, (options.sessions,)) if options.sessions else (write, ())
    )
    with compiled(), folder() as path:
        store = path / "store"
        facts = {
            **vars(options),
            "made_s": round(seconds(partial(step, store, *made, *more)), 1),
            "floor_names_s": round(best(partial(read_names, store)), 2),
            "floor_frames_s": round(best(partial(read_frames, store)), 2),
            "mark_from_catalog": in_child(mark_catalog, store),
            "mark_from_files": in_child(mark_files, store),
            "collected": in_child(collect_all, store),
        }
    for peer in (git, restic, borg):
        facts[f"peer_{peer.__name__}"] = measure(peer, *made)
    report("gc", facts)


if __name__ == "__main__":
    main()
