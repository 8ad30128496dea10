"""
Everything that can be read in a store's folder, counted or not: raw and decoded.
"""

from __future__ import annotations

import re

from collections.abc import Iterable, Iterator
from pathlib import Path

from castore.compress import patch
from castore.digest import blob_digest
from castore.errors import CorruptionError
from castore.formats import frame as frame_format
from castore.reading.files import OpenFile
from castore.reading.frames import Frame, walk
from castore.storage import Files


MARK = b"\xc4\x11\xa7\x19"  # how every canary begins
SIZE = 16


def canary(number: int) -> bytes:
    """Return the canary of that number: 16 bytes like no others."""
    return MARK + blob_digest(b"canary %d" % number)[: SIZE - len(MARK)]


def canaries_in(root: Path) -> set[bytes]:
    """Return all canaries that stand anywhere in the store at *root*."""
    found = set()
    for data in everything(root):
        found.update(re.findall(re.escape(MARK) + b".{12}", data, re.DOTALL))
    return found


def tails_in(root: Path, canaries: Iterable[bytes]) -> set[bytes]:
    """Return those of *canaries* whose random part stands in some file as it is."""
    raw = b"\n".join(path.read_bytes() for path in files_of(root))
    return {each for each in canaries if each[len(MARK) :] in raw}


def files_of(root: Path) -> list[Path]:
    """Return all plain files below *root*."""
    return [path for path in sorted(root.rglob("*")) if path.is_file()]


def everything(root: Path) -> Iterator[bytes]:
    """Yield the bytes of all files, of all frames in them, of all differences."""
    blobs: dict[bytes, bytes] = {}
    differences: list[tuple[bytes, int, bytes, bytes]] = []
    for path in files_of(root):
        yield path.read_bytes()
        for frame in frames_of(root, path):
            yield b"".join(bytes(record.payload) for record in frame.records)
            for record in frame.records:
                payload = bytes(record.payload)
                if record.kind == frame_format.BLOB:
                    blobs[blob_digest(payload)] = payload
                if record.kind == frame_format.DIFFERENCE:
                    _, _, digest, size, base, _ = record.descriptor
                    differences.append((digest, size, base, payload))
    while ready := [item for item in differences if item[2] in blobs]:
        differences = [item for item in differences if item[2] not in blobs]
        for digest, size, base, payload in ready:
            blobs[digest] = patch(blobs[base], payload, raw_size=size)
            yield blobs[digest]


def frames_of(root: Path, path: Path) -> Iterator[Frame]:
    """Yield all whole frames in the file *path*, wherever they stand."""
    if path.parent.name != "files":
        return
    try:
        file = OpenFile(Files(root), bytes.fromhex(path.stem), None)
    except CorruptionError:
        return  # a stop left half a header, and no frame
    for item in walk(file, 188, file.size()):
        if isinstance(item, Frame):
            yield item
