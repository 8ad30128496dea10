"""
``doctor``: what castore sees here, what is wrong with it, and what to do.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3

from typing import Any

import attrs

from castore import limits
from castore.cli.exits import Exit
from castore.cli.opening import store_path
from castore.cli.output import Output
from castore.cli.text import size_text
from castore.cli.versions import own_version, version_of
from castore.comparing import DAMAGED, EQUAL, FITS, NOT_JUDGED, judge_catalog
from castore.errors import CorruptionError, StorageError
from castore.formats import marker
from castore.formats.mark import LockFile
from castore.reading.folder import read_marker
from castore.reading.mark import LOCK, MarkWorth, judge_mark, read_lock
from castore.storage import Files


LIBRARIES = (
    "attrs",
    "backports.zstd",
    "blake3",
    "cbor2",
    "cryptography",
    "pyfastcdc",
    "zstandard",
)
_REBUILD = "run castore rebuild"
_FREE_SIZE_MIN = 2 * limits.JOURNAL_SIZE  # bytes


@attrs.define
class Diagnosis:
    """What is wrong, and what to do about it or to know more."""

    problems: list[str] = attrs.Factory(list)
    next_steps: list[str] = attrs.Factory(list)

    def problem(self, text: str, step: str) -> None:
        """Take in something that is wrong."""
        self.problems.append(text)
        self.next_steps.append(step)


def doctor(options: argparse.Namespace, out: Output) -> Exit:
    """Say what castore sees: itself, the machine, the store."""
    path, named_by = store_path(options)
    diagnosis = Diagnosis()
    race = has_wal_reset_race(sqlite3.sqlite_version_info)
    facts: dict[str, object] = {
        "castore": own_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: version_of(name) for name in LIBRARIES},
        "sqlite": {"version": sqlite3.sqlite_version, "wal_reset_race": race},
        "store": None,
    }
    exists = os.path.lexists(path / marker.NAME)
    if exists:
        store = {"path": str(path), "named_by": named_by}
        with out.progress("comparing") as progress:
            progress.update(0)
            store |= _examine(Files(path), diagnosis, deep=options.deep)
        facts["store"] = store
    else:
        diagnosis.problem(
            f"no store at {path} ({named_by})", "make one with castore import PATH"
        )
    _tell(facts, diagnosis, out)
    out.object(facts | attrs.asdict(diagnosis))
    if not exists:
        return Exit.NO_STORE
    return Exit.FINDINGS if diagnosis.problems else Exit.DONE


def has_wal_reset_race(found: tuple[int, ...]) -> bool:
    """
    Return whether that SQLite can lose a commit when two connections checkpoint.

    castore does so under the store's lock only, so it is safe with all of them.
    """
    if (3, 44, 6) <= found < (3, 45) or (3, 50, 7) <= found < (3, 51):
        return False
    return (3, 7) <= found < (3, 51, 3)


def _examine(files: Files, diagnosis: Diagnosis, *, deep: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "store_id": None,
        "writable": os.access(files.root, os.W_OK),
        "locks_exclude": _locks_exclude(files),
        "free_bytes": files.free_size(),
        "quarantined": len(files.list("quarantine")),
        "mark": None,
        "catalog": "not judged",
    }
    if facts["locks_exclude"] is False:
        diagnosis.problem(
            "locks of this file system do not exclude", "put the store on a local disk"
        )
    if facts["free_bytes"] < _FREE_SIZE_MIN:
        diagnosis.problem(
            f"only {size_text(facts['free_bytes'])} are free",
            "make room; castore gc and castore rm work on a full disk",
        )
    if facts["quarantined"]:
        diagnosis.next_steps.append(
            "quarantine/ holds torn bytes of commits that were never acknowledged, or "
            "damaged files that a repair replaced; remove them if nothing is missed"
        )
    try:
        store = read_marker(files)
    except CorruptionError as error:
        diagnosis.problem(f"{marker.NAME}: {error.what}", "restore it from a copy")
        return facts
    facts["store_id"] = store.hex()
    lock = read_lock(files)
    worth = judge_mark(files, lock)
    facts["mark"] = worth.value if lock else None
    if lock is not None and worth is MarkWorth.EXACT:
        facts["catalog"] = _judge_catalog(files, store, lock, diagnosis, deep=deep)
    else:
        diagnosis.next_steps.append(
            "the machine was restarted or the store copied since the last commit: "
            "the next command that opens it looks at its journal"
        )
    diagnosis.next_steps.append("castore verify checks every byte")
    return facts


def _locks_exclude(files: Files) -> bool | None:
    """Return whether a second lock is refused, None if that cannot be tried."""
    if not files.exists(LOCK):
        return None
    fds: list[int] = []
    try:
        fds += [files.open(LOCK)]
        fds += [files.open(LOCK)]
        had = [files.lock(fd) for fd in fds]
    except StorageError:
        return None
    finally:
        for fd in fds:
            files.close(fd)
    return not all(had)


def _judge_catalog(
    files: Files, store: bytes, lock: LockFile, diagnosis: Diagnosis, *, deep: bool
) -> str:
    """Return how the catalog compares with the journals, or with all files."""
    found = judge_catalog(files, store, lock, deep=deep)
    if found.state == NOT_JUDGED:
        diagnosis.next_steps.append(f"the catalog was not judged: {found.what}")
    elif found.state == DAMAGED:
        diagnosis.problem(found.what, "run castore verify")
    elif found.state not in (EQUAL, FITS):
        diagnosis.problem(found.what, _REBUILD)
    return found.state


def _tell(facts: dict[str, Any], diagnosis: Diagnosis, out: Output) -> None:
    out.line(f"castore {facts['castore']}, Python {facts['python']}")
    out.line(facts["platform"])
    libraries = facts["libraries"].items()
    out.line(", ".join(f"{name} {number}" for name, number in libraries if number))
    race = "has" if facts["sqlite"]["wal_reset_race"] else "does not have"
    out.line(
        f"SQLite {facts['sqlite']['version']}, {race} the WAL-reset race (harmless)"
    )
    for name, value in (facts["store"] or {}).items():
        shown = size_text(value) if name == "free_bytes" else value
        out.line(f"{name.replace('_', ' '):<14} {shown}")
    for text in diagnosis.problems:
        out.answer(f"problem: {text}")
    for text in diagnosis.next_steps:
        out.line(f"next: {text}")
