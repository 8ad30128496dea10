"""
Checking a bundle from the file alone.

One pass, from the front to the end. What was seen of payloads is kept by name:
some 150 bytes for each; payloads themselves are let go of frame by frame.

Spec: spec/bundle.md, "Checking".
"""

from __future__ import annotations

import os

from collections.abc import Callable, Collection, Mapping

import attrs

from castore.bundles.groups import BLOBS, ENTRIES, Bounds, first_frame, frames
from castore.bundles.logs import LogChecker
from castore.bundles.manifest import Manifest
from castore.bundles.opening import BundleFile
from castore.bundles.payloads import PayloadChecker
from castore.errors import CorruptionError
from castore.reading.findings import EXPLAINED, FAULT, Finding, Findings
from castore.reading.frames import Frame
from castore.verify import SELF_CONSISTENT, Report


#: Told how many of how many bytes were read.
Progress = Callable[[int, int], None]


@attrs.frozen(eq=False)
class Checked:
    """
    A bundle that was checked.

    Attributes:
        file: The bundle; None if its header is refused.

        manifest: What it says of itself; None if that is refused.

        report: What was found.

        roots: Root of each log at the counts that were asked for, as far as they
            stand in the bundle.

        end: Hash of its last frame.
    """

    file: BundleFile | None
    manifest: Manifest | None
    report: Report
    roots: dict[tuple[bytes, int], bytes]
    end: bytes

    def raise_fault(self) -> None:
        """
        Raises:
            CorruptionError: There is a fault; the first one.
        """
        for finding in self.report.findings:
            if finding.severity == FAULT:
                raise finding.error()


def check_bundle(
    path: str | os.PathLike[str],
    *,
    asked: Mapping[bytes, Collection[int]] | None = None,
    progress: Progress | None = None,
) -> Checked:
    """
    Check the bundle at *path*: its frames, entries, trees, heads and payloads.

    Args:
        path: Of the bundle.

        asked: By segment, counts at which the root of its log is wanted.

        progress: Told how many of how many bytes were read.

    Raises:
        NotFoundError: There is no such file.

        StorageError: It is no plain file, or the medium failed.
    """
    findings = _Findings()
    try:
        file = BundleFile(path)
    except CorruptionError as error:
        findings.refuse(error)
        return Checked(None, None, _report(findings, None, 0), {}, b"")
    run = _Run(file, findings, asked or {}, progress)
    try:
        run.check()
    except _EnoughError:
        pass
    except CorruptionError as error:
        # Without the bound: it is the last one.
        Findings.add(findings, error.verdict, error.where, error.what)
    roots = run.logs.roots if run.logs else {}
    return Checked(
        file, run.manifest, _report(findings, run, file.size()), roots, run.end
    )


class _EnoughError(Exception):
    """So much is wrong that nobody wants to know more."""


class _Findings(Findings):
    """Findings up to a count of those that nothing explains."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def add(self, verdict: str, where: str, detail: str, severity: str = FAULT) -> None:
        """Take in one finding; a second of its verdict and place changes nothing."""
        before = len(self)
        super().add(verdict, where, detail, severity)
        if severity != EXPLAINED:
            self._count += len(self) - before
            if self._count >= _FINDINGS_MAX:
                raise _EnoughError


_FINDINGS_MAX = 1000


class _Run:
    """One pass over a bundle."""

    def __init__(
        self,
        file: BundleFile,
        findings: Findings,
        asked: Mapping[bytes, Collection[int]],
        progress: Progress | None,
    ) -> None:
        self.file = file
        self.findings = findings
        self.asked = asked
        self.progress = progress
        self.manifest: Manifest | None = None
        self.logs: LogChecker | None = None
        self.payloads: PayloadChecker | None = None
        self.frame_count = 0
        self.end = b""

    def check(self) -> None:
        """
        Check all.

        Raises:
            CorruptionError: What ends the check.
        """
        first, manifest = first_frame(self.file)
        self.manifest = manifest
        self._saw(first)
        bounds = Bounds(self.file.size())
        logs = LogChecker(manifest, self.file.header.store, self.findings, self.asked)
        payloads = PayloadChecker(self.file, manifest.withheld, self.findings, bounds)
        self.logs, self.payloads = logs, payloads
        waiting: Frame | None = None
        for sort, frame in frames(self.file, first.end, bounds):
            self._saw(frame)
            is_blobs = sort == BLOBS
            if is_blobs:
                payloads.take_blobs(frame)
            if waiting is not None:
                payloads.want(logs.take(waiting, frame if is_blobs else None))
                waiting = None
            if sort == ENTRIES:
                payloads.end_group()
                waiting = frame
            elif not is_blobs:
                payloads.take_lists(frame)
        if waiting is not None:
            payloads.want(logs.take(waiting, None))
        payloads.end_group()
        logs.end()
        payloads.end()

    def _saw(self, frame: Frame) -> None:
        self.frame_count += 1
        self.end = frame.hash
        if self.progress:
            self.progress(frame.end, self.file.size())


def _report(findings: Findings, run: _Run | None, size: int) -> Report:
    found = sorted(findings, key=_by_place)
    rows = run.manifest.rows if run and run.manifest else ()
    return Report(
        ok=all(item.severity != FAULT for item in found),
        against=SELF_CONSISTENT,
        seq=max((row.head.seq for row in rows if row.head), default=0),
        findings=tuple(item for item in found if item.severity != EXPLAINED),
        explained=tuple(item for item in found if item.severity == EXPLAINED),
        covered={
            "files": 1,
            "frames": run.frame_count if run else 0,
            "blobs": len(run.payloads.blobs) if run and run.payloads else 0,
            "entries": run.logs.count if run and run.logs else 0,
            "segments": len(rows),
            "bytes": size,
        },
    )


def _by_place(finding: Finding) -> tuple[str, str]:
    return finding.where, finding.verdict
