"""
What the files of a store hold together: commits, heads, runs, places of blobs.

Spec: spec/checking.md, steps 5 and 6.
"""

from __future__ import annotations

import itertools

from collections.abc import Iterator

import attrs

from castore.formats import frame as frame_format
from castore.formats.commit import Commit, store_genesis
from castore.formats.head import Head, hash_head
from castore.reading.contents import FileContents, FrameContents
from castore.reading.findings import Findings, segment_place, seq_place
from castore.reading.places import Places
from castore.reading.stored import BlobPlace, StoredBlobs, StoredRun


FORK = "fork evidence"
WRONG_HEAD = "wrong head"
BROKEN = "broken link"


@attrs.define(eq=False)
class Records:
    """
    Records of several files.

    Attributes:
        commits: Commit record and its hash, by seq; of several the first.

        rivals: Further commit records with such a seq.

        heads: All heads of each segment, by hash.

        runs: All entries records of each segment, in order of files.

        blobs: The blobs and ref lists of each frame that has some, in order.

        bases: The base of each difference, by place.
    """

    commits: dict[int, tuple[Commit, bytes]] = attrs.Factory(dict)
    rivals: dict[int, list[tuple[Commit, bytes]]] = attrs.Factory(dict)
    heads: dict[bytes, dict[bytes, Head]] = attrs.Factory(dict)
    runs: dict[bytes, list[StoredRun]] = attrs.Factory(dict)
    blobs: list[StoredBlobs] = attrs.Factory(list)
    bases: dict[BlobPlace, bytes] = attrs.Factory(dict)
    _places: Places | None = None

    def add_file(self, contents: FileContents, only: bytes | None = None) -> None:
        """
        Take in what *contents* holds.

        Args:
            contents: Cut to what counts of it.

            only: Where given, commits and what is of this segment, no blobs.
        """
        for frame in contents.frames:
            for commit, digest in frame.commits:
                self._add_commit(commit, digest)
            for head, digest in frame.heads:
                if only in (None, head.segment):
                    self.heads.setdefault(head.segment, {})[digest] = head
            for run in frame.runs:
                if only in (None, run.header.segment):
                    self.runs.setdefault(run.header.segment, []).append(run)
            if only is None and frame.blobs:
                self._add_blobs(frame)

    def _add_commit(self, commit: Commit, digest: bytes) -> None:
        known = self.commits.setdefault(commit.seq, (commit, digest))
        if known[1] != digest:
            rivals = self.rivals.setdefault(commit.seq, [])
            if all(digest != other for _, other in rivals):
                rivals.append((commit, digest))

    def _add_blobs(self, frame: FrameContents) -> None:
        self.blobs.append(frame.blobs)
        self._places = None
        if frame.bases:
            kind = frame_format.DIFFERENCE
            places = (place for _, place in frame.blobs if place.kind == kind)
            self.bases.update(zip(places, frame.bases, strict=True))

    @property
    def places(self) -> Places:
        """Where each blob and ref list stands; made when first asked for."""
        if self._places is None:
            self._places = Places(self.blobs)
        return self._places

    def blobs_of_kind(self, kind: int) -> Iterator[tuple[bytes, BlobPlace]]:
        """Yield name and place of each copy that is stored as a record of *kind*."""
        for frame in self.blobs:
            if kind in frame.kinds:
                yield from (item for item in frame if item[1].kind == kind)

    def commits_at(self, seq: int) -> list[tuple[Commit, bytes]]:
        """Return all commit records with *seq*."""
        if seq not in self.commits:
            return []
        return [self.commits[seq], *self.rivals.get(seq, ())]

    @property
    def seq(self) -> int:
        """The highest seq, 0 if there is no commit."""
        return max(self.commits, default=0)


# --- commits -----------------------------------------------------------------


def judge_commits(records: Records, store: bytes, findings: Findings) -> None:
    """Report seqs that are missing, claimed twice, or not linked."""
    for seq in records.rivals:
        findings.add(FORK, seq_place(seq), "two commit records")
    before = 0
    hashes = {store_genesis(store)}
    for seq in sorted(records.commits):
        if seq != before + 1:
            findings.add(BROKEN, seq_place(before + 1), f"no commit before {seq}")
            hashes = set()
        found = records.commits_at(seq)
        if hashes and any(commit.prev not in hashes for commit, _ in found):
            findings.add(BROKEN, seq_place(seq), "prev is not the commit before")
        hashes = {digest for _, digest in found}
        before = seq


# --- heads -------------------------------------------------------------------


def judge_heads(
    records: Records, segment: bytes, final: Head | None, findings: Findings
) -> Head | None:
    """
    Return the newest head of *segment*, None if there is none.

    Reports one that its commit does not list, heads that claim one revision, and
    heads that go back.

    Args:
        records: Commits and heads.

        segment: Which.

        final: Final head of a deleted segment; nothing may stand beside or behind it.

        findings: Takes what is wrong.
    """
    where = segment_place(segment)
    found = dict(records.heads.get(segment, {}))
    last = hash_head(final.encode()) if final else b""
    if final:
        found[last] = final
    order = sorted(found, key=lambda digest: (-found[digest].revision, digest))
    for new, old in itertools.pairwise(found[digest] for digest in order):
        if new.revision == old.revision:
            findings.add(FORK, where, f"two heads of revision {new.revision}")
        elif new.count < old.count or new.seq <= old.seq:
            findings.add(WRONG_HEAD, where, f"revision {new.revision} goes back")
    if not order:
        return None
    newest = found[order[0]]
    if final and order[0] != last:
        what = "a head beside or behind the final one of a deleted segment"
        findings.add(FORK, where, what)
    commits = records.commits_at(newest.seq)
    if commits and all(order[0] not in commit.heads for commit, _ in commits):
        findings.add(WRONG_HEAD, where, "no commit lists the newest head")
    return newest
