"""
The form of a vector: a case with its input in hex and what must come out.

Spec: spec/vectors/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs


_RUN_SIZE_MIN = 256  # bytes; shorter runs are written out
_FILLS = (b"\0", b"z")

STORE = bytes(range(16))
OTHER_STORE = bytes(range(1, 17))
SESSION = bytes.fromhex("0190a1b2c3d47e5f8001020304050607")
SEGMENT = bytes.fromhex("0190a1b2c3d57e5f8008090a0b0c0d0e")
PARENT = bytes.fromhex("0190a1b2c3d37e5f80f0f1f2f3f4f5f6")
FILE = bytes.fromhex("f0" * 16)
TIME_MS = 1_794_000_000_000

MALFORMED = "malformed record"
CORRUPT_FRAME = "corrupt frame"
CORRUPT_BLOB = "corrupt blob"
MISSING_BLOB = "missing blob"
UNSUPPORTED = "unsupported version"
FOREIGN = "foreign record"
FORK = "fork evidence"
TRUNCATED = "truncated log"
BAD_PROOF = "bad proof"
BAD_SIGNATURE = "bad signature"
NOT_COVERED = "not covered"
BROKEN, MISMATCH, WRONG_HEAD = "broken link", "root mismatch", "wrong head"
OK = "ok"
EXPECTATIONS = {
    OK,
    MALFORMED,
    CORRUPT_FRAME,
    CORRUPT_BLOB,
    MISSING_BLOB,
    UNSUPPORTED,
    FOREIGN,
    FORK,
    TRUNCATED,
    BAD_PROOF,
    BAD_SIGNATURE,
    NOT_COVERED,
    BROKEN,
    MISMATCH,
    WRONG_HEAD,
}


@attrs.frozen
class Case:
    """
    One input and what a reader makes of it.

    Attributes:
        name: Unique in its file.

        desc: What is right or wrong with it.

        input: By names that spec/vectors/README.md lists for each file.

        expect: ``ok`` or a verdict.

        value: What is decoded; None unless *expect* is ``ok``.
    """

    name: str
    desc: str
    input: dict[str, Any]
    expect: str = OK
    value: Any = None

    def facts(self) -> dict[str, Any]:
        """Return the case as it stands in the file."""
        facts = {"name": self.name, "desc": self.desc, "input": plain(self.input)}
        facts["expect"] = self.expect
        return facts | ({"value": plain(self.value)} if self.expect == OK else {})


def hexed(data: bytes | bytearray | memoryview, *units: bytes) -> Any:
    """
    Return *data* in hex; the first long run of a unit becomes ``[count, unit]``.

    Args:
        data: What to write.

        units: What may repeat, tried in this order; certain single bytes always.
    """
    data = bytes(data)
    for unit in (*units, *_FILLS):
        least = -(-_RUN_SIZE_MIN // len(unit))
        start = data.find(unit * least)
        if start >= 0:
            stop = start
            for step in (unit * 4096, unit):
                while data.startswith(step, stop):
                    stop += len(step)
            run = [(stop - start) // len(unit), unit.hex()]
            return [data[:start].hex(), run, data[stop:].hex()]
    return data.hex()


def unhex(value: Any) -> bytes:
    """Return the bytes that `hexed` wrote."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    pieces = (
        bytes.fromhex(piece)
        if isinstance(piece, str)
        else bytes.fromhex(piece[1]) * piece[0]
        for piece in value
    )
    return b"".join(pieces)


def plain(value: Any) -> Any:
    """Return *value* as JSON has it: bytes in hex, records by the names of fields."""
    if isinstance(value, bytes | bytearray | memoryview):
        return hexed(value)
    if attrs.has(type(value)):
        return {name: plain(item) for name, item in _fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _fields(value: Any) -> list[tuple[str, Any]]:
    return [
        (field.name, getattr(value, field.name)) for field in attrs.fields(type(value))
    ]


def replaced(record: Sequence[Any], index: int, value: Any) -> list[Any]:
    """Return *record* with the element at *index* replaced."""
    return [*record[:index], value, *record[index + 1 :]]
