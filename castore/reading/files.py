"""
Open files of frames, by file id.

Spec: spec/file.md.
"""

from __future__ import annotations

import contextlib
import threading

from castore.errors import CorruptionError, NotFoundError, StorageError
from castore.formats import file as file_format
from castore.formats.file import FileHeader, decode_header, file_name
from castore.formats.refuse import placed
from castore.storage import Files


class OpenFile:
    """
    A file of frames that is open for reading, its header checked.

    The descriptor lives as long as somebody holds the object, so that a reader
    is never cut off by a file being dropped meanwhile.

    Attributes:
        id: File id.

        fd: Descriptor.

        hash: File hash as it stands in the header.

        header: Its header.
    """

    def __init__(self, files: Files, file: bytes, store: bytes | None) -> None:
        """
        Open *file* and check its header.

        Raises:
            NotFoundError: It is not there.

            CorruptionError: Its header is refused.
        """
        self._files = files
        self.id = file
        self.fd = files.open(file_name(file))
        front = self.read_up_to(file_format.SIZE, 0)
        self.hash = front[file_format.SIZE - 32 :]
        with placed(f"{self.name}@0"):
            self.header: FileHeader = decode_header(front, file=file, store=store)

    @property
    def name(self) -> str:
        """Name of the file, as findings give it."""
        return file_name(self.id)

    def size(self) -> int:
        """Return the file's size now, in bytes."""
        return self._files.size(self.fd)

    def read_up_to(self, size: int, offset: int) -> bytes:
        """Return *size* bytes from *offset*, fewer only where the file ends."""
        return self._files.read_up_to(self.fd, size, offset)

    def next_data(self, offset: int, stop: int) -> int:
        """Return where in ``[offset, stop]`` something but zeros may stand first."""
        return self._files.next_data(self.fd, offset, stop)

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            with contextlib.suppress(StorageError):  # it was only read
                self._files.close(self.fd)


class OpenFiles:
    """
    Files of one store, opened once and kept open until they are dropped.

    May be used by many threads.
    """

    def __init__(self, files: Files, store: bytes | None) -> None:
        self.files = files
        self.store = store
        self._guard = threading.Lock()
        self._open: dict[bytes, OpenFile] = {}

    def get(self, file: bytes) -> OpenFile:
        """
        Return *file*, open.

        Raises:
            NotFoundError: It is not there.

            CorruptionError: Its header is refused.
        """
        found = self._open.get(file)
        if found is None:
            found = OpenFile(self.files, file, self.store)
            with self._guard:
                found = self._open.setdefault(file, found)
        return found

    def lend(self, file: OpenFile) -> None:
        """Read *file* from there until it is forgotten, whatever is in the folder."""
        with self._guard:
            self._open[file.id] = file

    def forget(self, keep: set[bytes] | None = None) -> None:
        """Let go of all files but *keep*; who holds one keeps it open."""
        with self._guard:
            kept = keep or set()
            opened = self._open.values()
            self._open = {file.id: file for file in opened if file.id in kept}

    def ids(self) -> list[bytes]:
        """Return the ids of all files that have a name of this form, in order."""
        names = self.files.list("files")
        found = (file_format.parse_name(name) for name in names)
        return [file for file in found if file is not None]

    def headers(self) -> list[OpenFile]:
        """
        Return all files whose header is good, in order of id.

        One that goes meanwhile is left out.
        """
        good = []
        for file in self.ids():
            with contextlib.suppress(CorruptionError, NotFoundError):
                good.append(self.get(file))
        return good
