"""
Stored entries that hold references above all, many to an entry.

Their bytes are taken apart at once: what an entry's hash is made of stands there
already, and an object for each of a million references is never asked for.

Spec: spec/frame.md, "Stored entries"; spec/entry.md.
"""

from __future__ import annotations

import re
import sys

from collections.abc import Iterator, Sequence
from typing import Any

from castore import limits
from castore.codec import decode_record, encode_items
from castore.errors import FormatError


_ENTRY_SIZE_MIN = 400  # bytes for each entry from which this pays

_INT = (
    rb"(?:[\x00-\x17\x20-\x37]|[\x18\x38].|[\x19\x39].."
    rb"|[\x1a\x3a].{4}|[\x1b\x3b].{8})"
)
_TEXT = b"|".join(rb"\x%02x.{%d}" % (0x60 + size, size) for size in range(24))
_SIZE = rb"(?:[\x00-\x17]|\x18[\x18-\xff]|\x19[\x01-\xff].|\x1a\x00[\x01-\xff]..)"
# Role, digest and size; no flags, no slices.
_REF = rb"\x85(%s)\x58\x20(%s)(%s)\x00\xf6"
_REFS = re.compile(_REF % (_TEXT, b".{32}", _SIZE), re.DOTALL)
_ANY_REF = rb"\x85(?:%s)\x58\x20.{32}%s\x00\xf6" % (_TEXT, _SIZE)
# Time, kind and body together; then the references.
_ENTRY = re.compile(
    rb"\x84((?:\xf6|%s)(?:%s)%s)" % (_INT, _TEXT, _INT)
    + rb"(\x80|(?:[\x81-\x97]|\x98.|\x99\x01\x00)(?:%s)+)" % _ANY_REF,
    re.DOTALL,
)
_HEAD_FRONT = b"\x83"  # an array of three
_EMPTY = b"\x80"


class PlainRefs(Sequence[list[Any]]):
    """
    The references of one entry, each to a blob without slices; equal to their list.

    Attributes:
        encoded: The array, as it stands in the entry.

        roles: Their roles.

        digests: Names of the payloads.

        sizes: Their sizes.
    """

    def __init__(
        self,
        encoded: bytes,
        roles: Sequence[str],
        digests: Sequence[bytes],
        sizes: Sequence[int],
    ) -> None:
        self.encoded = encoded
        self.roles = roles
        self.digests = digests
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.roles)

    def __getitem__(self, at: int) -> list[Any]:  # type: ignore[override]
        return [self.roles[at], self.digests[at], self.sizes[at], 0, None]

    def __iter__(self) -> Iterator[list[Any]]:
        for role, digest, size in zip(
            self.roles, self.digests, self.sizes, strict=True
        ):
            yield [role, digest, size, 0, None]

    def __eq__(self, other: object) -> bool:
        return list(self) == other

    __hash__ = None  # type: ignore[assignment]


def split_entries(payload: bytes | memoryview, count: int) -> list[list[Any]] | None:
    """
    Return the stored entries of *payload*, with `PlainRefs` where there are some.

    None where it does not pay, or where something else stands there, be it right or
    wrong. Times, kinds and bodies are only known to be numbers and texts.
    """
    if len(payload) < _ENTRY_SIZE_MIN * count:
        return None
    data = bytes(payload)
    front = encode_items([_EMPTY] * count)[:-count]
    if not data.startswith(front):
        return None
    at, entries = len(front), []
    for _ in range(count):
        found = _ENTRY.match(data, at)
        entry = _decode(found[1], found[2]) if found else None
        if entry is None or found is None:
            return None
        entries.append(entry)
        at = found.end()
    return entries if at == len(data) else None


def _decode(head: bytes, refs: bytes) -> list[Any] | None:
    try:
        entry = decode_record(_HEAD_FRONT + head, size_max=limits.ENTRY_SIZE_MAX)
        if refs == _EMPTY:
            return [*entry, []]
        roles, digests, encoded_sizes = zip(*_REFS.findall(refs), strict=True)
        names = {role: sys.intern(role[1:].decode()) for role in set(roles)}
        encoded = encode_items(encoded_sizes)
        sizes = decode_record(encoded, size_max=len(encoded))
    except (FormatError, UnicodeDecodeError):
        return None
    count = len(sizes)
    front = encode_items([_EMPTY] * count)[:-count]
    # As many as the front says, and none so large that it would have slices.
    if not refs.startswith(front) or max(sizes) >= limits.SLICED_SIZE_MIN:
        return None
    column = [names[role] for role in roles]
    return [*entry, PlainRefs(refs, column, digests, sizes)]
