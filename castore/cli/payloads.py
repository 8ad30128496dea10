"""
``put``, ``get``, ``tag``: payloads by reference or name.
"""

from __future__ import annotations

import argparse
import shutil
import sys

from pathlib import Path
from typing import BinaryIO, cast

from castore.cli.exits import CommandError, Exit
from castore.cli.opening import open_store, read_store
from castore.cli.output import Output
from castore.cli.target import COPY_SIZE, STDOUT, Counting, check_output, target
from castore.cli.text import size_text
from castore.digest import PREFIX
from castore.errors import NotFoundError
from castore.formats.entry import BlobRef
from castore.store import Store


def put(options: argparse.Namespace, out: Output) -> Exit:
    """Take a payload in under a tag, so that it stays, and print its reference."""
    with open_store(options) as store:
        like = resolve(store, options.like) if options.like else None
        if options.file == STDOUT:
            ref = _put(store, sys.stdin.buffer, like)
        else:
            with Path(options.file).open("rb") as file:
                ref = _put(store, file, like)
        tag = options.tag or str(ref)
        store.tag(tag, ref)
    out.answer(str(ref))
    out.object({"ref": str(ref), "size": ref.size, "tag": tag})
    return Exit.DONE


def _put(store: Store, file: BinaryIO, like: BlobRef | None) -> BlobRef:
    if like is None:
        return store.put(file)
    return store.put(file.read(), like=like)


def get(options: argparse.Namespace, out: Output) -> Exit:
    """Write a payload, checked."""
    check_output(options, "payload")
    with read_store(options) as store:
        ref = resolve(store, options.ref)
        if not store.has(ref):
            store.get(ref)  # raises why it is not there
        with (
            store.open_blob(ref) as blob,
            out.progress("getting") as progress,
            target(options.output, force=options.force) as file,
        ):
            counting = Counting(file, lambda done: progress.update(done, ref.size))
            shutil.copyfileobj(blob, cast(BinaryIO, counting), COPY_SIZE)
        if options.output != STDOUT:
            out.line(f"{options.output}: {size_text(ref.size)}, every byte checked")
        out.object({"ref": str(ref), "output": options.output, "size": ref.size})
    return Exit.DONE


def resolve(store: Store, name: str) -> BlobRef:
    """Return the payload that *name*, a reference or tag, means."""
    tagged = store.tags().get(name)
    if tagged is not None:
        return tagged
    if name.startswith(PREFIX):
        return store.resolve(name)
    raise NotFoundError(
        what=f"no tag {name!r}, and no reference: {PREFIX}<64 hex digits>"
    )


def tag(options: argparse.Namespace, out: Output) -> Exit:
    """List tags, keep a payload under a name, or let go of it."""
    name = options.name
    if name is None:
        if options.delete:
            raise CommandError(Exit.USAGE, "tag --delete wants a NAME")
        with read_store(options) as store:
            return _tell_tags(store.tags(), out)
    if options.delete == (options.ref is not None):
        what = "say tag NAME REF, tag --delete NAME, or tag alone for a list"
        raise CommandError(Exit.USAGE, what)
    with open_store(options) as store:
        if options.delete:
            kept = store.tags().get(name)
            store.untag(name)
            return _tell_tags({name: kept} if kept else {}, out)
        ref = resolve(store, options.ref)
        store.tag(name, ref)
        return _tell_tags({name: ref}, out)


def _tell_tags(tags: dict[str, BlobRef], out: Output) -> Exit:
    for name, ref in tags.items():
        out.line(f"{ref}  {size_text(ref.size):>8}  {name}")
    rows = [{"name": n, "ref": str(r), "size": r.size} for n, r in tags.items()]
    out.object({"tags": rows})
    return Exit.DONE
