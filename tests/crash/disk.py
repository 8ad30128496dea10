"""
A disk that remembers what was synced: what a kill or a power cut leaves of it.

A `Disk` takes events in one by one and can be asked at any time for an `Image`:
the bytes that are found after a stop there.

Worse than any file system: what is not synced may be there, or not, or in part,
in any order; a name is there for sure only after its folder was synced.
"""

from __future__ import annotations

import copy
import itertools
import random

from typing import Literal

import attrs

from crash.events import (
    FOLDER,
    CatalogSaved,
    Created,
    Cut,
    Event,
    FolderMade,
    FolderSynced,
    Linked,
    Synced,
    SyncFailed,
    Unlinked,
    Written,
)

from castore.formats.mark import decode_lock


LOCK = "lock"
SECTOR_SIZE = 512  # bytes that a disk writes as one


# --- how it stops ------------------------------------------------------------

Data = Literal["kept", "dropped", "torn", "zeros", "garbage", "sectors", "some"]
Names = Literal["kept", "dropped", "some"]
LockState = Literal["newest", "older", "empty", "garbage", "missing", "copied"]
CatalogState = Literal["newest", "older", "checkpoint", "torn", "missing"]


@attrs.frozen
class Stop:
    """
    How everything stops.

    Attributes:
        power: Whether the machine loses power; else the process is killed: then
            all that was written is there.

        data: What becomes of bytes that were not synced. For a kill: ``kept``,
            or ``torn``: in the middle of the last write.

        names: What becomes of names that were not synced.

        lock: What becomes of the lock file, which is never synced. ``copied``: it
            is the newest, but after the stop, before anybody opened the store,
            all files were copied; so its mark is worth nothing, and what was not
            durable is no more so in the copy.

        catalog: Which state of the catalog is found.

        seed: For everything left to chance.
    """

    power: bool
    data: Data = "kept"
    names: Names = "kept"
    lock: LockState = "newest"
    catalog: CatalogState = "newest"
    seed: int = 0


@attrs.frozen
class Found:
    """A file of an image: its number, inode when it was recorded, and bytes."""

    file: int
    inode: int
    data: bytes


@attrs.define
class Image:
    """What a stop leaves."""

    files: dict[str, Found]
    folders: set[str]
    power: bool
    is_copy: bool


# --- the disk ----------------------------------------------------------------


@attrs.define
class _File:
    inode: int
    durable: bytes = b""
    lost: list[Written] = attrs.Factory(list)
    pending: list[Written | Cut] = attrs.Factory(list)

    def now(self) -> bytes:
        """Return what reading the file gives while nothing stops."""
        return changed(changed(self.durable, self.lost), self.pending)


