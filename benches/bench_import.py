"""
How fast do real transcripts come in, and how small do they get?

Floor: one solid zstd-3 stream with a long window over the unique lines of each
folder. Expected after packing: <= 1.25x its bytes, every byte back.
Without CASTORE_TEST_DATA nothing is run, and it says so.
"""

import hashlib
import os
import time

from pathlib import Path

import zstandard

from harness import folder, report

import castore

from castore.importer import import_paths, restore
from castore.packing import pack


FOLDERS = ("claude-code/2a55af89", "claude-code/0cf3db51", "pi")


def solid_size(files):
    """Return the bytes of one solid stream of the unique lines."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=27, enable_ldm=True
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    seen, lines = set(), []
    for file in files:
        for line in file.read_bytes().splitlines(keepends=True):
            digest = hashlib.blake2b(line, digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                lines.append(line)
    return len(compressor.compress(b"".join(lines)))


class Sink:
    """Compares what is restored with the original, holding neither."""

    def __init__(self, original):
        self.file = original.open("rb")
        self.equal = True

    def write(self, data):
        self.equal = self.equal and self.file.read(len(data)) == bytes(data)
        return len(data)


def measure(files):
    with folder() as path, castore.open(path / "store", create=True) as store:
        start = time.perf_counter()
        found = list(import_paths(store, [str(file) for file in files], now_ms=0))
        took = time.perf_counter() - start
        before = store.stats().stored_bytes
        pack(store.engine)
        after = store.stats().stored_bytes
        equal = True
        for item in found:
            sink = Sink(Path(item.path))
            restore(store, store.segment(item.segment_id), sink)
            equal = equal and sink.equal and not sink.file.read(1)
        raw = sum(file.stat().st_size for file in files)
        floor = solid_size(files)
        return {
            "raw_bytes": raw,
            "import_mb_per_s": round(raw / took / 1e6, 1),
            "stored_bytes_before_pack": before,
            "stored_bytes": after,
            "solid_bytes": floor,
            "ratio_to_solid": round(after / floor, 3),
            "every_byte_back": equal,
        }


def main():
    data = os.environ.get("CASTORE_TEST_DATA")
    if not data:
        report("import", {"not run": "CASTORE_TEST_DATA is not set"})
        return
    facts = {}
    for name in FOLDERS:
        files = sorted(file for file in (Path(data) / name).iterdir() if file.is_file())
        facts[name] = measure(files)
    report("import", facts)


if __name__ == "__main__":
    main()
