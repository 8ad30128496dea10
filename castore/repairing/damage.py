"""
Which files are damaged, how much of each there is, and what is missing with them.

Spec: spec/repair.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from castore.catalog.rows import Run
from castore.engine import Engine
from castore.engine.members import store_log
from castore.errors import CorruptionError, NotFoundError
from castore.formats import file as file_format
from castore.formats.file import file_name
from castore.formats.head import hash_head
from castore.formats.storelog import StoreLog
from castore.reading.files import OpenFile
from castore.reading.frames import Frame, walk
from castore.reading.image import commits, heads, run_headers
from castore.repairing.sources import MendedFile, Source, mended, own_file


@attrs.define(eq=False)
class Damaged:
    """
    A file that is replaced, or should be.

    Attributes:
        id: File id.

        file: What there is of it, mended as far as can be; None if nothing is.

        stop: Up to where it counts.

        is_damaged: Whether it is; else it goes along with one that is.

        is_whole: Whether nothing of it is missing, once mended.
    """

    id: bytes
    file: OpenFile | None
    stop: int
    is_damaged: bool
    is_whole: bool

    @property
    def name(self) -> str:
        """Name of the file, as findings give it."""
        return file_name(self.id)


class Damage:
    """
    What is wrong with the files of a store, after a look at good copies.

    Attributes:
        log: The fold of the store log, read from copies where it has to be.

        files: All files of the store but the journal that is written, by id.

        chain: The journals among them, newest first.
    """

    def __init__(self, engine: Engine, sources: Sequence[Source]) -> None:
        """
        Look at the frames of all files, and what *sources* have of damaged ones.

        Raises:
            CorruptionError: The store log cannot be read, here and there: which
                files are the store's is not known.
        """
        self._engine = engine
        self._sources = sources
        self.files: dict[bytes, Damaged] = {}
        self._seqs: set[int] = set()
        self._heads: set[bytes] = set()
        self._sides: dict[bytes, int] = {}
        self.log = self._store_log()
        newest = engine.state.opened.get(engine.view.position.journal)
        self._note(newest, engine.view.position.end)
        self.chain = list(self._chain(newest))
        for file, listing in self.log.listed.items():
            self._look(file, listing.size)
        for side, end in self._sides.items():
            if side not in self.log.dropped:
                self._look(side, end)
        self._missing = self._misses_anything()

    @property
    def damaged(self) -> list[Damaged]:
        """The damaged files."""
        return [item for item in self.files.values() if item.is_damaged]

    # --- which files ---------------------------------------------------------

    def _store_log(self) -> StoreLog:
        engine = self._engine
        row = engine.view.known.find_segment(engine.store)
        runs = engine.view.known.runs(engine.store, 0, row.count) if row else []
        for file in {run.file for run in runs} - {engine.view.position.journal}:
            found = self._mended(file, None)
            if found is not None:
                engine.state.opened.lend(found)
        try:
            return store_log(engine.view, engine.store)
        except NotFoundError as error:
            raise CorruptionError(
                what="the store log is damaged and no source has a copy; restore the "
                "store from a backup, then run castore recover",
                verdict="missing pack",
                where="files",
            ) from error
        finally:
            engine.state.opened.forget()

    def _mended(self, file: bytes, stop: int | None) -> MendedFile | None:
        store = self._engine.store
        own = own_file(self._engine.files, file, store)
        found = (source.find_file(file, store) for source in self._sources)
        copies = [copy for copy in found if copy is not None]
        there = [each for each in (own, *copies) if each is not None]
        if stop is None:
            stop = max((each.size() for each in there), default=0)
        return mended(own, copies, stop)

    def _chain(self, newest: OpenFile) -> Iterator[bytes]:
        header = newest.header
        while header.pred != file_format.NO_ID and header.pred not in self.log.dropped:
            item = self._look(header.pred, header.pred_end)
            yield item.id
            if item.file is None:
                return
            header = item.file.header

    def _look(self, file: bytes, stop: int) -> Damaged:
        """Look at a file of the store up to *stop*, and mend it if it is damaged."""
        if file in self.files:
            return self.files[file]
        own = own_file(self._engine.files, file, self._engine.store)
        is_good = own is not None and self._note(own, stop)
        read: OpenFile | None = own
        if not is_good:
            read = self._mended(file, stop)
        is_whole = is_good or (read is not None and self._note(read, stop))
        found = Damaged(file, read, stop, not is_good, is_whole)
        self.files[file] = found
        return found

    def _note(self, file: OpenFile, stop: int) -> bool:
        """Take note of commits and heads in *file*; return whether it is whole."""
        end, is_whole = file_format.SIZE, True
        for item in walk(file, file_format.SIZE, stop):
            if not isinstance(item, Frame):
                is_whole = False
                continue
            end = item.end
            try:
                for commit, _ in commits(item):
                    self._seqs.add(commit.seq)
                    for side, side_end, _ in commit.sides:
                        self._sides[side] = max(side_end, self._sides.get(side, 0))
                self._heads |= {each for _, each in heads(item, self._engine.store)}
            except CorruptionError:
                is_whole = False
        is_pack = file.header.kind == file_format.PACK
        return is_whole and end == stop and not (is_pack and file.size() > stop)

    # --- what is missing -----------------------------------------------------

    def misses(self, item: Damaged) -> bool:
        """
        Return whether anything but blobs would be lost with *item*.

        Its gaps may have held whatever is nowhere.
        """
        return not item.is_whole and (self._missing or any(self._lost_runs(item)))

    def _misses_anything(self) -> bool:
        """Return whether a commit or the head of a segment stands nowhere."""
        known = self._engine.view.known
        rows = (row for row in known.segments() if not known.find_deleted(row.id))
        wanted = range(1, self._engine.view.position.seq + 1)
        return not self._seqs.issuperset(wanted) or any(
            hash_head(row.head) not in self._heads for row in rows
        )

    def _lost_runs(self, item: Damaged) -> Iterator[Run]:
        """Yield the entries that the catalog knows there and that cannot be read."""
        there: set[int] = set()
        if item.file is not None:
            there = set(_readable_runs(item.file, item.stop))
        known = self._engine.view.known
        for row in known.segments():
            for run in known.runs(row.id, row.fork_index, row.count):
                if run.file == item.id and run.offset not in there:
                    yield run


def _readable_runs(file: OpenFile, stop: int) -> Iterator[int]:
    """Yield the offsets of frames whose entries, if any, have their bodies."""
    waiting: int | None = None
    for item in walk(file, file_format.SIZE, stop):
        if not isinstance(item, Frame):
            waiting = None
            continue
        if waiting is not None:
            yield waiting
        waiting = None
        if any(run.bodies for run in run_headers(item)):
            waiting = item.offset
        else:
            yield item.offset
