"""
``import`` and ``restore``: files in, files out.
"""

from __future__ import annotations

import argparse
import stat
import time

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, cast

import attrs

from castore.cli.exits import CommandError, Exit, code_of, text_of
from castore.cli.opening import make_store, read_store
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.target import STDOUT, Counting, target
from castore.cli.text import count_text, size_text
from castore.compress import packing
from castore.errors import CastoreError
from castore.importer import ImportedFile, facts_of, find_segment, import_paths
from castore.importer import restore as restore_segment


_SUFFIXES = {".json", ".jsonl", ".traj", ".zst"}


def import_(options: argparse.Namespace, out: Output) -> Exit:
    """Take transcripts in, making the store if there is none."""
    store, _ = make_store(options, out)
    failed: list[tuple[str, CastoreError]] = []

    def fail(path: str, error: CastoreError) -> None:
        failed.append((path, error))
        out.warn(text_of(error))

    files = []
    with store, out.progress("importing") as progress:
        watch = _Watch(progress, options.paths)
        for file in import_paths(
            store,
            options.paths,
            format=options.format,
            now_ms=time.time_ns() // 1_000_000,
            progress=watch.told,
            failed=fail,
        ):
            files.append(file)
            watch.done(file)
            out.line(_import_line(file))
    out.line(_import_summary(files))
    out.object(
        {
            "files": [attrs.asdict(file) for file in files],
            "failed": [{"path": path, "what": text_of(e)} for path, e in failed],
        }
    )
    if not failed:
        return Exit.DONE
    return Exit.PARTIAL if files else code_of(failed[0][1]) or Exit.FAILED


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


def _import_summary(files: list[ImportedFile]) -> str:
    size = sum(file.raw_bytes for file in files)
    new = sum(file.new_entries for file in files)
    entries = count_text(new, "new entry", "new entries")
    line = f"{count_text(len(files), 'file')}, {size_text(size)}, {entries}"
    partly = sum(file.packed in _UNPACKED for file in files)
    return f"{line}, {partly:,} unpacked in part" if partly else line


class _Watch:
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


def restore(options: argparse.Namespace, out: Output) -> Exit:
    """Give an imported file back, byte for byte."""
    if options.json and options.output == STDOUT:
        what = "--json and the file cannot both go to standard output; say -o FILE"
        raise CommandError(Exit.USAGE, what)
    with read_store(options) as store:
        segment = find_segment(store, options.segment)
        facts = facts_of(store, segment)
        total = facts.size if facts else 0
        with (
            out.progress("restoring") as progress,
            target(options.output, force=options.force) as file,
        ):
            counting = Counting(file, lambda done: progress.update(done, total))
            plain = cast(BinaryIO, counting)
            with packing(plain) if options.zst else nullcontext(plain) as plain:
                size = restore_segment(store, segment, plain)
        if options.output != STDOUT:
            out.line(f"{options.output}: {size_text(size)}, every byte checked")
        out.object(
            {
                "segment_id": segment.id.hex(),
                "path": facts.path if facts else None,
                "output": options.output,
                "raw_bytes": size,
            }
        )
    return Exit.DONE
