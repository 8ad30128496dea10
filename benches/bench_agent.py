"""
What does an agent's life cost: time, bytes, and going back to any turn?

The workload is `workload.py`. Floor: one solid stream of zstd -3 with long
matches over all that each turn wrote. Peers: those of `peers.py` that are here; what
keeps some of it only is compared with castore keeping the same.
Expected: ingest 15 times as fast as git, 30 as borg, 70 as restic, 4 as LangGraph's
saver and at most 2.5 times the floor; bytes at most 0.8 of git's and 1.45 of the
floor; the newest turn in 0.3 of git's time.
"""

import argparse
import random
import time

from functools import partial
from pathlib import Path

import zstandard

from harness import costs, folder, report, seconds
from peers import installed
from workload import turns

import castore

from castore.packing import pack


class Castore:
    """A store, and where each turn ends in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = castore.open(path, create=True)
        self.ends = {}
        self.seconds = []

    def take(self, turn):
        """Commit *turn*: entries, and a reference for each slot that it wrote."""
        start = time.perf_counter()
        segment, count, like = self.ends.get(turn.parent, (None, 0, {}))
        refs = {
            slot: self.store.put(turn.payloads[slot], like=like.get(slot))
            for slot in sorted(turn.changed)
        }
        entries = [castore.NewEntry(kind, body) for kind, body in turn.entries]
        named = [castore.Reference(slot, ref) for slot, ref in refs.items()]
        entries[-1] = castore.NewEntry(*turn.entries[-1], named)
        # Whatever a turn begins with, it is one commit.
        if segment is None:
            segment = self.store.create_session(key=("bench", "life"), then=entries)
        elif count < segment.count:
            segment = segment.fork(count, then=entries)
        else:
            segment.append(entries)
        self.seconds.append(time.perf_counter() - start)
        self.ends[turn.number] = (segment, segment.count, {**like, **refs})

    def restore(self, number):
        """Return what the agent held at the end of *number*, read anew."""
        with castore.open(self.path) as store:
            _, _, refs = self.ends[number]
            return {slot: store.get(ref) for slot, ref in refs.items()}

    def size(self):
        """Return the bytes of journals and packs."""
        return sum(path.stat().st_size for path in (self.path / "files").iterdir())


def solid(made):
    """Return seconds and bytes of one stream over everything written."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=27, enable_ldm=True
    )
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    size = 0
    start = time.perf_counter()
    for turn in made:
        size += len(stream.compress(turn.log()))
        for slot in sorted(turn.changed):
            size += len(stream.compress(turn.payloads[slot]))
    size += len(stream.flush())
    return time.perf_counter() - start, size


def run(made, *, seed):
    """Return the facts of castore on *made*."""
    rng = random.Random(seed)
    with folder() as path:
        mine = Castore(path / "store")
        for turn in made:
            mine.take(turn)
        before = mine.size()
        # What a living process holds open stays until a later pack.
        mine.store.close()
        with castore.open(path / "store") as store:
            packed = seconds(partial(pack, store.engine))
        after = mine.size()
        newest = min(seconds(lambda: mine.restore(len(made) - 1)) for _ in range(3))
        some = rng.sample(range(len(made)), min(20, len(made)))
        restored = []
        for number in [*some, 0, len(made) - 1]:
            start = time.perf_counter()
            found = mine.restore(number)
            restored.append(time.perf_counter() - start)
            assert found == made[number].payloads
    return {
        **costs(mine.seconds, before=before, packed=packed, after=after, newest=newest),
        "restore_any_ms": round(sum(restored) / len(restored) * 1e3, 1),
        "restore_worst_ms": round(max(restored) * 1e3, 1),
    }


def narrowed(made, slots):
    """Return *made* with nothing but *slots*, None for all: a peer's scope."""
    if slots is None:
        return made
    return [
        turn._replace(
            payloads={name: turn.payloads[name] for name in sorted(slots)},
            changed=turn.changed & slots,
        )
        for turn in made
    ]


def run_peer(peer, made):
    """Return the facts of one peer on *made*."""
    last = made[-1]
    with folder() as path:
        other = peer(path / peer.name)
        for turn in made:
            other.take(turn)
        before = other.size()
        packed = seconds(other.pack)
        start = time.perf_counter()
        found = other.restore(last.number)
        newest = time.perf_counter() - start
        assert found.items() <= last.payloads.items()
        assert found
        after = other.size()
    return costs(
        other.seconds, before=before, packed=packed, after=after, newest=newest
    )


def compared(mine, other):
    """Return castore's share of what a peer needs; for the ingest how many times."""
    return {
        "ingest_faster": round(other["ingest_s"] / mine["ingest_s"], 1),
        "bytes_after": round(mine["bytes_after"] / other["bytes_after"], 3),
        "restore_newest": round(
            mine["restore_newest_ms"] / other["restore_newest_ms"], 2
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", action="store_true", help="they take minutes")
    options = parser.parse_args()
    made = list(turns(options.seed, count=options.turns))
    floor_s, floor = solid(made)
    mine = run(made, seed=options.seed)
    here, missing = installed() if options.peers else ([], ["all: say --peers"])
    peers = {peer.name: run_peer(peer, made) for peer in here}
    scoped = {
        peer.name: run(narrowed(made, peer.slots), seed=options.seed)
        for peer in here
        if peer.slots is not None
    }
    written = sum(len(turn.payloads[slot]) for turn in made for slot in turn.changed)
    report(
        "agent",
        {
            "seed": options.seed,
            "turns": options.turns,
            "written_bytes": written + sum(len(turn.log()) for turn in made),
            "solid": {"seconds": round(floor_s, 2), "bytes": floor},
            "castore": mine,
            "castore_in_scope_of": scoped,
            "peers": peers,
            "not_run": missing,
            "ratios": {
                "ingest_to_solid": round(mine["ingest_s"] / floor_s, 2),
                "after_to_solid": round(mine["bytes_after"] / floor, 2),
                **{
                    name: compared(scoped.get(name, mine), other)
                    for name, other in peers.items()
                },
                "before_to_after": round(mine["bytes_before"] / mine["bytes_after"], 2),
            },
        },
    )


if __name__ == "__main__":
    main()
