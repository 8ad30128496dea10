"""
A store: payloads, tags, sessions.

Spec: spec/README.md.
"""

from __future__ import annotations

import os

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Self

import attrs

from castore import limits
from castore.blobfile import BlobReader
from castore.codec import decode_object, encode_object
from castore.digest import format_digest, parse_digest
from castore.engine import Engine
from castore.engine.creating import create_store, store_id
from castore.engine.putting import put_bytes, put_stream
from castore.errors import FormatError, NotFoundError
from castore.formats import frame as frame_format
from castore.formats import storelog
from castore.formats.entry import BlobRef, Origin, Reference
from castore.formats.ids import parse_id
from castore.formats.storelog import TAG_ROLE
from castore.policies import Policies
from castore.segment import Segment, SessionKey, begin_segment
from castore.session import Session
from castore.storage import Files
from castore.writing import NewEntry, append_store_log


@attrs.frozen
class BlobStat:
    """
    How a blob is kept.

    Attributes:
        size: Raw bytes.

        stored_size: Bytes of its record before the compression of its frame.

        form: ``whole``, ``difference`` or ``chunks``.
    """

    size: int
    stored_size: int
    form: str


@attrs.frozen
class Stats:
    """Totals of a store; sizes in bytes."""

    sessions: int
    segments: int
    entries: int
    blobs: int
    raw_bytes: int
    stored_bytes: int
    disk_bytes: int
    catalog_bytes: int


_FORMS = {
    frame_format.BLOB: "whole",
    frame_format.DIFFERENCE: "difference",
    frame_format.CHUNKED: "chunks",
}


def open(  # noqa: A001 - castore.open, as gzip.open
    path: str | os.PathLike[str],
    *,
    create: bool = False,
    read_only: bool = False,
    max_bytes: int | None = None,
    timeout_s: float = limits.LOCK_TIMEOUT_S,
) -> Store:
    """
    Open the store at *path*.

    Args:
        path: Its folder.

        create: Make it if there is none.

        read_only: Write nothing, not even a lock; works without permission to
            write.

        max_bytes: Refuse what would make the store's files larger than this.

        timeout_s: How long to wait for another process's lock.

    Raises:
        NotFoundError: There is no store and *create* is false.

        UnsupportedError: A newer format, or a platform or file system without
            the locks that a store needs.

        CorruptionError: It is damaged beyond what recovery may mend.

        LockedError: Another process held the lock all that time.
    """
    files = Files(path)
    if create and not read_only:
        create_store(files)
    store = store_id(files, writing=not read_only)
    engine = Engine(
        files, store, read_only=read_only, max_bytes=max_bytes, timeout_s=timeout_s
    )
    return Store(engine)


