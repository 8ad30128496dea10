"""
``verify``: what is wrong.
"""

from __future__ import annotations

import argparse
import os

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
    from castore.verify import Report


def verify(options: argparse.Namespace, out: Output) -> Exit:
    """Check everything that the files hold, without the catalog."""
    from castore.verify import verify as verify_store

    if options.path is not None and _is_plain(options.path):
        return _verify_bundle(options, out)
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
    return _tell(report, out)


def _is_plain(path: str) -> bool:
    """Return whether *path* is there and no folder."""
    return os.path.lexists(path) and not Path(path).is_dir()


def _verify_bundle(options: argparse.Namespace, out: Output) -> Exit:
    """Check a bundle: a file, and nothing else is looked at."""
    from castore.bundles import check_bundle

    with out.progress("verifying") as progress:
        report = check_bundle(options.path, progress=progress.update).report
    return _tell(report, out)


def _tell(report: Report, out: Output) -> Exit:
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
