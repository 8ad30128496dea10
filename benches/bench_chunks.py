"""
How fast is content cut into chunks, and would NumPy do without a dependency?

Floor: hashing the same bytes. Peers where they are installed: a gear hash in two
stages with NumPy (a window of 8 bytes first, the strong one of 32 bytes where that
says so), and the package `fastcdc`. Shown too: how many bytes of chunks are new
after 100 small edits. Expected: pyfastcdc >= 1.0x of NumPy's speed.
"""

import importlib.util
import os
import random
import time

from functools import partial

from blake3 import blake3
from harness import report

from castore.chunker import SIZE_AVERAGE, SPREAD, chunks


SIZE = 64 << 20
EDITS = 100
WINDOW = 32
BLOCK = 256 << 10  # bytes that stay near the processor
FAST = 8  # bytes of the first window, and bits of its hash


def with_numpy(data, average):
    """Yield chunks of *data*; as `chunks`, but for where they end."""
    import numpy as np

    gear = np.random.default_rng(1).integers(0, 1 << 63, 256, dtype=np.uint64)
    table = gear.astype(np.uint8).tobytes()
    found = []
    for at in range(0, len(data), BLOCK):
        first = max(0, at - FAST)
        fast = np.frombuffer(bytearray(data[first : at + BLOCK].translate(table)), "u1")
        for back in (1, 2, 4):  # windows of 2, 4 and 8 bytes
            fast[back:] += fast[:-back] << np.uint8(back)
        found.append(np.flatnonzero(fast[at - first :] == 0) + at)
    ends = np.concatenate(found)
    ends = ends[ends >= WINDOW]
    values = np.frombuffer(data, np.uint8)
    strong = np.zeros(len(ends), np.uint64)
    for back in range(WINDOW):
        strong += gear[values[ends - back]] << np.uint64(2 * back)
    bits = np.uint64(average.bit_length() - 1 - FAST)
    ends = ends[strong >> (np.uint64(64) - bits) == 0] + 1
    start, least, most = 0, average // SPREAD, average * SPREAD
    for end in [*ends.tolist(), len(data)]:
        if end - start < least and end < len(data):
            continue
        while end - start > most:
            yield data[start : start + most]
            start += most
        yield data[start:end]
        start = end


def with_fastcdc(data, average):
    from fastcdc import fastcdc

    least, most = average // SPREAD, average * SPREAD
    for chunk in fastcdc(data, least, average, most, fat=True):
        yield bytes(chunk.data)


def edited(data, rng):
    """Return *data* with some bytes in *EDITS* places replaced by fewer or more."""
    parts, at = [], 0
    for place in sorted(rng.sample(range(len(data)), EDITS)):
        parts += [data[at:place], rng.randbytes(rng.randrange(9))]
        at = min(len(data), place + rng.randrange(9))
    return b"".join([*parts, data[at:]])


def measure(cut, data, changed):
    best = 10.0**9
    for _ in range(3):
        start = time.process_time()
        found = list(cut(data))
        best = min(best, time.process_time() - start)
    assert data == b"".join(found)
    known = {blake3(part).digest() for part in found}
    new = [part for part in cut(changed) if blake3(part).digest() not in known]
    return {
        "mb_per_cpu_s": round(len(data) / 1e6 / best),
        "chunks": len(found),
        "new_after_edits_mb": round(sum(map(len, new)) / 1e6, 1),
    }


def main():
    rng = random.Random(1)
    data = rng.randbytes(SIZE)
    changed = edited(data, rng)
    start = time.process_time()
    blake3(data).digest()
    floor = round(SIZE / 1e6 / (time.process_time() - start))
    facts = {"floor_hash_mb_per_cpu_s": floor, "cores": os.cpu_count()}
    for average in (SIZE_AVERAGE, 8 << 10):
        cuts = {"pyfastcdc": lambda data: chunks([data], average=average)}  # noqa: B023
        for name, cut in (("numpy", with_numpy), ("fastcdc", with_fastcdc)):
            there = importlib.util.find_spec(name) is not None
            cuts[name] = partial(cut, average=average) if there else None
        facts[f"average {average >> 10} KiB"] = {
            name: measure(cut, data, changed) if cut else "not installed"
            for name, cut in cuts.items()
        }
    report("chunks", facts)


if __name__ == "__main__":
    main()