class Store(Policies):
    """
    An open store. A context manager; may be used by many threads.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def id(self) -> bytes:
        """Store id, 16 bytes."""
        return self.engine.store

    # --- payloads ------------------------------------------------------------

    def put(
        self,
        data: bytes | bytearray | memoryview | BinaryIO,
        *,
        like: BlobRef | None = None,
        tag: str | None = None,
    ) -> BlobRef:
        """
        Take *data* in and return its reference.

        Durable, and visible to others, with the commit that references it: an
        append, or the tag.

        Args:
            data: Bytes, or a blocking stream of them; any size, constant memory.

            like: A blob that *data* is similar to; stored as the difference to
                it where that is less than half. Not for streams.

            tag: Tag the blob, which is a commit: it stays until `untag`.

        Raises:
            LimitError: The store may not grow by that much.
        """
        if isinstance(data, bytes | bytearray | memoryview):
            ref = put_bytes(self.engine, data, like)
        else:
            ref = put_stream(self.engine, data)
        if tag is not None:
            self.tag(tag, ref)
        return ref

    def put_object(
        self, value: object, *, like: BlobRef | None = None, tag: str | None = None
    ) -> BlobRef:
        """
        Take in *value*: maps with text keys, lists, text, bytes, numbers, None.

        Spec: spec/encoding.md, "Object profile".

        Raises:
            FormatError: Something in it has no encoding; names the path.
        """
        return self.put(encode_object(value), like=like, tag=tag)

    def get(self, ref: BlobRef | str) -> bytes:
        """
        Return the bytes of *ref*, checked against its name.

        Raises:
            NotFoundError: It is not here.

            GoneError: It went on purpose; names the entry that says so.

            CorruptionError: It is damaged. Wrong bytes are never returned.
        """
        digest = digest_of(ref)
        self.engine.refresh()
        return self.engine.read_blob(digest)

    def get_object(self, ref: BlobRef | str) -> Any:
        """Return the value that `put_object` took in."""
        return decode_object(self.get(ref))

    def open_blob(self, ref: BlobRef | str) -> BlobReader:
        """
        Return *ref* as a file to read and seek in, in bounded memory.

        Every byte is checked before it is returned. With a reference from an
        entry (it carries slices) a range of a large blob reads that range only.
        """
        return BlobReader(self.engine, self.engine.sliced(self.resolve(ref)))

    def has(self, ref: BlobRef | str) -> bool:
        """Return whether the store has *ref*; its bytes are not looked at."""
        return self.engine.has_blob(digest_of(ref))

    def stat(self, ref: BlobRef | str) -> BlobStat:
        """Return how *ref* is kept, or raise `NotFoundError`."""
        digest = digest_of(ref)
        size = self.engine.find_size(digest)
        if size is None:
            raise NotFoundError(what=f"no blob {format_digest(digest)} in this store")
        record = self.engine.pool.record(digest)
        return BlobStat(size, len(record.payload), _FORMS[record.kind])

    def resolve(self, ref: BlobRef | str) -> BlobRef:
        """Return the reference that a name stands for."""
        if isinstance(ref, BlobRef):
            return ref
        digest = parse_digest(ref)
        size = self.engine.find_size(digest)
        if size is None:
            raise NotFoundError(what=f"no blob {ref} in this store")
        return self.engine.sliced(BlobRef(digest, size))

    # --- tags ----------------------------------------------------------------

    def tag(self, name: str, ref: BlobRef | str) -> None:
        """
        Keep *ref* under *name* until `untag`, durably. A name moves if it is
        given again.

        Raises:
            NotFoundError: *ref* is neither stored nor put.
        """
        if not 0 < len(name.encode()) <= limits.NAME_SIZE_MAX:
            raise FormatError(what=f"a tag has 1 to {limits.NAME_SIZE_MAX} bytes")
        target = self.resolve(ref)
        if not isinstance(ref, BlobRef):
            # The size came from the index; it stays in the log for good.
            self.engine.read_range(target, 0, 0)
        body = storelog.named(name)
        refs = [Reference(TAG_ROLE, target)]
        append_store_log(self.engine, storelog.TAGGED, body, refs, maintenance=False)

    def untag(self, name: str) -> None:
        """
        Let go of what is kept under *name*.

        Raises:
            NotFoundError: There is no such tag.
        """
        if self.engine.refresh().known.find_tag(name) is None:
            raise NotFoundError(what=f"no tag {name!r}")
        append_store_log(self.engine, storelog.UNTAGGED, storelog.named(name))

    def tags(self) -> dict[str, BlobRef]:
        """Return all tags."""
        rows = self.engine.refresh().known.tags()
        return {row.name: BlobRef(row.digest, row.size, row.slices) for row in rows}

    # --- sessions ------------------------------------------------------------

    def create_session(
        self,
        *,
        key: SessionKey | None = None,
        body: bytes = b"",
        refs: Sequence[Reference] = (),
        time_ms: int | None = None,
        cause: str = "new",
        then: Iterable[NewEntry] = (),
    ) -> Segment:
        """
        Begin a session with its first segment, as one commit, and return that.

        Args:
            key: ``(namespace, text)``, unique in the store.

            body: Body of the start entry: metadata, as the caller likes.

            refs: References of the start entry.

            time_ms: Time of the start entry.

            cause: ``new`` or ``import``.

            then: Entries that follow in the same commit.

        Raises:
            ConflictError: The key is taken.
        """
        return begin_segment(
            self.engine,
            key=key,
            body=body,
            refs=refs,
            time_ms=time_ms,
            cause=cause,
            then=then,
        )

    def session(self, key: SessionKey | bytes | str) -> Session:
        """
        Return the session with that key, or id (16 bytes or 32 hex digits).

        Raises:
            NotFoundError: There is none.
        """
        known = self.engine.refresh().known
        if isinstance(key, tuple):
            row = known.find_session_by_key(*key)
        else:
            row = known.find_session(parse_id(key))
        if row is None:
            raise NotFoundError(what=f"no session {key!r}")
        return Session(self.engine, row)

    def sessions(self) -> Iterator[Session]:
        """Yield all sessions in order of id."""
        for row in self.engine.refresh().known.sessions():
            yield Session(self.engine, row)

    def segment(self, segment: bytes | str) -> Segment:
        """
        Return the segment with that id (16 bytes or 32 hex digits).

        Raises:
            NotFoundError: There is none.

            GoneError: It was deleted.
        """
        return Segment(self.engine, parse_id(segment))

    def new_segment(
        self,
        session: bytes,
        *,
        cause: str = "compaction",
        origin: Origin | None = None,
        body: bytes = b"",
        refs: Sequence[Reference] = (),
        time_ms: int | None = None,
        then: Iterable[NewEntry] = (),
    ) -> Segment:
        """Begin one more segment of *session* that inherits nothing."""
        return begin_segment(
            self.engine,
            session=session,
            cause=cause,
            origin=origin,
            body=body,
            refs=refs,
            time_ms=time_ms,
            then=then,
        )

    # --- the store -----------------------------------------------------------

    def stats(self) -> Stats:
        """Return totals. Reads all rows of the index, no payload."""
        counts = self.engine.refresh().known.counts()
        stored = self.engine.disk_size()
        catalog, other = self.engine.other_sizes()
        return Stats(
            counts.session_count,
            counts.segment_count - 1,
            counts.entry_count,
            counts.blob_count,
            counts.raw_size,
            stored,
            stored + catalog + other,
            catalog,
        )

    def close(self) -> None:
        """Close the store. What was acknowledged is durable without this."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def digest_of(ref: BlobRef | str) -> bytes:
    """Return the 32 bytes of a reference or a name."""
    return ref.digest if isinstance(ref, BlobRef) else parse_digest(ref)
