"""
The file in a segment: what was said of it, its bytes, its records by name.

A segment's content are the bodies of its entries, inherited ones included, but
for start entries and for each ``tail`` that is not the last entry: there the
file went on, and the whole line follows.
"""

from __future__ import annotations

import io
import shutil

from collections.abc import Iterator
from typing import BinaryIO

import attrs

from castore.catalog.rows import SegmentRow
from castore.codec import decode_object, encode_object
from castore.engine.expect import living
from castore.errors import FormatError, NotFoundError
from castore.formats.entry import START, Entry
from castore.importer.source import READ_SIZE, TAIL
from castore.limits import KIB
from castore.segment import Segment
from castore.store import Store
from castore.transcript.records import native_id_of, parse_record, scan_record


PATH_ROLE = "path"
BODY_SIZE = READ_SIZE  # bytes above which a body is never held whole


@attrs.frozen(kw_only=True)
class FileFacts:
    r"""
    What an import found out about a file as a whole.

    Attributes:
        path: Absolute path; bytes of it that are no UTF-8 as ``\xff``.

        format: As from `castore.transcript.detect`.

        size: Bytes of the file when its import began.

        imported_ms: When that was, ms since 1970 UTC.

        native_session: The session's own name, if the file or its name tells it.

        parent: What the session came from, as it stands in the file.

        relation: ``subagent`` or ``fork``: what it is to its parent.

        packed: How unpacking a ``.jsonl.zst`` ended, as from
            `castore.compress.Unpacking`; its own bytes are not kept.
    """

    path: str
    format: str
    size: int
    imported_ms: int
    native_session: str | None = None
    parent: str | None = None
    relation: str | None = None
    packed: str | None = None

    def encode(self) -> bytes:
        """Return the body of the start entry."""
        told = {k: v for k, v in attrs.asdict(self).items() if v is not None}
        return encode_object(told)


def facts_of(store: Store, segment: Segment) -> FileFacts | None:
    """Return what is known of the file in *segment*, None if it was no import."""
    return facts_in(store, living(store.engine.refresh().known, segment.id))


def facts_in(store: Store, row: SegmentRow) -> FileFacts | None:
    """Return what is known of the file in *row*; as `facts_of`, of what is known."""
    logs = store.engine.view.logs
    start = next(logs.entries(row, row.fork_index, row.fork_index + 1))
    if all(ref.role != PATH_ROLE for ref in start.refs):
        return None
    try:
        told = decode_object(store.engine.read_blob(start.body.digest))
    except FormatError:
        return None
    if not isinstance(told, dict):
        return None
    # A later version may tell more.
    names = [field.name for field in attrs.fields(FileFacts)]
    known = {name: told[name] for name in names if name in told}
    for name in ("path", "format", "size", "imported_ms"):
        if type(known.get(name)) is not (int if name in _NUMBERS else str):
            return None
    return FileFacts(**known)


_NUMBERS = frozenset({"size", "imported_ms"})


def not_imported(segment: Segment) -> FormatError:
    """Return the error for a *segment* that holds no file."""
    return FormatError(what=f"segment {segment.id.hex()} was not imported from a file")


def restore(store: Store, segment: Segment, out: BinaryIO) -> int:
    """
    Write the file that was imported as *segment* to *out*, byte for byte.

    Every byte is checked before it is written. Memory stays within some MiB.

    Args:
        store: Where.

        segment: From `find_segment` or `import_file`.

        out: Buffered. What was written stays there when this raises.

    Returns:
        Bytes written.

    Raises:
        FormatError: *segment* was not imported from a file.

        NotFoundError: Its import was stopped and the rest is not here; told
            after what is here was written.

        CorruptionError: Something is damaged. Wrong bytes are never written.

        GoneError: A part went on purpose.
    """
    facts = facts_of(store, segment)
    if facts is None:
        raise not_imported(segment)
    size = 0
    for entry, body in bodies(store, segment):
        if body is None:
            with store.open_blob(entry.body) as blob:
                shutil.copyfileobj(blob, out, READ_SIZE)
        else:
            out.write(body)
        size += entry.body.size
    if size < facts.size:
        what = f"{size} bytes of {facts.size} are here: the import of {facts.path}"
        raise NotFoundError(what=f"{what} was stopped; import it again")
    return size


def find_native(store: Store, segment: Segment, name: str) -> Entry | None:
    """
    Return the first entry whose record gives itself the name *name*.

    Reads all bodies up to there: names are in them and nowhere else.
    """
    # A name can be written with escapes; else it stands there as it is.
    plain = name.encode() if name.isascii() and not set(name) & set('"/\\') else b""
    for entry, body in bodies(store, segment):
        if body is None:
            with store.open_blob(entry.body) as blob:
                record = scan_record(_chunks(blob))
        elif plain in body or b"\\u" in body:
            record = parse_record(body.lstrip(_BEFORE_MESSAGE))
        else:
            continue
        if record is not None and native_id_of(record) == name:
            return entry
    return None


_BEFORE_MESSAGE = b" \t\r\n,"  # between two messages of a document


def _chunks(blob: io.RawIOBase) -> Iterator[bytes]:
    first = True
    while data := blob.read(64 * KIB):
        yield data.lstrip(_BEFORE_MESSAGE) if first else data
        first = False


def bodies(store: Store, segment: Segment) -> Iterator[tuple[Entry, bytes | None]]:
    """
    Yield the content, each entry with its bytes; None for those above `BODY_SIZE`.
    """
    engine = store.engine
    view = engine.refresh()
    row = living(view.known, segment.id)

    def read(digest: bytes) -> bytes:
        place = view.known.find_place(digest)
        large = place is not None and place.size > BODY_SIZE
        return b"" if large else engine.read_blob(digest)

    for entry, body in view.logs.with_bodies(row, 0, row.count, read):
        if entry.kind == TAIL and entry.index < row.count - 1:
            continue
        if entry.kind != START:
            yield entry, body if len(body) == entry.body.size else None
