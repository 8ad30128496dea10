"""
Bodies of entries whose large texts stand apart, and back.

Spec: spec/agents.md, "Large texts".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from castore.codec import decode_object, encode_object
from castore.errors import FormatError
from castore.formats.entry import BlobRef, Reference
from castore.limits import KIB
from castore.records.fields import Value
from castore.records.large import put_in, take_out
from castore.store import Store


TEXT_ROLE = "text"
LARGE_SIZE_MIN = 64 * KIB  # bytes of UTF-8 from which a text stands apart


def encode_body(
    store: Store, members: Mapping[str, Value]
) -> tuple[bytes, tuple[Reference, ...]]:
    """
    Return the body that *members* are, and what it refers to; large texts are put.

    Raises:
        FormatError: They hold what no body can.
    """
    refs: dict[bytes, BlobRef] = {}

    def put(data: bytes) -> bytes:
        ref = store.put(data)
        refs[ref.digest] = ref
        return ref.digest

    body = encode_object(take_out(dict(members), LARGE_SIZE_MIN, put))
    return body, tuple([Reference(TEXT_ROLE, ref) for ref in refs.values()])


def decode_body(
    store: Store, body: bytes, refs: Sequence[Reference]
) -> dict[str, Value]:
    """
    Return the members that *body* holds, large texts put in.

    Args:
        store: Where.

        body: It.

        refs: Of its entry; without a large text among them there is none in it.

    Raises:
        FormatError: It is no such body.
    """
    members = decode_object(body)
    # A list of references may hold some to texts: it is not opened to find out.
    if any(ref.role == TEXT_ROLE or ref.flags for ref in refs):
        members = put_in(members, lambda digest: store.get(_name(digest)))
    if type(members) is not dict:
        raise FormatError(what="the body is no object")
    return members


def _name(digest: bytes) -> BlobRef:
    if len(digest) != 32:
        raise FormatError(what="a large text's name has 32 bytes")
    return BlobRef(digest, 0)
