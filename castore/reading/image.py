"""
What a frame says, taken apart: blobs, entries in their place, heads, commit.

Spec: spec/frame.md; spec/file.md, "Journal".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import attrs

from castore.digest import blob_digest
from castore.formats import frame as frame_format
from castore.formats.commit import Commit, hash_commit, parse_commit
from castore.formats.entry import (
    BlobRef,
    Entry,
    decode_ref_list,
    parse_refs,
    parse_start,
    ref_list_digest,
)
from castore.formats.head import Head, hash_head, parse_head
from castore.formats.refuse import need, placed
from castore.formats.stored import decode_stored, entries_of
from castore.reading.frames import Bodies, Frame


class StoredBlob(NamedTuple):
    """A blob or ref list: name, raw size (count for a ref list), record number."""

    digest: bytes
    size: int
    record: int
    kind: int


@attrs.frozen
class RunHeader:
    """What a table says of a run of entries; *bodies* 1: they are in the next frame."""

    segment: bytes
    first: int
    prev: bytes
    count: int
    bodies: int
    record: int


def stored_blobs(frame: Frame) -> list[StoredBlob]:
    """
    Return the blobs and ref lists of *frame*, whole ones hashed.

    Raises:
        CorruptionError: The frame is refused.
    """
    found = []
    whole = iter(frame.bodies)
    for number, item in enumerate(frame.table):
        kind = item[0]
        if kind == frame_format.BLOB:
            found.append(StoredBlob(*next(whole), number, kind))
        elif kind in (frame_format.DIFFERENCE, frame_format.CHUNKED):
            found.append(StoredBlob(item[2], item[3], number, kind))
        elif kind == frame_format.REF_LIST:
            payload = frame.records.payload(number)
            with placed(frame.where):
                count = len(decode_ref_list(payload))
            found.append(StoredBlob(ref_list_digest(payload), count, number, kind))
    return found


def name_at(frame: Frame, number: int) -> bytes | None:
    """Return the name of the blob or list in record *number*, None if it is none."""
    if number >= len(frame.table):
        return None
    item = frame.table[number]
    if item[0] == frame_format.BLOB:
        return blob_digest(frame.records.payload(number))
    if item[0] == frame_format.REF_LIST:
        return ref_list_digest(frame.records.payload(number))
    if item[0] in (frame_format.DIFFERENCE, frame_format.CHUNKED):
        name: bytes = item[2]
        return name
    return None


def run_headers(frame: Frame) -> list[RunHeader]:
    """Return what the table says of the entries records of *frame*."""
    return [
        _header(item, number)
        for number, item in enumerate(frame.table)
        if item[0] == frame_format.ENTRIES
    ]


def run_header(frame: Frame, number: int) -> RunHeader | None:
    """Return what the table says of record *number*, None if that is no run."""
    item = frame.table[number] if number < len(frame.table) else [None]
    return _header(item, number) if item[0] == frame_format.ENTRIES else None


def _header(item: list[Any], number: int) -> RunHeader:
    segment, first, prev, count, bodies = item[2:]
    return RunHeader(segment, first, prev, count, bodies, number)


def read_run(frame: Frame, run: RunHeader, bodies: Bodies) -> list[Entry]:
    """
    Return the entries of *run* in their place, hashed and linked.

    Args:
        frame: That holds the run.

        run: From `run_headers`.

        bodies: Of its body frame.

    Raises:
        CorruptionError: ``malformed record``.
    """
    return read_numbered(frame, run, bodies)[0]


def read_numbered(
    frame: Frame, run: RunHeader, bodies: Bodies
) -> tuple[list[Entry], list[int | None]]:
    """
    As `read_run`; with the number of each body among the whole blobs of the body
    frame, None where it stands elsewhere.
    """
    with placed(frame.where):
        stored = decode_stored(frame.records[run.record].payload, run.count)
        prev = run.prev
        entries: list[Entry] = []
        placed_entries = _placed_entries(run, stored, bodies)
        for index, (digest, time_ms, item, body) in enumerate(
            placed_entries, run.first
        ):
            entry = Entry(
                index,
                digest,
                prev,
                time_ms,
                item[1],
                BlobRef(*body),
                parse_refs(item[3]) if item[3] else (),
                parse_start(item[4]) if len(item) == 5 else None,
            )
            entries.append(entry)
            prev = digest
    return entries, [item[2] if type(item[2]) is int else None for item in stored]


def run_hashes(frame: Frame, run: RunHeader, bodies: Bodies, count: int) -> list[bytes]:
    """Return the first *count* entry hashes of *run*; as `read_run`."""
    with placed(frame.where):
        stored = decode_stored(frame.records[run.record].payload, run.count)
        return [item[0] for item in _placed_entries(run, stored[:count], bodies)]


def _placed_entries(
    run: RunHeader, stored: Sequence[Sequence[Any]], bodies: Bodies
) -> Iterable[tuple[bytes, int | None, Sequence[Any], tuple[bytes, int]]]:
    numbers = [item[2] for item in stored if type(item[2]) is int]
    places = bodies.hashed(numbers)
    return entries_of(stored, first_index=run.first, prev=run.prev, bodies=places)


def heads(frame: Frame, store: bytes | None) -> list[tuple[Head, bytes]]:
    """
    Return the heads of *frame* and their hashes.

    Raises:
        CorruptionError: One is refused.
    """
    found = []
    with placed(frame.where):
        for item in frame.table:
            if item[0] == frame_format.HEAD:
                head = parse_head(item[2], store)
                found.append((head, hash_head(head.encode())))
    return found


def commits(frame: Frame) -> list[tuple[Commit, bytes]]:
    """
    Return the commit records of *frame* and their hashes.

    Raises:
        CorruptionError: One is refused.
    """
    found = []
    with placed(frame.where):
        for item in frame.table:
            if item[0] == frame_format.COMMIT:
                commit = parse_commit(item[2])
                found.append((commit, hash_commit(commit.encode())))
    return found


def check_journal_frame(frame: Frame, store: bytes) -> None:
    """
    Refuse a frame of a journal whose heads are not those that its commit lists.

    Raises:
        CorruptionError: ``malformed record``; or what its records are refused for.
    """
    check_journal_records(frame, commits(frame), heads(frame, store))


def check_journal_records(
    frame: Frame,
    found: Sequence[tuple[Commit, bytes]],
    written: Sequence[tuple[Head, bytes]],
) -> None:
    """
    As `check_journal_frame`, for who has decoded commits and heads already.

    Raises:
        CorruptionError: ``malformed record``.
    """
    listed = [digest for commit, _ in found for digest in commit.heads]
    with placed(frame.where):
        need(len(found) < 2, "more than one commit record")
        need(listed == [digest for _, digest in written], "commit: heads")
        far = any(run.bodies for run in run_headers(frame))
        need(not far, "bodies in the next frame of a journal")
