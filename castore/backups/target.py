"""
The folder that a backup stands in, and what it shows.

All files stand in a folder of their own, made anew by each run: ``files`` is a
symbolic link to the one that counts, and is turned at once.

Spec: spec/backup.md, "The folder".
"""

from __future__ import annotations

import json
import re

from typing import Any

import attrs

from castore.backups.snapshot import Snapshot
from castore.engine.creating import NEW_MARKER, settle_marker, sync_above
from castore.engine.lockfile import MAINTENANCE
from castore.errors import CorruptionError, NotFoundError, UnsupportedError
from castore.formats import marker
from castore.formats.mark import LockFile, encode_lock
from castore.formats.refuse import need, placed, refusal
from castore.reading.findings import FILES
from castore.reading.folder import read_marker
from castore.reading.mark import LOCK, read_lock
from castore.storage import Files


STATE = "backup.json"
_FOLDER = re.compile(r"backup-([1-9][0-9]{0,17})")
_STATE_SIZE_MAX = 1 << 26  # bytes
_NEW = ".new"
_NOWHERE = bytes(16)  # no machine boots under that
_HOLDER = "castore backup"
_OURS = {
    *(MAINTENANCE, NEW_MARKER, FILES, LOCK, STATE),
    *(FILES + _NEW, LOCK + _NEW, STATE + _NEW),
}


def is_backup(files: Files) -> bool:
    """Return whether the folder is a backup, and nobody opened it for writing."""
    lock = read_lock(files)
    if lock is None or not files.exists(STATE):
        return False
    return (lock.device, lock.inode) == (0, 0)


