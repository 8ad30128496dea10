"""
The header with which every file of frames begins.

Spec: spec/file.md.
"""

from __future__ import annotations

import struct

from collections.abc import Collection

import attrs

from castore.digest import in_context
from castore.formats.refuse import CORRUPT_FRAME, FOREIGN, UNSUPPORTED, is_count, need


SIZE = 188
HASH_SIZE = 32
MAGIC = b"\x89castore"
VERSION = 1
SUITE = 1
JOURNAL, SIDE, PACK, BUNDLE = 1, 2, 3, 4
KIND_NAMES = {JOURNAL: "journal", SIDE: "side pack", PACK: "pack"}
NO_ID = bytes(16)
NO_HASH = bytes(32)

_LAYOUT = struct.Struct(">8sBBBB16s16sQ16sQ32sQ32sQ")
_file_hash = in_context["file"]


@attrs.frozen
class FileHeader:
    """
    Attributes of a file; spec/file.md has the meaning of each.

    Attributes:
        kind: `JOURNAL`, `SIDE`, `PACK`, or `BUNDLE`, which stands in no store.

        store: Store id.

        id: File id, its name.

        number: Of a journal: greater than that of every one before; else 0.

        pred: File id of the journal before; zero for none.

        pred_end: Offset at which that one ends.

        pred_frame: Hash of its last frame before that.

        seq: Last commit before this journal.

        commit: Hash of that commit.

        carried_end: Offset up to which the file was written in one go.
    """

    kind: int
    store: bytes
    id: bytes
    number: int = 0
    pred: bytes = NO_ID
    pred_end: int = 0
    pred_frame: bytes = NO_HASH
    seq: int = 0
    commit: bytes = NO_HASH
    carried_end: int = SIZE


def file_name(file: bytes) -> str:
    """Return the name of the file with id *file* inside the store's folder."""
    return f"files/{file.hex()}.cas"


def parse_name(name: str) -> bytes | None:
    """Return the file id of a name in ``files/``, None if it is no such name."""
    stem, _, ending = name.partition(".")
    if ending != "cas" or len(stem) != 32 or not set(stem) <= set("0123456789abcdef"):
        return None
    return bytes.fromhex(stem)


def encode_header(header: FileHeader) -> bytes:
    """Return the 188 bytes of *header*; the last 32 are the file hash."""
    body = _LAYOUT.pack(
        MAGIC,
        VERSION,
        SUITE,
        header.kind,
        0,
        header.store,
        header.id,
        header.number,
        header.pred,
        header.pred_end,
        header.pred_frame,
        header.seq,
        header.commit,
        header.carried_end,
    )
    return body + _file_hash(body)


def decode_header(
    data: bytes,
    *,
    file: bytes,
    store: bytes | None,
    kinds: Collection[int] = KIND_NAMES,
) -> FileHeader:
    """
    Return the header at the front of a file.

    Args:
        data: The file's first 188 bytes.

        file: The id that its name states.

        store: The store that it must belong to, None for any.

        kinds: What it may be; those of a store's own files by default.

    Raises:
        CorruptionError: ``corrupt frame``, ``unsupported version``,
            ``foreign record`` or ``malformed record``, as spec/checking.md says.
    """
    need(len(data) >= SIZE, "header is cut", CORRUPT_FRAME)
    body = data[: SIZE - 32]
    need(body[:8] == MAGIC, "no file magic", CORRUPT_FRAME)
    need(_file_hash(body) == data[SIZE - 32 : SIZE], "file hash differs", CORRUPT_FRAME)
    _, version, suite, kind, _, *rest = _LAYOUT.unpack(body)
    need(version == VERSION and suite == SUITE, "file version or suite", UNSUPPORTED)
    header = FileHeader(kind, *rest)
    need(header.id == file, "another file's name", FOREIGN)
    need(store is None or header.store == store, "another store's file", FOREIGN)
    need(kind in kinds, "file header: kind")
    need(is_count(header.carried_end, start=SIZE), "file header: carried end")
    numbers = (header.number, header.pred_end, header.seq)
    need(all(is_count(number) for number in numbers), "file header: numbers")
    return header
