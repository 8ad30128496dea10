"""
A bundle that is open for reading: its header checked, its frames within bounds.

Spec: spec/bundle.md.
"""

from __future__ import annotations

import os

from pathlib import Path

from castore import limits
from castore.errors import NotFoundError, StorageError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.file import decode_header
from castore.formats.refuse import CORRUPT_FRAME, need, placed
from castore.reading.files import OpenFile
from castore.reading.frames import Frame, read_frame
from castore.storage import Files


PLACE = "bundle"
_TABLE_SIZE_MAX = 256 * limits.KIB
_PART_SIZE_MAX = 12 * limits.MIB


class BundleFile(OpenFile):
    """
    A bundle.

    Attributes are those of an open file; its id is the bundle id that its header
    states.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """
        Open the plain file *path* and check its header.

        Raises:
            NotFoundError: It is not there.

            StorageError: It is a link, or no plain file.

            CorruptionError: Its header is refused.
        """
        full = Path(path).absolute()
        self._files = Files(full.parent)
        self.fd = self._files.open(full.name)
        front = self.read_up_to(file_format.SIZE, 0)
        self.id = front[28:44]
        self.hash = front[file_format.SIZE - 32 :]
        with placed(f"{PLACE}@0"):
            self.header = decode_header(
                front, file=self.id, store=None, kinds=(file_format.BUNDLE,)
            )

    @property
    def name(self) -> str:
        """What findings call it."""
        return PLACE

    def frame(self, offset: int) -> Frame:
        """
        Return the whole frame at *offset*.

        Raises:
            CorruptionError: ``corrupt frame``: none stands there that a bundle
                may have.
        """
        with placed(f"{PLACE}@{offset}"):
            room = self.size() - offset
            front = self.read_up_to(frame_format.HEADER_SIZE, offset)
            header = frame_format.parse_header(front, room=room)
            parts = max(header.raw_size, header.stored_size)
            fits = parts <= _PART_SIZE_MAX and header.table_size <= _TABLE_SIZE_MAX
            need(fits, "larger than a bundle's frames are", CORRUPT_FRAME)
        return read_frame(self, offset, offset + header.size)


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Return whether *path* is a plain file that says it is a bundle."""
    full = Path(path).absolute()
    files = Files(full.parent)
    try:
        fd = files.open(full.name)
    except (NotFoundError, StorageError):
        return False
    try:
        front = files.read_up_to(fd, file_format.SIZE, 0)
    finally:
        files.close(fd)
    return front[:8] == file_format.MAGIC and front[10:11] == _KIND


_KIND = bytes((file_format.BUNDLE,))
