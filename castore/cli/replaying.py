"""
``import --format runtime``: the commits of another runtime, made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from castore.cli.arguments import RUNTIME
from castore.errors import CastoreError, ClosedError, LockedError
from castore.importer import Choice, ImportedFile, find_files
from castore.runtime.replaying import ReplayedFile, replay_file
from castore.store import Store


def replay_paths(
    store: Store,
    paths: Iterable[str],
    choice: Choice,
    failed: Callable[[str, CastoreError], None],
) -> Iterator[ImportedFile]:
    """
    Replay the files at *paths* and below them, and yield each when it is done.

    Args:
        store: Where.

        paths: Files and folders.

        choice: Which of them.

        failed: Called for each that could not be replayed; the others go on.

    Raises:
        ClosedError: The store cannot be used any more.

        LockedError: Another process held the store's lock for too long.
    """
    for path in find_files(paths, choice, failed):
        try:
            done = replay_file(store, path)
        except (ClosedError, LockedError):
            raise
        except CastoreError as error:
            failed(path, error)
        else:
            yield _imported(done)


def _imported(done: ReplayedFile) -> ImportedFile:
    return ImportedFile(
        path=done.path,
        format=RUNTIME,
        session_id=done.session_id,
        segment_id=done.segment_id,
        entries=done.entries,
        bad_lines=0,
        raw_bytes=done.raw_bytes,
        new_entries=done.new_commits,
    )
