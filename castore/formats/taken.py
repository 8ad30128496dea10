"""
What the store log says of bundles that were taken in.

Spec: spec/storelog.md; spec/bundle.md, "Taking in".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from castore.codec import encode_object
from castore.formats.refuse import is_bytes, is_count, need


#: Segment, count here, its head there, proof from that count to that head's.
Taken = tuple[bytes, int, bytes | None, bytes]


def imported(bundle: bytes, store: bytes, segments: Iterable[Taken]) -> bytes:
    """
    Return the body of an ``imported`` entry.

    Args:
        bundle: Bundle id.

        store: Store that the bundle is of.

        segments: Those that are new or longer.
    """
    rows = [list(row) for row in segments]
    return encode_object({"bundle": bundle, "store": store, "segments": rows})


def withheld(bundle: bytes, blobs: Iterable[bytes]) -> bytes:
    """Return the body of a ``withheld`` entry."""
    return encode_object({"bundle": bundle, "blobs": sorted(blobs)})


def check_imported(value: dict[str, Any]) -> None:
    """
    Refuse the body of an ``imported`` entry that has another shape.

    Raises:
        CorruptionError: ``malformed record``.
    """
    segments = value["segments"]
    need(is_bytes(value["bundle"], 16) and is_bytes(value["store"], 16), "imported")
    need(isinstance(segments, list), "store log, imported: segments")
    for row in segments:
        need(isinstance(row, list) and len(row) == 4, "store log, imported: segments")
        segment, count, head, proof = row
        need(is_bytes(segment, 16) and is_count(count, start=1), "imported: segment")
        need(head is None or type(head) is bytes, "store log, imported: head")
        need(type(proof) is bytes, "store log, imported: proof")
