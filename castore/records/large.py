"""
Large texts stand beside a record instead of in it.

In an encoded body a byte string of 32 bytes in the place of a text is the name
of the blob that holds that text in UTF-8. Records of agents hold no bytes of
their own, so nothing else can be meant.

Spec: spec/agents.md, "Large texts".
"""

from __future__ import annotations

from collections.abc import Callable

from castore.errors import FormatError
from castore.records.fields import Value


def take_out(value: Value, size_min: int, put: Callable[[bytes], bytes]) -> Value:
    """
    Return *value* with each text of *size_min* bytes or more replaced by a name.

    Args:
        value: Of maps, arrays and leaves; not changed.

        size_min: In bytes of UTF-8.

        put: Keeps the text's bytes and returns their digest, 32 bytes.

    Raises:
        FormatError: It holds bytes, or a text that UTF-8 cannot hold.
    """
    if type(value) is dict:
        return {name: take_out(one, size_min, put) for name, one in value.items()}
    if type(value) in (list, tuple):
        return [take_out(one, size_min, put) for one in value]
    if type(value) is bytes:
        raise FormatError(what="a record of an agent holds no bytes")
    if type(value) is not str or 4 * len(value) < size_min:
        return value
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise FormatError(what="a text with a lone surrogate") from None
    return put(data) if len(data) >= size_min else value


def put_in(value: Value, get: Callable[[bytes], bytes]) -> Value:
    """
    Return *value* with each name replaced by its text again.

    Args:
        value: As `take_out` returned it; not changed.

        get: Returns the bytes of a digest.

    Raises:
        FormatError: What a name stands for is no text.
    """
    if type(value) is dict:
        return {name: put_in(one, get) for name, one in value.items()}
    if type(value) is list:
        return [put_in(one, get) for one in value]
    if type(value) is not bytes:
        return value
    try:
        return get(value).decode()
    except UnicodeDecodeError:
        raise FormatError(what="a large text that is not UTF-8") from None
