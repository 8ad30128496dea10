"""
Segments whose entries a commit does not hold: they stand in packs that it lists.

Spec: spec/commit.md; spec/bundle.md, "Taking in".
"""

from __future__ import annotations

import attrs

from castore import merkle
from castore.catalog import Overlay
from castore.catalog.rows import Catalog, Facts
from castore.engine.change import Adoption
from castore.engine.expect import (
    Expect,
    check_absent,
    check_revision,
    living,
    newest_head,
)
from castore.engine.fold import CommitImage, Extension, facts_of
from castore.engine.frames import FrameCache
from castore.engine.logs import Logs
from castore.errors import CastoreError, ConflictError, CorruptionError, NotFoundError
from castore.formats.head import Head
from castore.formats.trees import tree_of
from castore.reading.frames import Frame
from castore.reading.image import read_run, run_headers


def adopt(
    adoption: Adoption, view: Catalog, store: bytes, seq: int, now: int
) -> Extension:
    """
    Return what *adoption* is as part of commit *seq*.

    Raises:
        ConflictError: The segment is not as it was expected.

        GoneError: It was deleted.
    """
    revision = 0
    if adoption.expect is Expect.ABSENT:
        check_absent(view, adoption.segment, None)
        _check_key(adoption, view)
    else:
        before = newest_head(living(view, adoption.segment))
        check_revision(before, adoption.expect)
        revision = before.revision
    root = merkle.root(tree_of(adoption.segment, store), adoption.peaks)
    head = Head(
        store,
        adoption.session,
        adoption.segment,
        adoption.fork_index,
        revision + 1,
        adoption.count,
        root,
        adoption.last,
        seq,
        now,
    )
    return Extension(
        head,
        (),
        (),
        adoption.start,
        adoption.start_refs,
        grown=(adoption.peaks, adoption.nodes),
        encoded=head.encode(),
    )


def _check_key(adoption: Adoption, view: Catalog) -> None:
    key = adoption.start.key if adoption.start else None
    taken = view.find_session_by_key(*key) if key else None
    if key and taken is not None and taken.id != adoption.session:
        raise ConflictError(
            what=f"the session key {key[0]}:{key[1]} is taken",
            subject="session",
            expected="absent",
            actual=taken.id.hex(),
        )


class Adopted:
    """
    Finds the entries of a commit's segments in the packs that it lists.
    """

    def __init__(self, image: CommitImage, frames: FrameCache) -> None:
        self._frames = frames
        self._found: dict[bytes, tuple[Extension, list[bytes]]] = {
            extension.head.segment: (extension, [])
            for extension in image.extensions
            if not extension.hashes
        }

    def take(self, frame: Frame) -> None:
        """Look at *frame* of such a pack."""
        for header in run_headers(frame) if self._found else ():
            if header.segment not in self._found:
                continue
            extension, hashes = self._found[header.segment]
            body_frame = self._frames.after(frame) if header.bodies else frame
            entries = read_run(frame, header, body_frame.bodies)
            if not hashes and entries[0].start is not None:
                extension.start = entries[0].start
                extension.start_refs = entries[0].refs
            hashes += [entry.hash for entry in entries]

    def settle(self) -> None:
        """Give each segment what was found of it."""
        for extension, hashes in self._found.values():
            extension.hashes = hashes


class Staged:
    """
    What is known, with the segments of a commit one after the other: a fork may be
    of one that comes with it.
    """

    def __init__(
        self, known: Catalog, listed: Facts, frames: FrameCache, store: bytes
    ) -> None:
        position = known.position()
        if position is None:
            raise CorruptionError(
                what="the catalog is empty", verdict="catalog differs", where="catalog"
            )
        self._position = position
        self._known = Overlay(known)
        self._store = store
        self._logs = Logs(self._known, frames, store, _gone)
        self._known.apply([Facts(places=listed.places, runs=listed.runs)], position)

    def facts(self, image: CommitImage) -> Facts:
        """Return what *image* changes, without what its packs hold."""
        total = Facts(places=list(image.places))
        for extension in image.extensions:
            part = attrs.evolve(image, extensions=[extension], places=[])
            facts = facts_of(part, self._known, self._store, self._peaks_at)
            self._known.apply([facts], self._position)
            for name in _LISTS:
                getattr(total, name).extend(getattr(facts, name))
        return total

    def _peaks_at(self, segment: bytes, count: int) -> list[bytes]:
        row = self._known.find_segment(segment)
        if row is None:
            raise NotFoundError(what=f"no segment {segment.hex()}")
        return self._logs.peaks_at(row, count)


_LISTS = tuple(field.name for field in attrs.fields(Facts))


def _gone(error: CastoreError) -> Logs:
    raise error
