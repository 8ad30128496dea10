"""
Where good copies come from: other stores, backups, single files of frames.

Nothing of a source is believed: a file only where its frames continue ours, a blob
only if it hashes to its name. Sources are read, never written.

Spec: spec/repair.md.
"""

from __future__ import annotations

import functools

from collections.abc import Iterator
from pathlib import Path

from castore.digest import blob_hash
from castore.errors import CorruptionError, FormatError, NotFoundError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.entry import ref_list_digest
from castore.formats.file import FileHeader, decode_header
from castore.formats.frame import Record
from castore.formats.refuse import placed
from castore.reading.blobs import chunk_list, corrupt_blob, read_chunk, read_record
from castore.reading.contents import read_contents
from castore.reading.files import OpenFile
from castore.reading.frames import Gap, walk
from castore.reading.parts import processor_count
from castore.reading.places import Places
from castore.reading.reader import Reader
from castore.reading.survey import survey
from castore.storage import Files


class LooseFile(OpenFile):
    """A file of frames under any name, in any folder."""

    def __init__(self, path: Path) -> None:
        """
        Open the file and check its header.

        Raises:
            NotFoundError: It is not there.

            CorruptionError: It is no file of frames.
        """
        self._files = Files(path.parent)
        self.fd = self._files.open(path.name)
        front = self.read_up_to(file_format.SIZE, 0)
        self.hash = front[file_format.SIZE - 32 :]
        self.id = front[28:44]  # as the layout has it; refused below if it has not
        with placed(f"{path.name}@0"):
            self.header: FileHeader = decode_header(front, file=self.id, store=None)


class Source:
    """
    Something that may have good copies.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path, loose: LooseFile | None) -> None:
        self.path = path
        self._loose = loose

    def find_file(self, file: bytes, store: bytes) -> OpenFile | None:
        """Return its copy of the file *file* of *store*, None if it has none."""
        if self._loose is not None:
            is_it = (self._loose.id, self._loose.header.store) == (file, store)
            return self._loose if is_it else None
        try:
            return OpenFile(Files(self.path), file, store)
        except (NotFoundError, CorruptionError):
            return None

    def find(self, digest: bytes) -> Record | None:
        """
        Return a record with which *digest* can be stored, checked against the name.

        A whole blob, a list of references, or a chunk list: then its chunks are
        here too, and together they are the blob.
        """
        places, _ = self._stored
        if digest not in places:
            return None
        try:
            return self._record(digest, self._find(digest))
        except (CorruptionError, FormatError, NotFoundError):
            return None

    @functools.cached_property
    def _stored(self) -> tuple[Places, Reader]:
        if self._loose is not None:
            contents = read_contents(self._loose, self._loose.size())
            blobs = [frame.blobs for frame in contents.frames if frame.blobs]
            return Places(blobs), Reader({self._loose.id: self._loose})
        found = survey(Files(self.path), jobs=processor_count(), needed=frozenset())
        return found.places, found.reader

    def _find(self, digest: bytes) -> Record:
        places, reader = self._stored
        place = places.find_whole(digest)
        if place is None:
            if digest not in places:
                raise NotFoundError(what="the source does not have it")
            place = places[digest]
        return reader.record(place)

    def _record(self, digest: bytes, record: Record) -> Record:
        if record.kind == frame_format.REF_LIST:
            if ref_list_digest(record.payload) != digest:
                raise corrupt_blob(digest, "a list that hashes to another name")
            return record
        if record.kind == frame_format.CHUNKED:
            whole = blob_hash()
            for name, size in chunk_list(digest, record).chunks:
                whole.update(read_chunk(name, size, self._find))
            if whole.digest() != digest:
                raise corrupt_blob(digest, "content hashes to another name")
            return record
        return whole_record(read_record(digest, record, self._find))


def whole_record(data: bytes) -> Record:
    """Return *data* as the record of a whole blob."""
    descriptor = [frame_format.BLOB, len(data)]
    return Record(frame_format.BLOB, descriptor, memoryview(data))


def open_source(path: Path) -> Source:
    """
    Return the store, backup or file of frames at *path*.

    Raises:
        NotFoundError: There is nothing.

        CorruptionError: It is a file, and no file of frames.
    """
    if path.is_dir():
        if not (path / "castore.json").exists():
            raise NotFoundError(what=f"{path} is no store and no backup")
        return Source(path, None)
    return Source(path, LooseFile(path))


class MendedFile(OpenFile):
    """
    A file of this store, with good copies of its damaged parts laid over it.

    What stands in it is as it was written: each frame names the one before by its
    hash, and all of them the file.
    """

    def __init__(self, own: OpenFile | None, like: OpenFile, stop: int) -> None:
        """
        Lay nothing over *own*; without one, all comes from *like*.

        Args:
            own: The damaged file; None where it is not there, or has no header.

            like: The file, or a copy of it: what header it has.

            stop: Where its last frame ends.
        """
        self.id, self.hash, self.header = like.id, like.hash, like.header
        self.fd = -1  # what is read belongs to others
        self._own = own
        self._stop = stop
        self._patches: list[tuple[int, int, OpenFile]] = []
        if own is None:
            self._patches.append((0, stop, like))

    def size(self) -> int:
        """Return where the last frame ends."""
        return self._stop

    def read_up_to(self, size: int, offset: int) -> bytes:
        """Return *size* bytes from *offset*, fewer only where the file ends."""
        size = max(0, min(size, self._stop - offset))
        data = bytearray(self._own.read_up_to(size, offset) if self._own else b"")
        for start, end, other in self._patches:
            low, high = max(start, offset), min(end, offset + size)
            if low < high:
                data.extend(bytes(max(0, high - offset - len(data))))
                part = other.read_up_to(high - low, low)
                data[low - offset : low - offset + len(part)] = part
        return bytes(data)

    def next_data(self, offset: int, stop: int) -> int:
        """Return *offset*, if it is one: all of it may be something but zeros."""
        return min(offset, stop)

    def lay_over(self, sources: list[OpenFile]) -> None:
        """Mend each gap with the first of *sources* whose bytes close it."""
        for gap in list(self.gaps()):
            for source in sources:
                patch = (gap.offset, gap.end or self._stop, source)
                self._patches.append(patch)
                if gap.offset not in {each.offset for each in self.gaps()}:
                    break
                self._patches.remove(patch)

    def gaps(self) -> Iterator[Gap]:
        """Yield where no whole frame stands, up to where the last one ends."""
        end: int | None = file_format.SIZE
        for item in walk(self, file_format.SIZE, self._stop):
            end = item.end
            if isinstance(item, Gap):
                yield item
        if end is not None and end < self._stop:
            yield Gap(end, None, "the file is cut")


def mended(
    own: OpenFile | None, copies: list[OpenFile], stop: int
) -> MendedFile | None:
    """
    Return a file with what *copies* have of its damaged parts; None where nothing
    of it is there.
    """
    for like in [own, *copies]:
        if like is not None:
            found = MendedFile(own, like, stop)
            found.lay_over([each for each in copies if each.hash == like.hash])
            return found
    return None


def own_file(files: Files, file: bytes, store: bytes) -> OpenFile | None:
    """Return *file* of a store, None where it is not there or has no header."""
    try:
        return OpenFile(files, file, store)
    except (NotFoundError, CorruptionError):
        return None
