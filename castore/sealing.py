"""
Keys and sealing: signed notes about a store, so that its past can be held to them.

A key stands in a file of its own, outside the store, and beside it the last note that
it signed: what does not extend that is not signed.

Spec: spec/notes.md.
"""

from __future__ import annotations

import errno
import os

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from castore import limits
from castore.engine.expect import newest_head
from castore.engine.members import store_log
from castore.engine.view import View
from castore.errors import (
    CorruptionError,
    FormatError,
    LimitError,
    NotFoundError,
    StorageError,
)
from castore.formats import storelog
from castore.formats.entry import BlobRef, Reference
from castore.formats.seal import HEADS_ROLE, HeadTree, Recovery, Seal, encode_pages
from castore.proofs.notes import (
    Checkpoint,
    PrivateKey,
    PublicKey,
    open_checkpoint,
    origin_of,
    sign,
)
from castore.proofs.seals import Contradiction
from castore.storage import Files
from castore.store import Store
from castore.writing import append_store_log


_KEY_SIZE_MAX = 4096  # bytes of a key file
_NOTE = ".note"
_PUBLIC = ".pub"


@attrs.frozen
class Sealed:
    """
    What sealing came to.

    Attributes:
        note: The signed note.

        checkpoint: What it says.

        head_count: Heads that the seal covers.

        index: Of the ``sealed`` entry.
    """

    note: bytes
    checkpoint: Checkpoint
    head_count: int
    index: int


class KeyFile:
    """
    A key in its file, with the last note that it signed beside it.

    Attributes:
        path: Of the key's file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._files = Files(self.path.parent)

    @property
    def note_name(self) -> str:
        """Name of the file with the last note."""
        return self.path.name + _NOTE

    def make(self, store: bytes) -> PublicKey:
        """
        Make a key for *store*, 0600, and the file with the public key beside it.

        Raises:
            StorageError: There is such a file, or a note of another key beside it;
                or the medium failed.
        """
        for name in (self.path.name, self.path.name + _PUBLIC, self.note_name):
            if self._files.exists(name):
                what = f"{name} exists already; no key was made"
                raise StorageError(what, errno=errno.EEXIST, transient=False)
        key = PrivateKey.new(origin_of(store))
        public = key.public_key
        self._write(self.path.name, f"{key.encode()}\n".encode())
        self._write(self.path.name + _PUBLIC, f"{public}\n".encode())
        self._files.sync_folder("")
        return public

    def read(self) -> PrivateKey:
        """
        Return the key.

        Raises:
            NotFoundError: There is no such file.

            FormatError: It is none, or others may read it.
        """
        text = self._read(self.path.name, _KEY_SIZE_MAX).decode("ascii", "replace")
        if self.path.stat().st_mode & 0o077:
            raise FormatError(f"{self.path.name} can be read by others; chmod 600")
        return PrivateKey.parse(text.removesuffix("\n"))

    def last_note(self) -> bytes | None:
        """Return the last note that the key signed, None if there is none."""
        if not self._files.exists(self.note_name):
            return None
        return self._read(self.note_name, limits.NOTE_SIZE_MAX + 1)

    def keep(self, note: bytes) -> None:
        """Put *note* in the place of the last one, durably."""
        part = f".{self.note_name}.{os.urandom(6).hex()}.part"
        self._write(part, note)
        self._files.replace(part, self.note_name)
        self._files.sync_folder("")

    def put_aside(self, count: int) -> None:
        """Keep the last note, of *count* entries, under another name too, durably."""
        name = f"{self.note_name}.{count}.{os.urandom(4).hex()}"
        self._files.link(self.note_name, name)
        self._files.sync_folder("")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nobody else sign with the key meanwhile."""
        fd = self._files.open(self.path.name)
        try:
            self._files.lock(fd, wait=True)
            yield
        finally:
            self._files.close(fd)

    def _read(self, name: str, size_max: int) -> bytes:
        fd = self._files.open(name)
        try:
            return self._files.read_up_to(fd, size_max, 0)
        finally:
            self._files.close(fd)

    def _write(self, name: str, data: bytes) -> None:
        fd = self._files.create(name)
        try:
            self._files.write(fd, data, 0)
            self._files.sync(fd)
        finally:
            self._files.close(fd)


def seal(store: Store, key: KeyFile) -> Sealed:
    """
    Add a ``sealed`` entry to the store log and sign a note over that log.

    The note stands beside the key before this returns. If it is stopped before that,
    nothing was signed, and the entry says no more than which heads there were.

    Raises:
        CorruptionError: ``rolled back`` or ``fork evidence``: the store does not
            extend the last note of this key. Nothing was signed or written; see
            `recover`.

        FormatError: The key is another store's, or stands in the store.
    """
    with key.held():
        signer = _signer(store, key)
        last = _last(key, signer)
        problem = _problem(store, last) if last else None
        if problem:
            raise problem
        return _seal(store, key, signer)


