"""
All of a store, from its files alone: which files count and what they say.

Steps 1 to 7 of spec/checking.md. Who checks reports the findings; who
rebuilds an index or collects garbage refuses to go on if one is a fault
(`Survey.raise_faults`) and takes the rest as it stands.

Spec: spec/checking.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

import attrs

from castore.errors import CorruptionError, NotFoundError, StorageError
from castore.formats.commit import Commit
from castore.formats.entry import Entry
from castore.formats.head import Head
from castore.formats.mark import LockFile
from castore.formats.storelog import StoreLog
from castore.reading.collecting import no_search
from castore.reading.depth import FULL, Depth, Level
from castore.reading.files import OpenFile
from castore.reading.findings import Finding, Findings
from castore.reading.folder import Folder, read_folder, read_marker
from castore.reading.glancing import Glance
from castore.reading.logs import Log
from castore.reading.mark import LOCK, MarkWorth, judge_mark, read_lock
from castore.reading.members import Member
from castore.reading.places import Places
from castore.reading.reader import Reader
from castore.reading.records import Records
from castore.reading.stored import StoredRun
from castore.reading.surveying import Surveyor, read_all
from castore.storage import Files


_TRIES = 10  # a store changes its files that often while it is listed

#: Told how many of how many bytes were walked.
Progress = Callable[[int, int], None]


@attrs.frozen
class Link:
    """
    One journal of the chain.

    Attributes:
        file: The journal.

        stop: Up to where its frames count.

        end: End of its last whole frame before that, 188 if there is none.

        frame: Hash of that frame; the file hash if there is none.
    """

    file: OpenFile
    stop: int
    end: int
    frame: bytes


@attrs.define(eq=False)
class Survey:
    """
    What the files of a store say together.

    Attributes:
        store: Store id; empty if ``castore.json`` is refused.

        lock: What the lock file says.

        worth: What its mark is worth.

        findings: All that steps 1 to 7 find, each once, in no order.

        chain: The journals, newest first.

        members: The files of the store, and up to where their frames count.

        garbage: Files that are not of the store and no damage.

        torn: File and offset where the newest journal's last sync group is torn.

        records: Commits, heads, entries and places of the members.

        log: The fold of the store log.

        logs: Entries of each segment that anybody wants: all living ones, the
            store log, and what living ones inherit from deleted ones.

        reader: Reads frames of the members again.

        frame_count: Whole frames of the members.

        glance: What was looked into, where that is not everything.
    """

    store: bytes
    lock: LockFile | None
    worth: MarkWorth
    findings: Findings
    chain: list[Link] = attrs.Factory(list)
    members: dict[bytes, int] = attrs.Factory(dict)
    garbage: list[bytes] = attrs.Factory(list)
    torn: tuple[bytes, int] | None = None
    records: Records = attrs.Factory(Records)
    log: StoreLog = attrs.field()
    logs: dict[bytes, Log] = attrs.Factory(dict)
    reader: Reader = attrs.Factory(lambda: Reader({}))
    frame_count: int = 0
    glance: Glance | None = None

    @log.default
    def _no_log(self) -> StoreLog:
        return StoreLog(self.store)

    @property
    def seq(self) -> int:
        """The highest seq of a commit that is there, 0 if there is none."""
        return self.records.seq

    @property
    def places(self) -> Places:
        """Where each blob and ref list stands (`Records.places`)."""
        return self.records.places

    @property
    def runs(self) -> dict[bytes, list[StoredRun]]:
        """All entries records of each segment, void ones included."""
        return self.records.runs

    @property
    def commits(self) -> dict[int, tuple[Commit, bytes]]:
        """Commit record and its hash, by seq."""
        return self.records.commits

    @property
    def heads(self) -> dict[bytes, Head]:
        """Newest usable head of each segment that is not deleted."""
        return {log.segment: log.head for log in self.logs.values() if log.head}

    def first_fault(self) -> Finding | None:
        """Return the first fault that was found, None if there is none."""
        return self.findings.first_fault()

    def raise_faults(self) -> None:
        """
        Raise what is wrong, for who needs a store without damage.

        Raises:
            CorruptionError: The first fault, with its verdict and place.
        """
        fault = self.first_fault()
        if fault:
            raise fault.error()

    def entries(self, segment: bytes) -> Iterator[Entry]:
        """
        Yield the entries that *segment* owns, in order; reads them once more.

        Of a deleted segment only what living ones inherit; of a damaged log what
        is there. Takes some 15 us for each entry.

        Raises:
            CorruptionError: A frame is no longer whole.
        """
        return self.reader.entries(self.logs[segment].pieces)


class _FromFolder:
    """Stands for the lock file that is in the folder."""


FROM_FOLDER = _FromFolder()


def survey(
    files: Files,
    *,
    store: bytes | None = None,
    lock: LockFile | _FromFolder | None = FROM_FOLDER,
    progress: Progress | None = None,
    jobs: int = 1,
    needed: AbstractSet[bytes] | None = None,
    depth: Depth = FULL,
) -> Survey:
    """
    Read all files of a store once and judge them; takes no lock, writes nothing.

    Keeps about 50 bytes in memory for each blob and 70 for each entry, never
    frames; who asks for `Survey.places`, 160 for each blob more. Takes the time
    of hashing and decompressing everything.

    Args:
        files: The store's folder.

        store: Store id; None to read ``castore.json``, and judge it.

        lock: What the lock file says, where the caller holds the lock.

        progress: Told how far it is, in bytes.

        jobs: How many processes may read, where there is enough for them.

        needed: Of these names it is kept which entries need them; None for all.

        depth: How deep to look into frames; what is below `Level.CHAINS` leaves
            `Survey.logs` empty.

    Raises:
        NotFoundError: There is no ``castore.json``.

        StorageError: The medium failed, or files kept vanishing.
    """
    if store is None:
        try:
            store = read_marker(files)
        except CorruptionError as error:
            findings = Findings()
            findings.refuse(error)
            return Survey(b"", None, MarkWorth.NONE, findings)
    for _ in range(_TRIES):
        try:
            with no_search():
                return _survey(files, store, lock, progress, jobs, needed, depth)
        except NotFoundError:
            continue  # a file went after it was listed: the state is another now
    what = "files of the store vanish as fast as they are listed; try again"
    raise StorageError(what=what, errno=0, transient=True)


def _survey(
    files: Files,
    store: bytes,
    lock: LockFile | _FromFolder | None,
    progress: Progress | None,
    jobs: int,
    needed: AbstractSet[bytes] | None,
    depth: Depth,
) -> Survey:
    findings = Findings()
    if isinstance(lock, _FromFolder):
        lock, worth, folder = _read_together(files, store, findings)
    else:
        worth, folder = judge_mark(files, lock), read_folder(files, store, findings)
    glance = None if depth.is_full else Glance()
    contents = read_all(files, folder, progress, jobs, needed, depth, glance)
    walks = depth.is_full and depth.level >= Level.CHAINS
    surveyor = Surveyor(folder, lock, worth, findings, contents, walks=walks)
    surveyor.run()
    members = surveyor.members
    return Survey(
        folder.store,
        lock,
        surveyor.worth,
        findings,
        [_link(member) for member in surveyor.chain],
        {member.id: member.stop for member in members},
        surveyor.garbage,
        surveyor.torn,
        surveyor.records,
        surveyor.log,
        surveyor.logs,
        Reader(folder.good),
        surveyor.frame_count,
        glance,
    )


def _read_together(
    files: Files, store: bytes, findings: Findings
) -> tuple[LockFile | None, MarkWorth, Folder]:
    """
    Return a mark and the files that were there when it stood.

    Raises:
        NotFoundError: Files were replaced meanwhile; begin again.
    """
    lock = read_lock(files)
    worth = judge_mark(files, lock)
    folder = read_folder(files, store, findings)
    after = read_lock(files)
    if lock is None:
        findings.notice(LOCK, "no lock file, or not in its form")
    elif after is not None and _files_of(lock) != _files_of(after):
        raise NotFoundError(what="files of the store were replaced")
    return lock, worth, folder


def _files_of(lock: LockFile) -> tuple[bytes, int]:
    """Return what changes with every file that goes."""
    return lock.journal, lock.gc_generation


def _link(member: Member) -> Link:
    contents = member.contents
    frame = contents.frames[-1].hash if contents.frames else contents.file.hash
    return Link(contents.file, member.stop, contents.end, frame)
