"""
What a checker says, and where.

Spec: spec/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from castore.errors import CorruptionError


FAULT, EXPLAINED, NOTICE = "fault", "explained", "notice"
NOT_COVERED = "not covered"

# Where a thing stands, as findings give it.
MARKER = "castore.json"
FILES = "files"


@attrs.frozen(order=False)
class Finding:
    """
    One thing that a checker saw.

    Attributes:
        verdict: One of the closed set of spec/verdicts.md.

        severity: ``fault``, ``explained`` or ``notice``.

        where: The place, in the form of spec/verdicts.md.

        detail: What exactly; never contents.
    """

    verdict: str
    severity: str
    where: str
    detail: str

    def error(self) -> CorruptionError:
        """Return the error that says the same."""
        return CorruptionError(what=self.detail, verdict=self.verdict, where=self.where)


class Findings:
    """Findings in the order in which they came, each (verdict, where) once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def add(self, verdict: str, where: str, detail: str, severity: str = FAULT) -> None:
        """Take in one finding; a second of its verdict and place changes nothing."""
        finding = Finding(verdict, severity, where, detail)
        self._found.setdefault((verdict, where), finding)

    def refuse(self, error: CorruptionError) -> None:
        """Take in what a format refused."""
        self.add(error.verdict, error.where, error.what)

    def notice(self, where: str, detail: str, verdict: str = NOT_COVERED) -> None:
        """Take in what is worth knowing and no fault."""
        self.add(verdict, where, detail, NOTICE)

    def extend(self, others: Findings) -> None:
        """Take in all of *others*."""
        for finding in others:
            self._found.setdefault((finding.verdict, finding.where), finding)

    def first_fault(self) -> Finding | None:
        """Return the first fault, None if there is none."""
        return next((f for f in self if f.severity == FAULT), None)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)


def segment_place(segment: bytes, index: int | None = None) -> str:
    """Return the place of a segment, or of one of its entries."""
    name = f"segment:{segment.hex()}"
    return name if index is None else f"{name}[{index}]"


def blob_place(digest: bytes) -> str:
    """Return the place of a blob."""
    return f"blob:{digest.hex()}"


def seq_place(seq: int) -> str:
    """Return the place of a commit."""
    return f"seq:{seq}"