def recover(store: Store, key: KeyFile) -> Sealed:
    """
    Say in the store log that an older state was restored, and seal that.

    For a store that does not extend the key's last note although nobody did wrong.
    That note is put aside: with the new one it is a contradiction, which the
    ``recovered`` entry explains to whoever trusts the key's owner.

    Raises:
        NotFoundError: There is nothing to recover from.

        FormatError: As `seal`.
    """
    with key.held():
        signer = _signer(store, key)
        last = _last(key, signer)
        if last is None or _problem(store, last) is None:
            what = "the store extends the last note of this key: nothing is lost"
            raise NotFoundError(what)
        body = Recovery(last.count, last.root).encode()
        append_store_log(store.engine, storelog.RECOVERED, body)
        key.put_aside(last.count)
        return _seal(store, key, signer)


def contradiction(
    store: Store | None, notes: Sequence[bytes], key: PublicKey
) -> Contradiction | None:
    """
    Return the proof that two notes cannot both be true; None if they can.

    Args:
        store: One with the history of the later note; not wanted where both are
            over as many entries.

        notes: Two, in any order.

        key: Who signed both.

    Raises:
        CorruptionError: ``bad signature``; ``malformed record``.

        FormatError: They are about two logs.

        NotFoundError: *store* has another history than the later note.
    """
    both = [(open_checkpoint(note, [key]), note) for note in notes]
    (older, first), (newer, second) = sorted(both, key=lambda each: each[0].count)
    if older.origin != newer.origin or not older.count:
        raise FormatError("the notes are about two logs, or an empty one")
    if older.count == newer.count:
        same = older.root == newer.root
        return None if same else Contradiction(key, first, second, newer.root)
    log = store.segment(store.id) if store else None
    if log is not None and log.count >= newer.count:
        grown = log.prove_consistency(older.count, newer.count)
        grown.check()
        if grown.second.root == newer.root:
            same = grown.first.root == older.root
            found = Contradiction(key, first, second, grown.first.root, grown.hashes)
            return None if same else found
    raise NotFoundError("the store has not the history of the later note")


def _signer(store: Store, key: KeyFile) -> PrivateKey:
    root = store.engine.files.root.resolve()
    if key.path.resolve().is_relative_to(root):
        raise FormatError("the key stands in the store; keep it elsewhere")
    signer = key.read()
    if signer.name != origin_of(store.id):
        raise FormatError("the key is one for another store")
    return signer


def _last(key: KeyFile, signer: PrivateKey) -> Checkpoint | None:
    note = key.last_note()
    return open_checkpoint(note, [signer.public_key]) if note is not None else None


def _problem(store: Store, last: Checkpoint) -> CorruptionError | None:
    """Return what is wrong if the store log does not begin with what *last* says."""
    log = store.segment(store.id)
    where = f"segment:{store.id.hex()}"
    count = log.count
    if count < last.count:
        what = f"it has {count} entries; the last note was over {last.count}"
        return CorruptionError(what, verdict="rolled back", where=where)
    grown = log.prove_consistency(last.count)
    grown.check()
    if grown.first.root != last.root:
        what = f"its first {last.count} entries are others than in the last note"
        return CorruptionError(what, verdict="fork evidence", where=where)
    return None


def _seal(store: Store, key: KeyFile, signer: PrivateKey) -> Sealed:
    view = store.engine.refresh()
    heads = all_heads(view, store.id)
    pages = _put_pages(store, view, heads)
    if len(pages) > limits.ENTRY_REFS_COUNT_MAX:
        limit = limits.ENTRY_REFS_COUNT_MAX * limits.SEAL_PAGE_COUNT
        raise LimitError(f"more than {limit} segments cannot be sealed", limit=limit)
    root = HeadTree(heads).root
    body = Seal(root, len(heads)).encode()
    outcome = append_store_log(
        store.engine, storelog.SEALED, body, pages, maintenance=False
    )
    head = outcome.head or store.segment(store.id).head
    checkpoint = Checkpoint(signer.name, head.count, head.root)
    note = sign(checkpoint.text(), signer)
    key.keep(note)
    return Sealed(note, checkpoint, len(heads), outcome.first_index)


def all_heads(view: View, store: bytes) -> list[bytes]:
    """
    Return the newest head of each segment but the store log, of deleted ones the
    final head, as encoded, sorted by segment.
    """
    deleted = store_log(view, store).deleted
    heads = {segment: head.encode() for segment, (_, head) in deleted.items()}
    for row in view.known.segments():
        if row.peaks and row.id != store:
            heads[row.id] = newest_head(row).encode()
    return [heads[segment] for segment in sorted(heads)]


def _put_pages(store: Store, view: View, heads: list[bytes]) -> list[Reference]:
    """Put the pages of *heads*, each like the one before in its place."""
    log = store_log(view, store.id)
    before = log.seals[max(log.seals)].pages if log.seals else ()
    found = []
    for number, page in enumerate(encode_pages(heads)):
        like: BlobRef | None = None
        if number < len(before) and store.has(before[number].blob):
            like = before[number].blob
        found.append(Reference(HEADS_ROLE, store.put(page, like=like)))
    return found
