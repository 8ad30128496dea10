"""
All logs of a store together: which segment inherits from which.

Spec: spec/checking.md, step 7; spec/entry.md, "Start record".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from castore.formats.entry import Start, genesis
from castore.formats.head import Head
from castore.formats.trees import tree_of
from castore.reading.findings import Findings, segment_place
from castore.reading.logs import (
    BROKEN,
    FORK,
    Log,
    grow_tree,
    judge_head,
    judge_origin,
    judge_start,
    take_entries,
)
from castore.reading.stored import StoredRun


@attrs.frozen
class _Origin:
    """
    What a segment inherits: the first *count* entries of *parent*, if known.

    *session* is empty where nothing names it.
    """

    session: bytes
    count: int
    parent: bytes | None


class Lineages:
    """
    Walks all logs that somebody wants, parents before children.

    Attributes:
        logs: The logs, by segment.
    """

    def __init__(
        self,
        store: bytes,
        runs: Mapping[bytes, list[StoredRun]],
        heads: Mapping[bytes, Head],
        finals: Mapping[bytes, Head],
    ) -> None:
        """
        Decide what is to be walked.

        Args:
            store: Store id.

            runs: All entries records of each segment.

            heads: Newest usable head of each living segment.

            finals: Final head of each deleted segment.
        """
        self.logs: dict[bytes, Log] = {}
        self._store = store
        self._runs = runs
        self._heads = heads
        self._finals = finals
        self._origins: dict[bytes, _Origin] = {}
        self._owners: dict[bytes, bytes | None] = {}
        self._wanted: dict[bytes, set[int]] = {}
        self._plan()

    def walk(self, findings: Findings) -> dict[bytes, Log]:
        """Take the entries of all logs and judge them; return the logs."""
        # An owner's fork index is lower than that of whoever inherits from it.
        for segment in sorted(self._wanted, key=self._rank):
            self.logs[segment] = self._walk(segment, findings)
        self._judge_circles(findings)
        self._judge_keys(findings)
        return self.logs

    # --- what is wanted ------------------------------------------------------

    def _plan(self) -> None:
        todo = list(self._heads)
        for segment in todo:
            self._wanted[segment] = set()
        while todo:
            segment = todo.pop()
            origin = self._origin(segment)
            owner = None
            if origin.count:
                owner, count = self._find_owner(segment, origin)
                if owner not in self._wanted:
                    todo.append(owner)
                self._wanted.setdefault(owner, set()).add(count)
                owner = owner if count == origin.count else None
            self._owners[segment] = owner

    def _find_owner(self, segment: bytes, origin: _Origin) -> tuple[bytes, int]:
        """
        Return who owns the entry before the fork, and how much of it is wanted.

        Where the lineage is lost, that is who lost it, up to its start entry.
        """
        seen = {segment}
        count = origin.count
        while origin.parent is not None and origin.parent not in seen:
            segment = origin.parent
            seen.add(segment)
            origin = self._origin(segment)
            if count > origin.count:
                return segment, count
        return segment, origin.count + 1

    def _origin(self, segment: bytes) -> _Origin:
        found = self._origins.get(segment)
        if found is None:
            found = self._origins[segment] = self._read_origin(segment)
        return found

    def _read_origin(self, segment: bytes) -> _Origin:
        head = self._heads.get(segment) or self._finals.get(segment)
        runs = self._runs.get(segment, ())
        if head:
            index, session = head.fork_index, head.session
            start = _start_at(runs, index) if index else None
        else:
            index = min((at for run in runs for at in run.starts), default=0)
            start = _start_at(runs, index)
            session = start.session if start else b""
        parent = start.origin.segment if index and start and start.origin else None
        return _Origin(session, index, parent)

    def _rank(self, segment: bytes) -> tuple[int, bytes]:
        return self._origin(segment).count, segment

    # --- walking -------------------------------------------------------------

    def _walk(self, segment: bytes, findings: Findings) -> Log:
        origin, head = self._origin(segment), self._heads.get(segment)
        wanted = self._wanted[segment]
        stop = max(head.count if head else 0, *wanted, 0)
        log = Log(segment, origin.session, origin.count, stop, head)
        owner_id = self._owners[segment]
        owner = self.logs[owner_id] if owner_id else None
        prev: bytes | None = None
        if owner:
            prev = owner.hash_at(origin.count - 1)
        elif not origin.count and origin.session:
            prev = genesis(origin.session, segment)
        take_entries(log, self._runs.get(segment, ()), prev, findings)
        tree = tree_of(segment, self._store)
        log.owner = owner_id
        if not origin.count:
            grow_tree(log, tree, [], wanted)
        elif owner and owner.good >= origin.count:
            log.base = owner.peaks_at(origin.count, tree, self._store)
            grow_tree(log, tree, log.base, wanted)
        else:
            log.good = owner.good if owner else 0
        if head:
            judge_start(log, self._store, findings)
            if owner:
                judge_origin(log, owner, tree, findings)
        judge_head(log, tree, findings)
        return log

    def _judge_circles(self, findings: Findings) -> None:
        for segment in self._heads:
            seen = {segment}
            parent = self._origin(segment).parent
            while parent is not None and parent not in seen:
                seen.add(parent)
                parent = self._origin(parent).parent
            if parent is not None:
                where = segment_place(segment, self._origin(segment).count)
                findings.add(BROKEN, where, "the lineage comes back to where it was")

    def _judge_keys(self, findings: Findings) -> None:
        claims: dict[tuple[str, str], set[tuple[bytes, bytes]]] = {}
        for segment in self._heads:
            first = self._first_of(segment)
            start = self.logs[first].starts().get(0) if first else None
            if first and start and start.key:
                claims.setdefault(start.key, set()).add((start.session, first))
        for owners in claims.values():
            lowest, _ = min(owners)
            for session, first in owners:
                if session != lowest:
                    where = segment_place(first)
                    findings.add(FORK, where, "another session has its key")

    def _first_of(self, segment: bytes | None) -> bytes | None:
        """Return the segment that owns index 0 of *segment*'s log."""
        while segment is not None and self._origin(segment).count:
            segment = self._owners[segment]
        return segment


def _start_at(runs: Sequence[StoredRun], index: int) -> Start | None:
    """Return the start record at *index*; of several, one whose origin fits."""
    found = {
        run.hash_at(index): (run.prev_at(index), run.starts[index])
        for run in runs
        if index in run.starts
    }
    for digest in sorted(found):
        prev, start = found[digest]
        if start.origin and start.origin.last == prev:
            return start
    return found[min(found)][1] if found else None
