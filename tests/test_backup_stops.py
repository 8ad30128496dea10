"""
A backup that is stopped anywhere shows what it showed before, or the new state.

After each change to its folder everything stops: by a kill, or by a power cut that
keeps, drops, or keeps in part what was not synced.

Spec: spec/backup.md, "The folder".
"""

from __future__ import annotations

import itertools
import random
import shutil

from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from backupkit import STOPS, DiskFiles

import castore

from castore import CastoreError, NewEntry, Reference, Store, limits
from castore.backups import backup_in
from castore.backups.copying import Copier
from castore.backups.snapshot import Taken
from castore.backups.target import Target
from castore.formats import marker
from castore.packing import pack
from castore.storage import Files
from castore.verify import verify


DICE = random.Random(5)
LARGE = [DICE.randbytes(3000) for _ in range(5)]


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with mock.patch.multiple(limits, SIDE_SIZE_MIN=2000, JOURNAL_SIZE=6000):
        yield


def grow(store: Store, number: int) -> None:
    """Write some entries, and a large payload, into several files."""
    log = store.create_session()
    for text in ("one", "two"):
        log.append([NewEntry("user", text.encode() * 20)])
    ref = store.put(LARGE[number])
    log.append([NewEntry("tool", b"large", [Reference("x", ref)])])


def begin(folder: Path) -> Store:
    """Return a store with something in it."""
    store = castore.open(folder / "store", create=True)
    grow(store, 0)
    return store


def nothing_yet(store: Store, target: Path) -> None:
    """Let the folder be none."""


def grown(store: Store, target: Path) -> None:
    """Let the folder hold an older state: journals and side pack go on."""
    backup_in(store.engine, target)
    grow(store, 1)


def packed(store: Store, target: Path) -> None:
    """Let the folder hold files that the store has dropped."""
    grown(store, target)
    backup_in(store.engine, target)
    pack(store.engine)
    grow(store, 2)


BEFORE = [nothing_yet, grown, packed]


def faults(
    folder: Path, before: Callable[[Store, Path], None], *, link: bool
) -> list[str]:
    """Return what was wrong with what some stop left."""
    wrong: list[str] = []
    numbers = itertools.count()
    with begin(folder) as store:
        target = folder / "backup"
        before(store, target)
        old = verify(target).seq if target.exists() else None
        files = DiskFiles(target)
        seqs = {old, store.engine.refresh().position.seq}

        def stop() -> None:
            number = next(numbers)
            for kind in STOPS:
                left = folder / "left"
                files.leave(kind, left)
                again = number % 7 == kind.seed
                fault = judge(store, left, seqs, again=again)
                if fault:
                    wrong.append(f"after change {number}, {kind}: {fault}")
                shutil.rmtree(left)

        files.changed = stop
        backup_in(store.engine, files, link=link)
        files.changed = None
        if next(numbers) < 20:
            wrong.append("hardly anything was stopped")
        if not verify(target).ok:
            wrong.append("not even the end is good")
    return wrong


def judge(
    store: Store, left: Path, seqs: set[int | None], *, again: bool
) -> str | None:
    """Return what is wrong with the folder *left*, None if nothing is."""
    shown = (left / marker.NAME).exists()
    if shown:
        report = verify(left)
        if not report.ok:
            return str(report.findings)
        if report.seq not in seqs:
            return f"commit {report.seq}"
    elif None not in seqs:
        return "no store"
    if again:
        try:
            backup_in(store.engine, left)
        except CastoreError as error:
            return f"the next run: {error!r}"
        report = verify(left)
        if not report.ok or report.seq not in seqs:
            return f"after the next run: {report.findings}"
        if len(list(left.glob("backup-*"))) != 1:
            return "files are left over"
    return None


@pytest.mark.parametrize("link", [False, True], ids=["copied", "linked"])
@pytest.mark.parametrize("before", BEFORE, ids=lambda before: before.__name__)
def test_stopped_anywhere(
    before: Callable[[Store, Path], None], folder: Path, *, link: bool
) -> None:
    """The folder shows the state before or the new one, and the next run goes on."""
    assert [] == faults(folder, before, link=link)


# --- this finds what it is for -------------------------------------------------


def found(folder: Path, before: Callable[[Store, Path], None] = packed) -> bool:
    """Return whether something goes wrong."""
    return bool(faults(folder, before, link=False))


def test_names_shown_before_they_are_durable_are_found(folder: Path) -> None:
    """Who shows a folder of files whose names are not synced loses some of them."""
    sync = DiskFiles.sync_folder

    def some(files: DiskFiles, name: str) -> None:
        if not name:
            sync(files, name)

    with mock.patch.object(DiskFiles, "sync_folder", some):
        assert found(folder)


def test_files_shown_before_they_are_durable_are_found(folder: Path) -> None:
    """Who shows files that are not synced loses what stands in them."""
    with mock.patch.object(DiskFiles, "sync"):
        assert found(folder)


def test_files_that_go_too_early_are_found(folder: Path) -> None:
    """Who removes what the folder shows before it shows something else has neither."""
    begin_run = Target.begin

    def early(target: Target, source: Files) -> None:
        begin_run(target, source)
        shown, target.shown = target.shown, ""
        target.sweep()
        target.shown = shown

    with mock.patch.object(Target, "begin", early):
        assert found(folder)


def test_two_steps_instead_of_one_are_found(folder: Path) -> None:
    """Who takes the old files away before he shows the new ones shows none between."""
    replace = DiskFiles.replace

    def slowly(files: DiskFiles, old: str, new: str) -> None:
        if new == "files":
            files.unlink(new)
        replace(files, old, new)

    with mock.patch.object(DiskFiles, "replace", slowly):
        assert found(folder)


def test_copies_in_place_are_found(folder: Path) -> None:
    """Who writes the newer journal over the older one shows half of it."""
    copy = Copier._copy

    def in_place(copier: Copier, name: str, taken: Taken) -> None:
        shown = copier._target.shown
        old = f"{shown}/{name.partition('/')[2]}"
        if not copier._files.size_of(old):
            return copy(copier, name, taken)
        fd = copier._files.open(old, write=True)
        copier._copy_frames(fd, taken, 188)
        copier._files.sync(fd)
        copier._files.close(fd)
        copier._files.link(old, name)
        return None

    with mock.patch.object(Copier, "_copy", in_place):
        assert found(folder, grown)
