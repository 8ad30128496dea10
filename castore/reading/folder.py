"""
The names in a store's folder, and which of its files have a good header.

Spec: spec/folder.md; spec/checking.md, steps 1 and 2.
"""

from __future__ import annotations

import attrs

from castore.errors import CorruptionError, NotFoundError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.file import file_name, parse_name
from castore.formats.marker import NAME, SIZE_MAX, decode_marker
from castore.formats.refuse import CORRUPT_FRAME, placed, refusal
from castore.reading.files import OpenFile
from castore.reading.findings import FILES, Findings
from castore.reading.mark import LOCK, open_plain
from castore.storage import Files


_OURS = {NAME, f"{NAME}.new", LOCK, FILES, "maintenance", "quarantine"}
_OF_OTHERS = ("catalog-", "backup")  # spec/folder.md, spec/backup.md


@attrs.define(eq=False)
class Folder:
    """
    What stands in a store's folder.

    Attributes:
        store: Store id.

        good: Files whose header is good, by id in order.

        refused: Files whose header is refused, and why.

        held: Of these, files in which no frame stands behind the header: nothing
            is lost with them unless something names them.
    """

    store: bytes
    good: dict[bytes, OpenFile] = attrs.Factory(dict)
    refused: dict[bytes, CorruptionError] = attrs.Factory(dict)
    held: set[bytes] = attrs.Factory(set)


def read_marker(files: Files) -> bytes:
    """
    Return the store id that ``castore.json`` states.

    Raises:
        NotFoundError: There is none, so there is no store.

        CorruptionError: It is refused.
    """
    if not files.exists(NAME):
        raise NotFoundError(what="no castore.json: there is no store in this folder")
    with placed(NAME):
        fd = open_plain(files, NAME)
        if fd is None:
            raise refusal("castore.json is no plain file")
        try:
            data = files.read_up_to(fd, SIZE_MAX + 1, 0)
        finally:
            files.close(fd)
        return decode_marker(data, writing=False)


def read_folder(files: Files, store: bytes, findings: Findings) -> Folder:
    """
    Open all files of frames and check their headers.

    Args:
        files: The folder.

        store: Store id.

        findings: Takes a notice for each name that is no part of a store.

    Raises:
        NotFoundError: A file vanished meanwhile; begin again.
    """
    for name in files.list(""):
        if name not in _OURS and not name.startswith(_OF_OTHERS):
            findings.notice(name, "no name of a store")
    folder = Folder(store)
    for name in files.list(FILES):
        file = parse_name(name)
        if file is None:
            findings.notice(f"{FILES}/{name}", "no name of a file of a store")
        else:
            _take(folder, files, file)
    return folder


def _take(folder: Folder, files: Files, file: bytes) -> None:
    where = file_name(file)
    fd = open_plain(files, where)
    if fd is None:
        if not files.exists(where):
            raise NotFoundError(what=f"{where} vanished")
        error = refusal("no plain file", CORRUPT_FRAME)
        error.where = f"{where}@0"
        folder.refused[file] = error
        folder.held.add(file)
        return
    files.close(fd)
    try:
        folder.good[file] = OpenFile(files, file, folder.store)
    except CorruptionError as error:
        folder.refused[file] = error
        if is_empty(files, where):
            folder.held.add(file)


def is_empty(files: Files, name: str) -> bool:
    """
    Return whether no frame stands behind the place of a header in *name*.

    Raises:
        StorageError: It is not there or no plain file.
    """
    fd = files.open(name)
    try:
        behind = files.read_up_to(fd, len(frame_format.MAGIC), file_format.SIZE)
        return behind != frame_format.MAGIC
    finally:
        files.close(fd)