@attrs.define
class Disk:
    """
    Files, names, and what of them is durable.

    Attributes:
        catalogs: The states of the catalog, oldest first.

        is_led_to: Whether the catalog must lead to the mark. A mark that was written
            in part is lost: the whole journal is copied then, and a catalog that was
            past its beginning made anew (spec/ordering.md, "The catalog").
    """

    _files: dict[int, _File] = attrs.Factory(dict)
    _names: dict[str, int] = attrs.Factory(dict)
    _durable_names: dict[str, int] = attrs.Factory(dict)
    _pending_names: list[tuple[str, int | None]] = attrs.Factory(list)
    catalogs: list[dict[str, bytes]] = attrs.Factory(list)
    is_led_to: bool = False
    _generation: int = 0
    _last: Event | None = None

    @classmethod
    def of(cls, image: Image) -> Disk:
        """Return the disk that holds *image*, all of it durable."""
        disk = cls()
        for name, found in image.files.items():
            if is_catalog(name):
                continue
            disk._files[found.file] = _File(found.inode, found.data)
            disk._names[name] = found.file
        disk._names.update(dict.fromkeys(image.folders, FOLDER))
        disk._durable_names = dict(disk._names)
        disk.catalogs = [catalog_of(image)]
        return disk

    def killed(self, image: Image) -> Disk:
        """
        Return this disk after a kill that left *image*: what was not durable is
        not durable still.
        """
        disk = copy.deepcopy(self)
        for name, found in image.files.items():
            if is_catalog(name):
                continue
            file = disk._files[found.file]
            file.inode = found.inode
            if name == LOCK:
                # Its bytes were made anew, for the new inodes.
                disk._files[found.file] = _File(found.inode, found.data)
            elif file.now() != found.data:
                # Cut in the middle of the last write.
                file.pending.append(Cut(found.file, len(found.data)))
        disk.catalogs.append(catalog_of(image))
        disk._last = None
        return disk

    @property
    def names(self) -> dict[str, int]:
        """File numbers of all names, folders included."""
        return dict(self._names)

    def apply(self, event: Event) -> None:
        """Take in what happened next."""
        match event:
            case Created(name, number, inode):
                self._files[number] = _File(inode)
                self._rename(name, number)
            case FolderMade(name):
                self._rename(name, FOLDER)
            case Linked(name, number):
                self._rename(name, number)
            case Unlinked(name):
                self._rename(name, None)
            case FolderSynced(name):
                self._sync_folder(name)
            case Written(number, offset, data):
                file = self._files[number]
                end = offset + len(data)
                file.lost = [
                    old
                    for old in file.lost
                    if old.offset >= end or old.offset + len(old.data) <= offset
                ]
                file.pending.append(event)
                if number == self._names.get(LOCK):
                    self._mark(file.now())
            case Cut(number, size):
                file = self._files[number]
                file.lost = [old for old in file.lost if old.offset < size]
                file.pending.append(event)
            case Synced(number):
                file = self._files[number]
                file.durable = changed(file.durable, file.pending)
                file.pending = []
            case SyncFailed(number):
                file = self._files[number]
                file.lost += [one for one in file.pending if isinstance(one, Written)]
                file.pending = []
            case CatalogSaved(files):
                self.catalogs.append(files)
        self._last = event

    def _mark(self, lock: bytes) -> None:
        mark = decode_lock(lock)
        if mark is None:
            self.is_led_to = False
        elif mark.catalog_generation > self._generation:
            self.is_led_to, self._generation = True, mark.catalog_generation

    def _rename(self, name: str, number: int | None) -> None:
        if number is None:
            self._names.pop(name, None)
        else:
            self._names[name] = number
        self._pending_names.append((name, number))

    def _sync_folder(self, folder: str) -> None:
        kept = []
        for name, number in self._pending_names:
            if name.rpartition("/")[0] != folder:
                kept.append((name, number))
            elif number is None:
                self._durable_names.pop(name, None)
            else:
                self._durable_names[name] = number
        self._pending_names = kept

    # --- stops ---------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether a power cut can take nothing but the lock file's newest state."""
        lock = self._names.get(LOCK)
        return not self._pending_names and not any(
            file.pending or file.lost
            for number, file in self._files.items()
            if number != lock
        )

    def image(self, stop: Stop) -> Image:
        """Return what is found after *stop*."""
        rng = random.Random(stop.seed)
        names = self._names_after(stop, rng)
        folders = {name for name, number in names.items() if number == FOLDER}
        files = {}
        for name, number in names.items():
            folder = name.rpartition("/")[0]
            if number == FOLDER or (folder and folder not in folders):
                continue
            data = self._data_after(number, stop, rng, is_lock=name == LOCK)
            if data is not None:
                files[name] = Found(number, self._files[number].inode, data)
        for name, data in self._catalog_after(stop, rng).items():
            files[name] = Found(-1, 0, data)
        return Image(files, folders, stop.power, stop.lock == "copied")

    def _names_after(self, stop: Stop, rng: random.Random) -> dict[str, int]:
        if not stop.power or stop.names == "kept":
            return dict(self._names)
        names = dict(self._durable_names)
        if stop.names == "dropped":
            return names
        changes: dict[str, list[int | None]] = {}
        for name, number in self._pending_names:
            changes.setdefault(name, []).append(number)
        for name, numbers in changes.items():
            for number in numbers[: rng.randint(0, len(numbers))]:
                if number is None:
                    names.pop(name, None)
                else:
                    names[name] = number
        return names

    def _data_after(
        self, number: int, stop: Stop, rng: random.Random, *, is_lock: bool
    ) -> bytes | None:
        file = self._files[number]
        if not stop.power:
            last = self._last
            is_last = bool(file.pending) and file.pending[-1] is last
            if stop.data == "torn" and isinstance(last, Written) and is_last:
                return file.now()[: last.offset + rng.randrange(len(last.data))]
            return file.now()
        if is_lock:
            return _lock_after(file, stop, rng)
        return _bytes_after(file, stop.data, rng)

    def _catalog_after(self, stop: Stop, rng: random.Random) -> dict[str, bytes]:
        if not self.catalogs or stop.catalog == "missing":
            return {}
        found = dict(self.catalogs[-1])
        if stop.catalog == "older":
            return dict(rng.choice(self.catalogs))
        for name in [name for name in found if name.endswith("-wal")]:
            if stop.catalog == "checkpoint":
                del found[name]
            elif stop.catalog == "torn":
                found[name] = found[name][: rng.randint(0, len(found[name]))]
        return found


