"""
``demo``: the store at work, on given transcripts or on an agent's short life.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import attrs

from castore.cli.exits import CommandError, Exit, text_of
from castore.cli.output import Output
from castore.cli.text import count_text, size_text
from castore.clock import now_ms
from castore.errors import CastoreError
from castore.importer import ImportedFile, import_paths, restore
from castore.importer.source import open_source
from castore.packing import pack
from castore.store import Store
from castore.store import open as open_store
from castore.verify import verify


@attrs.define
class Show:
    """
    What a demo has shown so far.

    Attributes:
        out: Told each step.

        steps: What happened.

        jsonl_bytes: What plain JSONL files take for the same.

        stored_bytes: Files of frames before packing.

        packed_bytes: Files of frames after packing.

        note: What to know about these files.

        ok: Whether all was found to be right.
    """

    out: Output
    steps: list[str] = attrs.Factory(list)
    jsonl_bytes: int = 0
    stored_bytes: int = 0
    packed_bytes: int = 0
    note: str = ""
    ok: bool = True

    def step(self, name: str, text: str, *, ok: bool = True) -> None:
        """Say what happened."""
        self.ok = self.ok and ok
        line = f"{name:<9}{text}" if ok else f"{name:<9}NOT OK: {text}"
        self.steps.append(line)
        self.out.line(line)


def demo(options: argparse.Namespace, out: Output) -> Exit:
    """Show the store at work; the store goes when it is over, unless kept."""
    show = Show(out)
    with _folder(options.keep) as path:
        if options.paths:
            show_transcripts(show, path, options.paths)
        else:
            from castore.cli.life import show_life

            show_life(show, path)
    ratio = show.jsonl_bytes / max(1, show.packed_bytes)
    out.line()
    sizes = (show.jsonl_bytes, show.stored_bytes, show.packed_bytes)
    jsonl, stored, packed = map(size_text, sizes)
    times = f"{ratio:.{0 if ratio >= 10 else 1}f} times less"
    out.line(f"as JSONL {jsonl}{show.note}")
    out.line(f"in the store {stored} as it came, {packed} packed: {times}")
    if options.keep:
        out.line(f"the store is in {options.keep}; look at it with --store")
    out.object(
        {
            "store": options.keep,
            "steps": show.steps,
            "jsonl_bytes": show.jsonl_bytes,
            "stored_bytes": show.stored_bytes,
            "packed_bytes": show.packed_bytes,
            "ok": show.ok,
        }
    )
    return Exit.DONE if show.ok else Exit.FINDINGS


@contextlib.contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="castore-demo-") as folder:
            yield Path(folder) / "store"
        return
    path = Path(keep)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise CommandError(Exit.REFUSED, f"{keep} is there already and not empty")
    yield path


# --- steps that both demos have ----------------------------------------------


def show_verify(show: Show, path: Path) -> None:
    """Check the store from its files alone."""
    report = verify(path)
    what = "every byte hashed, from the files alone, catalog not looked at"
    show.step("verify", what, ok=report.ok)


def show_pack(show: Show, path: Path) -> None:
    """Rewrite what commits wrote as packs."""
    with open_store(path) as store:
        show.stored_bytes = store.stats().stored_bytes
        pack(store.engine)
        totals = store.stats()
    show.packed_bytes = totals.stored_bytes
    sizes = f"{size_text(show.stored_bytes)} -> {size_text(show.packed_bytes)}"
    index = size_text(totals.catalog_bytes)
    show.step("pack", f"{sizes} (and {index} of index, which can be made anew)")


# --- transcripts -------------------------------------------------------------


def show_transcripts(show: Show, path: Path, paths: list[str]) -> None:
    """Take files in, pack, verify, give them back and compare every byte."""
    with open_store(path, create=True) as store:
        files = _import(show, store, paths)
        show.jsonl_bytes = sum(file.raw_bytes for file in files)
        entries = count_text(sum(f.new_entries for f in files), "entry", "entries")
        size = size_text(show.jsonl_bytes)
        show.step("import", f"{count_text(len(files), 'file')}, {size}, {entries}")
        again = sum(file.new_entries for file in _import(show, store, paths))
        text = count_text(again, "new entry", "new entries")
        show.step("again", f"the same files once more: {text}")
    show_pack(show, path)
    show_verify(show, path)
    with open_store(path) as store:
        for file in files:
            if not _is_same(store, file):
                show.step("restore", f"{file.path} differs", ok=False)
    if show.ok:
        text = count_text(len(files), "file")
        show.step("restore", f"{text} given back, each equal byte for byte")


def _import(show: Show, store: Store, paths: list[str]) -> list[ImportedFile]:
    def failed(path: str, error: CastoreError) -> None:
        show.step("import", f"{path}: {text_of(error)}", ok=False)

    return list(import_paths(store, paths, now_ms=now_ms(), failed=failed))


def _is_same(store: Store, file: ImportedFile) -> bool:
    """Return whether the store gives back what *file* has, or had when it grew."""
    with open_source(file.path, None) as source:
        original = source.stream(0, source.size)
        compared = _Compared(original)
        segment = store.segment(file.segment_id)
        size = restore(store, segment, cast(BinaryIO, compared))
        return compared.same and size == file.raw_bytes


class _Compared:
    """A file to write to that compares with one to read."""

    def __init__(self, original: BinaryIO) -> None:
        self._original = original
        self.same = True

    def write(self, data: bytes) -> int:
        """Compare *data* with what comes next."""
        self.same = self.same and self._original.read(len(data)) == data
        return len(data)
