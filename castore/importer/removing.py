"""
Originals that the store has: removed, one by one, when nothing speaks against it.

An original goes only if the store gave it back, byte for byte, to a comparison
with the file itself; if it is a regular file with one name, and that is no link;
if it is the same file, of the same size and times, after the comparison as
before; and if no process has it open. What cannot be told counts as a no.

Before it goes it gets another name, and all but the comparison is looked at once
more: who opened it by its own name until then is seen, and nobody can any more.
(Who had looked up the name and not opened the file yet at the last look is not.)
If anything is not as it was, it gets its own name back. Stopped right there, it
is found beside its own name as ``.NAME.HEX.removing``, and is in the store.
"""

from __future__ import annotations

import contextlib
import os
import stat

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO, cast

import attrs

from castore.errors import CastoreError
from castore.importer.comparing import Comparing, DiffersError, Given
from castore.importer.content import restore
from castore.importer.holders import Holders, Lease
from castore.importer.imported import ImportedFile
from castore.store import Store


BATCH_COUNT = 64  # originals that are open at once

TOO_NEW = "it changed too recently"
LINK = "it is a link"
NO_FILE = "it is no plain file"
NAMES = "it has other names: hard links"
PACKED = "it is packed, and its own bytes are not kept"
DIFFERS = "the store gives back other bytes"
LACKS = "the store cannot give it back"
CHANGED = "it changed meanwhile"
OPEN = "a process has it open"
UNKNOWN = "it cannot be told whether a process has it open"
GONE = "it is not there any more"


@attrs.frozen
class Judged:
    """
    What became of an original.

    Attributes:
        path: Absolute path.

        raw_bytes: Its size.

        kept: Why it is still there, as it stands above or in the system's words;
            None if it was removed.
    """

    path: str
    raw_bytes: int
    kept: str | None


def remove_originals(
    store: Store,
    files: Iterable[ImportedFile],
    *,
    before_ms: int,
    given: Given | None = None,
) -> Iterator[Judged]:
    """
    Remove the originals of *files* that were not changed after *before_ms*.

    Stopped anywhere, each original is there or is in the store.

    Args:
        store: Where they are. Opened after they were imported, so that what is
            compared comes from the files of the store.

        files: From `import_file`.

        before_ms: Ms since 1970 UTC.

        given: Told how many bytes more were compared.
    """
    rest = iter(files)
    while batch := list(islice(rest, BATCH_COUNT)):
        with contextlib.ExitStack() as stack:
            yield from _judge(store, batch, before_ms, given, stack)


def _judge(
    store: Store,
    batch: list[ImportedFile],
    before_ms: int,
    given: Given | None,
    stack: contextlib.ExitStack,
) -> Iterator[Judged]:
    equal: list[_Original] = []
    for file in batch:
        try:
            original = stack.enter_context(_Original.open(file, before_ms))
            original.compare(store, given)
        except _Kept as kept:
            yield Judged(file.path, file.raw_bytes, kept.why)
        else:
            equal.append(original)
    for original in equal:
        original.lease = Lease(original.fd)
    steps = (_Original.hide, _Original.remove)
    for step in steps:
        holders = Holders.look()
        still: list[_Original] = []
        for original in equal:
            try:
                step(original, holders)
            except _Kept as kept:
                yield Judged(original.file.path, original.facts.st_size, kept.why)
            else:
                still.append(original)
        equal = still
    for original in equal:
        yield Judged(original.file.path, original.facts.st_size, None)


class _Kept(Exception):  # noqa: N818 - it is no error
    """The original stays."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@contextlib.contextmanager
def _system() -> Iterator[None]:
    """Take what the system refuses as a reason to keep a file."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise _Kept(GONE) from None
    except OSError as error:
        raise _Kept(error.strerror or "the system refuses") from error


