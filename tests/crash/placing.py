"""
Putting what a stop left into a folder, as it was found there.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from crash.disk import LOCK, Found, Image

from castore.formats.file import file_name
from castore.formats.mark import decode_lock, encode_lock


_OTHER_BOOT = b"another boot id."


def place(image: Image, root: Path) -> Image:
    """
    Put *image* into the new folder *root*; return it as it is there.

    The lock file is made anew for the files' new inodes, so that a mark is worth
    what it was; after a power cut, under another boot.
    """
    root.mkdir()
    for name in sorted(image.folders):
        (root / name).mkdir()
    placed: dict[str, Found] = {}
    first: dict[int, str] = {}
    for name, found in image.files.items():
        path = root / name
        if found.file >= 0 and found.file in first:
            path.hardlink_to(root / first[found.file])
        else:
            path.write_bytes(found.data)
            first[found.file] = name
        placed[name] = attrs.evolve(found, inode=path.stat().st_ino)
    lock = image.files.get(LOCK)
    if lock is not None:
        data = _lock_for(lock.data, image, placed, root.stat().st_dev)
        (root / LOCK).write_bytes(data)
        placed[LOCK] = attrs.evolve(placed[LOCK], data=data)
    return attrs.evolve(image, files=placed)


def _lock_for(
    data: bytes, image: Image, placed: dict[str, Found], device: int
) -> bytes:
    mark = decode_lock(data)
    if mark is None:
        return data
    name = file_name(mark.journal)
    old = image.files.get(name)
    inode = mark.inode
    if image.is_copy:
        inode = 0
    elif old is not None and old.inode == mark.inode:
        inode = placed[name].inode
    boot = _OTHER_BOOT if image.power else mark.boot
    return encode_lock(attrs.evolve(mark, device=device, inode=inode, boot=boot))
