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

from collections.abc import Callable

import attrs

from castore.errors import CorruptionError
from castore.formats import frame as frame_format
from castore.reading.findings import EXPLAINED, FAULT, Finding
from castore.reading.payloads import Payloads
from castore.reading.survey import Survey, survey
from castore.storage import Files


SELF_CONSISTENT = "self-consistent"


@attrs.frozen
class Report:
    """
    What a check found.

    Attributes:
        ok: Whether there is no fault.

        against: What it was checked against; nothing but itself.

        seq: The last commit that is there: an older state that is cut exactly
            between commits is found to be good up to this.

        findings: Faults and notices, sorted by place and verdict.

        explained: What is absent and why a covered entry says so, sorted too.

        covered: Counts of what was checked: ``files``, ``frames``, ``blobs``
            (names), ``entries``, ``segments`` (heads), ``bytes`` (of the files).
    """

    ok: bool
    against: str
    seq: int
    findings: tuple[Finding, ...]
    explained: tuple[Finding, ...]
    covered: dict[str, int]

    def to_json(self) -> dict[str, object]:
        """Return the report as plain values; the order of keys is fixed."""
        return {
            "ok": self.ok,
            "against": self.against,
            "seq": self.seq,
            "findings": [attrs.asdict(finding) for finding in self.findings],
            "explained": [attrs.asdict(finding) for finding in self.explained],
            "covered": dict(self.covered),
        }


def verify(
    store: str | os.PathLike[str] | Files,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """
    Check everything that a store holds, and go on after each finding.

    Takes no lock and writes nothing; a store in use may be checked. Takes the
    time of reading, hashing and decompressing all files once, and differences
    and the chunks of large blobs once more.

    Args:
        store: The store's folder.

        progress: Told how many of how many bytes were read.

    Raises:
        NotFoundError: There is no ``castore.json``, so no store.

        StorageError: The medium failed.

    Spec: spec/checking.md.
    """
    files = store if isinstance(store, Files) else Files(store)
    found = survey(files, progress=progress)
    try:
        Payloads(found, found.findings).judge()
    except CorruptionError as error:
        found.findings.refuse(error)  # bytes that were good a moment ago
    return _report(found)


def _report(found: Survey) -> Report:
    findings = sorted(found.findings, key=lambda item: (item.where, item.verdict))
    return Report(
        ok=all(item.severity != FAULT for item in findings),
        against=SELF_CONSISTENT,
        seq=found.seq,
        findings=tuple(item for item in findings if item.severity != EXPLAINED),
        explained=tuple(item for item in findings if item.severity == EXPLAINED),
        covered=_covered(found),
    )


def _covered(found: Survey) -> dict[str, int]:
    lists = frame_format.REF_LIST
    return {
        "files": len(found.members),
        "frames": found.frame_count,
        "blobs": sum(place.kind != lists for place in found.places.values()),
        "entries": sum(log.count for log in found.logs.values()),
        "segments": len(found.heads),
        "bytes": sum(found.members.values()),
    }
