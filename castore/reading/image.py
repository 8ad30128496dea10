"""
What a frame says, taken apart: blobs, entries in their place, heads, commit.

Spec: spec/frame.md; spec/file.md, "Journal".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import attrs

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
from castore.formats.storedentry import decode_stored, entries_of
from castore.reading.frames import Frame


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


def run_headers(frame: Frame) -> list[RunHeader]:
    """Return what the table says of the entries records of *frame*."""
    return [
        RunHeader(item[2], item[3], item[4], item[5], item[6], number)
        for number, item in enumerate(frame.table)
        if item[0] == frame_format.ENTRIES
    ]


def read_run(
    frame: Frame, run: RunHeader, body_list: Sequence[tuple[bytes, int]]
) -> list[Entry]:
    """
    Return the entries of *run* in their place, hashed and linked.

    Args:
        frame: That holds the run.

        run: From `run_headers`.

        body_list: `Frame.bodies` of its body frame.

    Raises:
        CorruptionError: ``malformed record``.
    """
    return [entry for entry, _ in read_numbered(frame, run, body_list)]


def read_numbered(
    frame: Frame, run: RunHeader, body_list: Sequence[tuple[bytes, int]]
) -> list[tuple[Entry, int | None]]:
    """
    As `read_run`, each entry with the number of its body among the whole blobs of
    its body frame, None where it stands elsewhere.
    """
    with placed(frame.where):
        stored = decode_stored(frame.records[run.record].payload, run.count)
        prev = run.prev
        entries = []
        placed_entries = entries_of(
            stored, first_index=run.first, prev=prev, bodies=body_list
        )
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
            entries.append((entry, item[2] if type(item[2]) is int else None))
            prev = digest
    return entries


def run_hashes(
    frame: Frame, run: RunHeader, body_list: Sequence[tuple[bytes, int]], count: int
) -> list[bytes]:
    """Return the first *count* entry hashes of *run*; as `read_run`."""
    with placed(frame.where):
        stored = decode_stored(frame.records[run.record].payload, run.count)
        placed_entries = entries_of(
            stored[:count], first_index=run.first, prev=run.prev, bodies=body_list
        )
        return [item[0] for item in placed_entries]


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
