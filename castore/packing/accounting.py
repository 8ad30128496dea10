"""
The last look at files that are replaced: nothing in them is left out unexplained.

What is carried is what the catalog knows of, and the catalog is an index: it may be
wrong. Each record that was not carried is named from its bytes here and must be
dead, or be somewhere else, or the store log says why it went.

Spec: spec/ordering.md, "Packing and deleting".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from castore.catalog.columns import PlaceSet
from castore.catalog.rows import Place
from castore.engine.members import store_log
from castore.engine.view import View
from castore.errors import CorruptionError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.reading.frames import Frame
from castore.reading.image import RunHeader, heads, name_at, run_headers, stored_blobs


class Accounting:
    """
    Looks at frames of *inputs*, of which the records in *written* were carried.

    Args:
        view: What the catalog knows.

        store: Store id.

        inputs: Ids of the files that are replaced.

        written: Carried blobs, each compared with its name.

        dead: Names of blobs that are to go.

        is_deleted: Whether a segment is, or will be by the same commit.

        covered: For each segment, the own entries that are carried or stand in
            other files: in order, apart from each other.
    """

    def __init__(
        self,
        view: View,
        store: bytes,
        *,
        inputs: Collection[bytes],
        written: PlaceSet,
        dead: Collection[bytes],
        is_deleted: Callable[[bytes], bool],
        covered: dict[bytes, list[tuple[int, int]]],
    ) -> None:
        self._view = view
        self._store = store
        self._inputs = inputs
        self._written = written
        self._dead = dead
        self._is_deleted = is_deleted
        self._covered = covered
        self._absent = store_log(view, store).absent

    def left_out(self, frame: Frame, kind: int) -> Iterator[Place]:
        """
        Yield what must be carried all the same: blobs in a side pack that no commit
        named, though one that names the pack counts them.

        Args:
            frame: Of one of the inputs.

            kind: Of that file.

        Raises:
            CorruptionError: ``catalog differs``: the frame holds what the catalog
                does not know, and nothing says that it may go.
        """
        self._check_runs(frame)
        self._check_heads(frame)
        for place in self._unexplained(frame):
            if kind != file_format.SIDE:
                raise _unknown(frame)
            yield place

    # --- entries -------------------------------------------------------------

    def _check_runs(self, frame: Frame) -> None:
        for run in run_headers(frame):
            # Whether it is deleted is asked last: others delete logs meanwhile.
            if not self._is_covered(run) and not self._is_deleted(run.segment):
                raise _unknown(frame)

    def _is_covered(self, run: RunHeader) -> bool:
        row = self._view.known.find_segment(run.segment)
        if row is None:
            return False
        first, stop = max(run.first, row.fork_index), run.first + run.count
        spans = self._covered.get(run.segment, ())
        return any(low <= first and stop <= high for low, high in spans)

    def _check_heads(self, frame: Frame) -> None:
        for head, _ in heads(frame, self._store):
            row = self._view.known.find_segment(head.segment)
            is_known = row is not None and row.revision >= head.revision
            if not is_known and not self._is_deleted(head.segment):
                raise _unknown(frame)

    # --- blobs ---------------------------------------------------------------

    def _unexplained(self, frame: Frame) -> Iterator[Place]:
        names = {}
        for number, item in enumerate(frame.table):
            if item[0] not in _NAMED:
                continue
            if not self._written.has(frame.file, frame.offset, number):
                name = name_at(frame, number)
                if name is not None and name not in self._dead:
                    names[name] = number
        known = self._view.known.find_places(list(names))
        for name, number in names.items():
            place = known.get(name)
            if place is not None:
                self._check_other(frame, name, place)
            elif name not in self._absent and self._is_readable(frame, number):
                sizes = {blob.record: blob.size for blob in stored_blobs(frame)}
                yield Place(name, frame.file, frame.offset, number, sizes[number])

    def _check_other(self, frame: Frame, name: bytes, place: Place) -> None:
        """Refuse to leave out a copy if the other one is not what it should be."""
        if place.file in self._inputs:
            is_there = self._written.has(place.file, place.offset, place.record)
        else:
            other = self._view.frames.get(place.file, place.offset)
            is_there = name_at(other, place.record) == name
        if not is_there:
            raise _unknown(frame)

    def _is_readable(self, frame: Frame, number: int) -> bool:
        """Return whether record *number* could be read: nobody asks for it if not."""
        item = frame.table[number]
        if item[0] != frame_format.DIFFERENCE:
            return True
        return self._view.known.find_place(item[4]) is not None


_NAMED = (
    frame_format.BLOB,
    frame_format.DIFFERENCE,
    frame_format.CHUNKED,
    frame_format.REF_LIST,
)


def _unknown(frame: Frame) -> CorruptionError:
    return CorruptionError(
        what="the catalog does not know what stands here; run castore rebuild",
        verdict="catalog differs",
        where=frame.where,
    )
