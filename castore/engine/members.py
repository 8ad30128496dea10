"""
Which files are the store's, and up to where, as the catalog's rows show it.

For maintenance; checkers work it out from the files alone.

Spec: spec/storelog.md, "The files of the store"; spec/file.md.
"""

from __future__ import annotations

from castore.engine.engine import Engine
from castore.engine.frames import missing_file
from castore.engine.view import View, listed_frames
from castore.errors import NotFoundError
from castore.formats import file as file_format
from castore.formats.storelog import StoreLog
from castore.reading.files import OpenFiles
from castore.reading.image import commits


def store_log(view: View, store: bytes) -> StoreLog:
    """Return the fold of the whole store log."""
    log = StoreLog(store)
    row = view.known.find_segment(store)
    if row is not None:
        for entry, body in view.read_log(row, 0, row.count):
            log.apply(entry.index, entry.kind, body, entry.refs)
    return log


def files_now(engine: Engine) -> tuple[bytes, dict[bytes, int]]:
    """
    Return the newest journal, and the files of the store as `members` does.

    The view may move meanwhile. A journal that was the newest must never be taken
    for a closed one that ends where it ended before.
    """
    while True:
        view = engine.refresh()
        journal = view.position.journal
        files = members(view, engine.state.opened, engine.store)
        if engine.view.position.journal == journal:  # there is no way back to one
            return journal, files


def members(view: View, opened: OpenFiles, store: bytes) -> dict[bytes, int]:
    """
    Return the files of the store, each with the offset up to which it counts.

    Reads the store log. A side pack counts up to the last frame in which a place
    stands. The catalog may be ahead of *view*: journals and packs that it alone
    knows are none of this state.
    """
    log = store_log(view, store)
    found = {file: listing.size for file, listing in log.listed.items()}
    found.update(_chain(view, opened, log.dropped))
    for file, offset in view.known.last_offsets().items():
        if file not in found and file not in log.dropped and _is_side(opened, file):
            found[file] = view.frames.get(file, offset).end
    return found


def _is_side(opened: OpenFiles, file: bytes) -> bool:
    try:
        return opened.get(file).header.kind == file_format.SIDE
    except NotFoundError:
        raise missing_file(file) from None


def _chain(view: View, opened: OpenFiles, dropped: set[bytes]) -> dict[bytes, int]:
    found = {}
    position = view.position
    journal, stop = position.journal, position.end
    while journal != file_format.NO_ID and journal not in dropped:
        found[journal] = stop
        try:
            header = opened.get(journal).header
        except NotFoundError:
            raise missing_file(journal) from None
        journal, stop = header.pred, header.pred_end
    return found


def named_sides(opened: OpenFiles, files: dict[bytes, int]) -> set[bytes]:
    """
    Return the side packs that commit records in *files* (id to stop) name.

    Reads all of them: what a commit names is removed by nobody, whatever the
    catalog says.
    """
    return {
        side
        for file, stop in files.items()
        for frame in listed_frames(opened.get(file), stop)
        for commit, _ in commits(frame)
        for side, _, _ in commit.sides
    }
