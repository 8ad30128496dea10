"""
What an erasure leaves to be removed once it counts.

Spec: spec/erasing.md, "Order".
"""

from __future__ import annotations

import time

from collections.abc import Collection

from castore.engine import Engine
from castore.errors import LockedError
from castore.packing.rewrite import Input, remove_dropped


QUARANTINE = "quarantine"
PAUSE_S = 0.05


def settle(engine: Engine, inputs: Collection[Input], deadline: float) -> None:
    """
    See to it that the old files are gone, for good.

    Raises:
        LockedError: Somebody reads the catalog, so that they cannot go yet.
    """
    names = [item.file.name for item in inputs]
    clear_quarantine(engine)
    while not _is_settled(engine, names):
        if time.monotonic() >= deadline:
            what = (
                "the erasure counts, but old files are still there: a process reads "
                "the catalog; run the same command again"
            )
            raise LockedError(what=what, holder="")
        time.sleep(PAUSE_S)


def _is_settled(engine: Engine, names: list[str]) -> bool:
    """Remove what was dropped; return whether nothing of it is left."""
    if not engine.upkeep.sync_catalog():
        return False
    remove_dropped(engine)
    return not any(map(engine.files.exists, names))


def quarantined(engine: Engine) -> tuple[str, ...]:
    """Return the names of what recoveries found torn."""
    return tuple(f"{QUARANTINE}/{name}" for name in engine.files.list(QUARANTINE))


def clear_quarantine(engine: Engine) -> None:
    """
    Remove what recoveries found torn: nobody can say what is in it.

    It was never acknowledged, and is no part of the store.
    """
    names = quarantined(engine)
    for name in names:
        engine.files.unlink(name)
    if names:
        engine.files.sync_folder(QUARANTINE)
