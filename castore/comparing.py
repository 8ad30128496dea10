"""
The catalog against the files: whether it says what one made anew would say.

Spec: spec/ordering.md, "The catalog"; spec/verdicts.md.
"""

from __future__ import annotations

import attrs

from castore.catalog import Catalog, SqliteCatalog
from castore.catalog.comparing import read_facts, sorted_facts
from castore.engine import catalogs
from castore.engine.rebuilding import facts_of_survey
from castore.engine.view import View
from castore.errors import CastoreError, CorruptionError, NotFoundError
from castore.formats.mark import LockFile
from castore.reading.files import OpenFiles
from castore.reading.findings import FAULT, NOT_COVERED, NOTICE, Finding
from castore.reading.folder import read_marker
from castore.reading.mark import MarkWorth, judge_mark, read_lock
from castore.storage import Files


CATALOG = "catalog"  # the place of what is found
EQUAL, FITS, DIFFERS, MISSING = "equal", "fits", "differs", "missing"
UNREADABLE, NO_FIT = "unreadable", "does not fit"
NOT_JUDGED, DAMAGED = "not judged", "files damaged"
_TRIES = 3  # a store in use moves on while it is compared


@attrs.frozen
class Comparison:
    """
    How the catalog compares with the files.

    Attributes:
        state: ``equal``, ``fits``, ``differs``, ``missing``, ``unreadable``, ``does
            not fit``, ``not judged`` or ``files damaged``.

        what: One sentence.
    """

    state: str
    what: str

    @property
    def finding(self) -> Finding | None:
        """What a checker says of it; None if all is well."""
        if self.state in (EQUAL, FITS):
            return None
        if self.state in (MISSING, NOT_JUDGED, DAMAGED):
            return Finding(NOT_COVERED, NOTICE, CATALOG, self.what)
        return Finding("catalog differs", FAULT, CATALOG, self.what)


def compare_catalog(files: Files) -> Comparison:
    """
    Compare all rows of the catalog with what the files say.

    Takes no lock, writes nothing, and the memory of both: some 500 bytes for each
    blob, entry run and segment. What cannot be judged, since the files are damaged
    or the store moves on, is no difference.

    Raises:
        StorageError: The medium failed.
    """
    try:
        store = read_marker(files)
    except CorruptionError as error:
        return Comparison(NOT_JUDGED, error.what)
    for _ in range(_TRIES):
        lock = read_lock(files)
        if lock is None or judge_mark(files, lock) is not MarkWorth.EXACT:
            return Comparison(NOT_JUDGED, "there is no mark to find the catalog by")
        found = judge_catalog(files, store, lock, deep=True)
        if read_lock(files) == lock:
            return found
    return Comparison(NOT_JUDGED, "the store is in use and moves on; try again")


def judge_catalog(
    files: Files, store: bytes, lock: LockFile, *, deep: bool
) -> Comparison:
    """
    Compare the catalog with the journals, or with *deep* with all files.

    Args:
        files: The store's folder.

        store: Store id.

        lock: What the lock file says; its mark is exact.

        deep: Whether to read everything.
    """
    if not files.exists(catalogs.catalog_name(lock.catalog_generation)):
        return Comparison(MISSING, "the catalog is missing")
    catalog = catalogs.read_catalog(files, store, lock)
    if not isinstance(catalog, SqliteCatalog):
        return Comparison(UNREADABLE, "the catalog cannot be read")
    opened = OpenFiles(files, store)
    try:
        with catalog:
            view = View(catalog, opened, store, _no_newer)
            view.catch_up(lock.journal, lock.end, lock.frame)
            if deep:
                return _compare(files, store, lock, view.known)
            return Comparison(FITS, "the catalog fits the journals")
    except (CorruptionError, NotFoundError) as error:
        what = f"the catalog does not fit the files: {error.what}"
        return Comparison(NO_FIT, what)
    finally:
        opened.forget()


def _no_newer(gone: CastoreError) -> View:
    raise gone


def _compare(files: Files, store: bytes, lock: LockFile, known: Catalog) -> Comparison:
    try:
        made, position = facts_of_survey(files, store, lock)
    except CorruptionError as error:
        what = f"the files are damaged, so no index can be right: {error.what}"
        return Comparison(DAMAGED, what)
    at = known.position()
    if at is None or at.seq != position.seq:
        return Comparison(NOT_JUDGED, "the store is in use and moved on; try again")
    if sorted_facts(read_facts(known.dump())) == sorted_facts(read_facts(made)):
        return Comparison(EQUAL, "the catalog says what the files say")
    return Comparison(DIFFERS, "the catalog differs from the files")
