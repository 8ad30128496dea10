"""
``export``, ``push``, ``pull``, ``import`` of bundles: segments from store to store.
"""

from __future__ import annotations

import argparse
import re

from collections import Counter
from pathlib import Path

from castore.bundles import (
    Imported,
    Redaction,
    Wish,
    export_bundle,
    import_bundle,
    is_bundle,
    send,
    shared_segments,
)
from castore.cli.exits import CommandError, Exit
from castore.cli.opening import check_path, make_store, open_store, read_store
from castore.cli.output import Output
from castore.cli.target import STDOUT, check_output, target
from castore.cli.text import count_text, size_text
from castore.errors import NotFoundError
from castore.importer import find_segment
from castore.session import Session
from castore.store import Store
from castore.store import open as open_path


def export(options: argparse.Namespace, out: Output) -> Exit:
    """Write segments, and all that they need, into a bundle."""
    check_output(options, "bundle")
    redaction = Redaction(frozenset(options.redact or ()), options.redact_bodies)
    with read_store(options) as store:
        wishes = _wishes(store, options)
        with (
            out.progress("exporting") as progress,
            target(options.output, force=options.force) as file,
        ):
            done = export_bundle(
                store.engine,
                wishes,
                file,
                redaction=redaction,
                progress=progress.update,
            )
    if options.output != STDOUT:
        what = ", ".join(
            (
                count_text(done.segments, "segment"),
                count_text(done.entries, "entry", "entries"),
                count_text(done.blobs, "blob"),
            )
        )
        out.line(f"{options.output}: {size_text(done.size)}: {what}")
        out.line(f"bundle {done.bundle.hex()}")
        if done.redacted or done.absent:
            redacted = count_text(done.redacted, "payload")
            out.line(f"left out: {redacted}; not here any more: {done.absent:,}")
    out.object(
        {
            "bundle_id": done.bundle.hex(),
            "output": options.output,
            "size": done.size,
            "segments": done.segments,
            "entries": done.entries,
            "blobs": done.blobs,
            "raw_bytes": done.raw_bytes,
            "redacted": done.redacted,
            "absent": done.absent,
        }
    )
    return Exit.DONE


def import_bundles(options: argparse.Namespace, out: Output) -> Exit:
    """Take bundles in, each as a whole or not at all, making the store if need be."""
    if not all(map(is_bundle, options.paths)):
        what = "bundles and transcripts are not taken in by one command"
        raise CommandError(Exit.USAGE, what)
    if options.watch or options.remove or options.format:
        what = "--watch, --remove and --format are not for bundles"
        raise CommandError(Exit.USAGE, what)
    store, _ = make_store(options, out)
    taken = []
    with store:
        for path in options.paths:
            with out.progress("importing") as progress:
                done = import_bundle(
                    store.engine,
                    path,
                    as_fork=options.as_fork,
                    progress=progress.update,
                )
            _tell_taken(path, done, out)
            taken.append({"path": path, **taken_facts(done)})
    none: list[object] = []
    rest = {"failed": none, "removed": none, "kept": none}
    out.object({"files": none, "bundles": taken, **rest})
    return Exit.DONE


def _tell_taken(path: str, done: Imported, out: Output) -> None:
    states = Counter(segment.state for segment in done.segments)
    told = ", ".join(f"{count:,} {state}" for state, count in states.items())
    entries = count_text(done.entries, "new entry", "new entries")
    out.line(f"{path}: {count_text(len(done.segments), 'segment')} ({told}), {entries}")
    for segment in done.segments:
        if segment.fork is not None:
            fork = f"{segment.segment.hex()} went on otherwise: fork"
            out.line(f"{fork} {segment.fork.hex()}")
    if done.withheld:
        out.line(f"not in it: {count_text(done.withheld, 'payload')}")


def taken_facts(done: Imported) -> dict[str, object]:
    """Return what was taken in, for scripts."""
    return {
        "bundle_id": done.bundle.hex(),
        "segments": [
            {
                "segment_id": each.segment.hex(),
                "state": each.state,
                "entries": each.entries,
                "fork": each.fork.hex() if each.fork else None,
            }
            for each in done.segments
        ],
        "entries": done.entries,
        "blobs": done.blobs,
        "withheld": done.withheld,
    }


def push(options: argparse.Namespace, out: Output) -> Exit:
    """Send what another store lacks."""
    path = _other(options)
    with read_store(options) as source, open_path(path) as target:
        return _exchange(source, target, options, out)


def pull(options: argparse.Namespace, out: Output) -> Exit:
    """Get what another store has."""
    path = _other(options)
    with open_path(path, read_only=True) as source, open_store(options) as target:
        return _exchange(source, target, options, out)


def _other(options: argparse.Namespace) -> Path:
    path = Path(options.other).absolute()
    check_path(path)
    return path


def _exchange(
    source: Store, target: Store, options: argparse.Namespace, out: Output
) -> Exit:
    if source.id == target.id:
        what = "both are one store, or copies of it; copies are not merged"
        raise CommandError(Exit.REFUSED, what)
    ids = [segment for name in options.targets for segment in _ids(source, name)]
    if not options.targets:
        ids = shared_segments(source.engine, target.engine)
    sent = send(source.engine, target.engine, ids, as_fork=options.as_fork)
    if sent.taken is None:
        out.line(f"{count_text(len(ids), 'segment')}, nothing to send")
        nothing = dict.fromkeys(("size", "entries", "blobs", "withheld"), 0)
        out.object({**nothing, "bundle_id": None, "segments": []})
    else:
        _tell_taken(size_text(sent.size), sent.taken, out)
        out.object({"size": sent.size, **taken_facts(sent.taken)})
    return Exit.DONE


def _wishes(store: Store, options: argparse.Namespace) -> list[Wish]:
    if options.range is not None:
        if len(options.targets) != 1 or _session(store, options.targets[0]):
            raise CommandError(Exit.USAGE, "--range is of one SEGMENT")
        segment = find_segment(store, options.targets[0])
        start, stop = options.range
        count = segment.count
        if not 0 <= start < (count if stop is None else stop) <= count:
            raise CommandError(Exit.USAGE, f"no such range of {count:,} entries")
        return [Wish(segment.id, start, stop)]
    return [Wish(segment) for name in options.targets for segment in _ids(store, name)]


def _ids(store: Store, name: str) -> list[bytes]:
    session = _session(store, name)
    if session is None:
        return [find_segment(store, name).id]
    found = [segment.id for segment in session.segments()]
    if not found:
        raise NotFoundError(what=f"no living segment in session {name!r}")
    return found


def _session(store: Store, name: str) -> Session | None:
    """Return the session whose id or key is *name*, None if that is a segment."""
    known = store.engine.refresh().known
    namespace, _, text = name.partition(":")
    if re.fullmatch(r"[0-9a-f]{32}", name):
        if known.find_segment(bytes.fromhex(name)) is not None:
            return None
        row = known.find_session(bytes.fromhex(name))
    else:
        row = known.find_session_by_key(namespace, text) if text else None
    return Session(store.engine, row) if row is not None else None
