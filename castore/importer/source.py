"""
A transcript file, open to be taken in.

It may be huge, and grow, shrink or vanish meanwhile; memory stays within a few
MiB whatever it holds.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import tempfile

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any, BinaryIO

import attrs

from castore.compress import Unpacking, is_stream
from castore.digest import blob_digest, blob_hash
from castore.errors import FormatError, NotFoundError, StorageError
from castore.limits import MIB
from castore.transcript import (
    DOCUMENT_FORMATS,
    Description,
    Span,
    describe,
    detect,
    spans,
)


READ_SIZE = MIB  # bytes read at once
TAIL = "tail"  # kind of a last line that no line end ends
PACKED = ".zst"


@attrs.frozen
class Piece:
    """
    Bytes ``[start, stop)`` of a file that one entry stands for.

    Attributes:
        digest: Of these bytes.

        tail: The last line, if no line end ends it.

        bad: As in `Span`; told for documents only.
    """

    start: int
    stop: int
    digest: bytes
    tail: bool = False
    bad: bool = False


class Source:
    """
    An open transcript file.

    Attributes:
        path: Absolute path.

        place: Path of the content: without its ``.zst`` if it is packed.

        packed: None for a plain file, else how `Unpacking` ended; the content is
            what was unpacked, and all offsets are in it.

        format: As from `detect`, or as the caller says.

        facts: What the system said of the file when it was opened.
    """

    def __init__(
        self,
        file: BinaryIO,
        path: str,
        format: str | None,  # noqa: A002
        *,
        original: int,
        facts: os.stat_result,
        packed: str | None = None,
    ) -> None:
        self._file = file
        self._fd = file.fileno()
        self._original = original
        self.facts = facts
        self.path = path
        self.place = path if packed is None else path.removesuffix(PACKED)
        self.packed = packed
        self.format = format or detect(file, self.place)
        self._window = b""
        self._window_start = 0
        self._hashed: Any = blob_hash()  # of the content up to _hashed_size
        self._hashed_size = 0

    @property
    def size(self) -> int:
        """Bytes of the content now."""
        return os.fstat(self._fd).st_size

    def is_unchanged(self) -> bool:
        """Return whether the file is what it was when it was opened."""
        now = os.fstat(self._original)
        return _stamp(now) == _stamp(self.facts)

    @cached_property
    def description(self) -> Description:
        """What the file says of itself in its first MiB."""
        return describe(self._file, self.format, self.place)

    # --- cutting -------------------------------------------------------------

    def pieces(self) -> Iterator[Piece]:
        """Yield what `spans` cuts, hashed and, if these are lines, not parsed."""
        if self.format not in DOCUMENT_FORMATS:
            return self._lines()
        return (
            Piece(
                span.start, span.stop, self.digest(span.start, span.stop), bad=span.bad
            )
            for span in spans(self._file, self.format)
        )

    def spans(self, *, count: int, start: int) -> Iterator[Span]:
        """Yield the spans behind the first *count*, which end at *start*."""
        if self.format in DOCUMENT_FORMATS:
            return islice(spans(self._file, self.format), count, None)
        return spans(self._file, self.format, start=start)

    def _lines(self) -> Iterator[Piece]:
        begun: Any = None  # the hash of a line that began in an earlier block
        start = offset = 0
        while data := os.pread(self._fd, READ_SIZE, offset):
            view = memoryview(data)
            at = 0
            while stop := data.find(b"\n", at) + 1:
                if begun is None:
                    digest = blob_digest(view[at:stop])
                else:
                    begun.update(view[at:stop])
                    digest = begun.digest()
                    begun = None
                yield Piece(start, offset + stop, digest)
                start = offset + stop
                at = stop
            if at < len(data):
                begun = blob_hash() if begun is None else begun
                begun.update(view[at:])
            offset += len(data)
        if begun is not None:
            yield Piece(start, offset, begun.digest(), tail=True)

    # --- bytes ---------------------------------------------------------------

    def read(self, start: int, stop: int) -> bytes:
        """
        Return the bytes ``[start, stop)``; near ones come from memory.

        Raises:
            FormatError: The file ends before *stop* by now.
        """
        at = start - self._window_start
        if at < 0 or stop > self._window_start + len(self._window):
            self._window = os.pread(self._fd, max(READ_SIZE, stop - start), start)
            self._window_start = start
            at = 0
        data = self._window[at : at + stop - start]
        if len(data) < stop - start:
            raise self.shrank()
        return data

    def stream(self, start: int, stop: int) -> BinaryIO:
        """Return the bytes ``[start, stop)`` as a file, less if it ends before."""
        return io.BufferedReader(_Range(self._fd, start, stop), READ_SIZE)

    def digest(self, start: int, stop: int) -> bytes:
        """Return the blob name of the bytes ``[start, stop)``."""
        if stop - start <= READ_SIZE:
            return blob_digest(self.read(start, stop))
        whole = blob_hash()
        with self.stream(start, stop) as stream:
            while data := stream.read(READ_SIZE):
                whole.update(data)
        return whole.digest()

    def prefix(self, stop: int) -> bytes:
        """Return the digest of the content up to *stop*; goes on from a shorter one."""
        if stop < self._hashed_size:
            self._hashed, self._hashed_size = blob_hash(), 0
        with self.stream(self._hashed_size, stop) as stream:
            while data := stream.read(READ_SIZE):
                self._hashed.update(data)
                self._hashed_size += len(data)
        digest: bytes = self._hashed.digest()
        return digest

    def shrank(self) -> FormatError:
        """Return the error for a file that has lost bytes meanwhile."""
        return FormatError(what=f"{self.path} changed while it was read; import again")


@contextlib.contextmanager
def open_source(path: str, format: str | None) -> Iterator[Source]:  # noqa: A002
    """
    Open the file at *path*, which is absolute.

    A ``.jsonl.zst`` that is one is unpacked first, into a file without a name in
    the folder for temporary files (``TMPDIR``).

    Raises:
        NotFoundError: There is none.

        FormatError: It is no plain file.

        StorageError: It cannot be read.
    """
    with system_errors(path):
        # A pipe would wait for its writer.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(path, flags)
        with os.fdopen(fd, "rb", buffering=0) as file:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise FormatError(what=f"{path} is no plain file")
            named = path.endswith(f".jsonl{PACKED}")
            if not named or not is_stream(os.pread(fd, 4, 0)):
                yield Source(file, path, format, original=fd, facts=facts)
                return
            with tempfile.TemporaryFile() as plain:
                unpacking = Unpacking(iter(lambda: file.read(READ_SIZE), b""))
                plain.writelines(unpacking)
                plain.flush()
                state = unpacking.state
                yield Source(
                    plain, path, format, original=fd, facts=facts, packed=state
                )


def _stamp(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def absolute(path: str | os.PathLike[str]) -> str:
    """Return *path* as it is looked up; links in it stay as they are."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow them


@contextlib.contextmanager
def system_errors(path: str) -> Iterator[None]:
    """Turn the system's errors about *path* into those of this package."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(what=f"no file {path}") from error
    except OSError as error:
        raise StorageError(
            what=f"{path}: {error.strerror or 'the system refuses'}",
            errno=error.errno or 0,
            transient=error.errno in _LATER,
        ) from error


_LATER = (errno.EINTR, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class _Range(io.RawIOBase):
    """A part of an open file, whose own position stays where it is."""

    def __init__(self, fd: int, start: int, stop: int) -> None:
        super().__init__()
        self._fd = fd
        self._at = start
        self._stop = stop

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill *buffer*; 0 at the end."""
        size = min(len(buffer), self._stop - self._at)
        data = os.pread(self._fd, size, self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
