"""
What an erasure leaves to be removed once it counts.

Spec: spec/erasing.md, "Order".
"""

from __future__ import annotations

import time

from collections.abc import Collection

from castore.engine import Engine
from castore.errors import LockedError
from castore.packing.rewrite import remove_dropped


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
    remove(engine, torn(engine))
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


def torn(engine: Engine) -> list[str]:
    """
    Return the names of what recoveries found torn and put aside.

    Nobody can say what is in them, and it was never acknowledged.
    """
    return [f"{QUARANTINE}/{name}" for name in engine.files.list(QUARANTINE)]


def remove(engine: Engine, names: Collection[str]) -> None:
    """Remove *names*, of those, durably."""
    for name in names:
        engine.files.unlink(name)
    if names:
        engine.files.sync_folder(QUARANTINE)
