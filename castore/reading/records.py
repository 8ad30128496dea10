"""
What the files of a store hold together: commits, heads, runs, places of blobs.

Spec: spec/checking.md, steps 5 and 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from castore.formats.commit import Commit, store_genesis
from castore.formats.file import FileHeader, file_name
from castore.formats.head import Head
from castore.reading.contents import FileContents
from castore.reading.findings import Findings, segment_place, seq_place
from castore.reading.stored import BlobPlace, StoredRun


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

        places: Where each blob and ref list stands; of several copies the one
            that comes last.

        copies: The other copies.

        bases: The base of each difference, by place.
    """

    commits: dict[int, tuple[Commit, bytes]] = attrs.Factory(dict)
    rivals: dict[int, list[tuple[Commit, bytes]]] = attrs.Factory(dict)
    heads: dict[bytes, dict[bytes, Head]] = attrs.Factory(dict)
    runs: dict[bytes, list[StoredRun]] = attrs.Factory(dict)
    places: dict[bytes, BlobPlace] = attrs.Factory(dict)
    copies: dict[bytes, list[BlobPlace]] = attrs.Factory(dict)
    bases: dict[BlobPlace, bytes] = attrs.Factory(dict)

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
            if only is None:
                for digest, place in frame.blobs:
                    self._add_blob(digest, place)
                self.bases.update(frame.bases)

    def _add_commit(self, commit: Commit, digest: bytes) -> None:
        known = self.commits.setdefault(commit.seq, (commit, digest))
        if known[1] != digest:
            rivals = self.rivals.setdefault(commit.seq, [])
            if all(digest != other for _, other in rivals):
                rivals.append((commit, digest))

    def _add_blob(self, digest: bytes, place: BlobPlace) -> None:
        before = self.places.get(digest)
        if before is not None:
            self.copies.setdefault(digest, []).append(before)
        self.places[digest] = place

    def commits_at(self, seq: int) -> list[tuple[Commit, bytes]]:
        """Return all commit records with *seq*."""
        if seq not in self.commits:
            return []
        return [self.commits[seq], *self.rivals.get(seq, ())]

    def all_commits(self) -> Iterator[Commit]:
        """Yield every commit record."""
        for seq in self.commits:
            for commit, _ in self.commits_at(seq):
                yield commit

    def places_of(self, digest: bytes) -> list[BlobPlace]:
        """Return all copies of a blob or ref list, the one that counts first."""
        place = self.places.get(digest)
        return [place, *reversed(self.copies.get(digest, ()))] if place else []

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


def judge_journal_seqs(
    chain: Iterable[FileHeader], records: Records, findings: Findings
) -> None:
    """Report journals that state another commit than is there."""
    for header in chain:
        found = records.commits_at(header.seq)
        if found and all(header.commit != digest for _, digest in found):
            what = f"states another commit {header.seq}"
            findings.add(BROKEN, file_name(header.id), what)


# --- heads -------------------------------------------------------------------


def judge_heads(
    records: Records, segment: bytes, findings: Findings
) -> tuple[Head, bytes] | None:
    """
    Return the newest usable head of *segment* and its hash.

    Reports heads that were passed over, that claim one revision, or that go back.
    """
    where = segment_place(segment)
    levels: dict[int, list[tuple[bytes, Head]]] = {}
    for digest, head in records.heads.get(segment, {}).items():
        levels.setdefault(head.revision, []).append((digest, head))
    best: tuple[Head, bytes] | None = None
    count = seq = 0
    for revision in sorted(levels):
        found = levels[revision]
        if len(found) > 1:
            findings.add(FORK, where, f"two heads of revision {revision}")
        if any(head.count < count or head.seq <= seq for _, head in found):
            findings.add(WRONG_HEAD, where, f"revision {revision} goes back")
        count = max(count, *(head.count for _, head in found))
        seq = max(seq, *(head.seq for _, head in found))
        usable = _usable(records, found)
        best = usable or best
    newest = max(levels, default=0)
    if newest and (best is None or best[0].revision < newest):
        findings.add(WRONG_HEAD, where, "no commit lists the newest head")
    return best


def _usable(
    records: Records, found: list[tuple[bytes, Head]]
) -> tuple[Head, bytes] | None:
    """Return the head that its commit lists, else the lowest that none speaks of."""
    ranked = []
    for digest, head in found:
        commits = records.commits_at(head.seq)
        listed = any(digest in commit.heads for commit, _ in commits)
        if listed or not commits:
            ranked.append((not listed, digest, head))
    if not ranked:
        return None
    _, digest, head = min(ranked, key=lambda item: item[:2])
    return head, digest


def judge_deleted(
    records: Records, final: Head, final_hash: bytes, findings: Findings
) -> None:
    """Report heads of a deleted segment that its final head does not know."""
    for digest, head in records.heads.get(final.segment, {}).items():
        same = head.revision == final.revision and digest != final_hash
        if same or head.revision > final.revision:
            what = "a head beside or behind the final one of a deleted segment"
            findings.add(FORK, segment_place(final.segment), what)
