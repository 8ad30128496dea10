"""
``backup``: a copy of the store, made and renewed.
"""

from __future__ import annotations

import argparse

import attrs

from castore.cli.exits import CommandError, Exit
from castore.cli.opening import read_store
from castore.cli.output import Output
from castore.cli.text import count_text, size_text
from castore.errors import UnsupportedError


def run(options: argparse.Namespace, out: Output) -> Exit:
    """Have a folder hold what the store is at its newest commit."""
    from castore.backups import backup_in

    with read_store(options) as store, out.progress("copying") as progress:
        try:
            done = backup_in(
                store.engine,
                options.folder,
                link=options.link,
                progress=progress.update,
            )
        except UnsupportedError as error:
            raise CommandError(Exit.REFUSED, error.what) from None
    files = f"{count_text(done.file_count, 'file')}, {size_text(done.size)}"
    out.line(f"backup at commit {done.seq}: {files}")
    copied = f"copied: {done.copied_count:,} ({size_text(done.copied_size)})"
    linked = f"linked: {done.linked_count:,} ({size_text(done.linked_size)})"
    rest = f"there already: {done.kept_count:,}, removed: {done.dropped_count:,}"
    out.line(f"{copied}, {linked}, {rest}")
    out.object(attrs.asdict(done))
    return Exit.DONE
