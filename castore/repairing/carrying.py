"""
What of damaged files is good, and what was found elsewhere, written to packs.

Records go as they are, frame by frame. Left out is what would be taken for more than
it is in a pack: entries, heads and differences that the catalog does not know there.

Spec: spec/repair.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from castore.catalog.rows import Place, Run
from castore.digest import blob_digest
from castore.engine.view import View
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.entry import decode_ref_list, ref_list_digest
from castore.formats.frame import Record
from castore.formats.head import parse_head
from castore.packing.writer import Descriptor, PackWriter
from castore.reading.blobs import chunk_list
from castore.reading.files import OpenFile
from castore.reading.frames import Frame, walk
from castore.reading.image import run_headers


class Carrying:
    """
    Writes to *writer* what is to be kept.

    Attributes:
        places: Where each blob stands afterwards.

        runs: Where the entries stand afterwards.

        bases: The base of each difference that was written.
    """

    def __init__(
        self, view: View, writer: PackWriter, will_stand: Callable[[bytes], bool]
    ) -> None:
        """
        Begin with nothing.

        Args:
            view: What the catalog knows.

            writer: Takes the frames.

            will_stand: Asked whether a difference or chunk list can be read from what
                will be there; if not it is left out, so that nobody builds on it.
        """
        self.places: dict[bytes, Place] = {}
        self.runs: list[Run] = []
        self.bases: dict[bytes, bytes] = {}
        self._view = view
        self._writer = writer
        self._will_stand = will_stand

    # --- files ---------------------------------------------------------------

    def carry(self, file: OpenFile, stop: int) -> None:
        """Write what is good of *file*, which counts up to *stop*."""
        waits = False
        for item in walk(file, file_format.SIZE, stop):
            if isinstance(item, Frame):
                kept = [
                    (record, number)
                    for number, record in enumerate(item.records)
                    if self._is_kept(item, record, number, file)
                ]
                self._write([record for record, _ in kept])
                waits = any(run.bodies for run in run_headers(item))
            if not waits:
                self._writer.may_roll()

    def _is_kept(
        self, frame: Frame, record: Record, number: int, file: OpenFile
    ) -> bool:
        kind, item = record.kind, record.descriptor
        if kind == frame_format.FOOTER:
            return False
        if kind == frame_format.ENTRIES:
            run = self._view.known.find_run(item[2], item[3])
            return run is not None and (run.file, run.offset, run.record) == (
                frame.file,
                frame.offset,
                number,
            )
        if kind == frame_format.HEAD:
            head = parse_head(item[2], file.header.store)
            row = self._view.known.find_segment(head.segment)
            gone = self._view.known.find_deleted(head.segment) is not None
            return row is not None and row.head == head.encode() and not gone
        if kind in (frame_format.DIFFERENCE, frame_format.CHUNKED):
            place = self._view.known.find_place(item[2])
            at = (frame.file, frame.offset, number)
            is_it = place is not None and (place.file, place.offset, place.record) == at
            return is_it and self._will_stand(item[2])
        if kind == frame_format.BLOB and file.header.kind == file_format.SIDE:
            # Nobody counts the bodies of a side pack: what no commit named may go.
            return self._view.known.find_place(blob_digest(record.payload)) is not None
        return True

    # --- blobs ---------------------------------------------------------------

    def add(
        self, digest: bytes, record: Record, find: Callable[[bytes], Record | None]
    ) -> None:
        """
        Write *record*, which holds *digest*, and chunks of it that are not there.

        Args:
            digest: Name of the blob or list of references.

            record: Checked against the name.

            find: Gives checked records of chunks.
        """
        if record.kind == frame_format.CHUNKED:
            for name, _ in chunk_list(digest, record).chunks:
                chunk = None if name in self.places else find(name)
                if chunk is not None:
                    self._write([chunk])
        self._write([record])
        self._writer.may_roll()

    def _write(self, records: list[Record]) -> None:
        if not records:
            return
        table: list[Descriptor] = [list(record.descriptor) for record in records]
        file, offset = self._writer.write(table, [each.payload for each in records])
        for number, record in enumerate(records):
            item = record.descriptor
            if record.kind == frame_format.ENTRIES:
                self.runs.append(Run(item[2], item[3], item[5], file, offset, number))
            for digest, size in _name_of(record):
                self.places[digest] = Place(digest, file, offset, number, size)
                if record.kind == frame_format.DIFFERENCE:
                    self.bases[digest] = item[4]


def _name_of(record: Record) -> Iterator[tuple[bytes, int]]:
    item = record.descriptor
    if record.kind == frame_format.BLOB:
        yield blob_digest(record.payload), len(record.payload)
    elif record.kind in (frame_format.DIFFERENCE, frame_format.CHUNKED):
        yield item[2], item[3]
    elif record.kind == frame_format.REF_LIST:
        yield ref_list_digest(record.payload), len(decode_ref_list(record.payload))
