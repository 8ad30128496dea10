"""
A catalog over another: what is known but not yet written down.

A commit touches no catalog. Its facts stay here, in memory and in order, until
somebody applies them to the catalog below and drops them here.
"""

from __future__ import annotations

import heapq
import threading

from collections.abc import Iterator, Sequence

from castore.catalog.memory import MemoryCatalog
from castore.catalog.rows import (
    AbsenceRow,
    Catalog,
    Counts,
    DeletedRow,
    Facts,
    KeyRow,
    Listed,
    Place,
    Position,
    Run,
    SegmentRow,
    SessionRow,
    TagRow,
    listed,
)
from castore.catalog.touched import Touched


_NOWHERE = Position(b"", 0, b"", 0, b"", 0)  # on no chain: who finds it rebuilds


class Overlay:
    """
    A `Catalog` that answers as *base* with facts that *base* lacks.

    What is applied here changes *base* in nothing. May be shared by threads.

    To write down what is here: apply the first of `pending` to *base*, then
    `drop` as many; in between every answer is the same. What *base* learns from
    others in the meantime shows through wherever no fact here is about it; and where
    *base* was brought further than the facts here, none of them hides runs, places
    or sessions that *base* has: other rows of it, later than these facts, lead there.

    Args:
        base: The catalog below; None for one that is empty.
    """

    def __init__(self, base: Catalog | None = None) -> None:
        self._base: Catalog = MemoryCatalog() if base is None else base
        self._lock = threading.RLock()
        self._pending: list[tuple[Facts, Position]] = []
        self._own = MemoryCatalog()
        self._touched = Touched()
        self._dropped_count = 0  # facts that `_own` and *base* both have

    # --- writing -------------------------------------------------------------

    def position(self) -> Position | None:
        """Return how far this catalog is made, None for an empty one."""
        with self._lock:
            return self._pending[-1][1] if self._pending else self._base.position()

    def apply(self, facts: Sequence[Facts], position: Position) -> None:
        """Take in *facts*, in order, and be made up to *position*; all or nothing."""
        batch = list(facts) or [Facts()]
        with self._lock:
            # Only with the last of them is *position* reached: whoever stops
            # before it has to begin again where the first one began.
            added = [(batch[-1], position)]
            if len(batch) > 1:
                before = self.position() or _NOWHERE
                added = [*((each, before) for each in batch[:-1]), *added]
            self._take(added)

    def pending(self) -> list[tuple[Facts, Position]]:
        """Return the facts that are here, in order, each with what it leads to."""
        with self._lock:
            return list(self._pending)

    def pending_count(self) -> int:
        """Return how many facts are here."""
        return len(self._pending)

    def drop(self, count: int) -> None:
        """
        Forget the first *count* of `pending`, which *base* now has.

        What is forgotten goes on answering, the same as *base*, until it is more
        than what is left: to take in the rest anew after each slice would take
        the square of its size.
        """
        with self._lock:
            self._pending = self._pending[count:]
            self._dropped_count += count
            if self._dropped_count >= len(self._pending):
                kept, self._pending = self._pending, []
                self._own = MemoryCatalog()
                self._touched = Touched()
                self._dropped_count = 0
                self._take(kept)

    def reset(self) -> None:
        """Forget all that *base* lacks: answer as *base*."""
        with self._lock:
            self.drop(len(self._pending))

    def _take(self, added: list[tuple[Facts, Position]]) -> None:
        for facts, position in added:
            self._own.apply([facts], position)
            self._touched.add(facts)
        self._pending += added

    def _is_passed(self) -> bool:
        """
        Return whether *base* was brought further than the facts here, by others.

        Asked after *base* was: if not, what it answered is no later than these facts.
        """
        below, own = self._base.position(), self.position()
        return below is not None and own is not None and below.seq > own.seq

    # --- reading -------------------------------------------------------------

    def find_place(self, digest: bytes) -> Place | None:
        """Return where *digest* is stored."""
        with self._lock:
            if digest in self._touched.places:
                own = self._own.find_place(digest)
                # What went here may have been stored again since.
                is_older = own is None and self._is_passed()
                return self._base.find_place(digest) if is_older else own
            row = self._base.find_place(digest)
            return None if row is None or self._touched.place(row) else row

    def find_places(self, digests: Sequence[bytes]) -> dict[bytes, Place]:
        """Return where those of *digests* are stored that are."""
        with self._lock:
            touched = self._touched
            own = touched.places.intersection(digests)
            below = [digest for digest in digests if digest not in own]
            found = self._base.find_places(below)
            if touched.files:
                found = {k: row for k, row in found.items() if not touched.place(row)}
            if own:
                found |= self._own.find_places(list(own))
                gone = own - found.keys()
                if gone and self._is_passed():
                    found |= self._base.find_places(list(gone))
            return found

    def find_run(self, segment: bytes, index: int) -> Run | None:
        """Return the run of *segment*'s own entries that covers *index*."""
        found = self.runs(segment, index, index + 1)
        return found[-1] if found else None

    def runs(self, segment: bytes, start: int, stop: int) -> list[Run]:
        """Return the runs of *segment* that touch ``[start, stop)``, in order."""
        with self._lock:
            below = self._base.runs(segment, start, stop)
            rows = [row for row in below if not self._touched.run(row)]
            if len(rows) < len(below) and self._is_passed():
                # A run here would hide a longer one that packing put in its place,
                # and those behind it went: only below are they without a gap.
                return self._base.runs(segment, start, stop)
            rows += self._own.runs(segment, start, stop)
        return sorted(rows, key=lambda row: row.first)

    def find_segment(self, segment: bytes) -> SegmentRow | None:
        """Return the newest state of *segment*."""
        with self._lock:
            touched = self._touched.segment(segment)
            return (self._own if touched else self._base).find_segment(segment)

    def segments(self) -> Iterator[SegmentRow]:
        """Yield all segments, newest commit first, then by id."""
        with self._lock:
            below = self._not_touched(self._base.segments())
            own = self._own.segments()
        return heapq.merge(below, own, key=lambda row: (-row.seq, row.id))

    def listing(self) -> Iterator[Listed]:
        """Yield what is shown of the segments that have peaks, as `segments`."""
        with self._lock:
            below = self._below(self._base.listing())
            rows = [row for row in self._own.segments() if row.peaks]
            own = [listed(row, self.find_session(row.session)) for row in rows]
        return heapq.merge(below, own, key=lambda row: (-row.seq, row.id))

    def _below(self, rows: Iterator[Listed]) -> Iterator[Listed]:
        """Yield those of *rows* that show, each with the key that its session has."""
        touched = self._touched
        # Copies: facts that come while somebody reads are not for this reader.
        hidden = touched.segments | touched.gone
        keys = set(touched.session_keys)
        sessions = {each: self._own.find_session(each) for each in touched.sessions}

        def shown(row: Listed) -> Listed:
            if row.session in sessions:
                session = sessions[row.session]
            elif row.key in keys:
                session = None
            else:
                return row
            key = session[1:] if session else (None, None)
            return row._replace(namespace=key[0], text=key[1])

        if hidden:
            rows = (row for row in rows if row.id not in hidden)
        return map(shown, rows) if sessions or keys else rows

    def children(self, segment: bytes) -> list[SegmentRow]:
        """Return the segments whose parent is *segment*, in order of id."""
        with self._lock:
            rows = [*self._not_touched(iter(self._base.children(segment)))]
            rows += self._own.children(segment)
        return sorted(rows, key=lambda row: row.id)

    def segments_of(self, session: bytes) -> list[SegmentRow]:
        """Return the segments of *session*, in order of id."""
        with self._lock:
            rows = [*self._not_touched(iter(self._base.segments_of(session)))]
            rows += self._own.segments_of(session)
        return sorted(rows, key=lambda row: row.id)

    def _not_touched(self, rows: Iterator[SegmentRow]) -> Iterator[SegmentRow]:
        # A copy: facts that come while somebody reads are not for this reader.
        hidden = self._touched.segments | self._touched.gone
        return (row for row in rows if row.id not in hidden)

    def find_session(self, session: bytes) -> SessionRow | None:
        """Return the session with that id."""
        with self._lock:
            own = self._own.find_session(session)
            if own is not None:
                return own
            row = self._base.find_session(session)
            if row is None or not self._touched.session(row):
                return row
            return self._base.find_session(session) if self._is_passed() else None

    def find_session_by_key(self, namespace: str, text: str) -> SessionRow | None:
        """Return the session with that key."""
        with self._lock:
            if (namespace, text) in self._touched.session_keys:
                return self._own.find_session_by_key(namespace, text)
            row = self._base.find_session_by_key(namespace, text)
            return None if row is None or self._touched.session(row) else row

    def sessions(self) -> Iterator[SessionRow]:
        """Yield all sessions in order of id."""
        with self._lock:
            touched = Touched(
                sessions=set(self._touched.sessions),
                session_keys=set(self._touched.session_keys),
            )
            base = self._base.sessions()
            own = self._own.sessions()
        below = (row for row in base if not touched.session(row))
        return heapq.merge(below, own, key=lambda row: row.id)

    def find_nodes(
        self, wanted: Sequence[tuple[bytes, int, int]]
    ) -> list[bytes | None]:
        """Return the hash for each (segment, level, index), None where absent."""
        with self._lock:
            touched = self._touched
            return [
                own if each in touched.nodes or each[0] in touched.gone else below
                for each, own, below in zip(
                    wanted,
                    self._own.find_nodes(wanted),
                    self._base.find_nodes(wanted),
                    strict=True,
                )
            ]

    def find_key(self, segment: bytes, text: str) -> KeyRow | None:
        """Return what the commit key stands for."""
        with self._lock:
            touched = self._touched
            is_own = (segment, text) in touched.keys or segment in touched.gone
            return (self._own if is_own else self._base).find_key(segment, text)

    def find_tag(self, name: str) -> TagRow | None:
        """Return the tag."""
        with self._lock:
            is_own = name in self._touched.tags
            return (self._own if is_own else self._base).find_tag(name)

    def tags(self) -> list[TagRow]:
        """Return all tags by name."""
        with self._lock:
            below = self._base.tags()
            rows = [row for row in below if row.name not in self._touched.tags]
            rows += self._own.tags()
        return sorted(rows, key=lambda row: row.name)

    def find_deleted(self, segment: bytes) -> DeletedRow | None:
        """Return how *segment* was deleted."""
        with self._lock:
            own = self._own.find_deleted(segment)
            return own or self._base.find_deleted(segment)

    def labelled(self, digest: bytes) -> list[bytes]:
        """Return the segments that the payload is a label of, sorted."""
        with self._lock:
            below = set(self._base.labelled(digest)) - self._touched.gone
            return sorted({*self._own.labelled(digest), *below})

    def find_absence(self, digest: bytes) -> AbsenceRow | None:
        """Return why *digest* went, whether it is back or not."""
        with self._lock:
            own = self._own.find_absence(digest)
            return own or self._base.find_absence(digest)

    def places(self) -> Iterator[Place]:
        """Yield all places in order of digest."""
        with self._lock:
            touched = Touched(
                places=set(self._touched.places), files=set(self._touched.files)
            )
            base = self._base.places()
            own = self._own.places()
        below = (row for row in base if not touched.place(row))
        return heapq.merge(below, own, key=lambda row: row.digest)

    def names(self, start: bytes, stop: bytes | None) -> set[bytes]:
        """Return the digests in ``[start, stop)`` of all places; None: to the end."""
        with self._lock:
            if self._touched.files:
                rows = (row.digest for row in self.places())
                return {
                    name for name in rows if start <= name and (not stop or name < stop)
                }
            below = self._base.names(start, stop) - self._touched.places
            return below | self._own.names(start, stop)

    def last_offsets(self) -> dict[bytes, int]:
        """Return the last offset at which a place stands or stood, by file."""
        with self._lock:
            base, own = self._base.last_offsets(), self._own.last_offsets()
            kept = {
                file: at for file, at in base.items() if file not in self._touched.files
            }
        return {file: max(kept.get(file, 0), own.get(file, 0)) for file in kept | own}

    def counts(self) -> Counts:
        """Return totals. Goes over all places of *base* if files were dropped."""
        with self._lock:
            sessions, segments, places = self._hidden()
            base, own = self._base.counts(), self._own.counts()
            hidden = Counts(
                session_count=len(sessions),
                segment_count=len(segments),
                entry_count=sum(row.count - row.fork_index for row in segments),
                blob_count=len(places),
                raw_size=sum(row.size for row in places),
            )
        return Counts(*(b + o - h for b, o, h in zip(base, own, hidden, strict=True)))

    def _hidden(self) -> tuple[set[SessionRow], list[SegmentRow], list[Place]]:
        """Return the rows below that do not show."""
        touched, base = self._touched, self._base
        sessions = {base.find_session(each) for each in touched.sessions} | {
            base.find_session_by_key(*key) for key in touched.session_keys
        }
        segments = map(base.find_segment, touched.segments | touched.gone)
        places: Iterator[Place | None] = map(base.find_place, touched.places)
        if touched.files:
            places = (row for row in base.places() if touched.place(row))
        return (
            {row for row in sessions if row},
            [row for row in segments if row],
            [row for row in places if row],
        )

    def dump(self) -> Facts:
        """Return everything as rows in order of their keys, for comparisons."""
        with self._lock:
            whole = MemoryCatalog()
            for facts in (self._base.dump(), *(facts for facts, _ in self._pending)):
                whole.apply([facts], _NOWHERE)
        return whole.dump()
