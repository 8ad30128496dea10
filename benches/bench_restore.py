"""
How fast do 100,000 entries come back, checked, beside plain JSONL?

Floor: reading JSONL lines with json.loads (and orjson.loads where installed).
Expected: entries as attrs, chain and content checked <= 1.2x json.loads; bodies
lazily <= 0.6x orjson.loads.
"""

import argparse
import json

from harness import entry_bodies, folder, report, seconds

import castore

from castore.packing import pack


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bodies = entry_bodies(options.count, seed=options.seed)
    facts = {"count": options.count, "seed": options.seed}
    with folder() as path:
        (path / "log.jsonl").write_bytes(b"".join(bodies))
        with castore.open(path / "store", create=True) as store:
            segment = store.create_session()
            for at in range(0, options.count, 200):
                segment.append(
                    [castore.NewEntry("assistant", b) for b in bodies[at : at + 200]]
                )
            pack(store.engine)

        def read_jsonl(loads):
            with (path / "log.jsonl").open("rb") as file:
                for line in file:
                    loads(line)

        def read_castore():
            with castore.open(path / "store", read_only=True) as store:
                for _ in store.segment(segment.id).read():
                    pass

        facts["json_s"] = round(seconds(lambda: read_jsonl(json.loads)), 3)
        facts["castore_s"] = round(seconds(read_castore), 3)
        facts["ratio_to_json"] = round(facts["castore_s"] / facts["json_s"], 2)
        try:
            import orjson
        except ImportError:
            facts["orjson"] = "not run: not installed"
        else:
            facts["orjson_s"] = round(seconds(lambda: read_jsonl(orjson.loads)), 3)
            facts["ratio_to_orjson"] = round(facts["castore_s"] / facts["orjson_s"], 2)
        size = sum(f.stat().st_size for f in (path / "store" / "files").iterdir())
        facts["bytes_ratio"] = round(size / (path / "log.jsonl").stat().st_size, 3)
    report("restore", facts)


if __name__ == "__main__":
    main()
