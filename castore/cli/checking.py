"""
``verify`` and ``gc``: what is wrong, what is not needed.
"""

from __future__ import annotations

import argparse

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from castore.cli.exits import Exit
from castore.cli.opening import check_path, existing_path, open_store
from castore.cli.output import Output
from castore.cli.text import count_text, size_text, time_text


if TYPE_CHECKING:
    from castore.gc import Report as Collection
    from castore.reading.findings import Finding


def verify(options: argparse.Namespace, out: Output) -> Exit:
    """Check everything that the files hold, without the catalog."""
    from castore.verify import verify as verify_store

    if options.path is None:
        path = existing_path(options)
    else:
        path = Path(options.path).absolute()
        check_path(path)
    with out.progress("verifying") as progress:
        report = verify_store(path, progress=progress.update, jobs=options.jobs)
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


def tell_findings(findings: Iterable[Finding], out: Output) -> None:
    """Say each finding, faults even to who wants it quiet."""
    from castore.reading.findings import FAULT

    for finding in findings:
        where = f"{finding.where}: {finding.verdict}"
        say = out.answer if finding.severity == FAULT else out.line
        say(f"{finding.severity}: {where}: {finding.detail}")


def gc(options: argparse.Namespace, out: Output) -> Exit:
    """Remove what nothing needs."""
    from castore.gc import collect

    with open_store(options) as store, out.progress("gc") as progress:
        report = collect(
            store.engine,
            grace_s=options.grace,
            keep_checkpoints=options.keep_checkpoints,
            dry_run=options.dry_run,
            yes=options.yes,
            progress=progress.step,
        )
    for line in gc_lines(report):
        out.line(line)
    out.object(attrs.asdict(report))
    return Exit.DONE


def gc_lines(report: Collection) -> Iterator[str]:
    """Yield what a collection did, for people."""
    went = "would go" if report.dry_run else "deleted"
    blobs = count_text(report.deleted_blob_count, "blob")
    yield f"{went}: {blobs}, {size_text(report.deleted_raw_bytes)} raw"
    if not report.dry_run:
        yield f"freed: {size_text(max(0, report.freed_bytes))} on disk"
    blobs = count_text(report.retained_blob_count, "blob")
    roots = count_text(report.root_count, "root")
    yield f"kept: {blobs}, {size_text(report.retained_raw_bytes)} raw, from {roots}"
    if report.condemned_blob_count:
        when = time_text(report.next_ms)
        yield f"condemned: {report.condemned_blob_count:,}, from {when} on"
    if report.held_blob_count:
        blobs = count_text(report.held_blob_count, "blob")
        yield f"held: {blobs} in files that a live process writes"
    if report.missing_blob_count:
        yield f"missing and explained: {report.missing_blob_count:,}"
