"""
``restore``: imported files out, one or all, byte for byte.
"""

from __future__ import annotations

import argparse

from collections.abc import Iterable
from contextlib import nullcontext
from typing import BinaryIO, cast

import attrs

from castore.cli.exits import CommandError, Exit, code_of, text_of
from castore.cli.opening import read_store
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.target import STDOUT, Counting, check_output, target
from castore.cli.text import count_text, size_text
from castore.compress import packing
from castore.errors import CastoreError, ConflictError
from castore.importer import (
    PACKED_FORMATS,
    FileFacts,
    ReturnedFile,
    facts_of,
    find_segment,
    give_back,
    imported_segments,
)
from castore.importer import restore as restore_segment
from castore.segment import Segment
from castore.store import Store


def restore(options: argparse.Namespace, out: Output) -> Exit:
    """Give imported files back, byte for byte."""
    _check(options)
    with read_store(options) as store:
        if not options.all and not options.to_origin:
            return _to_output(store, options, out)
        if options.all:
            return _to_places(store, imported_segments(store), options, out)
        named = [find_segment(store, options.segment)]
        return _to_places(store, named, options, out)


def _check(options: argparse.Namespace) -> None:
    what = None
    if options.all == (options.segment is not None):
        what = "say a SEGMENT or --all"
    elif options.to_origin and options.output != STDOUT:
        what = "--to-origin and -o do not go together"
    elif options.all and not options.to_origin and options.output == STDOUT:
        what = "--all wants -o DIR or --to-origin"
    if what is not None:
        raise CommandError(Exit.USAGE, what)
    if not options.to_origin:
        check_output(options, "file")


def _to_output(store: Store, options: argparse.Namespace, out: Output) -> Exit:
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
    path = facts.path if facts else ""
    done = ReturnedFile(segment.id.hex(), path, options.output, size, "written")
    if options.output != STDOUT:
        out.line(_line(done))
    out.object({"files": [attrs.asdict(done)], "failed": []})
    return Exit.DONE


def _line(file: ReturnedFile) -> str:
    how = {"same": "there already, ", "replaced": "replaced, "}.get(file.how, "")
    return f"{file.output}: {how}{size_text(file.raw_bytes)}, every byte checked"


def _to_places(
    store: Store, segments: Iterable[Segment], options: argparse.Namespace, out: Output
) -> Exit:
    """Put each of *segments* where it belongs; one that fails stops no other."""
    top = "/" if options.to_origin else options.output
    files: list[ReturnedFile] = []
    failed: list[tuple[str, CastoreError]] = []
    with out.progress("restoring") as progress:
        for segment in segments:
            facts = facts_of(store, segment)
            try:
                done = _put(store, segment, facts, top, options, progress)
            except CastoreError as error:
                failed.append((facts.path if facts else segment.id.hex(), error))
                out.warn(_why(error))
            else:
                files.append(done)
                out.line(_line(done))
    if options.all:
        size = size_text(sum(file.raw_bytes for file in files))
        out.line(f"{count_text(len(files), 'file')}, {size}")
    told = [{"path": path, "what": _why(error)} for path, error in failed]
    out.object({"files": [attrs.asdict(file) for file in files], "failed": told})
    if not failed:
        return Exit.DONE
    return Exit.PARTIAL if files else _code(failed[0][1])


def _put(
    store: Store,
    segment: Segment,
    facts: FileFacts | None,
    top: str,
    options: argparse.Namespace,
    progress: Progress,
) -> ReturnedFile:
    packed = options.zst and facts is not None and facts.format in PACKED_FORMATS
    given = progress.add
    return give_back(
        store, segment, top, force=options.force, packed=packed, given=given
    )


def _why(error: CastoreError) -> str:
    text = text_of(error)
    return f"{text}; --force replaces files" if _is_refused(error) else text


def _code(error: CastoreError) -> Exit:
    return Exit.REFUSED if _is_refused(error) else code_of(error) or Exit.FAILED


def _is_refused(error: CastoreError) -> bool:
    return isinstance(error, ConflictError) and error.subject == "file"
