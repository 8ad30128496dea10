"""
What an erasure leaves to be removed once it counts.

Spec: spec/erasing.md, "Order".
"""

from __future__ import annotations

import time

from collections.abc import Collection

from castore.engine import Engine
from castore.errors import CorruptionError, LockedError, NotFoundError
from castore.formats.file import SIZE, file_name
from castore.packing.rewrite import is_idle, remove_dropped
from castore.reading.files import OpenFile


FILES = "files/"
QUARANTINE = "quarantine"
PAUSE_S = 0.05


def settle(engine: Engine, names: Collection[str], deadline: float) -> None:
    """
    See to it that the old files, by *names*, are gone for good, and so is what the
    catalog wrote before.

    Raises:
        LockedError: Somebody reads the catalog, so that they cannot go yet.
    """
    remove(engine, unreadable(engine))
    while not _is_settled(engine, names):
        if time.monotonic() >= deadline:
            what = (
                "the erasure counts, but old files are still there: a process reads "
                "the catalog; run the same command again"
            )
            raise LockedError(what=what, holder="")
        time.sleep(PAUSE_S)


def _is_settled(engine: Engine, names: Collection[str]) -> bool:
    """Remove what was dropped; return whether nothing of it is left."""
    if not engine.upkeep.sync_catalog():
        return False
    remove_dropped(engine)
    return not any(map(engine.files.exists, names))


def unreadable(engine: Engine) -> list[str]:
    """
    Return the names of files of which nobody can say what is in them.

    What recoveries found torn; and what stands behind half a header. Neither was
    ever acknowledged, nor is it any part of a store that was found to be whole.
    """
    found = [f"{QUARANTINE}/{name}" for name in engine.files.list(QUARANTINE)]
    # Who makes a journal holds this lock, who makes a side pack that file's.
    with engine.state.locked():
        for file in engine.state.opened.ids():
            name = file_name(file)
            try:
                OpenFile(engine.files, file, engine.store)
            except NotFoundError:
                continue
            except CorruptionError:
                if engine.files.size_of(name) > SIZE and is_idle(engine, name):
                    found.append(name)
    return found


def remove(engine: Engine, names: Collection[str]) -> None:
    """Remove *names*, durably."""
    for name in names:
        engine.files.unlink(name)
    for folder in sorted({name.partition("/")[0] for name in names}):
        engine.files.sync_folder(folder)
