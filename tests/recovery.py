"""
A store whose catalog tests damage, and what must hold whatever was done to it.
"""

from __future__ import annotations

import sqlite3

from pathlib import Path

from corruption import Bed, is_error, make_store, ours

import castore

from castore.catalog.rows import SegmentRow
from castore.errors import CastoreError
from castore.formats.mark import decode_lock
from castore.packing import pack


def make(root: Path) -> None:
    """Make a store with long logs beside everything else, in packs and journals."""
    make_store(root)
    with castore.open(root) as store:
        segment = store.session(("tool", "one")).segments()[0]
        many = [castore.NewEntry("line", b"%d" % number) for number in range(600)]
        segment.append(many[:300], key="first")
        segment.fork(280, then=many[300:])
        gone = store.create_session(key=("tool", "gone"))
        gone.delete()
        pack(store.engine)
        segment.append(many[300:400], key="second")
        store.create_session(key=("tool", "two"), then=many[:3])


class Recovery:
    """
    A store whose catalog is damaged, and all files as they were before.

    Attributes:
        bed: What it answers while it is good.

        older: The files of its catalog as they were some commits ago: the main
            file with its log beside it, and after a checkpoint.

        other: Another store's catalog.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        make(root)
        self.older: dict[bool, dict[str, bytes]] = {True: {}, False: {}}
        self._make_older()
        make_store(root.with_name("other"))
        self.other = next(root.with_name("other").glob("catalog-1-*.sqlite"))
        self.bed = Bed(root)
        self._files = self._read()

    def _make_older(self) -> None:
        with castore.open(self.root) as store:
            segment = store.session(("tool", "two")).segments()[0]
            segment.append([castore.NewEntry("line", b"older")])
            store.engine.upkeep.apply_all()
            for path in self.root.glob("catalog-1-*.sqlite*"):
                self.older[True][path.name] = path.read_bytes()
        name = self.catalog.name
        self.older[False][name] = self.catalog.read_bytes()
        with castore.open(self.root) as store:
            segment = store.session(("tool", "two")).segments()[0]
            segment.append([castore.NewEntry("line", b"newer")], key="newer")
            segment.fork(2)
            store.put(b"tagged later", tag="later")

    @property
    def catalog(self) -> Path:
        """The catalog's file."""
        lock = decode_lock((self.root / "lock").read_bytes())
        assert lock
        return self.root / f"catalog-1-{lock.catalog_generation}.sqlite"

    def edit(self, *statements: str) -> None:
        """Change rows of the catalog."""
        db = sqlite3.connect(self.catalog)
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()

    def _read(self) -> dict[str, bytes]:
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes() for path in paths
        }

    def restore(self) -> None:
        """Make all files again what they were, on the same inodes."""
        for name in self._read().keys() - self._files.keys():
            (self.root / name).unlink()
        for name, data in self._files.items():
            path = self.root / name
            if not path.exists():
                path.touch()
            if path.read_bytes() != data:
                self.bed.write(name, data)

    def check(self, what: str, *, exact: bool = True) -> None:
        """
        Read, write, then rebuild: no wrong answer, nothing lost, no fork of a log.

        With *exact* nothing may fail either.
        """
        for read_only in (True, False):
            answers = self.bed.check_reads(what, read_only=read_only)
            failed = [name for name, answer in answers.items() if is_error(answer)]
            assert not (exact and failed), what
        self.append(what, exact=exact)
        found, _ = ours(self.root)
        assert {verdict for verdict, _ in found} <= {"not covered"}, what
        self.restore()

    def row(self, key: str) -> SegmentRow:
        """Return the row of the segment of a session that was given that key."""
        with castore.open(self.root, read_only=True) as store:
            segment = store.session(("tool", key)).segments()[0]
            row = store.engine.view.known.find_segment(segment.id)
            assert row
            return row

    def append(self, what: str, *, exact: bool) -> None:
        """Append to each log, which works or is refused; after a rebuild it works."""
        try:
            with castore.open(self.root) as store:
                for segment in self.bed.names[0]:
                    self._append(store, segment, what, exact=exact)
        except CastoreError:
            assert not exact, what
        if not exact:
            with castore.open(self.root) as store:
                store.engine.rebuild()
                for segment in self.bed.names[0]:
                    self._append(store, segment, what, exact=True)

    def _append(
        self, store: castore.Store, segment: bytes, what: str, *, exact: bool
    ) -> None:
        if segment == store.id:
            return
        before = self.bed.answers[f"{segment.hex()} read"]
        assert isinstance(before, list)
        try:
            log = store.segment(segment)
            log.append([castore.NewEntry("line", b"goes on")])
            now = list(log.read())
            log.fork(len(before) // 2 + 1)
        except CastoreError:
            assert not exact, what
            return
        assert before == now[: len(before)], what
        assert b"goes on" == now[-1][1], what
