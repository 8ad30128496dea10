"""
Which files hold what is to go, and whether they can be replaced.

Spec: spec/erasing.md, "Where it stands".
"""

from __future__ import annotations

import time

from castore.engine import Engine
from castore.engine.members import files_now
from castore.erasing.scope import Scope
from castore.errors import ConflictError, LockedError
from castore.formats import file as file_format
from castore.packing.rewrite import Input, closed_files, is_free, is_idle
from castore.reading.files import OpenFile
from castore.reading.frames import Gap, walk
from castore.reading.image import run_headers, stored_blobs
from castore.reading.survey import Survey
from castore.storage.holding import flock_holder


PAUSE_S = 0.05


def files_with(found: Survey, scope: Scope) -> set[bytes]:
    """
    Return the files in which something of *scope* stands: blobs that go, in any
    copy; what is stored as a difference to one; entries that go.
    """
    dead = scope.dead
    files: set[bytes] = set()
    for blobs in found.records.blobs:
        if blobs.file not in files and not dead.isdisjoint(blobs.names()):
            files.add(blobs.file)
    bases = found.records.bases.items()
    files.update(place.file for place, base in bases if base in dead)
    for segment in scope.leaving:
        files.update(run.file for run in found.runs.get(segment, ()))
    return files


def void_files(engine: Engine, scope: Scope) -> set[bytes]:
    """
    Return the files that may hold something of *scope* where nothing counts.

    Bytes that are no whole frame may be anything. The newest journal is left out:
    what comes there now is committed after this, or by nobody.
    """
    newest, stops = files_now(engine)
    found = set()
    for file in engine.state.opened.headers():
        start = stops.get(file.id, file_format.SIZE)
        if file.id != newest and _may_hold(engine, file, start, scope):
            found.add(file.id)
    return found


def _may_hold(engine: Engine, file: OpenFile, start: int, scope: Scope) -> bool:
    dead = scope.dead
    for item in walk(file, start, file.size()):
        if isinstance(item, Gap):
            # What a process writes right now ends in the middle of a frame.
            return is_free(engine, file)
        if not dead.isdisjoint(blob.digest for blob in stored_blobs(item)):
            return True
        if any(run.segment in scope.leaving for run in run_headers(item)):
            return True
    return False


def inputs_of(engine: Engine, files: set[bytes], deadline: float) -> list[Input]:
    """
    Return what has to be rewritten so that none of *files* stays.

    A journal takes the older ones with it: the chain of journals ends at the
    first that is dropped.

    Args:
        engine: The store; its journal was closed if it is one of them.

        files: What has to go.

        deadline: Until when to wait for who writes one of them, as
            `time.monotonic` counts.

    Raises:
        LockedError: A live process writes one of them.

        ConflictError: One was written until now: look again.
    """
    closed = closed_files(engine)
    held = files - {item.file.id for item in closed}
    if held:
        _wait(engine, sorted(map(file_format.file_name, held)), deadline)
        raise ConflictError(
            what="files that have to go were written meanwhile; try again",
            subject="file",
            expected="closed",
            actual="written",
        )
    newest = max(
        (item.file.header.number for item in closed if item.file.id in files),
        default=0,
    )
    return [
        item
        for item in closed
        if item.file.id in files or 0 < item.file.header.number <= newest
    ]


def _wait(engine: Engine, names: list[str], deadline: float) -> None:
    """Wait until nobody writes the side packs *names* any more."""
    files = engine.files
    while held := [n for n in names if files.exists(n) and not is_idle(engine, n)]:
        if time.monotonic() >= deadline:
            paths = map(files.path, held)
            holders = sorted({flock_holder(path) for path in paths} - {""})
            who = ", ".join(holders) or "another process"
            what = (
                f"{who} writes payloads into {len(held)} files that have to go; "
                "nothing was changed: try again when the store is closed there, or "
                "wait for it"
            )
            raise LockedError(what=what, holder=", ".join(holders))
        time.sleep(PAUSE_S)
