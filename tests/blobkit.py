"""
Blobs of all sizes, the ways in which a store may hold them, and streams of every
kind.
"""

from __future__ import annotations

import io
import multiprocessing
import random
import resource
import sys

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import attrs

import castore

from castore import BlobRef, NewEntry, Reference, Store, limits
from castore.digest import blob_digest, blob_hash
from castore.engine import Engine
from castore.engine.creating import store_id
from castore.packing import pack
from castore.packing.rewrite import close_journal
from castore.storage import Files


CONTEXT = multiprocessing.get_context("spawn")
_EDGES = (
    limits.DIFFERENCE_BASE_SIZE_MIN,
    limits.SLICE_SIZE,  # and SIDE_SIZE_MIN
    limits.BLOCK_SIZE,
    limits.BLOB_RECORD_SIZE_MAX,  # behind it: slices and chunks
    limits.FRAME_RAW_SIZE_MAX,  # and PENDING_SIZE_MAX
)
SIZES = sorted({0, 1, *(edge + by for edge in _EDGES for by in (-1, 0, 1)), 33_000_001})


@cache
def content(size: int, *, random_bytes: bool = True) -> bytes:
    """Return *size* bytes, always the same, that shrink or do not."""
    if random_bytes:
        return random.Random(size).randbytes(size)
    lines = (b"%d: a line of a log, like many others\n" % n for n in range(size))
    text = bytearray()
    while len(text) < size:
        text += next(lines)
    return bytes(text[:size])


def all_contents() -> Iterator[bytes]:
    """Yield a content of every size, and one that shrinks of some."""
    for size in SIZES:
        yield content(size)
        if size % 2:
            yield content(size, random_bytes=False)


# --- where a blob may be -----------------------------------------------------


@attrs.frozen
class Shelf:
    """A store that holds blobs in one way, and their references by content."""

    store: Store
    refs: dict[bytes, BlobRef]

    def ref(self, data: bytes) -> BlobRef:
        """Return the reference of *data*."""
        return self.refs[blob_digest(data)]


def _fill(store: Store) -> dict[bytes, BlobRef]:
    """Put every content; return references by digest."""
    refs = {}
    for data in all_contents():
        ref = store.put(data)
        refs[ref.digest] = ref
    return refs


def _commit(store: Store, refs: dict[bytes, BlobRef]) -> None:
    named = [Reference("tool.out", ref) for ref in refs.values()]
    store.create_session(then=[NewEntry("tool", b"", named)])


def _waiting(store: Store) -> dict[bytes, BlobRef]:
    return _fill(store)


def _journal(store: Store) -> dict[bytes, BlobRef]:
    refs = _fill(store)
    _commit(store, refs)
    return refs


def _closed(store: Store) -> dict[bytes, BlobRef]:
    refs = _journal(store)
    close_journal(store.engine)
    return refs


def _reopened(store: Store) -> dict[bytes, BlobRef]:
    refs = _journal(store)
    store.close()
    return refs


def _packed(store: Store) -> dict[bytes, BlobRef]:
    refs = _reopened(store)
    with castore.open(store.engine.files.root) as again:
        pack(again.engine, level=1)
    return refs


#: How a store comes to hold blobs.
MAKERS: dict[str, Callable[[Store], dict[bytes, BlobRef]]] = {
    "waiting": _waiting,
    "journal": _journal,
    "closed": _closed,
    "reopened": _reopened,
    "packed": _packed,
    "read-only": _reopened,
    "read-only, packed": _packed,
    "beside a writer": _journal,
}


def shelves(root: Path, how: str) -> Iterator[Shelf]:
    """Yield a store in *root* that holds all contents in that way."""
    made = castore.open(root, create=True)
    refs = MAKERS[how](made)
    if how in ("waiting", "journal", "closed"):
        with made:
            yield Shelf(made, refs)
        return
    with castore.open(root, read_only=how.startswith("read-only")) as store:
        yield Shelf(store, refs)
    made.close()


class CountingFiles(Files):
    """Files that count what is read of files of frames."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read_size = 0

    def read_up_to(self, fd: int, size: int, offset: int) -> bytes:
        """Read and count."""
        data = super().read_up_to(fd, size, offset)
        self.read_size += len(data)
        return data


def open_counting(root: Path) -> tuple[Store, CountingFiles]:
    """Return the store at *root* and what counts its reads."""
    files = CountingFiles(root)
    return Store(Engine(files, store_id(files, writing=True))), files


# --- streams -----------------------------------------------------------------


class Dribble(io.RawIOBase):
    """
    A stream that gives what it likes.

    Attributes:
        fails_at: Where it raises, -1 for nowhere.
    """

    def __init__(self, data: bytes, step: int, fails_at: int = -1) -> None:
        super().__init__()
        self._data = data
        self._step = step
        self._at = 0
        self.fails_at = fails_at

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return at most *step* bytes, or raise."""
        size = self._step if size < 0 else min(size, self._step)
        if self.fails_at >= 0 and self._at + size > self.fails_at:
            raise ConnectionResetError("the other side went away")
        data = self._data[self._at : self._at + size]
        self._at += len(data)
        return data


class Endless(io.RawIOBase):
    """A stream of *size* bytes that are nowhere: numbered MiB, never the same."""

    def __init__(self, size: int, block: bytes) -> None:
        super().__init__()
        self._size = size
        self._at = 0
        self._block = block

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return at most what is left of the MiB."""
        number, offset = divmod(self._at, limits.MIB)
        stop = min(offset + size, limits.MIB, offset + self._size - self._at)
        data = (number.to_bytes(8, "big") + self._block)[offset:stop]
        self._at += len(data)
        return data


def dribble(data: bytes, step: int, fails_at: int = -1) -> BinaryIO:
    """Return a `Dribble`."""
    return cast("BinaryIO", Dribble(data, step, fails_at))


def numbered(size: int, block: bytes) -> bytes:
    """Return the digest of what `Endless` gives when it is read block by block."""
    stream, whole = Endless(size, block), blob_hash()
    while data := stream.read(1 << 30):
        whole.update(data)
    return whole.digest()


# --- other processes ---------------------------------------------------------


def in_process(work: Callable[..., Any], *args: Any) -> Any:
    """Return what *work* returns in a new process."""
    receiving, sending = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_send, args=(sending, work, args))
    process.start()
    sending.close()
    try:
        return receiving.recv()
    finally:
        process.join()
        receiving.close()


def _send(pipe: Any, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    pipe.send(work(*args))


def digests_of(root: Path, refs: list[BlobRef]) -> list[bytes]:
    """Return the digests of what the store at *root* gives for *refs*."""
    with castore.open(root, read_only=True) as store:
        return [blob_digest(store.get(ref)) for ref in refs]


def peak_size() -> int:
    """Return the most memory that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def grow_by_putting(root: Path, size: int, block: bytes) -> tuple[BlobRef, int]:
    """Put a stream of *size* bytes and tag it; return how much memory that took."""
    with castore.open(root, create=True) as store:
        store.put(cast("BinaryIO", Endless(20 << 20, block[::-1])), tag="warm")
        before = peak_size()
        ref = store.put(cast("BinaryIO", Endless(size, block)), tag="large")
        return ref, peak_size() - before


def grow_by_reading(root: Path, ref: BlobRef) -> tuple[bytes, int]:
    """Read *ref* as a file; return its digest and how much memory that took."""
    with castore.open(root) as store:
        store.get(store.tags()["warm"])
        before = peak_size()
        whole = blob_hash()
        with store.open_blob(ref) as file:
            while data := file.read(1 << 20):
                whole.update(data)
        return whole.digest(), peak_size() - before
