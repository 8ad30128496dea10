"""
The folder of a backup on a disk that remembers what was synced, and what stops leave.

Worse than any file system: names and bytes that were not synced are there, or not,
each by itself; a rename that was not synced is done, or not.
"""

from __future__ import annotations

import os
import random

from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from castore.storage import Files


@attrs.define(eq=False)
class Inode:
    """A file: what reading it gives, and what of that is durable."""

    now: bytes = b""
    durable: bytes = b""


#: A file, where a symbolic link leads, or a folder.
Node = Inode | str | None


@attrs.frozen
class Stop:
    """What becomes of what was not synced: ``kept``, ``dropped``, or ``some``."""

    names: str
    data: str
    seed: int = 0


STOPS = (
    Stop("kept", "kept"),
    Stop("kept", "dropped"),
    Stop("dropped", "dropped"),
    Stop("dropped", "kept"),
    *(Stop("some", data, seed) for data in ("kept", "some") for seed in range(2)),
)


class DiskFiles(Files):
    """
    Files of a folder that know what a stop would leave of it.

    Attributes:
        changed: Called after each change.
    """

    def __init__(self, root: Path) -> None:
        """Take what is in the folder for durable."""
        super().__init__(root)
        self.changed: Callable[[], None] | None = None
        self._inodes: dict[tuple[int, int], Inode] = {}
        self._names: dict[str, Node] = {}
        self._open: dict[int, Inode] = {}
        for path in sorted(root.rglob("*")) if root.exists() else ():
            name = path.relative_to(root).as_posix()
            self._names[name] = self._node(path)
        self._durable = dict(self._names)

    def _node(self, path: Path) -> Node:
        if path.is_symlink():
            return str(path.readlink())
        if path.is_dir():
            return None
        facts = path.stat()
        data = path.read_bytes()
        place = (facts.st_dev, facts.st_ino)
        return self._inodes.setdefault(place, Inode(data, data))

    def _set(self, name: str) -> None:
        self._names[name] = self._node(self.path(name))
        self._tell()

    def _tell(self) -> None:
        if self.changed:
            self.changed()

    # --- names ---------------------------------------------------------------

    def make_folder(self, name: str) -> None:
        """Make the folder."""
        new = not self.exists(name)
        super().make_folder(name)
        if new and name:
            self._set(name)

    def create(self, name: str) -> int:
        """Make the file."""
        fd = super().create(name)
        # A number of an inode that is gone may be given anew.
        self._inodes[self.identity(fd)] = self._open[fd] = Inode()
        self._set(name)
        return fd

    def open(self, name: str, *, write: bool = False) -> int:
        """Open the file."""
        fd = super().open(name, write=write)
        if write:
            self._open[fd] = self._inodes[self.identity(fd)]
        return fd

    def link(self, old: str, new: str) -> None:
        """Give the file one more name."""
        super().link(old, new)
        self._set(new)

    def link_from(self, other: Files, old: str, new: str) -> None:
        """Give a file of another folder a name here."""
        super().link_from(other, old, new)
        facts = self.path(new).stat()
        self._inodes.pop((facts.st_dev, facts.st_ino), None)
        self._set(new)

    def symlink(self, target: str, name: str) -> None:
        """Make the link."""
        super().symlink(target, name)
        self._set(name)

    def replace(self, old: str, new: str) -> None:
        """Give the file the other name instead."""
        super().replace(old, new)
        self._names[new] = self._names.pop(old)
        self._tell()

    def unlink(self, name: str) -> None:
        """Remove the name."""
        super().unlink(name)
        if name in self._names:
            del self._names[name]
            self._tell()

    def remove_folder(self, name: str) -> None:
        """Remove the folder."""
        super().remove_folder(name)
        del self._names[name]
        self._tell()

    def sync_folder(self, name: str) -> None:
        """Note that the names in the folder are durable."""
        for each in self._names.keys() | self._durable.keys():
            if each.rpartition("/")[0] == name:
                self._settle(each)
        self._tell()

    def _settle(self, name: str) -> None:
        if name in self._names:
            self._durable[name] = self._names[name]
        else:
            self._durable.pop(name, None)

    # --- bytes ---------------------------------------------------------------

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """Write."""
        super().write(fd, data, offset)
        inode = self._open[fd]
        front = inode.now[:offset].ljust(offset, b"\0")
        inode.now = front + bytes(data) + inode.now[offset + len(data) :]
        self._tell()

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file."""
        super().truncate(fd, size)
        self._open[fd].now = self._open[fd].now[:size]
        self._tell()

    def sync(self, fd: int) -> None:
        """Note that the file is durable."""
        self._open[fd].durable = self._open[fd].now
        self._tell()

    def close(self, fd: int) -> None:
        """Close the descriptor."""
        self._open.pop(fd, None)
        super().close(fd)

    # --- what is left ----------------------------------------------------------

    def leave(self, stop: Stop, folder: Path) -> None:
        """Make *folder* what a stop of this kind would leave now."""
        dice = random.Random(stop.seed)
        made: dict[Inode, Path] = {}
        folder.mkdir(parents=True)
        for name, node in sorted(self._left(stop, dice)):
            path = folder / name
            if not path.parent.is_dir():
                continue  # in a folder that is not there
            if isinstance(node, str):
                path.symlink_to(node)
            elif node is None:
                path.mkdir()
            elif node in made:
                os.link(made[node], path)
            else:
                path.write_bytes(_bytes_left(node, stop.data, dice))
                made[node] = path

    def _left(self, stop: Stop, dice: random.Random) -> Iterator[tuple[str, Node]]:
        for name in sorted(self._names.keys() | self._durable.keys()):
            ways = {"kept": self._names, "dropped": self._durable}
            found = ways.get(stop.names) or dice.choice([*ways.values()])
            if name in found:
                yield name, found[name]


def _bytes_left(inode: Inode, how: str, dice: random.Random) -> bytes:
    if how == "kept":
        return inode.now
    if how == "dropped" or inode.now == inode.durable:
        return inode.durable
    pairs = enumerate(zip(inode.now, inode.durable, strict=False))
    shorter = min(len(inode.now), len(inode.durable))
    same = next((at for at, (one, other) in pairs if one != other), shorter)
    at = dice.randint(same, len(inode.now))
    return inode.now[:at] + bytes(len(inode.now) - at)
