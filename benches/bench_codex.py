"""
How small does a history get whose images come again and again, and how fast?

Floor: the images' own bytes, and reading and hashing all of the history. Expected
after packing: <= 0.1 % of 10 GB; memory <= 150 MB above start for import, scan and
restore; every byte back. Argument: MB of the history, by default 10,000.
"""

import sys

from pathlib import Path

from codex_history import image_size, write
from harness import folder, report, seconds


sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench_scale import hash_all
from bulk import MB, import_times, restore_all, scan_all, watched

import castore

from castore.packing import pack


SEED = 1


def above(facts):
    return round((facts["peak"] - facts["start"]) / MB)


def measure(size):
    with folder() as below:
        top, place = below.absolute() / "in", below.absolute() / "store"
        top.mkdir()
        paths = write(top, size=size, seed=SEED)
        size = sum(path.stat().st_size for path in paths)
        hashed = seconds(lambda: hash_all(paths))
        took = watched(import_times, place, top, 1)
        with castore.open(place) as store:
            before = store.stats()
            packing = seconds(lambda: pack(store.engine))
            after = store.stats()
        back = watched(restore_all, place, *paths)
        looked = watched(scan_all, top)
        return {
            "files": len(paths),
            "size_mb": round(size / MB),
            "image_mb": round(image_size(SEED) / MB, 1),
            "stored_before_pack_mb": round(before.stored_bytes / MB, 2),
            "stored_mb": round(after.stored_bytes / MB, 2),
            "stored_percent": round(100 * after.stored_bytes / size, 3),
            "catalog_mb": round(after.catalog_bytes / MB, 1),
            "import_mb_per_s": round(size / MB / took["seconds"][0]),
            "import_ratio_to_hash_floor": round(took["seconds"][0] / hashed, 1),
            "pack_s": round(packing, 1),
            "restore_mb_per_s": round(size / MB / back["seconds"]),
            "every_byte_back": all(back["same"]) and len(back["same"]) == len(paths),
            "scan_mb_per_s": round(size / MB / looked["seconds"]),
            "scan_estimate_mb": round(looked["estimate"] / MB, 2),
            "import_memory_above_start_mb": above(took),
            "restore_memory_above_start_mb": above(back),
            "scan_memory_above_start_mb": above(looked),
        }


def main():
    (size,) = (int(text) for text in (sys.argv[1:] or ["10000"]))
    report("codex", measure(size * MB))


if __name__ == "__main__":
    main()
