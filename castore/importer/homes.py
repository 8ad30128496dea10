"""
In which session a file's log belongs.
"""

from __future__ import annotations

import os

from typing import Any

from castore.digest import blob_digest, format_digest
from castore.errors import NotFoundError
from castore.importer.finding import is_text
from castore.importer.source import Source
from castore.limits import NAME_SIZE_MAX
from castore.segment import Segment, SessionKey
from castore.store import Store
from castore.transcript import NAMESPACES


def native_key(source: Source) -> SessionKey | None:
    """Return the key of the session that the file names, if it names one."""
    told = source.description
    name = told.session_id
    if told.relation == "subagent":
        name = told.parent or name
    text = as_text(name)
    return (NAMESPACES.get(source.format, source.format), text) if text else None


def path_key(source: Source) -> SessionKey:
    """
    Return the key of the session of a file that names none: its path, or what
    stands for it if it does not fit there.
    """
    data = os.fsencode(source.place)
    if len(data) > NAME_SIZE_MAX or not is_text(source.place):
        return "path", format_digest(blob_digest(data))
    return "path", source.place


def home_of(store: Store, source: Source, own: Segment | None) -> dict[str, Any]:
    """
    Return the session that a new log of *source* is in, or the key of a new one.

    Args:
        store: Where.

        source: The file.

        own: The log that was imported from the same place, if there is one.

    Returns:
        ``cause``, ``session`` and ``key``, as options of what begins a log.
    """
    key = native_key(source)
    if key is None and own is not None:
        return {"cause": "import", "session": own.session_id, "key": None}
    key = key or path_key(source)
    session = find_session(store, key)
    if session is not None:
        return {"cause": "import", "session": session, "key": None}
    return {"cause": "import", "session": None, "key": key}


def find_session(store: Store, key: SessionKey | None) -> bytes | None:
    """Return the id of the session with that key, if there is one."""
    if key is None:
        return None
    try:
        return store.session(key).id
    except NotFoundError:
        return None


def as_text(name: str | None) -> str | None:
    """Return *name* if it can be stored: a file's name may be no UTF-8."""
    return name if name and is_text(name) else None
