"""
``verify``: what is wrong.
"""

from __future__ import annotations

import argparse

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from castore.cli.exits import CommandError, Exit
from castore.cli.opening import check_path, existing_path
from castore.cli.output import Output
from castore.cli.text import count_text, size_text


if TYPE_CHECKING:
    from castore.reading.findings import Finding
    from castore.reading.pinned import Pinned


def verify(options: argparse.Namespace, out: Output) -> Exit:
    """Check everything that the files hold, without the catalog."""
    from castore.verify import verify as verify_store

    if options.path is None:
        path = existing_path(options)
    else:
        path = Path(options.path).absolute()
        check_path(path)
    against = _pinned(options)
    with out.progress("verifying") as progress:
        report = verify_store(
            path, against=against, progress=progress.update, jobs=options.jobs
        )
    tell_findings((*report.findings, *report.explained), out)
    covered = report.covered
    what = ", ".join(
        (
            count_text(covered["segments"], "segment"),
            count_text(covered["entries"], "entry", "entries"),
            count_text(covered["blobs"], "blob"),
            f"{size_text(covered['bytes'])} in {count_text(covered['files'], 'file')}",
        )
    )
    verdict, say = ("ok", out.line) if report.ok else ("NOT OK", out.answer)
    say(f"{verdict}: {report.against} up to commit {report.seq}: {what}")
    out.object(report.to_json())
    return Exit.DONE if report.ok else Exit.FINDINGS


def _pinned(options: argparse.Namespace) -> Pinned | None:
    from castore.cli.checkup import read_key, read_note
    from castore.reading.pinned import Pinned

    if options.against is None:
        if options.key is not None:
            raise CommandError(Exit.USAGE, "--key belongs to --against")
        return None
    return Pinned(read_note(options.against), [read_key(options.key)])


def tell_findings(findings: Iterable[Finding], out: Output) -> None:
    """Say each finding, faults even to who wants it quiet."""
    from castore.reading.findings import FAULT

    for finding in findings:
        where = f"{finding.where}: {finding.verdict}"
        say = out.answer if finding.severity == FAULT else out.line
        say(f"{finding.severity}: {where}: {finding.detail}")
