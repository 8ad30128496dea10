"""
The store log, read before it is known which files count: it says so itself.

Spec: spec/checking.md, step 6; spec/storelog.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from castore.errors import CorruptionError
from castore.formats.entry import Entry, genesis
from castore.formats.frame import Record
from castore.formats.storelog import StoreLog, is_known
from castore.reading.blobs import read_record
from castore.reading.contents import FileContents
from castore.reading.findings import Findings
from castore.reading.logs import MALFORMED, Log, take_entries
from castore.reading.reader import Reader
from castore.reading.records import Records, judge_heads
from castore.reading.stored import BlobPlace


class _Bodies:
    """Blobs of any file that is there, since a blob proves itself."""

    def __init__(
        self, parts: Iterable[FileContents], reader: Reader, wanted: Iterable[bytes]
    ) -> None:
        self._parts = list(parts)
        self._reader = reader
        self._places = self._search(set(wanted))

    def _search(self, wanted: set[bytes]) -> dict[bytes, BlobPlace]:
        return {
            digest: frame.blobs.place(at)
            for part in self._parts
            for frame in part.frames
            for at, digest in enumerate(frame.blobs.names())
            if digest in wanted
        }

    def find(self, digest: bytes) -> Record:
        """Return the record that holds *digest*."""
        if digest not in self._places:
            self._places.update(self._search({digest}))
        if digest not in self._places:
            raise CorruptionError(
                what="not there", verdict="missing blob", where=f"blob:{digest.hex()}"
            )
        return self._reader.record(self._places[digest])

    def read(self, digest: bytes) -> bytes:
        """Return the bytes of *digest*, checked."""
        return read_record(digest, self.find(digest), self.find)


def fold_log(
    store: bytes,
    chain: Sequence[FileContents],
    others: Sequence[FileContents],
    reader: Reader,
    findings: Findings,
) -> StoreLog | None:
    """
    Return the fold of the store log, None without a usable head of it.

    What is wrong with the log's links and head is found later, when it is known
    which records count; here only what its bodies say.

    Args:
        store: Store id.

        chain: The journals, whatever was dropped, newest first and cut to what
            counts of them.

        others: All packs and side packs with a good header.

        reader: Reads the entries.

        findings: Takes what is refused.
    """
    records = Records()
    for contents in chain:
        records.add_file(contents, store)
    # Before the rest is known: a pack may be anybody's until the log lists it.
    head = judge_heads(records, store, None, Findings())
    if head is None:
        return None
    for contents in others:
        records.add_file(contents, store)
    log = Log(store, store, 0, head.count, head)
    start = genesis(store, store)
    take_entries(
        log, records.runs.get(store, ()), start, {head.count: head.last}, Findings()
    )
    folded = StoreLog(store)
    bodies = _Bodies([*chain, *others], reader, log.bodies())
    for entry in reader.entries(log.pieces):
        _apply(folded, entry, bodies, log.where(entry.index), findings)
    return folded


def _apply(
    folded: StoreLog, entry: Entry, bodies: _Bodies, where: str, findings: Findings
) -> None:
    body = b""
    if is_known(entry.kind):
        try:
            body = bodies.read(entry.body.digest)
        except CorruptionError:
            return  # what is missing or corrupt is found with all other blobs
    try:
        folded.apply(entry.index, entry.kind, body, entry.refs)
    except CorruptionError as error:
        findings.add(MALFORMED, where, error.what)
