"""
Weigh what bundles cost: ``python bundle_weigher.py FOLDER STORE``.

Each file of FOLDER is checked and taken in by a process of its own; for each one
line of JSON says how that ended and the most memory that it had.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from pathlib import Path

import castore

from castore.bundles import check_bundle, import_bundle
from castore.errors import CastoreError


CPU_MAX_S = 60  # a hang ends, with a signal


def weigh(path: Path, store: Path, *, taking: bool) -> dict[str, object]:
    """Check, or take in, *path* in a child; return how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_MAX_S, CPU_MAX_S))
        os.write(writing, end_of(path, store if taking else None).encode())
        os._exit(0)
    os.close(writing)
    _, status, used = os.wait4(child, 0)
    with os.fdopen(reading) as pipe:
        end = pipe.read()
    facts = {"name": path.name, "taking": taking, "end": end, "status": status}
    return facts | {"kib": used.ru_maxrss, "cpu_s": used.ru_utime + used.ru_stime}


def end_of(path: Path, store: Path | None) -> str:
    """Return the kind of error that a bundle leads to, or what is said of it."""
    try:
        if store is not None:
            with castore.open(store) as opened:
                import_bundle(opened.engine, path)
            return "taken"
        return "ok" if check_bundle(path).report.ok else "refused"
    except CastoreError as error:
        return type(error).__name__


if __name__ == "__main__":
    for file in sorted(Path(sys.argv[1]).iterdir()):
        for is_taken in (False, True):
            facts = weigh(file, Path(sys.argv[2]), taking=is_taken)
            sys.stdout.write(json.dumps(facts) + "\n")
