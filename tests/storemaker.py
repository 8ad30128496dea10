"""
Stores made from the formats alone: no engine, no catalog, every record type.

A `Maker` keeps what it wrote in memory as well, so that a test can make the next
commit, pack what is there, or write something that no engine would.
"""

from __future__ import annotations

import random

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from framemaker import TIME_MS, FileMaker, Item, Stored, blob, entries

from castore import merkle
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats import storelog
from castore.formats.commit import Commit, CommitKey, hash_commit, store_genesis
from castore.formats.entry import Origin, Reference, Start, genesis
from castore.formats.file import FileHeader
from castore.formats.head import Head, hash_head
from castore.formats.mark import LockFile, encode_lock
from castore.formats.marker import encode_marker
from castore.formats.trees import tree_of
from castore.storage import Files


@attrs.define
class Log:
    """What was written of one segment."""

    session: bytes
    segment: bytes
    fork_index: int
    inherited: list[bytes]
    hashes: list[bytes] = attrs.Factory(list)
    items: list[Item] = attrs.Factory(list)
    head: Head | None = None

    @property
    def all_hashes(self) -> list[bytes]:
        """Entry hashes of the whole log."""
        return self.inherited + self.hashes

    @property
    def prev(self) -> bytes:
        """What the next entry names."""
        hashes = self.all_hashes
        return hashes[-1] if hashes else genesis(self.session, self.segment)


def root_of(hashes: Iterable[bytes], tree: merkle.Tree) -> bytes:
    """Return the root of the tree over *hashes*."""
    peaks: list[bytes] = []
    for count, digest in enumerate(hashes):
        merkle.push(tree, peaks, count, tree.leaf(digest))
    return merkle.root(tree, peaks)


