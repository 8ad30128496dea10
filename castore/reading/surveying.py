"""
The steps of a survey, in an order in which each knows what it needs.

Which files count stands in the store log, which stands in files. So every file
is read first; the store log is folded from all that could hold it; then the
files that count are cut to where they count, and only they are judged.

Spec: spec/checking.md, steps 2 to 7 and 9.
"""

from __future__ import annotations

import itertools

from collections.abc import Callable, Iterator

from castore.formats import file as file_format
from castore.formats.file import file_name
from castore.formats.head import Head, hash_head
from castore.formats.mark import LockFile
from castore.formats.storelog import Listing, StoreLog
from castore.reading.chain import (
    chain_from,
    cut_chain,
    journals_in_effect,
    judge_chain_end,
    judge_numbers,
    settle_newest,
)
from castore.reading.contents import FileContents, read_contents
from castore.reading.findings import FILES, LOCK, Findings, segment_place
from castore.reading.fold import fold_log
from castore.reading.folder import Folder, holds_frame
from castore.reading.lineages import Lineages
from castore.reading.logs import Log
from castore.reading.mark import MarkWorth
from castore.reading.members import Member, judge_member, make_member
from castore.reading.reader import Reader
from castore.reading.records import (
    Records,
    judge_commits,
    judge_deleted,
    judge_heads,
    judge_journal_seqs,
)


MISSING = "missing pack"


