"""
A catalog in memory: dicts, one lock, gone with the process.
"""

from __future__ import annotations

import bisect
import threading

from collections.abc import Iterator, Sequence

from castore.catalog.comparing import sorted_facts
from castore.catalog.rows import (
    AbsenceRow,
    Counts,
    DeletedRow,
    Facts,
    KeyRow,
    Label,
    Listed,
    Node,
    Place,
    Position,
    Run,
    SegmentRow,
    SessionRow,
    TagRow,
    listed,
)


class MemoryCatalog:
    """
    A `Catalog` in dicts. May be shared by threads.

    Iterators go over what was there when they were asked for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._position: Position | None = None
        self._places: dict[bytes, Place] = {}
        self._runs: dict[bytes, _Runs] = {}
        self._segments: dict[bytes, SegmentRow] = {}
        self._segments_of: dict[bytes, set[bytes]] = {}  # by session
        self._children: dict[bytes, set[bytes]] = {}
        self._nodes: dict[bytes, dict[tuple[int, int], bytes]] = {}
        self._sessions: dict[bytes, SessionRow] = {}
        self._session_by_key: dict[tuple[str, str], bytes] = {}
        self._keys: dict[bytes, dict[str, KeyRow]] = {}
        self._tags: dict[str, TagRow] = {}
        self._deleted: dict[bytes, DeletedRow] = {}
        self._labels: dict[bytes, set[bytes]] = {}
        self._absences: dict[bytes, AbsenceRow] = {}

    # --- writing -------------------------------------------------------------

    def position(self) -> Position | None:
        """Return how far this catalog is made, None for an empty one."""
        with self._lock:
            return self._position

    def apply(self, facts: Sequence[Facts], position: Position) -> None:
        """Take in *facts*, in order, and be made up to *position*; all or nothing."""
        batch = list(facts)  # if the caller's sequence fails, it does so here
        with self._lock:
            for each in batch:
                if each.drop_files:
                    self._drop_files(set(each.drop_files))
                self._add(each)
                self._remove(each)
            self._position = position

    def _drop_files(self, files: set[bytes]) -> None:
        for place in list(self._places.values()):
            if place.file in files:
                del self._places[place.digest]
        for runs in self._runs.values():
            runs.drop_files(files)

    def _add(self, facts: Facts) -> None:
        for place in facts.places:
            self._places[place.digest] = place
        for run in facts.runs:
            if run.segment not in self._runs:
                self._runs[run.segment] = _Runs()
            self._runs[run.segment].add(run)
        for segment in facts.segments:
            self._remove_segment(segment.id)
            self._segments[segment.id] = segment
            self._segments_of.setdefault(segment.session, set()).add(segment.id)
            if segment.parent is not None:
                self._children.setdefault(segment.parent, set()).add(segment.id)
        for node in facts.nodes:
            hashes = self._nodes.setdefault(node.segment, {})
            hashes[node.level, node.index] = node.hash
        for session in facts.sessions:
            self._add_session(session)
        for key in facts.keys:
            self._keys.setdefault(key.segment, {})[key.text] = key
        for tag in facts.tags:
            self._tags[tag.name] = tag
        for deleted in facts.deleted:
            self._deleted[deleted.segment] = deleted
        for label in facts.labels:
            self._labels.setdefault(label.digest, set()).add(label.segment)
        self._absences.update({row.digest: row for row in facts.absences})

    def _add_session(self, session: SessionRow) -> None:
        self._remove_session(session.id)
        key = session.key
        if key is not None:
            if key in self._session_by_key:
                self._remove_session(self._session_by_key[key])
            self._session_by_key[key] = session.id
        self._sessions[session.id] = session

    def _remove_session(self, session: bytes) -> None:
        old = self._sessions.pop(session, None)
        if old and old.namespace is not None and old.text is not None:
            del self._session_by_key[old.namespace, old.text]

    def _remove_segment(self, segment: bytes) -> None:
        old = self._segments.pop(segment, None)
        if old:
            self._segments_of[old.session].remove(segment)
            if old.parent is not None:
                self._children[old.parent].remove(segment)

    def _remove(self, facts: Facts) -> None:
        for name in facts.untags:
            self._tags.pop(name, None)
        for segment in facts.gone_segments:
            self._remove_segment(segment)
            self._runs.pop(segment, None)
            self._nodes.pop(segment, None)
            self._keys.pop(segment, None)
            for labelled in self._labels.values():
                labelled.discard(segment)
        for session in facts.gone_sessions:
            self._remove_session(session)
        for digest in facts.gone_places:
            self._places.pop(digest, None)

    # --- reading -------------------------------------------------------------

    def find_place(self, digest: bytes) -> Place | None:
        """Return where *digest* is stored."""
        with self._lock:
            return self._places.get(digest)

    def find_places(self, digests: Sequence[bytes]) -> dict[bytes, Place]:
        """Return where those of *digests* are stored that are."""
        with self._lock:
            found = ((digest, self._places.get(digest)) for digest in digests)
            return {digest: place for digest, place in found if place is not None}

    def find_run(self, segment: bytes, index: int) -> Run | None:
        """Return the run of *segment*'s own entries that covers *index*."""
        found = self.runs(segment, index, index + 1)
        return found[-1] if found else None

    def runs(self, segment: bytes, start: int, stop: int) -> list[Run]:
        """Return the runs of *segment* that touch ``[start, stop)``, in order."""
        with self._lock:
            runs = self._runs.get(segment)
            return runs.touching(start, stop) if runs and start < stop else []

    def find_segment(self, segment: bytes) -> SegmentRow | None:
        """Return the newest state of *segment*."""
        with self._lock:
            return self._segments.get(segment)

    def segments(self) -> Iterator[SegmentRow]:
        """Yield all segments, newest commit first, then by id."""
        with self._lock:
            return iter(self._newest_first())

    def listing(self) -> Iterator[Listed]:
        """Yield what is shown of the segments that have peaks, as `segments`."""
        with self._lock:
            rows = [row for row in self._newest_first() if row.peaks]
            return iter([listed(row, self._sessions.get(row.session)) for row in rows])

    def _newest_first(self) -> list[SegmentRow]:
        return sorted(self._segments.values(), key=lambda row: (-row.seq, row.id))

    def children(self, segment: bytes) -> list[SegmentRow]:
        """Return the segments whose parent is *segment*, in order of id."""
        with self._lock:
            ids = self._children.get(segment, ())
            return [self._segments[each] for each in sorted(ids)]

    def segments_of(self, session: bytes) -> list[SegmentRow]:
        """Return the segments of *session*, in order of id."""
        with self._lock:
            ids = self._segments_of.get(session, ())
            return [self._segments[each] for each in sorted(ids)]

    def find_session(self, session: bytes) -> SessionRow | None:
        """Return the session with that id."""
        with self._lock:
            return self._sessions.get(session)

    def find_session_by_key(self, namespace: str, text: str) -> SessionRow | None:
        """Return the session with that key."""
        with self._lock:
            session = self._session_by_key.get((namespace, text))
            return None if session is None else self._sessions[session]

    def sessions(self) -> Iterator[SessionRow]:
        """Yield all sessions in order of id."""
        with self._lock:
            return iter(sorted(self._sessions.values(), key=lambda row: row.id))

    def find_nodes(
        self, wanted: Sequence[tuple[bytes, int, int]]
    ) -> list[bytes | None]:
        """Return the hash for each (segment, level, index), None where absent."""
        with self._lock:
            return [
                self._nodes.get(segment, {}).get((level, index))
                for segment, level, index in wanted
            ]

    def find_key(self, segment: bytes, text: str) -> KeyRow | None:
        """Return what the commit key stands for."""
        with self._lock:
            return self._keys.get(segment, {}).get(text)

    def find_tag(self, name: str) -> TagRow | None:
        """Return the tag."""
        with self._lock:
            return self._tags.get(name)

    def tags(self) -> list[TagRow]:
        """Return all tags by name."""
        with self._lock:
            return sorted(self._tags.values(), key=lambda row: row.name)

    def find_deleted(self, segment: bytes) -> DeletedRow | None:
        """Return how *segment* was deleted."""
        with self._lock:
            return self._deleted.get(segment)

    def labelled(self, digest: bytes) -> list[bytes]:
        """Return the segments that the payload is a label of, sorted."""
        with self._lock:
            return sorted(self._labels.get(digest, ()))

    def find_absence(self, digest: bytes) -> AbsenceRow | None:
        """Return why *digest* went, whether it is back or not."""
        with self._lock:
            return self._absences.get(digest)

    def places(self) -> Iterator[Place]:
        """Yield all places in order of digest."""
        with self._lock:
            return iter(sorted(self._places.values(), key=lambda row: row.digest))

    def names(self, start: bytes, stop: bytes | None) -> set[bytes]:
        """Return the digests in ``[start, stop)`` of all places; None: to the end."""
        with self._lock:
            return {
                digest
                for digest in self._places
                if start <= digest and (stop is None or digest < stop)
            }

    def last_offsets(self) -> dict[bytes, int]:
        """Return the last offset at which a place stands, by file."""
        last: dict[bytes, int] = {}
        with self._lock:
            for place in self._places.values():
                last[place.file] = max(last.get(place.file, 0), place.offset)
        return last

    def counts(self) -> Counts:
        """Return totals."""
        with self._lock:
            segments = self._segments.values()
            return Counts(
                session_count=len(self._sessions),
                segment_count=len(segments),
                entry_count=sum(row.count - row.fork_index for row in segments),
                blob_count=len(self._places),
                raw_size=sum(row.size for row in self._places.values()),
            )

    def dump(self) -> Facts:
        """Return everything as rows in order of their keys, for comparisons."""
        with self._lock:
            facts = Facts(
                places=list(self._places.values()),
                runs=[run for runs in self._runs.values() for run in runs.all()],
                segments=list(self._segments.values()),
                nodes=[
                    Node(segment, level, index, node_hash)
                    for segment, hashes in self._nodes.items()
                    for (level, index), node_hash in hashes.items()
                ],
                sessions=list(self._sessions.values()),
                keys=[key for keys in self._keys.values() for key in keys.values()],
                tags=list(self._tags.values()),
                deleted=list(self._deleted.values()),
                labels=[
                    Label(digest, segment)
                    for digest, segments in self._labels.items()
                    for segment in segments
                ],
                absences=list(self._absences.values()),
            )
        return sorted_facts(facts)


class _Runs:
    """The runs of one segment, in order of their first entry."""

    def __init__(self) -> None:
        self._by_first: dict[int, Run] = {}
        self._firsts: list[int] = []
        self._count_max = 0  # of any run ever added: how far back a hit may begin

    def add(self, run: Run) -> None:
        if run.first not in self._by_first:
            bisect.insort(self._firsts, run.first)  # nearly always at the end
        self._by_first[run.first] = run
        self._count_max = max(self._count_max, run.count)

    def drop_files(self, files: set[bytes]) -> None:
        self._firsts = [
            first for first in self._firsts if self._by_first[first].file not in files
        ]
        self._by_first = {first: self._by_first[first] for first in self._firsts}

    def touching(self, start: int, stop: int) -> list[Run]:
        low = bisect.bisect_right(self._firsts, start - self._count_max)
        high = bisect.bisect_left(self._firsts, stop)
        runs = (self._by_first[first] for first in self._firsts[low:high])
        return [run for run in runs if run.first + run.count > start]

    def all(self) -> list[Run]:
        return list(self._by_first.values())