@attrs.define
class _Original:
    """
    An original that is open.

    Attributes:
        file: What was imported.

        folder: Descriptor of the folder that it is in.

        name: Its name there.

        fd: Its descriptor.

        facts: What the system said of it first.

        lease: Tells whether others have it open.

        hidden: Its other name.
    """

    file: ImportedFile
    folder: int
    name: str
    fd: int
    facts: os.stat_result
    lease: Lease | None = None
    hidden: str = ""

    @classmethod
    @contextlib.contextmanager
    def open(cls, file: ImportedFile, before_ms: int) -> Iterator[_Original]:
        """Open it, if what can be seen of it allows to remove it."""
        parent, name = os.path.split(file.path)
        with contextlib.ExitStack() as stack:
            with _system():
                flags = os.O_RDONLY | os.O_CLOEXEC
                folder = os.open(parent, flags | os.O_DIRECTORY)
                stack.callback(os.close, folder)
                facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
                _check(file, facts, before_ms)
                flags |= os.O_NOFOLLOW | os.O_NONBLOCK
                fd = os.open(name, flags, dir_fd=folder)
                stack.callback(os.close, fd)
                if _mark(os.fstat(fd)) != _mark(facts):
                    raise _Kept(CHANGED)
            yield cls(file, folder, name, fd, facts)

    def compare(self, store: Store, given: Given | None) -> None:
        """Compare it with what *store* gives back."""
        compared = Comparing(self.fd, given)
        with _system():
            try:
                segment = store.segment(self.file.segment_id)
                restore(store, segment, cast(BinaryIO, compared))
            except CastoreError as error:
                raise _Kept(f"{LACKS}: {error}") from error
            except DiffersError:
                raise _Kept(DIFFERS) from None
            if not compared.ends():
                raise _Kept(DIFFERS)

    def hide(self, holders: Holders) -> None:
        """Give it its other name, unless somebody has it open or it changed."""
        self._check_free(holders)
        with _system():
            here = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
            if {_mark(os.fstat(self.fd)), _mark(here)} != {_mark(self.facts)}:
                raise _Kept(CHANGED)
            hidden = f".{self.name[:60]}.{os.urandom(6).hex()}.removing"
            os.rename(self.name, hidden, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        self.hidden = hidden

    def remove(self, holders: Holders) -> None:
        """Remove it, unless somebody came in the meantime: then undo `hide`."""
        try:
            self._check_free(holders)
            with _system():
                here = os.stat(self.hidden, dir_fd=self.folder, follow_symlinks=False)
                same = _content_mark(os.fstat(self.fd)) == _content_mark(self.facts)
                if not same or (here.st_dev, here.st_ino) != (
                    self.facts.st_dev,
                    self.facts.st_ino,
                ):
                    raise _Kept(CHANGED)
                os.unlink(self.hidden, dir_fd=self.folder)
        except _Kept as kept:
            raise self._shown(kept) from None

    def _shown(self, kept: _Kept) -> _Kept:
        """Give it its own name back; return why it is kept."""
        try:
            # Nothing that came to that name meanwhile is replaced.
            names = {"src_dir_fd": self.folder, "dst_dir_fd": self.folder}
            os.link(self.hidden, self.name, follow_symlinks=False, **names)
            os.unlink(self.hidden, dir_fd=self.folder)
        except FileNotFoundError:
            return _Kept(GONE)
        except OSError:
            return _Kept(f"{kept.why}; it is called {self.hidden} now")
        return kept

    def _check_free(self, holders: Holders) -> None:
        lease = self.lease
        if lease is None or (lease.is_known and not lease.is_unbroken()):
            raise _Kept(OPEN)
        if holders.has(self.facts, own=1):
            raise _Kept(OPEN)
        if not lease.is_known and not holders.complete:
            raise _Kept(UNKNOWN)


def _check(file: ImportedFile, facts: os.stat_result, before_ms: int) -> None:
    if stat.S_ISLNK(facts.st_mode):
        raise _Kept(LINK)
    if not stat.S_ISREG(facts.st_mode):
        raise _Kept(NO_FILE)
    if facts.st_nlink != 1:
        raise _Kept(NAMES)
    if file.packed is not None:
        raise _Kept(PACKED)
    if facts.st_mtime_ns > before_ms * 1_000_000:
        raise _Kept(TOO_NEW)


def _mark(facts: os.stat_result) -> tuple[object, ...]:
    return *_content_mark(facts), facts.st_ctime_ns


def _content_mark(facts: os.stat_result) -> tuple[object, ...]:
    """Return what renaming leaves alone."""
    place = (facts.st_dev, facts.st_ino, facts.st_nlink)
    return *place, facts.st_mode, facts.st_size, facts.st_mtime_ns
