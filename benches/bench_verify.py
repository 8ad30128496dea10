"""
How fast is everything checked, the catalog absent, with two processes?

Records of 64 KiB and more: floor, two threads that read the same frames and do no
more than zstd and BLAKE3 at C speed; peers, ``restic check --read-data`` and ``borg
check --verify-data`` of the same content. The agent's life (`workload`), whose
payloads are differences: the same peers. Entries of 1.4 KB, as they came in and
packed: floor, json.loads of the same lines in one process. Stored bytes only, by two
threads and the parts of the package, since verify has no such level yet: the floor is
BLAKE3 of the files.

Expected: >= 0.5 of the two threads and >= 1.7 times the peers; entries >= 200 MB/s
and >= 0.8 of json.loads; stored bytes >= 4 GB/s; memory <= 200 MB.
"""

import argparse
import json
import random
import shutil

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import zstandard

from bench_agent import Castore
from blake3 import blake3
from harness import (
    best,
    compiled,
    entry_bodies,
    folder,
    in_child,
    real_lines,
    report,
)
from peers import Borg, Restic
from workload import Turn, turns

import castore

from castore.packing import pack
from castore.reading.contents import Part
from castore.reading.files import OpenFile
from castore.reading.frames import Gap, walk
from castore.reading.parts import read_in_parts
from castore.storage import Files
from castore.verify import verify


JOBS = 2
ROUNDS = 2


def check(path):
    took = best(partial(verify_once, path), ROUNDS)
    return {"s": round(took, 3)}


def verify_once(path):
    assert verify(path, jobs=JOBS).ok


def drop_catalog(path):
    for file in path.glob("catalog*"):
        file.unlink()


# --- records of 64 KiB and more ----------------------------------------------


