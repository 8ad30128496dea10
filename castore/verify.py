"""
Checking a store from its files alone, offline, changing nothing.

The catalog is never read: an index could be wrong with what it describes. Bytes
are believed because they hash to what names them, up to the heads and commits
that stand in the files themselves; that those are the newest ever written, only
something kept elsewhere can show (spec/threats.md).

Spec: spec/checking.md, spec/verdicts.md.
"""

from __future__ import annotations

import os

from collections.abc import Callable, Iterator, Mapping

import attrs

from castore.errors import CorruptionError, NotFoundError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.file import file_name
from castore.reading.affected import Affected, affected_by, needed_by
from castore.reading.contents import FileContents, read_contents
from castore.reading.depth import FULL, Depth, Level
from castore.reading.files import OpenFile
from castore.reading.findings import (
    EXPLAINED,
    FAULT,
    Finding,
    Findings,
    segment_place,
)
from castore.reading.members import judge_member, make_member
from castore.reading.parts import processor_count
from castore.reading.payloads import Payloads
from castore.reading.pinned import Pinned, judge_note
from castore.reading.survey import Survey, survey
from castore.storage import Files


SELF_CONSISTENT = "self-consistent"
EACH_ALONE = "each file by itself"
COVERED = ("files", "frames", "blobs", "entries", "segments", "bytes")

# What each level adds, for who did without it.
_ADDS = {
    Level.STORED: "stored bytes",
    Level.CONTENTS: "contents",
    Level.CHAINS: "chains, trees and heads of logs",
    Level.ALL: "differences, large blobs, and whether what entries name is there",
}