def _lock_after(file: _File, stop: Stop, rng: random.Random) -> bytes | None:
    states = [file.durable]
    for one in file.pending:
        states.append(changed(states[-1], [one]))
    match stop.lock:
        case "newest" | "copied":
            return states[-1]
        case "older":
            return rng.choice(states)
        case "empty":
            return b""
        case "garbage":
            return rng.randbytes(len(states[-1]))
        case "missing":
            return None


def _bytes_after(file: _File, how: Data, rng: random.Random) -> bytes:
    if not file.pending:
        return file.durable
    match how:
        case "kept":
            return changed(file.durable, file.pending)
        case "dropped":
            return file.durable
        case "torn":
            last = file.pending[-1]
            if isinstance(last, Written) and last.data:
                part = last.data[: rng.randrange(len(last.data))]
                last = attrs.evolve(last, data=part)
            return changed(file.durable, [*file.pending[:-1], last])
        case "zeros":
            return changed(file.durable, [_filled(one, None) for one in file.pending])
        case "garbage":
            return changed(file.durable, [_filled(one, rng) for one in file.pending])
        case "sectors":
            return _sectors(file, rng)
        case "some":
            return _some(file, rng)


def _filled(one: Written | Cut, rng: random.Random | None) -> Written | Cut:
    if isinstance(one, Cut):
        return one
    size = len(one.data)
    return attrs.evolve(one, data=rng.randbytes(size) if rng else bytes(size))


def _some(file: _File, rng: random.Random) -> bytes:
    """
    Some of the writes, each whole.

    What two of them put into one sector comes in order: who sees the later one sees
    the earlier one. Of all sectors only the first is looked at, where a header and
    the first frame meet; a finer order elsewhere would only be kinder.
    """
    chosen = [one for one in file.pending if rng.random() < 0.5]
    made = changed(file.durable, chosen)
    if any(isinstance(one, Written) and one.offset < SECTOR_SIZE for one in chosen):
        whole = changed(file.durable, file.pending)[:SECTOR_SIZE]
        made = whole + made[SECTOR_SIZE:]
    return made


def _sectors(file: _File, rng: random.Random) -> bytes:
    """
    Of each piece either the new bytes or the old ones; the size is the new one.

    Pieces are smaller than any sector, but for the first: there a header and the
    first frame meet, and spec/reasons.md 27 builds on that.
    """
    new = changed(file.durable, file.pending)
    old = file.durable[: len(new)].ljust(len(new), b"\0")
    step = rng.choice([16, 64, 512, 4096])
    share = rng.random()
    edges = [0, *range(max(step, SECTOR_SIZE), len(new), step), len(new)]
    parts = [
        (new if rng.random() < share else old)[at:stop]
        for at, stop in itertools.pairwise(edges)
    ]
    return b"".join(parts)


def changed(data: bytes, changes: list[Written] | list[Written | Cut]) -> bytes:
    """Return *data* after *changes*."""
    if not changes:
        return data
    made = bytearray(data)
    for one in changes:
        if isinstance(one, Cut):
            size = one.size
            made = made[:size] + bytes(max(0, size - len(made)))
            continue
        if len(made) < one.offset:
            made += bytes(one.offset - len(made))
        made[one.offset : one.offset + len(one.data)] = one.data
    return bytes(made)


def is_catalog(name: str) -> bool:
    """Return whether *name* is one of SQLite's files, written beside the seam."""
    return name.startswith("catalog-") and ".sqlite" in name


def catalog_of(image: Image) -> dict[str, bytes]:
    """Return the files of the catalog in *image*."""
    return {name: found.data for name, found in image.files.items() if is_catalog(name)}
