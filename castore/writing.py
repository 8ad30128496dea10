"""
What a caller writes: entries to append, and the store's entries about itself.

Spec: spec/entry.md; spec/storelog.md.
"""

from __future__ import annotations

import os
import time

from collections.abc import Sequence

import attrs

from castore import limits
from castore.engine import Engine
from castore.engine.change import Append, Change, Outcome
from castore.engine.change import NewEntry as BuiltEntry
from castore.engine.expect import Expect
from castore.engine.putting import put_bytes
from castore.errors import LimitError
from castore.formats.entry import BlobRef, Reference
from castore.formats.ids import make_id


@attrs.frozen
class NewEntry:
    """
    An entry to append.

    Attributes:
        kind: What it is: 1 to 64 bytes of text, not ``start``.

        body: Its content, or the reference of a blob that was put.

        refs: Payloads that it keeps.

        time_ms: When it happened by the writer's account, ms since 1970; None
            where it does not say. Never used for ordering.
    """

    kind: str
    body: bytes | BlobRef = b""
    refs: Sequence[Reference] = ()
    time_ms: int | None = None


def new_id() -> bytes:
    """Return a new id for a session or segment, 16 bytes, UUIDv7."""
    return make_id(time.time_ns() // 1_000_000, os.urandom(10))


def build_entry(engine: Engine, entry: NewEntry) -> BuiltEntry:
    """
    Return *entry* with its body put.

    Raises:
        ValueError: Its kind is reserved.
    """
    if entry.kind == "start":
        raise ValueError("the kind 'start' is the store's own")
    if len(entry.kind.encode()) > limits.KIND_SIZE_MAX or not entry.kind:
        raise LimitError(
            what=f"a kind has 1 to {limits.KIND_SIZE_MAX} bytes",
            limit=limits.KIND_SIZE_MAX,
        )
    body = entry.body
    ref = body if isinstance(body, BlobRef) else put_bytes(engine, body)
    return BuiltEntry(entry.kind, ref, tuple(entry.refs), entry.time_ms)


def append_store_log(
    engine: Engine, kind: str, body: bytes, refs: Sequence[Reference] = ()
) -> Outcome:
    """Append one entry to the store log, durably."""
    ref = put_bytes(engine, body)
    entry = BuiltEntry(kind, ref, tuple(refs), content=body)
    append = Append(engine.store, engine.store, (entry,), Expect.ANY)
    return engine.commit(Change((append,), maintenance=True))
