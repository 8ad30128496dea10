"""
What does a proof of inclusion cost in a log of a million entries?

Floor: 20 bare BLAKE3 hashes of 64 bytes, in turns with the proofs. Expected: at most
20 hashes in a proof; made in <= 1 ms warm (frames around it were read before),
checked in <= 0.2 ms, the file decoded and hashed from the bytes on.
"""

import argparse
import statistics

from blake3 import blake3
from harness import folder, report, seconds

import castore

from castore.proofs.decoding import check_proof


BATCH = 5000  # entries of one commit while the log is made
TURNS = 300
WARM = 20  # entries that are asked for again and again


def floor():
    for _ in range(20):
        blake3(bytes(64)).digest()


def measure(log, indices):
    made, checked, bare, sizes, hashes = [], [], [], [], []
    for index in indices:
        bare.append(seconds(floor))
        found = []
        made.append(seconds(lambda at=index, into=found: into.append(log.prove(at))))
        data = found[0].encode()
        checked.append(seconds(lambda data=data: check_proof(data)))
        sizes.append(len(data))
        hashes.append(len(found[0].hashes))
    hashed = statistics.median(bare)
    return {
        "made_ms": round(statistics.median(made) * 1e3, 3),
        "checked_ms": round(statistics.median(checked) * 1e3, 3),
        "made_ratio_to_20_hashes": round(statistics.median(made) / hashed, 1),
        "checked_ratio_to_20_hashes": round(statistics.median(checked) / hashed, 1),
        "hashes_max": max(hashes),
        "bytes_max": max(sizes),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    options = parser.parse_args()
    with folder() as path, castore.open(path / "store", create=True) as store:
        log = store.create_session()
        for at in range(1, options.count, BATCH):
            stop = min(at + BATCH, options.count)
            log.append([castore.NewEntry("x", b"%d" % n) for n in range(at, stop)])
        store.engine.upkeep.apply_all()
        step = options.count // TURNS
        cold = [(7 + step * turn) % options.count for turn in range(TURNS)]
        warm = (cold[:: TURNS // WARM] * TURNS)[:TURNS]
        facts = {"count": log.count, "cold": measure(log, cold)}
        measure(log, warm[:WARM])
        facts["warm"] = measure(log, warm)
    report("proof", facts)


if __name__ == "__main__":
    main()