@attrs.frozen
class State:
    """
    What a backup holds, as it remembers it itself.

    Attributes:
        store: Store id.

        instance: As of `Snapshot`.

        journal: The newest journal.

        end: Up to where it was copied.

        frame: Hash of the last frame before that.

        seq: The last commit.

        sides: Up to where each side pack was copied, and durable.
    """

    store: bytes
    instance: bytes
    journal: bytes
    end: int
    frame: bytes
    seq: int
    sides: dict[bytes, int]

    @classmethod
    def of(cls, snapshot: Snapshot, sides: dict[bytes, int]) -> State:
        """Return what a backup of *snapshot* remembers."""
        at = snapshot.position
        ids = (snapshot.store, snapshot.instance)
        return cls(*ids, at.journal, at.end, at.frame, at.seq, sides)

    def encode(self) -> bytes:
        """Return the bytes of ``backup.json``."""
        facts = attrs.asdict(self) | {"backup": 1}
        sides = {side.hex(): size for side, size in self.sides.items()}
        plain = {
            key: value.hex() if isinstance(value, bytes) else value
            for key, value in facts.items()
        }
        return (json.dumps(plain | {"sides": sides}, sort_keys=True) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> State:
        """
        Return what ``backup.json`` says.

        Raises:
            CorruptionError: ``malformed record``: another form.
        """
        with placed(STATE):
            try:
                state = cls._of_json(json.loads(data))
            except (ValueError, TypeError, KeyError, AttributeError):
                raise refusal("backup.json: form") from None
            need(state.encode() == data, "backup.json: form")
        return state

    @classmethod
    def _of_json(cls, facts: dict[str, Any]) -> State:
        names = ("store", "instance", "journal", "frame")
        ids = {name: bytes.fromhex(facts[name]) for name in names}
        sides = {bytes.fromhex(side): size for side, size in facts["sides"].items()}
        return cls(**ids, end=facts["end"], seq=facts["seq"], sides=sides)


class Target:
    """
    The folder of a backup, under its maintenance lock.

    Attributes:
        files: The folder.

        state: What the backup holds that stands here; None if there is none yet.

        shown: Folder of the files that count, below the folder; empty if none does.

        folder: Where the files of this run go.
    """

    def __init__(self, files: Files, store: bytes) -> None:
        """
        Take the folder as it is, or what was left of a first run.

        Raises:
            UnsupportedError: It holds something else.

            CorruptionError: ``backup.json`` is damaged.
        """
        self.files = files
        self.state: State | None = None
        self.shown = ""
        number = 0
        if files.exists(marker.NAME):
            if read_marker(files) != store:
                raise _refused(files, "a backup of another store")
            self.shown = files.link_target(FILES) or ""
            found = _FOLDER.fullmatch(self.shown)
            if not (found and is_backup(files)):
                raise _refused(files, "a store by itself, or was used as one")
            number = int(found[1])
            self.state = State.decode(_content(files, STATE))
        else:
            self._check_unfinished(store)
        self.folder = f"backup-{number + 1}"

    def _check_unfinished(self, store: bytes) -> None:
        """Refuse what is neither empty nor left of a first run for this store."""
        files = self.files
        if files.exists(FILES) and files.link_target(FILES) is None:
            raise _refused(files, "neither empty nor a backup")
        if set(files.list("")) - {MAINTENANCE, NEW_MARKER}:
            try:
                with placed(NEW_MARKER):
                    data = _content(files, NEW_MARKER)
                    same = marker.decode_marker(data, writing=False) == store
            except (NotFoundError, CorruptionError):
                same = False
            if not same:
                raise _refused(files, "what is left of a backup of another store")

    def check_follows(self, snapshot: Snapshot) -> None:
        """
        Refuse to put the state of another history in place of what is here.

        Raises:
            CorruptionError: ``rolled back`` or ``fork evidence``: the store does not
                continue what was copied here.
        """
        state, at = self.state, snapshot.position
        if state is None:
            return
        if snapshot.instance != state.instance:
            what = "another copy of the store was copied here; choose another folder"
            raise _diverged(what, "fork evidence")
        if at.seq < state.seq:
            what = (
                f"the store ends at commit {at.seq}, its backup at {state.seq}; "
                "choose another folder"
            )
            raise _diverged(what, "rolled back")
        for taken in snapshot.files:
            if taken.file.id == state.journal:
                there = taken.file.read_up_to(32, state.end - 32)
                if taken.stop < state.end or there != state.frame:
                    what = "the journal is not the one that was copied here"
                    raise _diverged(f"{what}; choose another folder", "fork evidence")

    def begin(self, source: Files) -> None:
        """Make the folder for this run's files; what another run left is kept."""
        files = self.files
        self.sweep()
        if self.state is None:
            files.unlink(NEW_MARKER)
            self._write(NEW_MARKER, _content(source, marker.NAME))
        files.make_folder(self.folder)
        files.sync_folder("")

    def show(self, snapshot: Snapshot, sides: dict[bytes, int]) -> None:
        """
        Let the files of this run be those that count; then remove the others.

        Durable when it returns.
        """
        files, at = self.files, snapshot.position
        files.sync_folder(self.folder)
        # Before it is shown: never is less of a side pack remembered than counts.
        self._put(STATE, State.of(snapshot, sides).encode())
        files.sync_folder("")
        files.unlink(FILES + _NEW)
        files.symlink(self.folder, FILES + _NEW)
        files.replace(FILES + _NEW, FILES)
        # A mark in a file that no device has: who opens this knows it for a copy.
        place = (at.journal, 0, 0, _NOWHERE, at.end, at.frame, at.seq)
        lock = LockFile(*place, 0, at.gc_generation, holder=_HOLDER)
        self._put(LOCK, encode_lock(lock))
        files.sync_folder("")
        if self.state is None:
            files.link(NEW_MARKER, marker.NAME)
            settle_marker(files)
        self.shown = self.folder
        self.sweep()

    def sweep(self) -> None:
        """Remove the folders of files that count no more, or never did."""
        for name in self.files.list(""):
            if _FOLDER.fullmatch(name) and name not in (self.shown, self.folder):
                for inner in self.files.list(name):
                    self.files.unlink(f"{name}/{inner}")
                self.files.remove_folder(name)

    def _put(self, name: str, data: bytes) -> None:
        self.files.unlink(name + _NEW)
        self._write(name + _NEW, data)
        self.files.replace(name + _NEW, name)

    def _write(self, name: str, data: bytes) -> None:
        fd = self.files.create(name)
        try:
            self.files.write(fd, data, 0)
            self.files.sync(fd)
        finally:
            self.files.close(fd)


def prepare(files: Files, source: Files) -> None:
    """
    Make the folder, so that its lock can be taken.

    Raises:
        UnsupportedError: It stands in the store, or the store in it.
    """
    here, there = files.root.resolve(), source.root.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise _refused(files, "the store itself, or within it, or around it")
    new = not files.exists("")
    if not files.exists(marker.NAME) and not all(map(_is_ours, files.list(""))):
        raise _refused(files, "neither empty nor a backup")
    files.make_folder("")
    if new:
        sync_above(files)


def _is_ours(name: str) -> bool:
    """Return whether a backup that never became whole may have the name *name*."""
    return name in _OURS or _FOLDER.fullmatch(name) is not None


def _refused(files: Files, what: str) -> UnsupportedError:
    return UnsupportedError(what=f"{files.root} is {what}; choose another folder")


def _diverged(what: str, verdict: str) -> CorruptionError:
    return CorruptionError(what=what, verdict=verdict, where="store")


def _content(files: Files, name: str) -> bytes:
    fd = files.open(name)
    try:
        return files.read_up_to(fd, _STATE_SIZE_MAX, 0)
    finally:
        files.close(fd)