class Surveyor:
    """
    Goes through the steps; what it found stands in its attributes after `run`.

    Attributes:
        worth: What the mark is worth.

        log: The fold of the store log.

        chain: The journals of the store, newest first.

        members: All files of the store: packs and side packs, then journals from
            the oldest on.

        garbage: Files that are not of the store and no damage.

        torn: Where the newest journal is torn.

        records: What the members hold.

        logs: The logs that anybody wants.
    """

    def __init__(
        self,
        folder: Folder,
        lock: LockFile | None,
        worth: MarkWorth,
        findings: Findings,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.worth = worth
        self.log = StoreLog(folder.store or b"")
        self.chain: list[Member] = []
        self.members: list[Member] = []
        self.garbage: list[bytes] = []
        self.torn: tuple[bytes, int] | None = None
        self.records = Records()
        self.logs: dict[bytes, Log] = {}
        self._folder = folder
        self._store = folder.store or b""
        self._lock = lock
        self._findings = findings
        self._good = _read_all(folder, progress)
        self._sides: dict[bytes, tuple[int, int, bytes]] = {}
        self._known = True  # whether the store log could be folded
        self._log_findings = Findings()

    def run(self) -> None:
        """Go through all steps."""
        uncut = self._walk_chain()
        self._fold(uncut)
        dropped = self.log.dropped
        if self._lock and self._lock.journal in dropped:
            self.worth = MarkWorth.NONE
        kept = {member.id: member for member in uncut}
        left = cut_chain([member.contents for member in uncut], dropped)
        self.chain = [kept[contents.file.id] for contents in left]
        self.members = [*self._find_packs(), *reversed(self.chain)]
        for member in self.members:
            self.records.add_file(member.contents)
        if not self._known and self._store:
            what = "no usable head of the store log"
            self._findings.add("wrong head", segment_place(self._store), what)
        self._judge_refused()
        self._judge_chain()
        self._judge_mark()
        self._judge_missing()
        for member in self.members:
            judge_member(member, self._findings)
        self._judge_commits()
        heads = self._judge_heads()
        self._findings.extend(self._log_findings)
        finals = {segment: head for segment, (_, head) in self.log.deleted.items()}
        lineages = Lineages(self._store, self.records.runs, heads, finals)
        self.logs = lineages.walk(self._findings)
        self._judge_rest()

    # --- which files count ---------------------------------------------------

    def _marked(self) -> bytes | None:
        believed = self._lock and self.worth is not MarkWorth.NONE
        return self._lock.journal if self._lock and believed else None

    def _walk_chain(self) -> list[Member]:
        """Return the chain without regard to drops, newest first, each cut."""
        self._effective = journals_in_effect(self._good, self._marked())
        if not self._effective:
            return []
        chain = chain_from(self._effective[0], self._good)
        members = [self._cut_newest(chain[0])]
        for after, contents in itertools.pairwise(chain):
            header = after.file.header
            members.append(make_member(contents, header.pred_end, header.pred_frame))
        return members

    def _cut_newest(self, contents: FileContents) -> Member:
        lock = self._lock if self._marked() == contents.file.id else None
        if lock and self.worth is MarkWorth.EXACT:
            return make_member(contents, lock.end, lock.frame)
        settled, torn = settle_newest(contents, lock.end if lock else 0)
        if torn is not None:
            self.torn = (contents.file.id, torn)
        stop = contents.stop if torn is None else torn
        member = Member(settled, stop, torn=torn)
        if lock:
            member.end, member.frame = lock.end, lock.frame
        return member

    def _fold(self, uncut: list[Member]) -> None:
        journals = [member.contents for member in uncut]
        used = {contents.file.id for contents in journals}
        others = [item for file, item in self._good.items() if file not in used]
        folded = None
        if journals and self._folder.store:
            reader = Reader(self._folder.good)
            folded = fold_log(self._store, journals, others, reader, self._log_findings)
        if folded is not None:
            self.log = folded
            return
        self._known = False
        for file, contents in self._good.items():
            if contents.file.header.kind == file_format.PACK:
                listing = Listing(file, file_format.PACK, contents.stop, b"")
                self.log.listed[file] = listing

    def _find_packs(self) -> Iterator[Member]:
        """Yield the packs and side packs of the store, listed ones first."""
        holders = list(self.chain)
        for listing in self.log.listed.values():
            contents = self._good.get(listing.file)
            if contents and contents.file.header.kind == listing.kind:
                frame = listing.frame or None
                member = make_member(contents, listing.size, frame, listed=True)
                holders.append(member)
                yield member
        for member in holders:
            for frame_contents in member.contents.frames:
                for commit, _ in frame_contents.commits:
                    for side, end, frame in commit.sides:
                        self._name_side(side, (end, commit.seq, frame))
        for side, (end, _, frame) in sorted(self._sides.items()):
            contents = self._good.get(side)
            if contents and contents.file.header.kind == file_format.SIDE:
                yield make_member(contents, end, frame)

    def _name_side(self, side: bytes, claim: tuple[int, int, bytes]) -> None:
        if side not in self.log.listed and side not in self.log.dropped:
            self._sides[side] = max(claim, self._sides.get(side, claim))

    # --- steps 2 and 3 -------------------------------------------------------

    def _judge_refused(self) -> None:
        wanted = {*self.log.listed, *self._sides, self._marked()}
        wanted |= {member.contents.file.header.pred for member in self.chain}
        for file, (raw, error) in self._folder.refused.items():
            if file not in self.log.dropped and (file in wanted or holds_frame(raw)):
                self._findings.refuse(error)
                continue
            self.garbage.append(file)
            self._findings.notice(raw.name, f"no file of the store: {error.what}")

    def _judge_chain(self) -> None:
        gone = self.log.dropped
        counted = [item for item in self._effective if item.file.id not in gone]
        judge_numbers(counted, self._findings)
        if self.chain:
            last = self.chain[-1].contents.file.header
            ended = gone | set(self._folder.refused)
            problem = judge_chain_end(last, self._good, ended)
            if problem:
                self._findings.add(*problem)
        elif not any(finding.where.endswith("@0") for finding in self._findings):
            self._findings.add(MISSING, FILES, "no journal is in effect")

    def _judge_mark(self) -> None:
        lock, marked = self._lock, self._marked()
        if lock is None or marked is None or marked in self._folder.refused:
            return
        if marked not in self._good:
            what = "the mark's journal is not there"
            self._findings.add(MISSING, file_name(marked), what)
            return
        reached = any(
            member.id == marked and (at == 0 or member.stop >= lock.end)
            for at, member in enumerate(self.chain)
        )
        if not reached:
            what = f"the chain does not lead through it up to the mark, {lock.end}"
            self._findings.add("truncated log", file_name(marked), what)

    def _judge_missing(self) -> None:
        wanted = [(item.file, item.kind) for item in self.log.listed.values()]
        wanted += [(side, file_format.SIDE) for side in self._sides]
        for file, kind in wanted:
            if not self._folder.has(file):
                what = "a file of the store is not there"
                self._findings.add(MISSING, file_name(file), what)
            elif file in self._good and self._good[file].file.header.kind != kind:
                what = "of another kind than it is listed or named for"
                self._findings.add("malformed record", f"{file_name(file)}@0", what)

    # --- steps 5 and 6 -------------------------------------------------------

    def _judge_commits(self) -> None:
        judge_commits(self.records, self._store, self._findings)
        lock = self._lock
        exact = self.chain and self.worth is MarkWorth.EXACT
        if lock and exact and lock.journal == self.chain[0].id:
            fault = self._findings.first_fault()
            if lock.seq != self.records.seq and fault is None:
                what = f"the mark is at seq {lock.seq}"
                self._findings.add("truncated log", LOCK, what)
        headers = (member.contents.file.header for member in self.chain)
        judge_journal_seqs(headers, self.records, self._findings)

    def _judge_heads(self) -> dict[bytes, Head]:
        """Return the newest usable head of each segment that lives."""
        heads: dict[bytes, Head] = {}
        for segment in self.records.heads:
            if segment in self.log.deleted:
                _, final = self.log.deleted[segment]
                digest = hash_head(final.encode())
                judge_deleted(self.records, final, digest, self._findings)
                continue
            usable = judge_heads(self.records, segment, self._findings)
            if usable:
                heads[segment] = usable[0]
        for segment in self.records.runs:
            if segment not in self.records.heads and segment not in self.log.deleted:
                what = "entries without a head, and no entry says why"
                self._findings.add("unproven absence", segment_place(segment), what)
        return heads

    # --- step 9 --------------------------------------------------------------

    def _judge_rest(self) -> None:
        members = {member.id for member in self.members}
        wrong = {*self.log.listed, *self._sides}
        for file, contents in self._good.items():
            if file not in members:
                if file not in wrong:
                    self.garbage.append(file)
                self._findings.notice(contents.file.name, "no file of the store")


def _read_all(
    folder: Folder, progress: Callable[[int, int], None] | None
) -> dict[bytes, FileContents]:
    sizes = {file: opened.size() for file, opened in folder.good.items()}
    total, done = sum(sizes.values()), 0

    def step(size: int) -> None:
        nonlocal done
        done += size
        if progress:
            progress(done, total)

    return {
        file: read_contents(opened, sizes[file], step)
        for file, opened in folder.good.items()
    }