class Maker:
    """A store that grows by calls; ids come from *seed*."""

    def __init__(self, root: Path, *, seed: int = 1) -> None:
        self.root = root
        self.dice = random.Random(seed)
        self.store = self.make_id()
        (root / "files").mkdir(parents=True)
        (root / "castore.json").write_bytes(encode_marker(self.store))
        self.commits: list[tuple[Commit, bytes]] = []
        self.logs: dict[bytes, Log] = {}
        self.journals: list[FileMaker] = []
        self.sides: list[FileMaker] = []
        self.packs: list[FileMaker] = []
        self.open_journal()
        self.store_log = self.begin(self.store, self.store)
        body = storelog.started("storemaker")
        start = Start(self.store, self.store, "new")
        self.append(self.store_log, [Item("start", body, start=start)])

    def make_id(self) -> bytes:
        """Return the next 16 bytes that stand for random ones."""
        return self.dice.randbytes(16)

    # --- files ---------------------------------------------------------------

    @property
    def journal(self) -> FileMaker:
        """The newest journal."""
        return self.journals[-1]

    def make_file(self, kind: int, **facts: object) -> FileMaker:
        """Return a new file of *kind*, its header written."""
        header = FileHeader(kind, self.store, self.make_id(), **facts)  # type: ignore[arg-type]
        return FileMaker(self.root, header)

    def open_journal(self, **facts: object) -> None:
        """Begin the next journal, behind the end of the newest."""
        seq = len(self.commits)
        known: dict[str, object] = {"number": 1, "seq": seq}
        known["commit"] = self.commits[-1][1] if seq else store_genesis(self.store)
        if self.journals:
            before = self.journal
            known["number"] = before.header.number + 1
            known["pred"] = before.header.id
            known["pred_end"] = len(before.data)
            known["pred_frame"] = before.last
        self.journals.append(self.make_file(file_format.JOURNAL, **known | facts))

    def close_journal(self) -> None:
        """End the newest journal with a footer and make its successor."""
        self.journal.footer()
        self.open_journal()

    def open_side(self) -> FileMaker:
        """Begin a side pack."""
        self.sides.append(self.make_file(file_format.SIDE))
        return self.sides[-1]

    # --- commits -------------------------------------------------------------

    def begin(self, session: bytes, segment: bytes) -> Log:
        """Return a new log; its first commit must hold the start entry."""
        self.logs[segment] = Log(session, segment, 0, [])
        return self.logs[segment]

    def new_session(self, key: tuple[str, str] | None = None) -> Log:
        """Begin a session and commit its start entry."""
        log = self.begin(self.make_id(), self.make_id())
        start = Start(log.session, log.segment, "new", key=key)
        self.append(log, [Item("start", b"{}", start=start)])
        return log

    def fork(self, parent: Log, count: int) -> Log:
        """Fork *parent* behind its first *count* entries."""
        hashes = parent.all_hashes[:count]
        root = root_of(hashes, tree_of(parent.segment, self.store))
        log = Log(parent.session, self.make_id(), count, hashes)
        self.logs[log.segment] = log
        origin = Origin(parent.session, parent.segment, count, root, hashes[-1], 3)
        start = Start(log.session, log.segment, "fork", origin)
        self.append(log, [Item("start", b"forked", start=start)])
        return log

    def append(self, log: Log, items: Sequence[Item], **facts: object) -> None:
        """Commit *items* to one log; *facts* as in `commit`."""
        self.commit([(log, items)], **facts)  # type: ignore[arg-type]

    def commit(
        self,
        changes: Sequence[tuple[Log, Sequence[Item]]],
        *,
        records: Sequence[Stored] = (),
        sides: Sequence[FileMaker] = (),
        key: CommitKey | None = None,
        group_start: int | None = None,
    ) -> None:
        """Append one commit frame: *records*, bodies, entries, heads, commit."""
        seq = len(self.commits) + 1
        blobs = list(records)
        runs, heads = [], []
        for log, items in changes:
            base = sum(item[0][0] == frame_format.BLOB for item in blobs)
            run, hashes, bodies = entries(
                log.segment, len(log.all_hashes), log.prev, items, bodies=0, base=base
            )
            blobs += [blob(body) for body in bodies]
            log.hashes += hashes
            log.items += items
            runs.append(run)
            heads.append(self.make_head(log, seq))
        ends = tuple((side.header.id, len(side.data), side.last) for side in sides)
        commit = self.make_commit(heads, key=key, sides=ends)
        self.seal([*blobs, *runs], heads, commit, group_start=group_start)

    def make_commit(self, heads: Sequence[Head], **facts: object) -> Commit:
        """Return the next commit record, of *heads*."""
        prev = self.commits[-1][1] if self.commits else store_genesis(self.store)
        names = tuple(hash_head(head.encode()) for head in heads)
        seq = len(self.commits) + 1
        known: dict[str, object] = {
            "seq": seq,
            "prev": prev,
            "time_ms": TIME_MS + seq,
            "heads": names,
        }
        return Commit(**known | facts)  # type: ignore[arg-type]

    def seal(
        self,
        records: Sequence[Stored],
        heads: Sequence[Head],
        commit: Commit,
        *,
        group_start: int | None = None,
    ) -> None:
        """Write a commit frame as it is given."""
        self.commits.append((commit, hash_commit(commit.encode())))
        tables: list[Stored] = [
            ([frame_format.HEAD, 0, head.record()], b"") for head in heads
        ]
        tables.append(([frame_format.COMMIT, 0, commit.record()], b""))
        self.journal.frame([*records, *tables], group_start=group_start)

    def make_head(self, log: Log, seq: int) -> Head:
        """Return, and keep, the head of *log* as it is now."""
        hashes = log.all_hashes
        root = root_of(hashes, tree_of(log.segment, self.store))
        log.head = Head(
            self.store,
            log.session,
            log.segment,
            log.fork_index,
            log.head.revision + 1 if log.head else 1,
            len(hashes),
            root,
            hashes[-1],
            seq,
            TIME_MS + seq,
        )
        return log.head

    def note(self, kind: str, body: bytes, refs: tuple[Reference, ...] = ()) -> None:
        """Commit one entry of the store log."""
        self.append(self.store_log, [Item(kind, body, refs)])

    # --- packs ---------------------------------------------------------------

    def pack(self, logs: Iterable[Log], records: Sequence[Stored] = ()) -> FileMaker:
        """Write commits, newest heads, *records* and entries of *logs* to a pack."""
        pack = self.make_file(file_format.PACK)
        for log in logs:
            prev = (
                log.inherited[-1]
                if log.inherited
                else genesis(log.session, log.segment)
            )
            run, _, bodies = entries(
                log.segment, log.fork_index, prev, log.items, bodies=1
            )
            pack.frame([run])
            pack.frame([blob(body) for body in bodies] or [blob(b"")])
        if records:
            pack.frame(records)
        heads = [log.head for log in self.logs.values() if log.head]
        tables = [([frame_format.HEAD, 0, head.record()], b"") for head in heads]
        commits = [commit.record() for commit, _ in self.commits]
        tables += [([frame_format.COMMIT, 0, commit], b"") for commit in commits]
        pack.frame(tables)
        pack.footer()
        self.packs.append(pack)
        return pack

    def list_files(
        self, add: Iterable[FileMaker], drop: Iterable[FileMaker] = ()
    ) -> None:
        """Commit a listing; dropped files stay in the folder."""
        added = [file.listing() for file in add]
        self.note("packs", storelog.packs(added, [file.header.id for file in drop]))

    # --- the lock file -------------------------------------------------------

    def mark(self, **facts: object) -> LockFile:
        """Write the lock file with an exact mark at the end of the newest journal."""
        files = Files(self.root)
        info = self.journal.path.stat()
        known: dict[str, object] = {
            "journal": self.journal.header.id,
            "device": info.st_dev,
            "inode": info.st_ino,
            "boot": files.boot_id(),
            "end": len(self.journal.data),
            "frame": self.journal.last,
            "seq": len(self.commits),
        }
        lock = LockFile(**known | facts)  # type: ignore[arg-type]
        (self.root / "lock").write_bytes(encode_lock(lock))
        return lock
