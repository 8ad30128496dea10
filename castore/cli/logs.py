"""
``ls``, ``log``, ``show``, ``fork``, ``rm``: segments and their entries.
"""

from __future__ import annotations

import argparse
import shutil

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from castore.catalog.rows import Listed
from castore.cli.exits import CommandError, Exit
from castore.cli.opening import open_store, read_store
from castore.cli.output import Output
from castore.cli.target import COPY_SIZE, STDOUT, target
from castore.cli.text import count_text, parse_entry, size_text, time_text
from castore.errors import NotFoundError
from castore.formats.entry import REF_LIST_FLAG, Entry


if TYPE_CHECKING:
    from castore.importer import FileFacts
    from castore.segment import Segment
    from castore.store import Store


# --- segments ----------------------------------------------------------------


def ls(options: argparse.Namespace, out: Output) -> Exit:
    """List segments, newest commit first."""
    with read_store(options) as store:
        known = store.engine.refresh().known  # one state for all of them
        living = (row for row in known.listing() if row.id != store.id)
        rows = islice(living, options.limit)
        if out.json:
            out.object({"segments": [_object(store, row) for row in rows]})
        else:
            out.lines(_line(store, row) for row in rows)
    return Exit.DONE


def _line(store: Store, row: Listed) -> str:
    file = _file_in(store, row) if row.label_count else None
    name = file.path if file else _key(row) or "-"
    fork = f"  fork at {row.fork_index:,}" if row.parent else ""
    entries = count_text(row.count, "entry", "entries")
    return f"{row.id.hex()}  {time_text(row.time_ms)}  {entries:>14}  {name}{fork}"


def _object(store: Store, row: Listed) -> dict[str, object]:
    file = _file_in(store, row) if row.label_count else None
    return {
        "segment_id": row.id.hex(),
        "session_id": row.session.hex(),
        "session_key": _key(row),
        "path": file.path if file else None,
        "format": file.format if file else None,
        "fork_of": row.parent.hex() if row.parent else None,
        "fork_index": row.fork_index,
        "entries": row.count,
        "revision": row.revision,
        "seq": row.seq,
        "time_ms": row.time_ms,
    }


def _key(row: Listed) -> str | None:
    return None if row.namespace is None else f"{row.namespace}:{row.text}"


def _file_in(store: Store, row: Listed) -> FileFacts | None:
    """
    Return what is known of the file that was imported as *row*, if one was.

    What has no label is found by no path, and was no import.
    """
    from castore.importer import facts_in

    found = store.engine.view.known.find_segment(row.id)
    return facts_in(store, found) if found else None  # None: deleted meanwhile


def fork(options: argparse.Namespace, out: Output) -> Exit:
    """Begin a segment with the entries of another."""
    from castore.importer import find_segment

    with open_store(options) as store:
        parent = find_segment(store, options.segment)
        try:
            made = parent.fork(options.at)
        except IndexError as error:
            raise CommandError(Exit.USAGE, str(error)) from error
        out.answer(made.id.hex())
        out.object(
            {
                "segment_id": made.id.hex(),
                "session_id": made.session_id.hex(),
                "fork_of": parent.id.hex(),
                "fork_index": made.fork_index,
            }
        )
    return Exit.DONE


def rm(options: argparse.Namespace, out: Output) -> Exit:
    """Delete a segment."""
    from castore.importer import find_segment

    with open_store(options) as store:
        segment = find_segment(store, options.segment)
        count = segment.count
        segment.delete()
    entries = count_text(count, "entry", "entries")
    out.line(f"deleted {segment.id.hex()}, {entries}; castore gc frees the room")
    out.object(
        {
            "segment_id": segment.id.hex(),
            "session_id": segment.session_id.hex(),
            "entries": count,
        }
    )
    return Exit.DONE


# --- entries -----------------------------------------------------------------