@attrs.frozen
class Report:
    """
    What a check found.

    Attributes:
        ok: Whether there is no fault.

        against: What it was checked against: nothing but itself; a note, which it
            matches or extends; or each file by itself.

        seq: The last commit that is there: an older state that is cut exactly
            between commits is found to be good up to this.

        findings: Faults and notices, sorted by place and verdict.

        explained: What is absent and why a covered entry says so, sorted too.

        covered: Counts of what was checked: ``files``, ``frames``, ``blobs``
            (names), ``entries``, ``segments`` (heads), ``bytes`` (of the files, or
            of the frames that were looked into).

        level: The level that was asked for.

        not_covered: What was left out, one item each; empty if nothing was.

        affected: What faults at blobs and segments mean for logs, by place.

        seed: Of the sample that was looked into, None if it was none.

        oldest_ms: When the file was checked that was not for longest, where they
            are checked in turn; None if one never was, or is damaged.
    """

    ok: bool
    against: str
    seq: int
    findings: tuple[Finding, ...]
    explained: tuple[Finding, ...]
    covered: dict[str, int]
    level: str = Level.ALL.title
    not_covered: tuple[str, ...] = ()
    affected: tuple[Affected, ...] = ()
    seed: int | None = None
    oldest_ms: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return the report as plain values; the order of keys is fixed."""
        return {
            "ok": self.ok,
            "against": self.against,
            "seq": self.seq,
            "findings": [attrs.asdict(finding) for finding in self.findings],
            "explained": [attrs.asdict(finding) for finding in self.explained],
            "covered": dict(self.covered),
            "level": self.level,
            "not_covered": list(self.not_covered),
            "affected": [attrs.asdict(each) for each in self.affected],
            "seed": self.seed,
            "oldest_ms": self.oldest_ms,
        }


def verify(
    store: str | os.PathLike[str] | Files,
    *,
    against: Pinned | None = None,
    progress: Callable[[int, int], None] | None = None,
    jobs: int | None = None,
    depth: Depth = FULL,
    segment: bytes | None = None,
) -> Report:
    """
    Check what a store holds, and go on after each finding.

    Takes no lock and writes nothing; a store in use may be checked. Takes the
    time of reading, hashing and decompressing all files once, and differences
    and the chunks of large blobs once more; less where *depth* says so.

    Args:
        store: The store's folder.

        against: A note that somebody kept; without one, an older state that is
            whole is not told from the newest, nor another history. Wants all to
            be checked.

        progress: Told how many of how many bytes were read.

        jobs: How many processes may read; by default as many as there are
            processors.

        depth: What to leave out.

        segment: Judge this one alone, with what it inherits and names. All files
            are read: damage of what others need is no fault, but for frames that
            may have held a newer head.

    Raises:
        NotFoundError: There is no ``castore.json``, so no store; or no such segment.

        StorageError: The medium failed.

    Spec: spec/checking.md.
    """
    is_all = depth == FULL
    if not is_all and (against is not None or segment is not None):
        raise ValueError("a note, or one segment, is judged with all that there is")
    if depth.share is not None and depth.level > Level.CONTENTS:
        raise ValueError("chains and references are judged with all that there is")
    files = store if isinstance(store, Files) else Files(store)
    found = survey(
        files, progress=progress, jobs=jobs or processor_count(), depth=depth
    )
    stands: str | None = None
    try:
        if is_all:
            payloads = Payloads(found, found.findings)
            payloads.judge()
            if against is not None:
                stands = judge_note(found, against, payloads.find_bytes)
    except CorruptionError as error:
        found.findings.refuse(error)  # bytes that were good a moment ago
    report = _report(found, stands or SELF_CONSISTENT, depth)
    return report if segment is None else _only(report, found, segment)


def verify_files(
    files: Files,
    store: bytes,
    extents: Mapping[bytes, int],
    *,
    progress: Callable[[int, int], None] | None = None,
    enough: Callable[[], bool] = bool,
) -> Report:
    """
    Check some files of a store, each by itself: every frame is as it was written,
    in its place, and what stands in it can be read.

    What files need of each other is not looked at, nor are differences applied.
    Takes no lock; the caller sees to it that no file goes meanwhile.

    Args:
        files: The store's folder.

        store: Store id.

        extents: File ids in the order of checking, each with the offset up to
            which the file counts, where a frame ends.

        progress: Told how many of how many bytes were read.

        enough: Asked before each file whether to stop there.

    Raises:
        StorageError: The medium failed.
    """
    findings = Findings()
    covered = dict.fromkeys(COVERED, 0)
    segments: set[bytes] = set()
    seq, total = 0, sum(extents.values())
    for file, stop in extents.items():
        if enough():
            break
        covered["files"] += 1
        covered["bytes"] += stop
        contents = _read_alone(files, store, file, stop, findings)
        for frame in contents.frames if contents else ():
            covered["frames"] += 1
            covered["blobs"] += len(frame.blobs)
            covered["entries"] += sum(run.stop - run.first for run in frame.runs)
            segments.update(head.segment for head, _ in frame.heads)
            seq = max([seq, *(commit.seq for commit, _ in frame.commits)])
        if progress:
            progress(covered["bytes"], total)
    covered["segments"] = len(segments)
    found = tuple(sorted(findings, key=_by_place))
    ok = all(item.severity != FAULT for item in found)
    left = [adds for level, adds in _ADDS.items() if level > Level.CONTENTS]
    if covered["files"] < len(extents):
        count = len(extents) - covered["files"]
        left.insert(0, f"{count} files, which the next run begins with")
    level = Level.CONTENTS.title
    return Report(ok, EACH_ALONE, seq, found, (), covered, level, tuple(left))


def _read_alone(
    files: Files, store: bytes, file: bytes, stop: int, findings: Findings
) -> FileContents | None:
    try:
        opened = OpenFile(files, file, store)
    except NotFoundError:
        findings.add(
            "missing pack", file_name(file), "a file of the store is not there"
        )
        return None
    except CorruptionError as error:
        findings.refuse(error)
        return None
    member = make_member(read_contents(opened, stop), stop)
    contents = member.contents
    if contents.end == stop:
        last = contents.frames[-1].hash if contents.frames else opened.hash
        member.claims.add((stop, last))
    elif not contents.gaps:
        what = f"no frame ends at {stop} as it should"
        findings.add("truncated log", f"{opened.name}@{contents.end}", what)
    judge_member(member, findings)
    return contents


def _by_place(finding: Finding) -> tuple[str, str]:
    return finding.where, finding.verdict


def _report(found: Survey, against: str, depth: Depth) -> Report:
    findings = sorted(found.findings, key=_by_place)
    return Report(
        ok=all(item.severity != FAULT for item in findings),
        against=against,
        seq=found.seq,
        findings=tuple(item for item in findings if item.severity != EXPLAINED),
        explained=tuple(item for item in findings if item.severity == EXPLAINED),
        covered=_covered(found),
        level=depth.level.title,
        not_covered=tuple(_left_out(depth)),
        affected=tuple(affected_by(found, findings)),
        seed=depth.share.seed if depth.share and depth.share.below else None,
    )


def _left_out(depth: Depth) -> Iterator[str]:
    if depth.share is not None:
        yield f"frames beyond {depth.share.text}"
    for level, adds in _ADDS.items():
        if level > depth.level:
            yield adds


def _covered(found: Survey) -> dict[str, int]:
    lists = {name for name, _ in found.records.blobs_of_kind(frame_format.REF_LIST)}
    logs = found.logs.values()
    stored = (run for runs in found.runs.values() for run in runs)
    covered = {
        "files": len(found.members),
        "frames": found.frame_count,
        "blobs": len(found.places) - len(lists),
        "entries": sum(log.count for log in logs)
        if logs
        else sum(run.stop - run.first for run in stored),
        "segments": len(found.heads or found.records.heads),
        "bytes": sum(found.members.values()),
    }
    if found.glance is not None:
        covered |= {"frames": found.glance.frames, "bytes": found.glance.size}
    return covered


def _only(report: Report, found: Survey, segment: bytes) -> Report:
    """Return what of *report* is about *segment*, or may be for all that is known."""
    if segment not in found.logs:
        raise NotFoundError(what=f"no segment {segment.hex()} in what can be read")
    lineage, blobs = needed_by(found, segment)
    own = blobs | {segment_place(each) for each in (*lineage, found.store)}
    # Heads stand in journals and packs: a damaged frame may have held a newer one.
    sides = {
        file.name
        for file in found.reader.files.values()
        if file.header.kind == file_format.SIDE
    }

    def concerns(where: str) -> bool:
        if where.startswith(("segment:", "blob:")):
            return where.partition("[")[0] in own
        return where.partition("@")[0] not in sides

    kept = tuple(item for item in report.findings if concerns(item.where))
    logs = [found.logs[each] for each in lineage]
    covered = report.covered | {
        "blobs": len(blobs),
        "entries": sum(log.count for log in logs),
        "segments": len(logs),
    }
    return attrs.evolve(
        report,
        ok=all(item.severity != FAULT for item in kept),
        findings=kept,
        explained=tuple(item for item in report.explained if concerns(item.where)),
        covered=covered,
        not_covered=("other segments, and what only they need",),
        affected=tuple(each for each in report.affected if concerns(each.where)),
    )
