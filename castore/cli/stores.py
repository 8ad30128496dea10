"""
``init``, ``pack``, ``rebuild``, ``stats``: the store as a whole.
"""

from __future__ import annotations

import argparse

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from castore.cli.exits import Exit
from castore.cli.opening import make_store, open_store, read_store
from castore.cli.output import Output
from castore.cli.text import count_text, size_text


if TYPE_CHECKING:
    from castore.packing import Packing


def init(options: argparse.Namespace, out: Output) -> Exit:
    """Make a store; one that is there stays as it is."""
    store, made = make_store(options, out)
    with store:
        path = str(store.engine.files.root)
        if not made:
            out.line(f"there is a store at {path} already")
        out.object({"path": path, "store_id": store.id.hex(), "made": made})
    return Exit.DONE


def stats(options: argparse.Namespace, out: Output) -> Exit:
    """Print totals."""
    with read_store(options) as store:
        totals = store.stats()
    for name, value in attrs.asdict(totals).items():
        shown = size_text(value) if name.endswith("_bytes") else f"{value:,}"
        out.line(f"{name.replace('_bytes', ''):<9}{shown:>10}")
    out.object(attrs.asdict(totals))
    return Exit.DONE


def pack(options: argparse.Namespace, out: Output) -> Exit:
    """Close the journal and rewrite what is no full pack yet."""
    from castore.packing import pack as pack_store

    with open_store(options) as store, out.progress("packing") as progress:
        total = store.stats().raw_bytes if progress.is_seen else 0
        done = pack_store(
            store.engine,
            level=options.level,
            max_duration_s=options.max_duration,
            progress=lambda size: progress.update(size, total),
        )
    for line in pack_lines(done):
        out.line(line)
    out.object(pack_object(done))
    return Exit.DONE


def pack_lines(done: Packing) -> Iterator[str]:
    """Yield what a packing did, for people."""
    if done.seq is None:
        yield "nothing to pack"
        return
    files = f"{count_text(done.files_before, 'file')} -> {done.files_after}"
    sizes = f"{size_text(done.size_before)} -> {size_text(done.size_after)}"
    yield f"packed: {files}, {sizes}"
    if done.left_count:
        waiting = count_text(done.left_count, "file")
        yield f"out of time: {waiting} left for the next run"


def pack_object(done: Packing) -> dict[str, object]:
    """Return what a packing did, for scripts."""
    return {
        "files_before": done.files_before,
        "files_after": done.files_after,
        "bytes_before": done.size_before,
        "bytes_after": done.size_after,
        "seq": done.seq,
        "files_left": done.left_count,
    }


def rebuild(options: argparse.Namespace, out: Output) -> Exit:
    """Throw the catalog away and make it from the files."""
    from castore.packing.rewrite import maintenance

    with open_store(options) as store:
        with maintenance(store.engine):
            store.engine.rebuild()
        totals = store.stats()
    facts = attrs.asdict(totals)
    names = ("sessions", "segments", "entries", "blobs", "catalog_bytes")
    out.line(
        f"catalog made anew: {count_text(totals.segments, 'segment')}, "
        f"{count_text(totals.entries, 'entry', 'entries')}, "
        f"{count_text(totals.blobs, 'blob')}, {size_text(totals.catalog_bytes)}"
    )
    out.object({name: facts[name] for name in names})
    return Exit.DONE