def log(options: argparse.Namespace, out: Output) -> Exit:
    """List entries: what they are, never what is in them."""
    from castore.importer import find_segment

    with read_store(options) as store:
        segment = find_segment(store, options.segment)
        rows = []
        for entry in islice(_wanted(store, segment, options), options.limit):
            size = size_text(entry.body.size)
            when = time_text(entry.time_ms)
            out.line(f"{entry.index:>8}  {when:>20}  {size:>7}  {entry.kind}")
            if out.json:
                rows.append(_entry_row(entry))
    out.object({"segment_id": segment.id.hex(), "entries": rows})
    return Exit.DONE


def _entry_row(entry: Entry) -> dict[str, object]:
    return {
        "index": entry.index,
        "time_ms": entry.time_ms,
        "kind": entry.kind,
        "size": entry.body.size,
        "body": str(entry.body),
        "refs": len(entry.refs),
    }


def _wanted(
    store: Store, segment: Segment, options: argparse.Namespace
) -> Iterator[Entry]:
    if options.id is not None:
        from castore.importer import find_native

        found = find_native(store, segment, options.id)
        if found is None:
            raise NotFoundError(what=f"no entry calls itself {options.id!r}")
        entries = iter([found])
    else:
        entries = segment.entries(reverse=options.reverse)
    return (entry for entry in entries if _fits(entry, options))


def _fits(entry: Entry, options: argparse.Namespace) -> bool:
    if options.kind and entry.kind not in options.kind:
        return False
    if options.since is None and options.until is None:
        return True
    if entry.time_ms is None:
        return False
    late = options.since is None or entry.time_ms >= options.since
    early = options.until is None or entry.time_ms < options.until
    return late and early


def show(options: argparse.Namespace, out: Output) -> Exit:
    """Say what an entry is, or write its body."""
    from castore.importer import find_segment

    found = parse_entry(options.entry)
    if found is None:
        what = "show wants SEGMENT[INDEX] or SEGMENT@INDEX; shells want [] quoted"
        raise CommandError(Exit.USAGE, what)
    if options.output is not None and not options.body:
        raise CommandError(Exit.USAGE, "-o is for --body")
    if options.json and options.body:
        what = "--json says what an entry is, --body writes its bytes: one of them"
        raise CommandError(Exit.USAGE, what)
    with read_store(options) as store:
        segment = find_segment(store, found[0])
        try:
            entry = segment.entry(found[1])
        except IndexError as error:
            raise NotFoundError(what=str(error)) from error
        if options.body:
            _write_body(store, entry, options)
        else:
            _tell_entry(segment, entry, out)
    return Exit.DONE


def _write_body(store: Store, entry: Entry, options: argparse.Namespace) -> None:
    if not store.has(entry.body):
        store.get(entry.body)  # raises why it is not there
    with (
        store.open_blob(entry.body) as blob,
        target(options.output or STDOUT, force=options.force) as file,
    ):
        shutil.copyfileobj(blob, file, COPY_SIZE)


def _tell_entry(segment: Segment, entry: Entry, out: Output) -> None:
    refs = [
        {
            "role": ref.role,
            "ref": ref.blob.digest.hex() if ref.flags else str(ref.blob),
            "size": ref.blob.size,
            "list": bool(ref.flags & REF_LIST_FLAG),
        }
        for ref in entry.refs
    ]
    facts: dict[str, object] = {
        "segment_id": segment.id.hex(),
        "index": entry.index,
        "hash": entry.hash.hex(),
        "prev": entry.prev.hex(),
        "time_ms": entry.time_ms,
        "kind": entry.kind,
        "body": str(entry.body),
        "size": entry.body.size,
        "cause": entry.start.cause if entry.start else None,
        "refs": refs,
    }
    for name, value in facts.items():
        if name != "refs" and value is not None:
            out.line(f"{name:<11} {value}")
    for ref in refs:
        what = f"list of {ref['size']}" if ref["list"] else f"{ref['size']} B"
        out.line(f"ref         {ref['ref']}  {what}  {ref['role']}")
    out.object(facts)
