"""
A SQLite file with three other ways: no error but ours, no lock held for long, no
file made unasked.

SQLite finds little of what happens to its file by itself, and the file may be
anything. Whatever SQLite says is turned into one of two errors: the medium
failed, or the catalog is of no use and is to be rebuilt.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from castore.errors import (
    CastoreError,
    ClosedError,
    CorruptionError,
    NotFoundError,
    StorageError,
    UnsupportedError,
)


_BUSY_TIMEOUT_S = 5.0  # others hold SQLite's own locks for moments only
_PRAGMAS = (
    "synchronous = NORMAL",
    "wal_autocheckpoint = 0",  # the engine says when: SQLite's race needs the lock
    "checkpoint_fullfsync = ON",  # macOS: a sync is to reach the medium
    "foreign_keys = ON",
    "temp_store = MEMORY",  # no files beside the three
    "cell_size_check = ON",  # see more damage ...
    "trusted_schema = OFF",  # ... and run none of it
)


class Database:
    """
    One SQLite file in WAL mode, shared by threads, one call at a time.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, how: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        with _sqlite_errors():
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?{how}",
                uri=True,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=100,  # there are fewer
            )
        try:
            with self.using() as db:
                for pragma in _PRAGMAS:
                    db.execute(f"PRAGMA {pragma}")
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], fill: Callable[[sqlite3.Connection], None]
    ) -> Self:
        """
        Make the file *path*, 0600, which must not exist; *fill* makes its tables.

        Nothing is left of it if that fails.
        """
        path = Path(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with _system_errors("making the catalog"):
            os.close(os.open(path, flags, 0o600))
        try:
            _remove(_beside(path))  # of an older file of this name
            made = cls(path, "mode=rw")
            try:
                with made.using() as db:
                    modes = db.execute("PRAGMA journal_mode = WAL").fetchall()
                if modes != [("wal",)]:
                    raise UnsupportedError(
                        what="SQLite has no WAL on this file system; move the store"
                    )
                with made.using("BEGIN IMMEDIATE") as db:
                    fill(db)
            except BaseException:
                made.close()
                raise
        except BaseException:
            _remove([path, *_beside(path)])
            raise
        return made

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        check: Callable[[sqlite3.Connection], None],
        *,
        read_only: bool,
        immutable: bool,
    ) -> Self:
        """Open the file *path*, as `SqliteCatalog.open` says; *check* may refuse it."""
        path = Path(path)
        with _system_errors("opening the catalog"):
            path.stat()
        if immutable:
            if not is_at_rest(path):
                raise _refused("in use: it cannot be opened as immutable")
            opened = cls(path, "mode=ro&immutable=1")
        elif read_only:
            if not all(each.exists() for each in _beside(path)):
                raise _refused("at rest: it can only be read as immutable")
            opened = cls(path, "mode=ro")
        else:
            opened = cls(path, "mode=rw")
        try:
            with opened.using("BEGIN") as db:
                check(db)
                modes = db.execute("PRAGMA journal_mode").fetchall()
                pages = db.execute("PRAGMA page_size").fetchall()
            if modes != [("wal",)] and not immutable:
                raise damaged("it is not in WAL mode")
            # SQLite takes what is missing of a last page for zeros.
            if opened.wal_size() == 0 and _size(path) % pages[0][0]:
                raise damaged("it was cut")
        except BaseException:
            opened.close()
            raise
        return opened

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        with self._lock, _sqlite_errors():
            db, self._db = self._db, None
            if db is not None:
                db.close()

    def __del__(self) -> None:
        if getattr(self, "_db", None) is not None:
            with contextlib.suppress(StorageError):  # what it holds can be made anew
                self.close()

    @contextlib.contextmanager
    def using(self, begin: str | None = None) -> Iterator[sqlite3.Connection]:
        """Lend the connection, in a transaction that *begin* opens if it is given."""
        with self._lock, _sqlite_errors():
            db = self._opened()
            try:
                if begin is not None:
                    db.execute(begin)
                yield db
                if begin is not None:
                    db.execute("COMMIT")
            except BaseException:
                db.rollback()
                raise

    def fetch(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of *query*."""
        # As `using`, without its cost: this is what a lookup is made of.
        with self._lock:
            try:
                return self._opened().execute(query, values).fetchall()
            except _FAILURES as error:
                raise _typed(error) from error

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise ClosedError(what="the catalog is closed")
        return self._db

    def wal_size(self) -> int:
        """Return the size of the WAL in bytes."""
        return _size(_beside(self.path)[0])


def is_at_rest(path: str | os.PathLike[str]) -> bool:
    """Return whether nobody has *path* open and all of it is in its one file."""
    wal, shm = _beside(Path(path))
    return not shm.exists() and _size(wal) == 0


# --- files -------------------------------------------------------------------


def _beside(path: Path) -> tuple[Path, Path]:
    """Return where SQLite keeps WAL and shared memory of the file *path*."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _size(path: Path) -> int:
    with _system_errors("looking at the catalog"):
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0


def _remove(paths: Iterable[Path]) -> None:
    with _system_errors("removing a catalog"):
        for path in paths:
            path.unlink(missing_ok=True)


# --- errors ------------------------------------------------------------------

# A damaged file may have its bytes quoted in a message that is then no text.
_FAILURES = (sqlite3.Error, UnicodeDecodeError)
_MEDIUM = {  # SQLite's code: the system's, and whether the same call may work later
    sqlite3.SQLITE_BUSY: (errno.EBUSY, True),
    sqlite3.SQLITE_LOCKED: (errno.EBUSY, True),
    sqlite3.SQLITE_PROTOCOL: (errno.EBUSY, True),
    sqlite3.SQLITE_FULL: (errno.ENOSPC, True),
    sqlite3.SQLITE_IOERR: (errno.EIO, False),
    sqlite3.SQLITE_READONLY: (errno.EROFS, False),
    sqlite3.SQLITE_PERM: (errno.EACCES, False),
    sqlite3.SQLITE_CANTOPEN: (0, False),
}


@contextlib.contextmanager
def _sqlite_errors() -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise _typed(error) from error


def _typed(error: Exception) -> CastoreError:
    """Return the error of this package for one of SQLite's."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF not in _MEDIUM:  # None: not SQLite, its binding
        return damaged("SQLite cannot use it")
    number, transient = _MEDIUM[code & 0xFF]
    reason = os.strerror(number) if number else "cannot be opened"
    return StorageError(
        what=f"the catalog: {reason} (SQLite error {code})",
        errno=number,
        transient=transient,
    )


@contextlib.contextmanager
def _system_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(what=f"{doing}: no such file") from error
    except OSError as error:
        number = error.errno or 0
        what = f"{doing}: {os.strerror(number)}"
        raise StorageError(
            what=what, errno=number, transient=number in (errno.ENOSPC, errno.EDQUOT)
        ) from error


def _refused(what: str) -> StorageError:
    return StorageError(
        what=f"the catalog is {what}", errno=errno.EBUSY, transient=True
    )


def damaged(what: str) -> CorruptionError:
    """Return the error for a catalog that cannot be right."""
    return CorruptionError(
        what=f"{what}; rebuild it from the files",
        verdict="catalog differs",
        where="catalog",
    )
