"""
What a commit means to the catalog.

One function for the writer, who knows its commit already, and for everybody
who reads it from a journal: both end with the same rows.

Spec: spec/ordering.md, "The catalog"; spec/storelog.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from castore import limits, merkle
from castore.catalog.rows import (
    AbsenceRow,
    Catalog,
    DeletedRow,
    Facts,
    KeyRow,
    Label,
    Node,
    Place,
    Run,
    SegmentRow,
    SessionRow,
    TagRow,
)
from castore.errors import CorruptionError
from castore.formats.commit import Commit, CommitKey
from castore.formats.entry import Reference, Start
from castore.formats.head import Head
from castore.formats.storelog import StoreLog
from castore.formats.trees import tree_of


LABEL_ROLES = frozenset({"path", "prefix"})


@attrs.define
class Extension:
    """
    Entries that a commit appends to one segment.

    Attributes:
        head: The segment's new head.

        hashes: Entry hashes of the new entries, in order.

        place: File, offset, record number of each entries record, and how many
            entries it has.

        start: If the first entry is the segment's start entry: its record.

        start_refs: References of that entry.

        log_entries: For the store log: index, kind, body and references.

        grown: Peaks and closed subtrees where they are known already.

        encoded: The head's bytes where they are known already.
    """

    head: Head
    hashes: Sequence[bytes]
    place: Sequence[tuple[bytes, int, int, int]]
    start: Start | None = None
    start_refs: tuple[Reference, ...] = ()
    log_entries: Sequence[tuple[int, str, bytes, tuple[Reference, ...]]] = ()
    grown: tuple[list[bytes], list[tuple[int, int, bytes]]] | None = None
    encoded: bytes = b""


@attrs.define
class CommitImage:
    """
    One commit, taken apart.

    Attributes:
        places: Blobs that became visible with it.

        listed: What stands in the packs that it lists, where that is known.
    """

    commit: Commit
    extensions: list[Extension]
    places: list[Place]
    listed: Facts | None = None


def grow(
    peaks: list[bytes], count: int, hashes: Sequence[bytes], tree: merkle.Tree
) -> tuple[list[bytes], list[tuple[int, int, bytes]]]:
    """
    Return the peaks after *hashes* were appended, and the subtrees that closed.

    Args:
        peaks: Of the tree of *count* leaves; not changed.

        count: Leaves before.

        hashes: Entry hashes, in order.

        tree: Which kind.
    """
    peaks = list(peaks)
    closed: list[tuple[int, int, bytes]] = []
    for count_before, digest in enumerate(hashes, count):
        for node in merkle.push(tree, peaks, count_before, tree.leaf(digest)):
            if node[0] >= limits.NODE_LEVEL_MIN:
                closed.append(node)  # noqa: PERF401 - mostly there is none
    return peaks, closed


def split_peaks(peaks: bytes) -> list[bytes]:
    """Return the peaks of a catalog row, 32 bytes each."""
    return [peaks[at : at + 32] for at in range(0, len(peaks), 32)]


def key_row(commit: Commit, key: CommitKey) -> KeyRow:
    """Return the row of the idempotence key of *commit*."""
    return KeyRow(
        key.segment,
        key.text,
        key.content,
        key.first_index,
        key.count,
        commit.seq,
        commit.time_ms,
    )


#: Gives the peaks that a segment's log had at a count.
PeaksAt = Callable[[bytes, int], list[bytes]]


def facts_of(
    image: CommitImage, view: Catalog, store: bytes, peaks_at: PeaksAt
) -> Facts:
    """
    Return what *image* changes in *view*.

    Args:
        image: The commit.

        view: What is known before it.

        store: Store id.

        peaks_at: Asked for a parent's peaks at the fork index, if they did not
            come with the image.

    Raises:
        CorruptionError: ``root mismatch``: the entries do not lead to the head.
    """
    facts = Facts(places=list(image.places))
    for extension in image.extensions:
        _extend(facts, extension, view, store, peaks_at)
        if extension.log_entries:
            fold_store_log(facts, extension.log_entries, view, store)
    key = image.commit.key
    if key:
        facts.keys.append(key_row(image.commit, key))
    return facts


def _extend(
    facts: Facts,
    extension: Extension,
    view: Catalog,
    store: bytes,
    peaks_at: PeaksAt,
) -> None:
    head = extension.head
    known = view.find_segment(head.segment)
    if known and known.seq >= head.seq:
        return  # somebody else has just applied this commit to the catalog
    first = head.count - len(extension.hashes)
    parent = known.parent if known else _begin(facts, extension, view, store)
    if extension.grown is None:
        peaks: list[bytes] = []
        if known:
            peaks = split_peaks(known.peaks)
        elif parent:
            peaks = peaks_at(parent, first)
        tree = tree_of(head.segment, store)
        extension.grown = grow(peaks, first, extension.hashes, tree)
        if merkle.root(tree, extension.grown[0]) != head.root:
            raise CorruptionError(
                what="entries do not lead to their head's root",
                verdict="root mismatch",
                where=f"segment:{head.segment.hex()}",
            )
    peaks, closed = extension.grown
    labels = known.label_count if known else len(_labels(extension))
    for file, offset, record, count in extension.place:
        facts.runs.append(Run(head.segment, first, count, file, offset, record))
        first += count
    facts.nodes += [Node(head.segment, *node) for node in closed]
    facts.segments.append(
        SegmentRow(
            head.segment,
            head.session,
            parent,
            head.fork_index,
            head.count,
            head.revision,
            head.seq,
            head.time_ms,
            labels,
            extension.encoded or head.encode(),
            b"".join(peaks),
        )
    )


def _begin(
    facts: Facts, extension: Extension, view: Catalog, store: bytes
) -> bytes | None:
    head, start = extension.head, extension.start
    if start is None:
        raise CorruptionError(
            what="a segment begins without a start entry",
            verdict="malformed record",
            where=f"segment:{head.segment.hex()}",
        )
    facts.labels += [Label(each, head.segment) for each in _labels(extension)]
    session = view.find_session(head.session)
    # Of a session that was taken in without its first segment that may come later.
    is_named = session is not None and (start.key is None or session.key is not None)
    if head.segment != store and not is_named:
        facts.sessions.append(SessionRow(head.session, *(start.key or (None, None))))
    if not head.fork_index or start.origin is None:
        return None
    return owner_of(view, start.origin.segment, head.fork_index - 1)


def _labels(extension: Extension) -> list[bytes]:
    refs = extension.start_refs
    return [ref.blob.digest for ref in refs if ref.role in LABEL_ROLES]


def owner_of(view: Catalog, segment: bytes, index: int) -> bytes:
    """
    Return the segment that owns entry *index* of *segment*'s log.

    Raises:
        CorruptionError: ``truncated log``: the lineage is not all there.
    """
    row = view.find_segment(segment)
    while row is not None:
        if index >= row.fork_index:
            return row.id
        row = view.find_segment(row.parent) if row.parent else None
    raise CorruptionError(
        what="a log's lineage is not all there",
        verdict="truncated log",
        where=f"segment:{segment.hex()}[{index}]",
    )


def absences(log: StoreLog) -> list[AbsenceRow]:
    """Return what *log* says of blobs that are not there, as rows."""
    return [
        AbsenceRow(digest, absence.how, absence.number)
        for digest, absence in sorted(log.absent.items())
    ]


def fold_store_log(
    facts: Facts,
    entries: Sequence[tuple[int, str, bytes, tuple[Reference, ...]]],
    view: Catalog,
    store: bytes,
) -> None:
    """Add to *facts* what new store-log *entries* say."""
    log = StoreLog(store)
    for index, kind, body, refs in entries:
        log.apply(index, kind, body, refs)
    facts.untags += sorted(log.untagged)
    facts.drop_files += sorted(log.dropped)
    facts.absences += absences(log)
    facts.tags += [
        TagRow(name, blob.digest, blob.size, blob.slices)
        for name, blob in log.tags.items()
    ]
    for segment, (index, head) in log.deleted.items():
        facts.deleted.append(DeletedRow(segment, index, head.encode()))
        _delete(facts, segment, view)


def _delete(facts: Facts, segment: bytes, view: Catalog) -> None:
    """
    Remove a deleted segment's row, and those of deleted ancestors that nothing
    inherits any more; keep the row, without peaks, while something does.
    """
    row = view.find_segment(segment)
    gone = set(facts.gone_segments)
    while row is not None:
        heirs = {child.id for child in view.children(row.id)} - gone
        if heirs:
            facts.segments.append(row._replace(peaks=b""))
            return
        gone.add(row.id)
        facts.gone_segments.append(row.id)
        if {other.id for other in view.segments_of(row.session)} <= gone:
            facts.gone_sessions.append(row.session)
        parent = row.parent
        row = view.find_segment(parent) if parent else None
        deleted = {item.segment for item in facts.deleted}
        if row and row.id not in deleted and not view.find_deleted(row.id):
            return
