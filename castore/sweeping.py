"""
Checking a store a share at a time, so that each run is short and none is spared.

The files that were not looked at for longest go first. When that was stands in a
ledger beside the catalog, as expendable as that: without it all files are as if
they had never been looked at. So it does not matter how often this runs, nor
whether one run has less time than another.

Spec: spec/folder.md.
"""

from __future__ import annotations

import contextlib
import json

from collections.abc import Callable

import attrs

from castore.engine import Engine
from castore.engine.members import members
from castore.errors import NotFoundError, StorageError
from castore.formats.file import file_name
from castore.packing.rewrite import maintenance
from castore.storage import Files
from castore.verify import Report, verify_files


LEDGER = "catalog-checked"


@attrs.frozen
class Sweep:
    """
    What a run looked at.

    Attributes:
        report: What it found, and how much of the store it covered.

        file_count: Files of the store.

        size: Their bytes.
    """

    report: Report
    file_count: int
    size: int


def sweep(
    engine: Engine,
    *,
    share: int,
    now_ms: int,
    progress: Callable[[int, int], None] | None = None,
    enough: Callable[[], bool] = bool,
) -> Sweep:
    """
    Check the files that were not checked for longest, as of `verify_files`.

    Files are taken until they are one *share*-th of the bytes of the store, at
    least one: in *share* runs everything is covered that was there at the first.
    A damaged file is looked at again in each run. Under the maintenance lock.

    Args:
        engine: The store.

        share: How many runs a store takes.

        now_ms: The time, ms since 1970 UTC.

        progress: Told how many of how many bytes were read.

        enough: Asked before each file whether to stop there.

    Raises:
        LockedError: Somebody else maintains the store.

        StorageError: The medium failed.
    """
    with maintenance(engine):
        extents = members(engine.refresh(), engine.state.opened, engine.store)
        ledger = _read(engine.files)
        # What came since the last run was just written: it joins at the end, and
        # counts as looked at when it came.
        times = {file: ledger.get(file, now_ms if ledger else 0) for file in extents}
        chosen = _choose(extents, times, share)
        report = verify_files(
            engine.files, engine.store, chosen, progress=progress, enough=enough
        )
        faulty = {finding.where.partition("@")[0] for finding in report.findings}
        for file in list(chosen)[: report.covered["files"]]:
            times[file] = 0 if file_name(file) in faulty else now_ms
        _write(engine.files, times)
    oldest = min(times.values(), default=now_ms)
    report = attrs.evolve(report, oldest_ms=oldest or None)
    return Sweep(report, len(extents), sum(extents.values()))


def _choose(
    extents: dict[bytes, int], times: dict[bytes, int], share: int
) -> dict[bytes, int]:
    chosen: dict[bytes, int] = {}
    size, wanted = 0, sum(extents.values()) / share
    for file in sorted(extents, key=lambda file: (times[file], file)):
        if size >= wanted:
            break
        chosen[file] = extents[file]
        size += extents[file]
    return chosen


def _read(files: Files) -> dict[bytes, int]:
    """Return when each file was looked at; nothing if there is no good ledger."""
    try:
        fd = files.open(LEDGER)
        try:
            told = json.loads(files.read_up_to(fd, files.size(fd), 0))
        finally:
            files.close(fd)
        return {bytes.fromhex(file): int(time) for file, time in told.items()}
    except (NotFoundError, StorageError, ValueError, TypeError, AttributeError):
        return {}


def _write(files: Files, times: dict[bytes, int]) -> None:
    data = json.dumps({file.hex(): time for file, time in times.items()}).encode()
    with contextlib.suppress(StorageError):  # then some are checked again
        files.unlink(LEDGER)
        fd = files.create(LEDGER)
        try:
            files.write(fd, data, 0)
        finally:
            files.close(fd)
