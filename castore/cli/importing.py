"""
``import``: files in, once or over and over; originals out, where that is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import stat

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Self

import attrs

from castore.cli.arguments import RUNTIME
from castore.cli.bundling import import_bundles
from castore.cli.exits import CommandError, Exit, code_of, text_of
from castore.cli.opening import make_store, read_store
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.text import count_text, size_text
from castore.clock import now_ms
from castore.errors import CastoreError, LockedError
from castore.importer import (
    Choice,
    ImportedFile,
    Judged,
    import_paths,
    remove_originals,
)
from castore.store import Store


_SUFFIXES = {".json", ".jsonl", ".traj", ".zst"}


def import_(options: argparse.Namespace, out: Output) -> Exit:
    """Take transcripts or bundles in, making the store if there is none."""
    from castore.bundles import is_bundle

    if any(map(is_bundle, options.paths)):
        return import_bundles(options, out)
    _check(options)
    store, _ = make_store(options, out)
    run = _Run(options, out)
    with store:
        if options.watch:
            with _Stop() as stop:
                run.over_and_over(store, stop)
        else:
            run.once(store)
    out.line(run.summary())
    judged: list[Judged] = []
    if options.remove:
        judged = _remove(options, out, run)
    out.object(run.facts() | _judged_facts(judged))
    return run.code()


def _check(options: argparse.Namespace) -> None:
    if options.as_fork:
        raise CommandError(Exit.USAGE, "--as-fork is for bundles")
    if options.remove != (options.older_than is not None):
        what = "--remove and --older-than go together; say --remove --older-than 14d"
        raise CommandError(Exit.USAGE, what)
    if options.remove and options.watch:
        what = "--remove and --watch do not go together"
        raise CommandError(Exit.USAGE, what)
    if options.remove and options.format == RUNTIME:
        what = "--remove is for files that can be restored; commits are not kept so"
        raise CommandError(Exit.USAGE, what)


class _Run:
    """
    What one command took in.

    Attributes:
        files: By path, as they were last.

        failed: By path, why it could not be taken in when it was tried last.
    """

    def __init__(self, options: argparse.Namespace, out: Output) -> None:
        self._options = options
        self._out = out
        self._choice = Choice(exclude=options.exclude or (), since_ms=options.since)
        self.files: dict[str, ImportedFile] = {}
        self.failed: dict[str, CastoreError] = {}
        self._new_count = 0

    def once(self, store: Store) -> None:
        """Import all."""
        paths = self._options.paths
        with self._out.progress("importing") as progress:
            far = _Far(progress, paths)
            for file in self._import(store, far.told):
                far.done(file)
                self._take(file)
                self._out.line(_import_line(file))

    def over_and_over(self, store: Store, stop: _Stop) -> None:
        """Import all that is new, again and again, until *stop* is asked for."""
        self._out.note("watching; SIGINT or SIGTERM ends it")

        def told(*_: object) -> None:
            if stop.is_asked:
                raise _StoppedError

        while not stop.is_asked:
            try:
                for file in self._import(store, told):
                    self._take(file)
                    if file.new_entries:
                        self._out.line(_import_line(file))
                    told()
            except _StoppedError:
                return
            except LockedError as error:
                self._out.warn(f"{text_of(error)}; trying again")
            stop.wait(self._options.interval)

    def _import(self, store: Store, told: Any) -> Iterator[ImportedFile]:
        if self._options.format == RUNTIME:
            from castore.cli.replaying import replay_paths

            return replay_paths(store, self._options.paths, self._choice, self._fail)
        return import_paths(
            store,
            self._options.paths,
            format=self._options.format,
            choice=self._choice,
            now_ms=now_ms(),
            progress=told,
            failed=self._fail,
        )

    def _fail(self, path: str, error: CastoreError) -> None:
        before = self.failed.get(path)
        self.failed[path] = error
        if before is None or text_of(before) != text_of(error):
            self._out.warn(text_of(error))

    def _take(self, file: ImportedFile) -> None:
        self.failed.pop(file.path, None)
        self._new_count += file.new_entries
        before = self.files.get(file.path)
        if before is not None:
            new = before.new_entries + file.new_entries
            file = attrs.evolve(file, new_entries=new)
        self.files[file.path] = file

    # --- telling -------------------------------------------------------------

    def summary(self) -> str:
        """Return what was done, in one line."""
        files = self.files.values()
        size = sum(file.raw_bytes for file in files)
        entries = count_text(self._new_count, "new entry", "new entries")
        line = f"{count_text(len(files), 'file')}, {size_text(size)}, {entries}"
        partly = sum(file.packed in _UNPACKED for file in files)
        return f"{line}, {partly:,} unpacked in part" if partly else line

    def facts(self) -> dict[str, object]:
        """Return the same for scripts."""
        return {
            "files": [attrs.asdict(file) for file in self.files.values()],
            "bundles": [],
            "failed": [
                {"path": path, "what": text_of(error)}
                for path, error in self.failed.items()
            ],
        }

    def code(self) -> Exit:
        """Return the exit code."""
        if not self.failed:
            return Exit.DONE
        first = next(iter(self.failed.values()))
        return Exit.PARTIAL if self.files else code_of(first) or Exit.FAILED


def _import_line(file: ImportedFile) -> str:
    entries = count_text(file.entries, "entry", "entries")
    line = f"{file.path}: {file.format}, {entries}, {size_text(file.raw_bytes)}"
    if file.bad_lines:
        line += f", {count_text(file.bad_lines, 'bad line')} kept as they are"
    if file.new_entries != file.entries:
        line += f", {file.new_entries:,} new"
    return line + _UNPACKED.get(file.packed or "whole", "")


_UNPACKED = {
    "torn": "; unpacked as far as it goes: it ends inside of a frame",
    "damaged": "; unpacked as far as it goes: what follows is no zstd",
    "over": "; unpacked in part: it would be far too large",
}


class _Far:
    """Adds up how far an import of several files is."""

    def __init__(self, progress: Progress, paths: Iterable[str]) -> None:
        self._progress = progress
        self._total = sum(map(_size_below, paths)) if progress.is_seen else 0
        self._done = 0

    def told(self, _: str, done: int, __: int) -> None:
        """Take in how far a file is."""
        self._progress.update(self._done + done, self._total)

    def done(self, file: ImportedFile) -> None:
        """Take in that a file is done."""
        self._done += file.raw_bytes
        self._progress.update(self._done, self._total)


def _size_below(name: str) -> int:
    """Return about how many bytes an import of *name* reads."""
    path = Path(name)
    if not path.is_dir():
        return _size_of(path)
    return sum(_size_of(file) for file in path.rglob("*") if file.suffix in _SUFFIXES)


def _size_of(path: Path) -> int:
    try:
        facts = path.stat()
    except OSError:
        return 0  # the import says what is wrong with it
    return facts.st_size if stat.S_ISREG(facts.st_mode) else 0


# --- removing ----------------------------------------------------------------


def _remove(options: argparse.Namespace, out: Output, run: _Run) -> list[Judged]:
    """Remove originals that are in the store and were not changed for long."""
    if run.failed:
        out.warn("nothing is removed: some files could not be taken in")
        return []
    before_ms = now_ms() - round(options.older_than * 1000)
    # Another handle: what it gives back comes from the files of the store.
    files = list(run.files.values())
    total = sum(file.raw_bytes for file in files)
    with read_store(options) as store, out.progress("comparing") as progress:
        given = partial(progress.add, total=total)
        found = remove_originals(store, files, before_ms=before_ms, given=given)
        judged = list(found)
    gone = [item for item in judged if item.kept is None]
    size = size_text(sum(item.raw_bytes for item in gone))
    out.line(f"removed {count_text(len(gone), 'original')}, {size}")
    reasons = Counter(item.kept for item in judged if item.kept is not None)
    for why, count in reasons.most_common():
        out.line(f"kept {count_text(count, 'original')}: {why}")
    return judged


def _judged_facts(judged: list[Judged]) -> dict[str, object]:
    return {
        "removed": [
            {"path": item.path, "raw_bytes": item.raw_bytes}
            for item in judged
            if item.kept is None
        ],
        "kept": [
            {"path": item.path, "why": item.kept}
            for item in judged
            if item.kept is not None
        ],
    }


# --- stopping ----------------------------------------------------------------


class _StoppedError(Exception):
    """Somebody wants the command to end; everything so far is committed."""


class _Stop:
    """
    SIGINT and SIGTERM taken as a wish to end soon. A context manager.

    Attributes:
        is_asked: Whether one came.
    """

    _signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.is_asked = False
        # A wait that begins right after the signal must end too.
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        self._before = [signal.signal(number, self._ask) for number in self._signals]
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in zip(self._signals, self._before, strict=True):
            signal.signal(number, before)
        os.close(self._reading)
        os.close(self._writing)

    def _ask(self, _: int, __: FrameType | None) -> None:
        self.is_asked = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._writing, b"x")

    def wait(self, seconds: float) -> None:
        """Wait that long, or until a signal comes."""
        select.select([self._reading], [], [], seconds)
