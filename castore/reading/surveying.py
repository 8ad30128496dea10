"""
The steps of a survey, in an order in which each knows what it needs.

Which files count stands in the store log, which stands in files. So every file
is read first; the store log is folded from all that could hold it; then the
files that count are cut to where they count, and only they are judged.

Spec: spec/checking.md, steps 2 to 7.
"""

from __future__ import annotations

import functools
import itertools

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from castore import limits
from castore.formats import file as file_format
from castore.formats.file import file_name
from castore.formats.head import Head
from castore.formats.mark import LockFile
from castore.formats.storelog import StoreLog
from castore.reading.chain import (
    chain_from,
    journals_in_effect,
    judge_numbers,
    settle_newest,
)
from castore.reading.contents import (
    FileContents,
    FrameContents,
    Part,
    read_contents,
)
from castore.reading.depth import FULL, Depth
from castore.reading.findings import FILES, Findings, segment_place
from castore.reading.fold import fold_log
from castore.reading.folder import Folder
from castore.reading.glancing import Glance, glance_at
from castore.reading.lineages import Lineages
from castore.reading.logs import Log
from castore.reading.mark import MarkWorth
from castore.reading.members import Member, judge_member, make_member
from castore.reading.parts import ReadParts, Span, helper_count, read_in_parts
from castore.reading.reader import Reader
from castore.reading.records import Records, judge_commits, judge_heads
from castore.storage import Files


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

        frame_count: Whole frames of the members.

        records: What the members hold.

        logs: The logs that anybody wants.
    """

    def __init__(
        self,
        folder: Folder,
        lock: LockFile | None,
        worth: MarkWorth,
        findings: Findings,
        contents: dict[bytes, FileContents],
        *,
        walks: bool = True,
    ) -> None:
        self._walks = walks
        self.worth = worth
        self.log = StoreLog(folder.store)
        self.chain: list[Member] = []
        self.members: list[Member] = []
        self.garbage: list[bytes] = []
        self.torn: tuple[bytes, int] | None = None
        self.frame_count = 0
        self.records = Records()
        self.logs: dict[bytes, Log] = {}
        self._folder = folder
        self._store = folder.store
        self._lock = lock
        self._findings = findings
        self._good = contents
        self._members: dict[bytes, Member] = {}
        self._wanted: set[bytes] = set()  # claimed, but refused or not there
        self._log_findings = Findings()

    def run(self) -> None:
        """Go through all steps."""
        uncut = self._walk_chain()
        known = self._fold([member.contents for member in uncut])
        if self._lock and self._lock.journal in self.log.dropped:
            self.worth = MarkWorth.NONE
        self._find_members(uncut)
        for member in self.members:
            self.records.add_file(member.contents)
        if not known:
            what = "no head of the store log"
            self._findings.add("wrong head", segment_place(self._store), what)
        self._judge_files()
        for member in self.members:
            judge_member(member, self._findings)
        judge_commits(self.records, self._store, self._findings)
        self._findings.extend(self._log_findings)
        self._let_go_of_frames()
        self.logs = self._walk_logs()

    def _let_go_of_frames(self) -> None:
        """Keep the last frame of each file: what they hold stands in `records`."""
        self.frame_count = sum(len(each.contents.frames) for each in self.members)
        members = (member.contents for member in self.members)
        for contents in (*self._good.values(), *members):
            del contents.frames[:-1]

    # --- step 3: which files count -------------------------------------------

    def _marked(self) -> bytes | None:
        if self._lock is None or self.worth is MarkWorth.NONE:
            return None
        return self._lock.journal

    def _walk_chain(self) -> list[Member]:
        """Return the chain without regard to drops, newest first, each cut."""
        effective = journals_in_effect(self._good, self._marked())
        judge_numbers(effective, self._findings)
        if not effective:
            self._findings.add(MISSING, FILES, "no journal is in effect")
            return []
        chain = chain_from(effective[0], self._good)
        members = [self._cut_newest(chain[0])]
        for after, contents in itertools.pairwise(chain):
            members.append(make_member(contents, after.file.header.pred_end))
        return members

    def _cut_newest(self, contents: FileContents) -> Member:
        lock = self._lock if self._marked() == contents.file.id else None
        if lock and self.worth is MarkWorth.EXACT:
            return make_member(contents, lock.end)
        settled, torn = settle_newest(contents, lock.end if lock else 0)
        if torn is not None:
            self.torn = (contents.file.id, torn)
        return Member(settled, contents.stop if torn is None else torn, torn)

    def _fold(self, journals: list[FileContents]) -> bool:
        """Read the store log; return whether it has a head."""
        others = [
            item
            for item in self._good.values()
            if item.file.header.kind != file_format.JOURNAL
        ]
        folded = None
        if journals:
            reader = Reader(self._folder.good)
            folded = fold_log(self._store, journals, others, reader, self._log_findings)
        self.log = folded or self.log
        return folded is not None

    def _find_members(self, uncut: list[Member]) -> None:
        dropped = self.log.dropped
        stops = (at for at, each in enumerate(uncut) if at and each.id in dropped)
        self.chain = uncut[: next(stops, len(uncut))]
        self._members = {member.id: member for member in self.chain}
        for member in self.chain:
            header = member.contents.file.header
            if header.number > 1:
                self._claim(header.pred, header.pred_end, header.pred_frame)
        lock = self._lock
        if lock and self._marked():
            self._claim(lock.journal, lock.end, lock.frame, stop=file_format.SIZE)
        for listing in self.log.listed.values():
            self._claim(listing.file, listing.size, listing.frame)
        sides = {
            side
            for member in self._members.values()
            for frame in member.contents.frames
            for commit, _ in frame.commits
            for side in commit.sides
        }
        for file, end, digest in sorted(sides, reverse=True):  # the largest end first
            self._claim(file, end, digest)
        others = [each for each in self._members.values() if each not in self.chain]
        self.members = [*others, *reversed(self.chain)]

    def _claim(
        self, file: bytes, end: int, frame: bytes, stop: int | None = None
    ) -> None:
        """
        Note that *file* has to have a frame that ends at *end*.

        Its frames count up to there, or up to *stop*, if this is the first claim.
        """
        newest = self.chain[0].id if self.chain else None
        if file in self.log.dropped and file != newest:
            return
        if file not in self._members and file in self._good:
            extent = end if stop is None else stop
            self._members[file] = make_member(self._good[file], extent)
        if file in self._members:
            self._members[file].claims.add((end, frame))
        else:
            self._wanted.add(file)

    def _judge_files(self) -> None:
        """Report what is wanted and not there, and what is there and not wanted."""
        for file in self._wanted - self._folder.refused.keys():
            what = "a file of the store is not there"
            self._findings.add(MISSING, file_name(file), what)
        for file, error in self._folder.refused.items():
            held = file in self._folder.held or file in self.log.dropped
            if file in self._wanted or not held:
                self._findings.refuse(error)
            else:
                self._leave(file, f"no file of the store: {error.what}")
        for file in self._good.keys() - self._members.keys():
            self._leave(file, "no file of the store")

    def _leave(self, file: bytes, what: str) -> None:
        self.garbage.append(file)
        self._findings.notice(file_name(file), what)

    # --- steps 6 and 7 -------------------------------------------------------

    def _walk_logs(self) -> dict[bytes, Log]:
        finals = {segment: head for segment, (_, head) in self.log.deleted.items()}
        segments = self.records.heads.keys() | self.records.runs.keys() | finals.keys()
        heads: dict[bytes, Head] = {}
        for segment in segments:
            final = finals.get(segment)
            head = judge_heads(self.records, segment, final, self._findings)
            if head:
                heads[segment] = head
            else:
                what = "entries without a head, and no entry says why"
                self._findings.add("unproven absence", segment_place(segment), what)
        if not self._walks:
            return {}
        living = sorted(heads.keys() - finals.keys())
        lineages = Lineages(self._store, self.records.runs, heads, living)
        return lineages.walk(self._findings)


def read_all(
    files: Files,
    folder: Folder,
    progress: Callable[[int, int], None] | None,
    jobs: int,
    needed: AbstractSet[bytes] | None,
    depth: Depth = FULL,
    seen: Glance | None = None,
) -> dict[bytes, FileContents]:
    """
    Return what all good files of *folder* say, by id; read by *jobs* processes
    where that pays, and all of it is read. The other parameters are those of
    `survey`; *seen* counts what is looked into where that is not everything.
    """
    total = sum(file.size() for file in folder.good.values())
    done = 0

    def step(size: int) -> None:
        nonlocal done
        done += size
        if progress:
            progress(done, total)

    if not depth.is_full:
        looked_at = glance_at(folder.good, folder.store, depth, seen or Glance(), step)
        if looked_at is not None:
            return looked_at
        done = 0
    count = helper_count(jobs, total, 2 * limits.PART_SIZE)
    if count:
        # What it imports would slow every start of the command.
        from castore.reading.helpers import Helpers

        with Helpers(files, folder.good, count) as helpers:
            parts = functools.partial(_read_parts, helpers.read, needed)
            return read_in_parts(folder.good, parts, step)
    found = {}
    for file, opened in folder.good.items():
        found[file] = read_contents(opened, opened.size(), step)
        _forget(found[file].frames, needed)
    return found


def _read_parts(
    read: ReadParts, needed: AbstractSet[bytes] | None, spans: Sequence[Span]
) -> Iterator[Part]:
    for part in read(spans):
        _forget(part.frames, needed)
        yield part


def _forget(frames: list[FrameContents], needed: AbstractSet[bytes] | None) -> None:
    """Let go of what entries need but for *needed*, and for ref lists."""
    if needed is not None:
        for frame in frames:
            frame.runs = [run.needing(needed) for run in frame.runs]
