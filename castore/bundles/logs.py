"""
The entries of a bundle: chains, trees, heads, origins.

Spec: spec/bundle.md, "Checking" 4, 7, 8.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from castore import merkle
from castore.bundles.manifest import Manifest, Row
from castore.errors import CorruptionError
from castore.formats.entry import Start, check_start, genesis
from castore.formats.refuse import need, placed
from castore.formats.trees import SEGMENT_TREE
from castore.reading.contents import read_stored_run
from castore.reading.findings import Findings, segment_place
from castore.reading.frames import Frame
from castore.reading.image import RunHeader, run_headers
from castore.reading.stored import StoredRun


class LogChecker:
    """
    Takes entries in order and judges the logs that they make.

    Attributes:
        roots: Root of each log at the counts that were asked for.

        count: Entries so far.
    """

    def __init__(
        self,
        manifest: Manifest,
        store: bytes,
        findings: Findings,
        asked: Mapping[bytes, Collection[int]],
    ) -> None:
        """
        Take what the bundle says of itself.

        Args:
            manifest: That.

            store: Store id of the bundle.

            findings: Takes what is wrong.

            asked: By segment, counts at which the root of its log is wanted.
        """
        self.roots: dict[tuple[bytes, int], bytes] = {}
        self.count = 0
        self._store = store
        self._findings = findings
        self._rows = manifest.rows
        self._ids = {row.segment for row in manifest.rows}
        self._wanted: dict[bytes, set[int]] = defaultdict(set)
        for segment, counts in asked.items():
            self._wanted[segment].update(counts)
        for row in manifest.rows:
            if row.parent is not None and row.first == row.fork_index:
                self._wanted[row.parent].add(row.first)
        self._number = -1
        self._next_row()

    @property
    def _row(self) -> Row | None:
        return self._rows[self._number] if self._number < len(self._rows) else None

    def _next_row(self) -> None:
        self._number += 1
        row = self._row
        if row is None:
            return
        self._at = row.first
        self._peaks = list(row.peaks)
        self._prev = None if row.first else genesis(row.session, row.segment)
        self._note(row)

    def _note(self, row: Row) -> None:
        if self._at in self._wanted.get(row.segment, ()):
            found = merkle.root(SEGMENT_TREE, self._peaks)
            self.roots[row.segment, self._at] = found

    def take(self, frame: Frame, body_frame: Frame | None) -> list[StoredRun]:
        """
        Take in a frame of entries and return what it holds.

        Args:
            frame: That.

            body_frame: The blob frame behind it, None if there is another.

        Raises:
            CorruptionError: They are not the entries that come next.
        """
        found = []
        numbered = list(body_frame.bodies) if body_frame is not None else []
        with placed(frame.where):
            for header in run_headers(frame):
                self._check_place(header)
                payload = frame.records.payload(header.record)
                place = (frame.file, frame.offset)
                bodies = numbered if header.bodies else []
                run = read_stored_run(header, payload, place, None, bodies)
                self._take_run(run)
                found.append(run)
        return found

    def _check_place(self, header: RunHeader) -> None:
        row = self._row
        need(row is not None, "entries behind the last that are promised")
        if row is not None:
            place = (header.segment, header.first)
            need(place == (row.segment, self._at), "entries out of order")
            need(header.first + header.count <= row.stop, "entries: too many")

    def _take_run(self, run: StoredRun) -> None:
        row = self._rows[self._number]
        if self._prev not in (None, run.header.prev):
            self._say("broken link", run.first, "prev is not the entry before")
        for index in sorted({row.fork_index, *run.starts}):
            if run.first <= index < run.stop:
                self._judge_start(row, run, index)
        for index in range(run.first, run.stop):
            leaf = SEGMENT_TREE.leaf(run.hash_at(index))
            merkle.push(SEGMENT_TREE, self._peaks, index, leaf)
            self._at = index + 1
            self._note(row)
        self._prev = run.hash_at(run.stop - 1)
        self.count += run.stop - run.first
        if self._at == row.stop:
            self._judge_row(row)
            self._next_row()

    # --- judging -------------------------------------------------------------

    def _say(self, verdict: str, index: int | None, detail: str) -> None:
        where = segment_place(self._rows[self._number].segment, index)
        self._findings.add(verdict, where, detail)

    def _judge_start(self, row: Row, run: StoredRun, index: int) -> None:
        start = run.starts.get(index)
        problem = _start_problem(row, start, index, run.prev_at(index))
        if problem or start is None:
            self._say("malformed record", index, problem)
            return
        if not index or start.origin is None:
            return
        if start.origin.root != merkle.root(SEGMENT_TREE, row.peaks):
            self._say("root mismatch", index, "the origin has another root")
        theirs = self.roots.get((row.parent or b"", index))
        if theirs is None:
            where = segment_place(row.segment)
            detail = "its parent's entries are not in the bundle"
            self._findings.notice(where, detail, "origin not covered")
        elif theirs != start.origin.root:
            self._say("root mismatch", index, "the parent has another root")

    def _judge_row(self, row: Row) -> None:
        head = row.head
        if head is None:
            return
        root = merkle.root(SEGMENT_TREE, self._peaks)
        if head.count == row.stop:
            if self._prev != head.last:
                self._say("wrong head", None, "the last entry is another")
            if root != head.root:
                self._say("root mismatch", None, "the entries have another root")
            return
        try:
            merkle.check_consistency(
                SEGMENT_TREE,
                row.proof,
                first=row.stop,
                second=head.count,
                first_root=root,
                second_root=head.root,
            )
        except CorruptionError as error:
            self._say(error.verdict, None, error.what)

    def end(self) -> None:
        """Say of each segment where its entries end too early."""
        at = self._at
        for row in self._rows[self._number :]:
            where = segment_place(row.segment, at)
            self._findings.add("truncated log", where, "entries are missing")
            self._number += 1
            if self._row is not None:
                at = self._row.first


def _start_problem(row: Row, start: Start | None, index: int, prev: bytes) -> str:
    """Return what is wrong with the entry at *index*, which is a start or should be."""
    if start is None:
        return "the first own entry is no start entry"
    if index != row.fork_index:
        return "a second start entry"
    try:
        ids = {"session": row.session, "segment": row.segment}
        check_start(start, **ids, index=index, prev=prev)
    except CorruptionError as error:
        return error.what
    if index and start.origin is not None and start.origin.segment != row.parent:
        return "another parent than the manifest says"
    return ""
