"""
How fast do 100,000 entries come back, checked, beside plain JSONL?

Floor: reading JSONL lines with json.loads (and orjson.loads where installed).
Expected: entries as attrs, chain and content checked <= 1.2x json.loads; bodies
lazily <= 0.6x orjson.loads. Packed first. With CASTORE_TEST_DATA also for the
lines of real transcripts, which take a parser longer than generated ones.
"""

import argparse
import json

from harness import entry_bodies, folder, real_lines, report, seconds

import castore

from castore.packing import pack


ROUNDS = 3  # of each reader, in turns; the fastest counts


def read_jsonl(file, loads):
    with file.open("rb") as lines:
        for line in lines:
            loads(line)


def read_castore(path, segment):
    with castore.open(path, read_only=True) as store:
        for _ in store.segment(segment).read():
            pass


def list_castore(path, segment):
    with castore.open(path, read_only=True) as store:
        for _ in store.segment(segment).entries():
            pass


def write(path, bodies):
    (path / "log.jsonl").write_bytes(b"".join(bodies))
    with castore.open(path / "store", create=True) as store:
        segment = store.create_session()
        for at in range(0, len(bodies), 200):
            segment.append(
                [castore.NewEntry("assistant", b) for b in bodies[at : at + 200]]
            )
        pack(store.engine)
    return segment.id


def measure(bodies):
    with folder() as path:
        segment = write(path, bodies)
        file, store = path / "log.jsonl", path / "store"
        readers = {
            "castore": lambda: read_castore(store, segment),
            "castore_entries": lambda: list_castore(store, segment),
            "json": lambda: read_jsonl(file, json.loads),
        }
        try:
            import orjson
        except ImportError:
            pass
        else:
            readers["orjson"] = lambda: read_jsonl(file, orjson.loads)
        took = {name: [] for name in readers}
        for _ in range(ROUNDS):
            for name, reader in readers.items():
                took[name].append(seconds(reader))
        size = sum(f.stat().st_size for f in (store / "files").iterdir())
        best = {name: min(found) for name, found in took.items()}
        facts = {
            "entries": len(bodies),
            "bytes_each": round(file.stat().st_size / len(bodies)),
            "us_each": {n: round(t / len(bodies) * 1e6, 2) for n, t in best.items()},
            "ratio_to_json": round(best["castore"] / best["json"], 2),
            "bytes_ratio": round(size / file.stat().st_size, 3),
        }
        if "orjson" in best:
            facts["ratio_to_orjson"] = round(best["castore"] / best["orjson"], 2)
        return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=1400)
    options = parser.parse_args()
    bodies = entry_bodies(options.count, seed=options.seed, size=options.size)
    facts = {"seed": options.seed, "generated": measure(bodies)}
    lines = real_lines()
    facts["real"] = measure(lines) if lines else "not run: no CASTORE_TEST_DATA"
    report("restore", facts)


if __name__ == "__main__":
    main()
