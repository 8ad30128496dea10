"""
All logs of a store together: which segment inherits from which.

Spec: spec/checking.md, step 7; spec/entry.md, "Start record".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from castore.formats.entry import Start, genesis
from castore.formats.head import Head
from castore.formats.trees import tree_of
from castore.reading.findings import Findings, segment_place
from castore.reading.logs import (
    Log,
    grow_tree,
    judge_head,
    judge_start,
    take_entries,
)
from castore.reading.stored import StoredRun


@attrs.frozen
class _Origin:
    """
    What a segment inherits: the first *count* entries of *parent*, if known.

    *session* is empty where nothing names it; *prev* is how the start entry calls
    the last of them.
    """

    session: bytes
    count: int
    parent: bytes | None = None
    prev: bytes = b""


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
        living: Iterable[bytes],
    ) -> None:
        """
        Decide what is to be walked.

        Args:
            store: Store id.

            runs: All entries records of each segment.

            heads: Newest head of each segment; of deleted ones the final head.

            living: Segments that are not deleted.
        """
        self.logs: dict[bytes, Log] = {}
        self._store = store
        self._runs = runs
        self._heads = heads
        self._living = {segment: heads[segment] for segment in living}
        self._origins: dict[bytes, _Origin] = {}
        # For each segment: the counts that others inherit of it, and what they call
        # the last entry of these.
        self._wanted: dict[bytes, dict[int, bytes]] = {each: {} for each in living}
        self._plan()

    def walk(self, findings: Findings) -> dict[bytes, Log]:
        """Take the entries of all logs and judge them; return the logs."""
        # A parent's fork index is lower than that of whoever inherits from it.
        for segment in sorted(self._wanted, key=self._rank):
            self.logs[segment] = self._walk(segment, findings)
        self._judge_keys(findings)
        return self.logs

    # --- what is wanted ------------------------------------------------------

    def _plan(self) -> None:
        todo = list(self._living)
        for segment in todo:  # grows
            origin, parent = self._origin(segment), self._parent(segment)
            if parent is not None:
                if parent not in self._wanted:
                    todo.append(parent)
                self._wanted.setdefault(parent, {})[origin.count] = origin.prev

    def _parent(self, segment: bytes) -> bytes | None:
        """Return the segment that owns the entry before the fork, as origin says."""
        origin = self._origin(segment)
        parent = origin.parent
        owns = parent is not None and self._origin(parent).count < origin.count
        return parent if owns else None

    def _origin(self, segment: bytes) -> _Origin:
        found = self._origins.get(segment)
        if found is None:
            found = self._origins[segment] = self._read_origin(segment)
        return found

    def _read_origin(self, segment: bytes) -> _Origin:
        head = self._heads.get(segment)
        index = head.fork_index if head else 0
        prev, start = _start_at(self._runs.get(segment, ()), index)
        session = head.session if head else start.session if start else b""
        if not index or start is None or start.origin is None:
            return _Origin(session, index)
        return _Origin(session, index, start.origin.segment, prev)

    def _rank(self, segment: bytes) -> tuple[int, bytes]:
        return self._origin(segment).count, segment

    def _session(self, segment: bytes) -> bytes:
        return self._origin(segment).session

    # --- walking -------------------------------------------------------------

    def _walk(self, segment: bytes, findings: Findings) -> Log:
        origin, head = self._origin(segment), self._living.get(segment)
        wanted = self._wanted[segment]
        stop = max(head.count if head else 0, *wanted, 0)
        log = Log(segment, origin.session, origin.count, stop, head)
        log.owner = self._parent(segment)
        owner = self.logs[log.owner] if log.owner else None
        prev: bytes | None = None
        if owner:
            prev = owner.hash_at(origin.count - 1)
        elif origin.session:
            prev = genesis(origin.session, segment)
        names = wanted | ({head.count: head.last} if head else {})
        take_entries(log, self._runs.get(segment, ()), prev, names, findings)
        tree = tree_of(segment, self._store)
        if not origin.count:
            grow_tree(log, tree, [], wanted)
        elif owner and owner.good >= origin.count:
            log.base = owner.peaks_at(origin.count, tree, self._store)
            grow_tree(log, tree, log.base, wanted)
        else:
            log.good = owner.good if owner else 0
        if head:
            judge_head(log, head, tree, findings)
            judge_start(log, head, tree, findings)
        return log

    def _judge_keys(self, findings: Findings) -> None:
        sessions: dict[tuple[str, str], bytes] = {}
        for segment in sorted(self._living, key=self._session):
            for start in self.logs[segment].starts().values():
                if start.key is None:
                    continue
                if sessions.setdefault(start.key, start.session) != start.session:
                    what = "another session has its key"
                    findings.add("fork evidence", segment_place(segment), what)


def _start_at(
    runs: Sequence[StoredRun], index: int
) -> tuple[bytes, Start] | tuple[bytes, None]:
    """Return prev and record of the start at *index*; of several, one that fits."""
    found = {
        run.hash_at(index): (run.prev_at(index), run.starts[index])
        for run in runs
        if index in run.starts
    }
    for digest in sorted(found):
        prev, start = found[digest]
        if start.origin and start.origin.last == prev:
            return prev, start
    return found[min(found)] if found else (b"", None)
