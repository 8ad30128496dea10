"""
Whether items of CBOR are in their only encoding: seen from the bytes, at once.

Spec: spec/encoding.md.
"""

from __future__ import annotations

import re


EMPTY_ARRAY = b"\x80"
# Bytes of the size of a string that has more than 23, by the string's front; and
# the most for which a shorter size would do.
_LONG_STRINGS = {0x58: 1, 0x78: 1, 0x59: 2, 0x79: 2, 0x5A: 4, 0x7A: 4}
_SHORT_STRINGS_MAX = {
    0x58: 23, 0x78: 23, 0x59: 255, 0x79: 255, 0x5A: 65_535, 0x7A: 65_535
}  # fmt: skip
# Digests; numbers and arrays' fronts of 1, 2, 4 and 8 more bytes; strings up to 23
# bytes; before them, what has no content. So many at once that a search stays small.
_REST = (
    rb"\x58\x20.{32}|[\x18\x38\x98][\x18-\xff]|[\x19\x39\x99][\x01-\xff]."
    + b"".join(
        rb"|[\x%02x\x%02x].{%d}" % (0x40 + size, 0x60 + size, size)
        for size in range(1, 24)
    )
    + rb"|[\x1a\x3a\x9a](?!\0\0).{4}|\x1b(?!\0{4}).{8}|\x3b(?!\0{4})[\0-\x7f].{7}"
)
_ALONE = rb"\x00-\x17\x20-\x37\x40\x60\x81-\x97\xf4-\xf6"
_ITEMS = rb"(?:[%s]+|%s){1,4096}"
_NOT_EMPTY = re.compile(_ITEMS % (_ALONE, _REST), re.DOTALL)
_ANY = re.compile(_ITEMS % (_ALONE + EMPTY_ARRAY, _REST), re.DOTALL)


def look_at(data: bytes) -> tuple[bool, bool]:
    """
    Return whether *data*, items that cbor2 takes, are all of the record profile and
    each in its shortest form, so that there is no other encoding of them; and
    whether an empty array is among them.

    Fronts and contents are looked at in a row, whatever is inside of what.
    """
    items = _NOT_EMPTY
    at, stop = 0, len(data)
    while at < stop:
        front = data[at]
        if front in _LONG_STRINGS:
            size = int.from_bytes(data[at + 1 : at + 1 + _LONG_STRINGS[front]])
            at += 1 + _LONG_STRINGS[front] + size
            if size <= _SHORT_STRINGS_MAX[front]:
                return False, False
        found = items.match(data, at)
        if found:
            at = found.end()
        elif data[at : at + 1] == EMPTY_ARRAY:
            items = _ANY
        elif at < stop and data[at] not in _LONG_STRINGS:
            return False, False
    return True, items is _ANY
