"""
``verify``: what is wrong.
"""

from __future__ import annotations

import argparse
import os
import secrets
import time

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from castore.cli.exits import CommandError, Exit
from castore.cli.opening import check_path, existing_path
from castore.cli.output import Output
from castore.cli.text import count_text, size_text


if TYPE_CHECKING:
    from castore.reading.depth import Depth
    from castore.reading.findings import Finding
    from castore.reading.pinned import Pinned
    from castore.verify import Report


_SHOWN = 3  # segments' entries in a line
# What cannot be said together with --max-duration, whose ledger is of whole files.
_WHOLE = ("level", "sample", "subset", "segment", "against", "catalog", "jobs")


def verify(options: argparse.Namespace, out: Output) -> Exit:
    """Check what the files hold, without the catalog."""
    _check_options(options)
    path = _path(options)
    if _is_file(path):
        report = _verify_file(path, out)
    elif options.max_duration is not None:
        report = _sweep(path, options, out)
    else:
        report = _verify_store(path, options, out)
    _tell(report, out)
    out.object(report.to_json())
    return Exit.DONE if report.ok else Exit.FINDINGS


def _check_options(options: argparse.Namespace) -> None:
    if options.max_duration is not None:
        named = [name for name in _WHOLE if getattr(options, name)]
        if named:
            what = f"--max-duration checks whole files in turn, without --{named[0]}"
            raise CommandError(Exit.USAGE, what)
    if options.sample is None:
        if options.seed is not None:
            raise CommandError(Exit.USAGE, "--seed belongs to --sample")
    elif options.seed is None:
        options.seed = secrets.randbits(32)


def _path(options: argparse.Namespace) -> Path:
    if options.path is None:
        return existing_path(options)
    path = Path(options.path).absolute()
    if not _is_file(path):
        check_path(path)
    return path


def _is_file(path: Path) -> bool:
    """Return whether *path* is there and no folder."""
    return os.path.lexists(path) and not path.is_dir()


# --- all of a store, or less -------------------------------------------------


def _verify_store(path: Path, options: argparse.Namespace, out: Output) -> Report:
    from castore.formats.ids import parse_id
    from castore.verify import verify as verify_store

    against, depth = _pinned(options), _depth(options)
    segment = parse_id(options.segment) if options.segment is not None else None
    try:
        with out.progress("verifying") as progress:
            report = verify_store(
                path,
                against=against,
                progress=progress.update,
                jobs=options.jobs,
                depth=depth,
                segment=segment,
            )
    except ValueError as error:
        raise CommandError(Exit.USAGE, str(error)) from error
    return _with_catalog(report, path) if options.catalog else report


def _depth(options: argparse.Namespace) -> Depth:
    from castore.reading.depth import Depth, Level, Share

    share = None
    if options.sample is not None:
        share = Share.sample(options.sample, options.seed)
    elif options.subset is not None:
        share = Share.subset(*options.subset)
    usual = Level.ALL if share is None else Level.CONTENTS
    level = Level[options.level.upper()] if options.level else usual
    return Depth(level, share)


def _pinned(options: argparse.Namespace) -> Pinned | None:
    from castore.cli.checkup import read_key, read_note
    from castore.reading.pinned import Pinned

    if options.against is None:
        if options.key is not None:
            raise CommandError(Exit.USAGE, "--key belongs to --against")
        return None
    return Pinned(read_note(options.against), [read_key(options.key)])


def _with_catalog(report: Report, path: Path) -> Report:
    from castore.comparing import compare_catalog
    from castore.reading.findings import FAULT
    from castore.storage import Files

    finding = compare_catalog(Files(path)).finding
    if finding is None:
        return report
    ok = report.ok and finding.severity != FAULT
    return attrs.evolve(report, ok=ok, findings=(*report.findings, finding))


# --- files -------------------------------------------------------------------


def _verify_file(path: Path, out: Output) -> Report:
    """Check one file of a store by itself, or a bundle."""
    from castore.bundles import check_bundle
    from castore.formats.file import parse_name
    from castore.reading.folder import read_marker
    from castore.storage import Files
    from castore.verify import verify_files

    file = parse_name(path.name) if path.parent.name == "files" else None
    if file is None:
        with out.progress("verifying") as progress:
            return check_bundle(path, progress=progress.update).report
    files = Files(path.parent.parent)
    check_path(path.parent.parent)
    store = read_marker(files)
    size = path.stat().st_size
    with out.progress("verifying") as progress:
        return verify_files(files, store, {file: size}, progress=progress.update)


def _sweep(path: Path, options: argparse.Namespace, out: Output) -> Report:
    """Check files, what was not checked for longest first, until time is up."""
    from castore.clock import now_ms
    from castore.store import open as open_path
    from castore.sweeping import sweep

    stop = time.monotonic() + options.max_duration
    with open_path(path) as store, out.progress("verifying") as progress:
        return sweep(
            store.engine,
            share=1,
            now_ms=now_ms(),
            progress=progress.update,
            enough=lambda: time.monotonic() >= stop,
        ).report


# --- saying it ---------------------------------------------------------------


def _tell(report: Report, out: Output) -> None:
    tell_findings((*report.findings, *report.explained), out)
    for each in report.affected:
        named = f"; named by {', '.join(each.entries[:_SHOWN])}" if each.entries else ""
        more = f" and {each.count - _SHOWN} more" if each.count > _SHOWN else ""
        more = more if each.entries else ""
        out.line(f"{each.where}: stands: {each.stands}{named}{more}")
    covered = report.covered
    what = ", ".join(
        (
            count_text(covered["segments"], "segment"),
            count_text(covered["entries"], "entry", "entries"),
            count_text(covered["blobs"], "blob"),
            f"{size_text(covered['bytes'])} in {count_text(covered['files'], 'file')}",
        )
    )
    for item in report.not_covered:
        out.line(f"not covered: {item}")
    verdict, say = ("ok", out.line) if report.ok else ("NOT OK", out.answer)
    say(f"{verdict}: {report.against} up to commit {report.seq}: {what}")


def tell_findings(findings: Iterable[Finding], out: Output) -> None:
    """Say each finding, faults even to who wants it quiet."""
    from castore.reading.findings import FAULT

    for finding in findings:
        where = f"{finding.where}: {finding.verdict}"
        say = out.answer if finding.severity == FAULT else out.line
        say(f"{finding.severity}: {where}: {finding.detail}")
