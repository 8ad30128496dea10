"""
Which store a command means, and opening it.
"""

from __future__ import annotations

import argparse
import os
import sys

from pathlib import Path
from typing import TYPE_CHECKING

from castore.cli.exits import CommandError, Exit
from castore.cli.output import Output
from castore.formats import marker


if TYPE_CHECKING:
    from castore.store import Store


VARIABLE = "CASTORE_STORE"


def store_path(options: argparse.Namespace) -> tuple[Path, str]:
    """
    Return the store's folder, and what named it.

    ``--store``, else the environment, else the user's data folder.
    """
    if options.store:
        return Path(options.store).absolute(), "--store"
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).absolute(), VARIABLE
    return _data_folder() / "castore", "default"


def _data_folder() -> Path:
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support"
    folder = Path(os.environ.get("XDG_DATA_HOME", ""))
    # The XDG specification: a relative path in it is to be ignored.
    if folder.is_absolute():
        return folder
    return _home() / ".local" / "share"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        what = "no home folder; name the store with --store"
        raise CommandError(Exit.USAGE, what) from None


def existing_path(options: argparse.Namespace) -> Path:
    """
    Return the store's folder.

    Raises:
        CommandError: There is no store.
    """
    path, _ = store_path(options)
    check_path(path)
    return path


def check_path(path: Path) -> None:
    """
    Refuse *path* if there is no store.

    Raises:
        CommandError: There is none.
    """
    if not os.path.lexists(path / marker.NAME):
        what = f"no store at {path}; make one with castore init or castore import"
        raise CommandError(Exit.NO_STORE, what)


def open_store(options: argparse.Namespace) -> Store:
    """Open the store for changing it."""
    from castore.store import open as open_path

    path = existing_path(options)
    return open_path(path, max_bytes=getattr(options, "max_bytes", None))


def read_store(options: argparse.Namespace) -> Store:
    """
    Open the store for reading: no lock, nothing written.

    Unless a look at all files would be needed for that, as after a restart of the
    machine, and this user may write: then what makes it fast again is written. Never
    to a backup: it would be one no more.
    """
    from castore.store import open as open_path

    path = existing_path(options)
    writes = _is_writable(path) and _is_slow(path) and not _is_backup(path)
    return open_path(path, read_only=not writes)


def _is_backup(path: Path) -> bool:
    from castore.backups import is_backup
    from castore.storage import Files

    return is_backup(Files(path))


def _is_writable(path: Path) -> bool:
    lock = path / "lock"
    return os.access(path, os.W_OK) and (not lock.exists() or os.access(lock, os.W_OK))


def _is_slow(path: Path) -> bool:
    from castore.engine.catalogs import catalog_name
    from castore.reading.mark import MarkWorth, judge_mark, read_lock
    from castore.storage import Files

    files = Files(path)
    lock = read_lock(files)
    if lock is None or judge_mark(files, lock) is not MarkWorth.EXACT:
        return True
    return not files.exists(catalog_name(lock.catalog_generation))


def make_store(options: argparse.Namespace, out: Output) -> tuple[Store, bool]:
    """Open the store, made if there is none; return whether it was made."""
    from castore.store import open as open_path

    path, _ = store_path(options)
    made = not os.path.lexists(path / marker.NAME)
    if made and path.is_dir() and any(path.iterdir()) and not (path / "files").exists():
        what = f"{path} is neither empty nor a store; choose another folder"
        raise CommandError(Exit.REFUSED, what)
    max_bytes = getattr(options, "max_bytes", None)
    store = open_path(path, create=True, max_bytes=max_bytes)
    if made:
        out.note(f"made a store at {path}")
    return store, made
