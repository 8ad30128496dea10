"""
What a catalog holds: plain rows, and the protocol of who holds them.

A catalog knows no formats: digests, ids and encoded heads are bytes to it.
Everything in it can be made again from the files.

Spec: spec/ordering.md, "The catalog".
"""

from __future__ import annotations

import operator

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import attrs


class Position(NamedTuple):
    """
    How far along the journals something is made.

    Attributes:
        journal: File id.

        end: Offset behind the last frame taken in, in bytes.

        frame: Hash of that frame; the file hash where there is none.

        seq: Last commit taken in.

        commit: Hash of that commit record.

        gc_generation: Under which it was made.
    """

    journal: bytes
    end: int
    frame: bytes
    seq: int
    commit: bytes
    gc_generation: int


class Place(NamedTuple):
    """
    Where a blob or ref list is stored: record number *record* of the frame at
    *offset* of *file*. *size* is raw bytes (count of references for a ref list).
    """

    digest: bytes
    file: bytes
    offset: int
    record: int
    size: int


class Run(NamedTuple):
    """
    Where the entries ``[first, first + count)`` that *segment* owns are stored.
    """

    segment: bytes
    first: int
    count: int  # type: ignore[assignment]
    file: bytes
    offset: int
    record: int


class SegmentRow(NamedTuple):
    """
    A segment's newest state.

    Attributes:
        id: Segment id.

        session: Session id.

        parent: Segment that the inherited entries belong to, None if no fork.

        fork_index: Count of inherited entries.

        count: Entries, inherited ones included.

        revision: Commits of it.

        seq: Commit that wrote this state.

        time_ms: Of that commit.

        label_count: Labels that its start entry gives it.

        head: The head record's own bytes.

        peaks: Peaks of the tree over all entries, 32 bytes each, concatenated.
    """

    id: bytes
    session: bytes
    parent: bytes | None
    fork_index: int
    count: int  # type: ignore[assignment]
    revision: int
    seq: int
    time_ms: int
    label_count: int
    head: bytes
    peaks: bytes


class Listed(NamedTuple):
    """
    What a listing shows of a living segment; as in `SegmentRow`, with the key of
    its session, if that has one.
    """

    id: bytes
    session: bytes
    parent: bytes | None
    fork_index: int
    count: int  # type: ignore[assignment]
    revision: int
    seq: int
    time_ms: int
    label_count: int
    namespace: str | None
    text: str | None

    @property
    def key(self) -> tuple[str, str] | None:
        """The key of its session, if that has one."""
        return _key(self.namespace, self.text)


def listed(row: SegmentRow, session: SessionRow | None) -> Listed:
    """Return what a listing shows of *row*, which is of *session*."""
    key = session[1:] if session else (None, None)
    return Listed._make((*row[:-2], *key))


class Node(NamedTuple):
    """
    The root *hash* of a complete subtree of 16 leaves or more.

    *segment* owns the subtree's last leaf.
    """

    segment: bytes
    level: int
    index: int  # type: ignore[assignment]
    hash: bytes


class SessionRow(NamedTuple):
    """A session and its key, if it has one; unique by id and by key."""

    id: bytes
    namespace: str | None
    text: str | None

    @property
    def key(self) -> tuple[str, str] | None:
        """The key, if it has one."""
        return _key(self.namespace, self.text)


def _key(namespace: str | None, text: str | None) -> tuple[str, str] | None:
    return None if namespace is None or text is None else (namespace, text)


class KeyRow(NamedTuple):
    """A commit key: what it stands for and the commit that it named."""

    segment: bytes
    text: str
    content: bytes
    first: int
    count: int  # type: ignore[assignment]
    seq: int
    time_ms: int


class TagRow(NamedTuple):
    """A tag and the payload that it keeps."""

    name: str
    digest: bytes
    size: int
    slices: bytes | None


class DeletedRow(NamedTuple):
    """A deleted segment: the store-log entry that says so, and its final head."""

    segment: bytes
    entry: int
    head: bytes


class AbsenceRow(NamedTuple):
    """
    Why a blob went.

    Attributes:
        how: Kind of the store-log entry that says so.

        number: As of `castore.formats.storelog.Absence`.
    """

    digest: bytes
    how: str
    number: int


class Label(NamedTuple):
    """A payload of a segment's start entry by which the segment is looked up."""

    digest: bytes
    segment: bytes


