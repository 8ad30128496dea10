"""
``verify`` and ``gc``: what is wrong, what is not needed.
"""

from __future__ import annotations

import argparse
import os

from pathlib import Path

import attrs

from castore.cli.exits import Exit
from castore.cli.opening import MARKER, existing_path, no_store, open_store
from castore.cli.output import Output
from castore.cli.text import count_text, size_text, time_text


def verify(options: argparse.Namespace, out: Output) -> Exit:
    """Check everything that the files hold, without the catalog."""
    from castore.reading.findings import FAULT
    from castore.verify import verify as verify_store

    if options.path is None:
        path = existing_path(options)
    else:
        path = Path(options.path).absolute()
        if not os.path.lexists(path / MARKER):
            raise no_store(path)
    with out.progress("verifying") as progress:
        report = verify_store(path, progress=progress.update)
    for finding in (*report.findings, *report.explained):
        where = f"{finding.where}: {finding.verdict}"
        say = out.answer if finding.severity == FAULT else out.line
        say(f"{finding.severity}: {where}: {finding.detail}")
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


def gc(options: argparse.Namespace, out: Output) -> Exit:
    """Remove what nothing needs."""
    from castore.gc import Report, collect

    def tell(report: Report) -> None:
        went = "would go" if report.dry_run else "deleted"
        blobs = count_text(report.deleted_blob_count, "blob")
        out.line(f"{went}: {blobs}, {size_text(report.deleted_raw_bytes)} raw")
        if not report.dry_run:
            out.line(f"freed: {size_text(max(0, report.freed_bytes))} on disk")
        blobs = count_text(report.retained_blob_count, "blob")
        roots = count_text(report.root_count, "root")
        size = size_text(report.retained_raw_bytes)
        out.line(f"kept: {blobs}, {size} raw, from {roots}")
        if report.condemned_blob_count:
            when = time_text(report.next_ms)
            out.line(f"condemned: {report.condemned_blob_count:,}, from {when} on")
        if report.held_blob_count:
            blobs = count_text(report.held_blob_count, "blob")
            out.line(f"held: {blobs} in files that a live process writes")
        if report.missing_blob_count:
            out.line(f"missing and explained: {report.missing_blob_count:,}")

    with open_store(options) as store:
        report = collect(
            store.engine,
            grace_s=options.grace,
            keep_checkpoints=options.keep_checkpoints,
            dry_run=options.dry_run,
            yes=options.yes,
        )
    tell(report)
    out.object(attrs.asdict(report))
    return Exit.DONE
