"""
Does a fork cost the same whatever the length of its history?

Floor: one append to the same store, in turns with the forks. Expected: a fork of
100,000 entries <= 2 ms more than a commit, independent of length, <= 1 KB. A fork
at the head reads nothing; one elsewhere reads the frames around it, cold here.
"""

import argparse
import statistics

from harness import entry_bodies, folder, report, seconds

import castore


FORKS = 50
BATCH = 1000  # entries of one commit while the history is made


def measure(store, segment):
    """Append, fork at the head and fork inside, in turns."""
    append, head, inside = [], [], []
    before = store.stats()
    for number in range(FORKS):
        entry = castore.NewEntry("x", b"%d" % number)
        append.append(seconds(lambda entry=entry: segment.append([entry])))
        head.append(seconds(segment.fork))
        at = segment.count * (number + 1) // (FORKS + 1)
        inside.append(seconds(lambda at=at: segment.fork(at)))
    after = store.stats()
    commit = statistics.median(append)
    return {
        "append_ms": round(commit * 1e3, 3),
        "fork_at_head_over_append_ms": round(
            (statistics.median(head) - commit) * 1e3, 3
        ),
        "fork_inside_over_append_ms": round(
            (statistics.median(inside) - commit) * 1e3, 3
        ),
        "bytes_of_a_fork": round(
            (after.stored_bytes - before.stored_bytes) / (3 * FORKS)
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    body = entry_bodies(1, seed=options.seed)[0]
    facts = {"count": options.count, "seed": options.seed, "lengths": {}}
    with folder() as path, castore.open(path / "store", create=True) as store:
        for count in (options.count // 100, options.count):
            segment = store.create_session()
            for at in range(0, count, BATCH):
                segment.append(
                    [
                        castore.NewEntry("x", b"%d " % number + body[:80])
                        for number in range(at, min(at + BATCH, count))
                    ]
                )
            store.engine.upkeep.apply_all()
            facts["lengths"][count] = measure(store, segment)
    report("fork", facts)


if __name__ == "__main__":
    main()