@attrs.define
class Facts:
    """
    What one commit, or a whole rebuild, changes in a catalog.

    Rows replace rows of the same key: places by digest, runs by (segment,
    first), segments and sessions by id, nodes by (segment, level, index), keys
    by (segment, text), tags by name, deleted by segment. The order is: drop
    what stood in dropped files, then rows, then removals.

    Attributes:
        drop_files: Files whose places and runs go.

        untags: Tags that go.

        gone_segments: Segments whose row, runs, nodes, keys and labels go.

        gone_sessions: Sessions whose row goes.

        gone_places: Digests whose place goes.

        absences: Why blobs went.
    """

    places: list[Place] = attrs.Factory(list)
    runs: list[Run] = attrs.Factory(list)
    segments: list[SegmentRow] = attrs.Factory(list)
    nodes: list[Node] = attrs.Factory(list)
    sessions: list[SessionRow] = attrs.Factory(list)
    keys: list[KeyRow] = attrs.Factory(list)
    tags: list[TagRow] = attrs.Factory(list)
    untags: list[str] = attrs.Factory(list)
    deleted: list[DeletedRow] = attrs.Factory(list)
    labels: list[Label] = attrs.Factory(list)
    absences: list[AbsenceRow] = attrs.Factory(list)
    drop_files: list[bytes] = attrs.Factory(list)
    gone_segments: list[bytes] = attrs.Factory(list)
    gone_sessions: list[bytes] = attrs.Factory(list)
    gone_places: list[bytes] = attrs.Factory(list)

    def row_count(self) -> int:
        """Return how many rows this writes or removes."""
        return sum(map(len, _lists(self)))


_lists = operator.attrgetter(*(field.name for field in attrs.fields(Facts)))


class Counts(NamedTuple):
    """Totals: *raw_size* is the sum over places, *entry_count* over own entries."""

    session_count: int
    segment_count: int
    entry_count: int
    blob_count: int
    raw_size: int


class Catalog(Protocol):
    """
    The index of a store.

    `find_*` return None where there is nothing. Answers reflect all facts
    applied before the call, none in part.
    """

    def position(self) -> Position | None:
        """Return how far this catalog is made, None for an empty one."""

    def apply(self, facts: Sequence[Facts], position: Position) -> None:
        """Take in *facts*, in order, and be made up to *position*; all or nothing."""

    def find_place(self, digest: bytes) -> Place | None:
        """Return where *digest* is stored."""

    def find_places(self, digests: Sequence[bytes]) -> dict[bytes, Place]:
        """Return where those of *digests* are that are here; one look-up for many."""

    def find_run(self, segment: bytes, index: int) -> Run | None:
        """Return the run of *segment*'s own entries that covers *index*."""

    def runs(self, segment: bytes, start: int, stop: int) -> list[Run]:
        """Return the runs of *segment* that touch ``[start, stop)``, in order."""

    def find_segment(self, segment: bytes) -> SegmentRow | None:
        """Return the newest state of *segment*."""

    def segments(self) -> Iterator[SegmentRow]:
        """Yield all segments, newest commit first, then by id."""

    def listing(self) -> Iterator[Listed]:
        """
        Yield what is shown of the segments that have peaks, in order as `segments`,
        at a small part of the cost.
        """

    def children(self, segment: bytes) -> list[SegmentRow]:
        """Return the segments whose parent is *segment*, in order of id."""

    def segments_of(self, session: bytes) -> list[SegmentRow]:
        """Return the segments of *session*, in order of id."""

    def find_session(self, session: bytes) -> SessionRow | None:
        """Return the session with that id."""

    def find_session_by_key(self, namespace: str, text: str) -> SessionRow | None:
        """Return the session with that key."""

    def sessions(self) -> Iterator[SessionRow]:
        """Yield all sessions in order of id."""

    def find_nodes(
        self, wanted: Sequence[tuple[bytes, int, int]]
    ) -> list[bytes | None]:
        """Return the hash for each (segment, level, index), None where absent."""

    def find_key(self, segment: bytes, text: str) -> KeyRow | None:
        """Return what the commit key stands for."""

    def find_tag(self, name: str) -> TagRow | None:
        """Return the tag."""

    def tags(self) -> list[TagRow]:
        """Return all tags by name."""

    def find_deleted(self, segment: bytes) -> DeletedRow | None:
        """Return how *segment* was deleted."""

    def labelled(self, digest: bytes) -> list[bytes]:
        """Return the segments that the payload is a label of, sorted."""

    def find_absence(self, digest: bytes) -> AbsenceRow | None:
        """Return the GC run that took *digest*."""

    def places(self) -> Iterator[Place]:
        """Yield all places in order of digest."""

    def names(self, start: bytes, stop: bytes | None) -> set[bytes]:
        """Return the digests in ``[start, stop)`` of all places; None: to the end."""

    def last_offsets(self) -> dict[bytes, int]:
        """
        Return the files in which places stand or stood, each with the offset of
        the last frame that has one.
        """

    def counts(self) -> Counts:
        """Return totals."""

    def dump(self) -> Facts:
        """Return everything as rows in order of their keys, for comparisons."""
