"""
Does a fork cost the same whatever the length of its history?

Floor: one append to the same store. Expected: a fork of 100,000 entries <= 2 ms
more than a commit, independent of length, <= 1 KB.
"""

import argparse
import statistics

from functools import partial

from harness import entry_bodies, folder, report, times

import castore


def append_one(segment, number):
    segment.append([castore.NewEntry("x", b"%d" % number)])


def fork_one(segment, number):
    segment.fork(segment.count * (number + 1) // 51)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    body = entry_bodies(1, seed=options.seed)[0]
    facts = {"seed": options.seed, "lengths": {}}
    with folder() as path, castore.open(path / "store", create=True) as store:
        for count in (options.count // 100, options.count):
            segment = store.create_session()
            for at in range(0, count, 1000):
                segment.append(
                    [
                        castore.NewEntry("x", b"%d " % number + body[:80])
                        for number in range(at, min(at + 1000, count))
                    ]
                )
            append = times(partial(append_one, segment), 50)
            before = store.stats().stored_bytes
            fork = times(partial(fork_one, segment), 50)
            size = (store.stats().stored_bytes - before) / 50
            facts["lengths"][count] = {
                "append_ms": round(statistics.median(append) * 1e3, 3),
                "fork_ms": round(statistics.median(fork) * 1e3, 3),
                "fork_bytes": round(size),
            }
    report("fork", facts)


if __name__ == "__main__":
    main()