def records(size, *, seed):
    """Yield blobs of 64 KiB - 1 MiB, *size* bytes together, which shrink to a third."""
    rng = random.Random(seed)
    words = [b"%x " % rng.getrandbits(44) for _ in range(4000)]
    while size > 0:
        wanted = rng.randrange(1 << 16, 1 << 20)
        text = b"".join(rng.choices(words, k=wanted // 10))[:wanted]
        yield text
        size -= len(text)


def write_records(path, blobs):
    with castore.open(path, create=True) as store:
        segment = store.create_session()
        for number, blob in enumerate(blobs):
            ref = castore.Reference("x", store.put(blob))
            segment.append([castore.NewEntry("x", b"%d" % number, [ref])])


def stored_parts(path):
    """Return where the frames of a store have their stored parts, and how packed."""
    found = []
    for file in (path / "files").iterdir():
        opened = OpenFile(Files(path), bytes.fromhex(file.stem), None)
        for frame in walk(opened, 188, opened.size()):
            start = frame.offset + 28 + frame.header.table_size
            found.append((file, start, frame.header.stored_size, frame.header.codec))
    return found


def read_parts(parts):
    decompressor = zstandard.ZstdDecompressor()
    files = {file: file.open("rb", buffering=0) for file, *_ in parts}
    for file, start, size, codec in parts:
        files[file].seek(start)
        data = files[file].read(size)
        blake3(data).digest()
        if codec:
            blake3(decompressor.decompress(data)).digest()
    for file in files.values():
        file.close()


def read_in_threads(parts):
    with ThreadPoolExecutor(JOBS) as threads:
        list(threads.map(read_parts, [parts[at::JOBS] for at in range(JOBS)]))


def hash_files(path):
    for file in (path / "files").iterdir():
        blake3(file.read_bytes()).digest()


def walk_in_threads(path):
    """Check the frames' own hashes and nothing else: what a level of verify will do."""
    files = {
        file.stem: OpenFile(Files(path), bytes.fromhex(file.stem), None)
        for file in (path / "files").iterdir()
    }
    opened = {file.id: file for file in files.values()}
    with ThreadPoolExecutor(JOBS) as threads:

        def read(spans):
            return threads.map(lambda span: walk_part(opened[span.file], span), spans)

        found = read_in_parts(opened, read, lambda _: None)
    assert not any(contents.gaps for contents in found.values())


def walk_part(file, span):
    part = Part([], [], None)
    for item in walk(file, span.start, span.stop):
        part = Part([], [item] if isinstance(item, Gap) else [], item.end)
        if item.end is None or item.end >= span.end:
            break
    return part


def measure_stored(path):
    size = sum(file.stat().st_size for file in (path / "files").iterdir())
    floor = best(partial(hash_files, path), ROUNDS)
    took = best(partial(walk_in_threads, path), ROUNDS)
    return {
        "stored_mb": round(size / 1e6),
        "gb_per_s": round(size / took / 1e9, 2),
        "floor_blake3_one_thread_gb_per_s": round(size / floor / 1e9, 2),
    }


def run_peers(path, states):
    """Return the seconds that each peer takes to check the same content."""
    found = {}
    commands = {
        Restic: ("restic", "-q", "-r", "{}", "check", "--read-data"),
        Borg: ("borg", "check", "--verify-data", "{}"),
    }
    for kind, command in commands.items():
        if not shutil.which(kind.name):
            found[kind.name] = "not installed"
            continue
        peer = kind(path / kind.name)
        for state in states:
            peer.take(state)
        kept = str(peer.path / "kept")
        run = partial(peer.run, *(part.format(kept) for part in command))
        found[kind.name] = round(best(run, ROUNDS), 3)
        shutil.rmtree(peer.path)
    return found


def compare(facts, peers):
    return {
        f"speed_to_{name}": round(took / facts["s"], 2)
        for name, took in peers.items()
        if isinstance(took, float)
    }


def measure_records(size, seed):
    blobs = list(records(size, seed=seed))
    with folder() as path:
        write_records(path / "store", blobs)
        drop_catalog(path / "store")
        facts = in_child(check, path / "store")
        parts = stored_parts(path / "store")
        floor = best(partial(read_in_threads, parts), ROUNDS)
        stored = measure_stored(path / "store")
        state = Turn(0, None, [], {f"{n}": b for n, b in enumerate(blobs)}, frozenset())
        peers = run_peers(path, [state])
    raw = sum(map(len, blobs))
    return {
        "raw_mb": round(raw / 1e6),
        **facts,
        "mb_per_s": round(raw / 1e6 / facts["s"]),
        "floor_two_threads_s": round(floor, 3),
        "speed_to_floor": round(floor / facts["s"], 2),
        "peers_s": peers,
        **compare(facts, peers),
        "stored_bytes_only": stored,
    }


def measure_life(count, seed):
    made = list(turns(seed, count=count))
    with folder() as path:
        mine = Castore(path / "store")
        for turn in made:
            mine.take(turn)
        mine.store.close()
        found = {"turns": count}
        for name in ("as_it_came", "packed"):
            if name == "packed":
                with castore.open(path / "store") as store:
                    pack(store.engine)
            drop_catalog(path / "store")
            found[name] = in_child(check, path / "store")
        peers = found["peers_s"] = run_peers(path, made)
        found.update(compare(found["packed"], peers))
    return found


# --- entries of 1.4 KB -------------------------------------------------------


def measure_entries(bodies):
    raw = sum(map(len, bodies))
    found = {"entries": len(bodies), "raw_mb": round(raw / 1e6)}
    with folder() as path:
        store_path = path / "store"
        with castore.open(store_path, create=True) as store:
            segment = store.create_session()
            for at in range(0, len(bodies), 100):
                some = bodies[at : at + 100]
                segment.append([castore.NewEntry("x", body) for body in some])
        for name in ("as_it_came", "packed"):
            if name == "packed":
                with castore.open(store_path) as store:
                    pack(store.engine)
            drop_catalog(store_path)
            facts = found[name] = in_child(check, store_path)
            parsed = best(lambda: [json.loads(body) for body in bodies], ROUNDS)
            facts["mb_per_s"] = round(raw / 1e6 / facts["s"])
            facts["speed_to_json"] = round(parsed / facts["s"], 2)
    return found


def measure(options):
    facts = {
        **vars(options),
        "records": measure_records(options.size * 1_000_000, options.seed),
        "life": measure_life(options.turns, options.seed),
        "entries_made": measure_entries(
            entry_bodies(options.entries, seed=options.seed)
        ),
    }
    if lines := real_lines():
        # Equal lines are stored once, and looked at once: a number makes each new.
        objects = [line[:-2] for line in lines if line.endswith(b"}\n")]
        varied = [b'%s,"n":%d}\n' % (each, n) for n in range(4) for each in objects]
        facts["entries_real"] = measure_entries(varied)
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=500, help="MB of large records")
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with compiled():
        facts = measure(options)
    report("verify", facts)


if __name__ == "__main__":
    main()
