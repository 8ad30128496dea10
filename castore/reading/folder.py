"""
The names in a store's folder, and which of its files have a good header.

Spec: spec/folder.md; spec/checking.md, steps 1 and 2.
"""

from __future__ import annotations

import attrs

from castore.digest import in_context
from castore.errors import CorruptionError, NotFoundError
from castore.formats import file as file_format
from castore.formats.file import parse_name
from castore.formats.marker import NAME, SIZE_MAX, decode_marker
from castore.formats.refuse import UNSUPPORTED, placed, refusal
from castore.reading.files import OpenFile, RawFile
from castore.reading.findings import FILES, LOCK, Findings
from castore.reading.frames import find_frame
from castore.reading.mark import open_plain
from castore.storage import Files


_OURS = {NAME, f"{NAME}.new", LOCK, FILES, "maintenance", "quarantine"}
_CATALOG = "catalog-"

_file_hash = in_context["file"]


@attrs.define(eq=False)
class Folder:
    """
    What stands in a store's folder.

    Attributes:
        store: Store id, None if nothing names it.

        good: Files whose header is good, by id in order.

        refused: Files whose header is refused, and why.
    """

    store: bytes | None
    good: dict[bytes, OpenFile] = attrs.Factory(dict)
    refused: dict[bytes, tuple[RawFile, CorruptionError]] = attrs.Factory(dict)

    def has(self, file: bytes) -> bool:
        """Return whether *file* is there, whatever its header says."""
        return file in self.good or file in self.refused


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


def is_unsupported(error: CorruptionError) -> bool:
    """Return whether a refused ``castore.json`` ends the check."""
    return error.verdict == UNSUPPORTED


def read_folder(files: Files, store: bytes | None, findings: Findings) -> Folder:
    """
    Open all files of frames and check their headers.

    Args:
        files: The folder.

        store: Store id; None to take that of the first file that is whole.

        findings: Takes a notice for each name that is no part of a store.

    Raises:
        NotFoundError: A file vanished meanwhile; begin again.
    """
    for name in files.list(""):
        if name not in _OURS and not name.startswith(_CATALOG):
            findings.notice(name, "no name of a store")
    found: dict[bytes, RawFile] = {}
    for name in files.list(FILES):
        where = f"{FILES}/{name}"
        file = parse_name(name)
        if file is None:
            findings.notice(where, "no name of a file of a store")
            continue
        fd = open_plain(files, where)
        if fd is None:
            if not files.exists(where):
                raise NotFoundError(what=f"{where} vanished")
            findings.notice(where, "no plain file")
            continue
        files.close(fd)
        found[file] = RawFile(files, file)
    folder = Folder(store or _guess_store(found))
    for file, raw in found.items():
        try:
            folder.good[file] = OpenFile(files, file, folder.store)
        except CorruptionError as error:
            folder.refused[file] = (raw, error)
    return folder


def _guess_store(found: dict[bytes, RawFile]) -> bytes | None:
    for raw in found.values():
        front = raw.front
        if front[:8] == file_format.MAGIC and _file_hash(front[:-32]) == raw.hash:
            return front[12:28]
    return None


def holds_frame(raw: RawFile) -> bool:
    """Return whether a whole frame stands anywhere in a file with a bad header."""
    hashes = {_file_hash(raw.front[: file_format.SIZE - 32])}
    if len(raw.front) == file_format.SIZE:
        hashes.add(raw.hash)
    stop = raw.size()
    return any(
        find_frame(raw, file_format.HASH_SIZE, stop, digest) is not None
        for digest in hashes
    )
