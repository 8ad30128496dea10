"""
Which catalog there is, opening it, making it anew.

Spec: spec/ordering.md, "The catalog".
"""

from __future__ import annotations

import contextlib

from castore.catalog import MemoryCatalog, SqliteCatalog
from castore.catalog.rows import Catalog, Facts, Position
from castore.engine.reserve import NAME as RESERVE
from castore.errors import CorruptionError, NotFoundError, StorageError
from castore.formats.mark import LockFile
from castore.reading.collecting import no_search
from castore.storage import Files


SCHEMA = 1
_PREFIX = f"catalog-{SCHEMA}-"


def catalog_name(generation: int) -> str:
    """Return the name of the catalog of that generation."""
    return f"{_PREFIX}{generation}.sqlite"


def newest_generation(files: Files) -> int:
    """Return the highest generation that has a file, 0 if none has."""
    found = [0]
    for name in files.list(""):
        middle = name.removeprefix(_PREFIX).removesuffix(".sqlite")
        if name == f"{_PREFIX}{middle}.sqlite" and middle.isdecimal():
            found.append(int(middle))
    return max(found)


def open_catalog(files: Files, generation: int) -> SqliteCatalog:
    """
    Open the catalog of that generation for writing.

    Raises:
        NotFoundError: There is none.

        CorruptionError: It is no catalog.
    """
    name = catalog_name(generation)
    if not files.exists(name):
        raise NotFoundError(what="the store has no catalog")
    return SqliteCatalog.open(files.path(name))


def read_catalog(files: Files, store: bytes, lock: LockFile) -> Catalog:
    """
    Open the catalog that *lock* names for reading; writes no file, but for the
    shared memory in which a living writer's SQLite sees who reads.

    Where the folder cannot be written and the catalog has a log beside it, its
    content is made anew in memory.
    """
    name = catalog_name(lock.catalog_generation)
    if files.exists(name):
        with contextlib.suppress(CorruptionError, StorageError):
            return SqliteCatalog.open(files.path(name), read_only=True)
        if not files.exists(f"{name}-wal"):
            with contextlib.suppress(CorruptionError, StorageError):
                path = files.path(name)
                return SqliteCatalog.open(path, read_only=True, immutable=True)
    return rebuilt_in_memory(files, store, lock)


def is_current(catalog: Catalog | None, seen: LockFile | None, now: LockFile) -> bool:
    """Return whether *catalog*, which did for the mark *seen*, does for *now*."""
    if seen is None or seen.catalog_generation != now.catalog_generation:
        return False
    # Who moved the mark may have changed what was opened because nobody would.
    return not (isinstance(catalog, SqliteCatalog) and catalog.is_immutable)


def rebuilt_in_memory(
    files: Files, store: bytes, lock: LockFile | None
) -> MemoryCatalog:
    """Return the catalog's content, made from the files alone."""
    from castore.engine.rebuilding import facts_of_survey

    catalog = MemoryCatalog()
    facts, position = facts_of_survey(files, store, lock)
    catalog.apply([facts], position)
    return catalog


def rebuild_catalog(
    files: Files, generation: int, store: bytes, lock: LockFile
) -> SqliteCatalog:
    """
    Make the catalog of that generation from the files alone. Under the lock.

    Raises:
        CorruptionError: The files are damaged.
    """
    # What it imports would slow every start of the command.
    from castore.engine.rebuilding import facts_of_survey

    facts, position = facts_of_survey(files, store, lock)
    return new_catalog(files, generation, facts, position)


def new_catalog(
    files: Files, generation: int, facts: Facts, position: Position
) -> SqliteCatalog:
    """Write a catalog of *facts*; what stood under the name goes."""
    remove_catalogs(files, below=generation + 1)
    catalog = SqliteCatalog.create(files.path(catalog_name(generation)))
    with no_search():
        catalog.apply([facts], position)
    catalog.checkpoint("TRUNCATE")
    return catalog


def remove_catalogs(files: Files, *, below: int) -> None:
    """Remove the catalogs of all generations below *below*, and what is beside them."""
    for name in files.list(""):
        if not name.startswith("catalog-") or name == RESERVE:
            continue
        middle = name.removeprefix(_PREFIX).partition(".")[0]
        if not middle.isdecimal() or int(middle) < below:
            files.unlink(name)
