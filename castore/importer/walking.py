"""
Many files taken in: what is named, and what is found below named folders.
"""

from __future__ import annotations

import os

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import attrs

from castore.errors import CastoreError, ClosedError, LockedError
from castore.importer.gathering import Gathering
from castore.importer.imported import ImportedFile
from castore.importer.remembering import Memory
from castore.importer.source import PACKED, absolute, open_source, system_errors
from castore.importer.taking import Progress, import_file, take_file
from castore.store import Store
from castore.transcript import DOCUMENT_FORMATS


_PACKED_LINES = f".jsonl{PACKED}"
#: Told of each file or folder that was left out: its path, and why.
Failed = Callable[[str, CastoreError], None]


@attrs.frozen(kw_only=True)
class Choice:
    """
    Which of the files that are named or found are taken.

    Attributes:
        exclude: Patterns as of a shell, with ``*`` for slashes too. What one of
            them matches, by name, by path below the named folder or by whole
            path, is left out, a folder with all that is in it.

        since_ms: Changed since then, ms since 1970 UTC; None for all.
    """

    exclude: Sequence[str] = ()
    since_ms: int | None = None

    def has(self, path: str, below: str) -> bool:
        """Return whether nothing excludes *path*, found below the folder *below*."""
        if not self.exclude:
            return True
        names = (os.path.basename(path), os.path.relpath(path, below), path)  # noqa: PTH119
        return not any(fnmatchcase(n, p) for p in self.exclude for n in names)

    def is_recent(self, path: str) -> bool:
        """Return whether the file at *path* changed since; True if none is there."""
        if self.since_ms is None:
            return True
        try:
            changed_ns = os.stat(path).st_mtime_ns  # noqa: PTH116 - hot
        except OSError:
            return True  # whoever opens it says what is wrong
        return changed_ns >= self.since_ms * 1_000_000


def import_paths(
    store: Store,
    paths: Iterable[str | os.PathLike[str]],
    *,
    format: str | None = None,  # noqa: A002
    choice: Choice | None = None,
    now_ms: int,
    progress: Progress | None = None,
    failed: Failed | None = None,
) -> Iterator[ImportedFile]:
    """
    Take in the files at *paths* and below them, and yield each when it is done.

    Of folders: ``*.jsonl``, ``*.jsonl.zst``, ``*.traj``, and ``*.json`` that are
    transcripts, in order of their names, files first. No links are followed but
    those named. Where a file and its ``.zst`` are both there, the plain one is
    taken, as Codex does.

    Args:
        store: Where.

        paths: Files and folders.

        format: Of all files; found out by default.

        choice: Which of them; all by default.

        now_ms: As of `import_file`.

        progress: As of `import_file`; not for the small files that are begun by
            one commit.

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

    memory = Memory(store)
    options: dict[str, Any] = {
        "format": format,
        "now_ms": now_ms,
        "progress": progress,
        "memory": memory,
    }
    gathering = Gathering(store, memory, partial(import_file, store, **options))
    taking = partial(take_file, store, gathering=gathering, **options)
    found = find_files(paths, choice or Choice(), tell)
    try:
        for file, done in chain(_taken(found, taking, gathering), gathering.rest()):
            if isinstance(done, CastoreError):
                tell(file, done)
            else:
                yield done
    finally:
        memory.flush()


def _taken(
    files: Iterable[str],
    taking: Callable[..., ImportedFile | None],
    gathering: Gathering,
) -> Iterator[tuple[str, ImportedFile | CastoreError]]:
    """Yield each file with what came of it, once that is durable."""
    for file in files:
        result: ImportedFile | CastoreError | None
        try:
            result = taking(file)
        except CastoreError as error:
            result = error
        yield from gathering.done(file, result)


def find_files(
    paths: Iterable[str | os.PathLike[str]], choice: Choice, failed: Failed
) -> Iterator[str]:
    """
    Yield the absolute paths of the files that `import_paths` takes in.

    Args:
        paths: Files and folders.

        choice: Which of them.

        failed: Called for each folder, and each ``*.json``, that cannot be read.
    """
    for path in paths:
        where = absolute(path)
        if Path(where).is_dir():
            yield from _below(where, where, choice, failed)
            continue
        where = _plain(where)
        folder = os.path.dirname(where)  # noqa: PTH120
        if choice.has(where, folder) and choice.is_recent(where):
            yield where


def _below(folder: str, top: str, choice: Choice, tell: Failed) -> Iterator[str]:
    try:
        with system_errors(folder), os.scandir(folder) as items:
            found = sorted(items, key=_files_first)
    except CastoreError as error:
        tell(folder, error)
        return
    for item in found:
        if not choice.has(item.path, top):
            continue
        if item.is_dir(follow_symlinks=False):
            yield from _below(item.path, top, choice, tell)
        elif (
            item.is_file(follow_symlinks=False)
            and choice.is_recent(item.path)
            and _is_wanted(item.path, tell)
        ):
            yield item.path


def _plain(path: str) -> str:
    """Return the plain file that stands beside a packed one, else *path*."""
    plain = path.removesuffix(PACKED)
    both = path.endswith(_PACKED_LINES) and Path(plain).is_file()
    return plain if both else path


def _files_first(item: os.DirEntry[str]) -> tuple[bool, str]:
    return item.is_dir(follow_symlinks=False), item.name


def _is_wanted(path: str, tell: Failed) -> bool:
    if path.endswith(_PACKED_LINES):
        return _plain(path) == path
    if not path.endswith(".json"):
        return path.endswith((".jsonl", ".traj"))
    try:
        with open_source(path, None) as source:
            return source.format in DOCUMENT_FORMATS
    except CastoreError as error:
        tell(path, error)
        return False
