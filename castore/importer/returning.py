"""
Imported files given back where they belong, one or all.
"""

from __future__ import annotations

import os

from collections.abc import Iterator
from contextlib import nullcontext
from typing import BinaryIO, cast

import attrs

from castore.compress import packing
from castore.importer.comparing import Given
from castore.importer.content import PATH_ROLE, facts_of, not_imported, restore
from castore.importer.placing import Top
from castore.importer.source import PACKED
from castore.segment import Segment
from castore.store import Store


#: Formats of tools that read what is packed.
PACKED_FORMATS = frozenset({"codex"})


@attrs.frozen
class ReturnedFile:
    """
    A file that is where it was to be put.

    Attributes:
        segment_id: 32 hex digits.

        path: Where it was imported from.

        output: Where it is now.

        raw_bytes: Bytes of its content.

        how: ``written``, ``replaced``, or ``same`` if it was there already.
    """

    segment_id: str
    path: str
    output: str
    raw_bytes: int
    how: str


def imported_segments(store: Store) -> Iterator[Segment]:
    """Yield the newest segment of each path that was imported, newest first."""
    known = store.engine.refresh().known
    seen: set[bytes] = set()
    for row in known.listing():
        if not row.label_count:  # what is found by no path was no import
            continue
        segment = store.segment(row.id)
        digest = next(_path_digests(segment), None)
        if digest is not None and digest not in seen:
            seen.add(digest)
            yield segment


def give_back(
    store: Store,
    segment: Segment,
    top: str,
    *,
    force: bool = False,
    packed: bool = False,
    given: Given | None = None,
) -> ReturnedFile:
    """
    Put the file that was imported as *segment* below *top*, under its whole path.

    It appears whole or not at all, every byte checked. Folders are made; links
    below *top* are not followed. ``/`` as *top* means where it came from.

    Args:
        store: Where.

        segment: From `find_segment` or `imported_segments`.

        top: A folder, made if it is not there.

        force: Replace what is there and differs; a folder never.

        packed: As one zstd frame, with ``.zst`` behind its name.

        given: Told how many bytes more were written.

    Raises:
        FormatError: It was not imported from a file, or from a path that leads
            out of *top*.

        ConflictError: Something else is there, or a link is on the way.

        StorageError: The system refuses.

        CastoreError: As `restore`.
    """
    facts = facts_of(store, segment)
    digest = next(_path_digests(segment), None)
    if facts is None or digest is None:
        raise not_imported(segment)
    path = store.get(f"blake3:{digest.hex()}").removeprefix(b"/")
    if packed:
        path += os.fsencode(PACKED)
    size = 0

    def fill(out: BinaryIO) -> int:
        nonlocal size
        with packing(out) if packed else nullcontext(out) as plain:
            size = restore(store, segment, cast(BinaryIO, _Telling(plain, given)))
        return size

    with Top(top) as folder:
        how, _ = folder.put(path, fill, force=force)
        return ReturnedFile(
            segment.id.hex(), facts.path, folder.name_of(path), size, how
        )


class _Telling:
    """A file to write to that tells how many bytes went through."""

    def __init__(self, file: BinaryIO, given: Given | None) -> None:
        self._file = file
        self._given = given

    def write(self, data: bytes | memoryview) -> int:
        """Write *data*."""
        self._file.write(data)
        if self._given is not None:
            self._given(len(data))
        return len(data)


def _path_digests(segment: Segment) -> Iterator[bytes]:
    start = segment.entry(segment.fork_index)
    return (ref.blob.digest for ref in start.refs if ref.role == PATH_ROLE)
