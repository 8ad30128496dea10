"""
Segments by what people call them.
"""

from __future__ import annotations

import os
import re

from collections.abc import Iterable

from castore.catalog.rows import SegmentRow, SessionRow
from castore.digest import blob_digest
from castore.errors import ConflictError, NotFoundError
from castore.importer.content import facts_of
from castore.importer.source import PACKED, absolute
from castore.segment import Segment
from castore.store import Store


LABELLED_COUNT_MAX = 64  # segments looked at for one label
_LISTED_COUNT = 10  # of the segments that an ambiguous name could mean


def labelled(store: Store, payload: bytes) -> list[Segment]:
    """
    Return the living segments that begin with the label *payload*, newest first.

    Of more than `LABELLED_COUNT_MAX`, deleted ones included, the newest.
    """
    known = store.engine.refresh().known
    # Ids begin with the time.
    ids = known.labelled(blob_digest(payload))[-LABELLED_COUNT_MAX:]
    return _newest_first(store, filter(None, map(known.find_segment, ids)))


def find_imported(store: Store, path: str) -> Segment | None:
    """
    Return the newest segment that was imported from *path*, which is absolute.

    A packed file's content is found by its own name and by that without ``.zst``.
    """
    for name in dict.fromkeys((path, path.removesuffix(PACKED))):
        found = labelled(store, os.fsencode(name))
        if found:
            return found[0]
    return None


def find_segment(store: Store, name: str, *, exact: bool = False) -> Segment:
    """
    Return the segment that *name* means.

    That is, and the first that fits counts: the id of a segment, 32 hex digits;
    a session key, ``namespace:text``; the path of an imported file, then its newest
    segment; what only one segment's id begins with, or only one session key's
    text is; not if *exact*. For a session it is the segment with the newest commit
    that is not a subagent's.

    Raises:
        NotFoundError: There is none.

        ConflictError: There are several; it lists them.
    """
    found = _by_name(store, name)
    if found is None and exact:
        raise NotFoundError(what=f"no segment, session key or imported path {name!r}")
    return found or _only_part(store, name)


def _by_name(store: Store, name: str) -> Segment | None:
    known = store.engine.refresh().known
    if re.fullmatch(r"[0-9a-f]{32}", name) and known.find_segment(bytes.fromhex(name)):
        return store.segment(name)
    namespace, _, text = name.partition(":")
    session = None
    if text and is_text(name):
        session = known.find_session_by_key(namespace, text)
    found = _of_session(store, session) if session else None
    return found or find_imported(store, absolute(name))


def _only_part(store: Store, name: str) -> Segment:
    found = sorted(_by_part(store, name))
    if len(found) > 1:
        raise ConflictError(
            what=f"{len(found)} segments could be meant; say the id of one",
            subject="segment",
            expected=name,
            actual=", ".join(segment.hex() for segment in found[:_LISTED_COUNT]),
        )
    if not found:
        raise NotFoundError(what=f"no segment, session key or imported path {name!r}")
    return store.segment(found[0])


def is_text(name: str) -> bool:
    """Return whether *name* is UTF-8: what the system calls a file may be not."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _by_part(store: Store, name: str) -> set[bytes]:
    known = store.engine.refresh().known
    found = set()
    if re.fullmatch(r"[0-9a-f]{1,32}", name):
        found = {row.id for row in known.listing() if row.id.hex().startswith(name)}
        found.discard(store.id)
    for session in known.sessions():
        segment = _of_session(store, session) if session.text == name else None
        if segment is not None:
            found.add(segment.id)
    return found


def _of_session(store: Store, session: SessionRow) -> Segment | None:
    rows = store.engine.refresh().known.segments_of(session.id)
    segments = _newest_first(store, rows)
    for segment in segments:
        facts = facts_of(store, segment)
        if facts is None or facts.relation != "subagent":
            return segment
    return segments[0] if segments else None


def _newest_first(store: Store, rows: Iterable[SegmentRow]) -> list[Segment]:
    living = sorted(_living(store, rows), key=lambda row: row.seq, reverse=True)
    return [store.segment(row.id) for row in living]


def _living(store: Store, rows: Iterable[SegmentRow]) -> list[SegmentRow]:
    known = store.engine.view.known
    return [
        row for row in rows if row.id != store.id and known.find_deleted(row.id) is None
    ]
