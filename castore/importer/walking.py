"""
Many files taken in: what is named, and what is found below named folders.
"""

from __future__ import annotations

import os

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from castore.errors import CastoreError, ClosedError, LockedError
from castore.importer.source import absolute, open_source, reading
from castore.importer.strings import Strings
from castore.importer.taking import ImportedFile, Progress, import_file
from castore.store import Store
from castore.transcript import DOCUMENT_FORMATS


#: Told of each file or folder that was left out: its path, and why.
Failed = Callable[[str, CastoreError], None]


def import_paths(
    store: Store,
    paths: Iterable[str | os.PathLike[str]],
    *,
    format: str | None = None,  # noqa: A002
    now_ms: int,
    progress: Progress | None = None,
    failed: Failed | None = None,
) -> Iterator[ImportedFile]:
    """
    Take in the files at *paths* and below them, and yield each when it is done.

    Of folders: ``*.jsonl``, ``*.traj``, and ``*.json`` that are transcripts, in
    order of their names, files first. No links are followed but those named.

    Args:
        store: Where.

        paths: Files and folders.

        format: Of all files; found out by default.

        now_ms: As of `import_file`.

        progress: As of `import_file`.

        failed: Called for each file that could not be taken in, and the others
            go on; by default the error is raised.

    Raises:
        ClosedError: The store cannot be used any more.

        LockedError: Another process held the store's lock for too long.
    """

    def tell(path: str, error: CastoreError) -> None:
        if failed is None or isinstance(error, ClosedError | LockedError):
            raise error
        failed(path, error)

    strings = Strings()
    for file in find_files(paths, tell):
        try:
            done = import_file(
                store,
                file,
                format=format,
                now_ms=now_ms,
                strings=strings,
                progress=progress,
            )
        except CastoreError as error:
            tell(file, error)
        else:
            yield done


def find_files(
    paths: Iterable[str | os.PathLike[str]], failed: Failed
) -> Iterator[str]:
    """
    Yield the absolute paths of the files that `import_paths` takes in.

    Args:
        paths: Files and folders.

        failed: Called for each folder, and each ``*.json``, that cannot be read.
    """
    for path in paths:
        where = absolute(path)
        if Path(where).is_dir():
            yield from _below(where, failed)
        else:
            yield where


def _below(folder: str, tell: Failed) -> Iterator[str]:
    try:
        with reading(folder), os.scandir(folder) as items:
            found = sorted(items, key=_files_first)
    except CastoreError as error:
        tell(folder, error)
        return
    for item in found:
        if item.is_dir(follow_symlinks=False):
            yield from _below(item.path, tell)
        elif item.is_file(follow_symlinks=False) and _is_wanted(item.path, tell):
            yield item.path


def _files_first(item: os.DirEntry[str]) -> tuple[bool, str]:
    return item.is_dir(follow_symlinks=False), item.name


def _is_wanted(path: str, tell: Failed) -> bool:
    if not path.endswith(".json"):
        return path.endswith((".jsonl", ".traj"))
    try:
        with open_source(path, None) as source:
            return source.format in DOCUMENT_FORMATS
    except CastoreError as error:
        tell(path, error)
        return False
