"""
``maintain``: what cron should run every night.
"""

from __future__ import annotations

import argparse

from collections.abc import Iterator

import attrs

from castore.cli.checking import tell_findings
from castore.cli.collecting import gc_lines, metered
from castore.cli.exits import Exit, code_of, text_of
from castore.cli.metrics import samples_of_upkeep
from castore.cli.opening import open_store
from castore.cli.output import Output
from castore.cli.stores import pack_lines, pack_object
from castore.cli.text import count_text, size_text
from castore.errors import LockedError
from castore.maintain import Upkeep, maintain
from castore.sweeping import Sweep


# Of several exit codes that one counts which stands last.
_SEVERITY = (
    Exit.DONE,
    Exit.LOCKED,
    Exit.CONFLICT,
    Exit.REFUSED,
    Exit.FINDINGS,
    Exit.FAILED,
    Exit.UNSUPPORTED,
)


def run(options: argparse.Namespace, out: Output) -> Exit:
    """
    Pack, collect, and check a share of the files.

    Says nothing where all is well and no terminal listens; nor where somebody
    else is at it.
    """
    try:
        with metered(options) as meter:
            done = _maintain(options, out)
            meter.samples = [*samples_of_upkeep(done)]
            meter.code = _code(done)
    except LockedError:
        if out.json or out.is_watched:
            raise
        return Exit.LOCKED
    code = _code(done)
    if code is not Exit.DONE or out.is_watched:
        for line in _lines(done):
            out.line(line)
    for name, error in done.errors.items():
        out.warn(f"{name}: {text_of(error)}")
    if done.sweep:
        tell_findings(done.sweep.report.findings, out)
    out.object(_object(done))
    return code


def _maintain(options: argparse.Namespace, out: Output) -> Upkeep:
    with open_store(options) as store, out.progress("maintaining") as progress:
        return maintain(
            store.engine,
            progress=progress.step,
            grace_s=options.grace,
            keep_checkpoints=options.keep_checkpoints,
            yes=options.yes,
            level=options.level,
            max_duration_s=options.max_duration,
            max_rewrite_bytes=options.max_rewrite_bytes,
            share=options.verify_share,
        )


def _code(done: Upkeep) -> Exit:
    codes = [code_of(error) or Exit.FAILED for error in done.errors.values()]
    if done.sweep and not done.sweep.report.ok:
        codes.append(Exit.FINDINGS)
    return max(codes, key=_SEVERITY.index, default=Exit.DONE)


def _lines(done: Upkeep) -> Iterator[str]:
    if done.packing:
        yield from pack_lines(done.packing)
    if done.collection:
        yield from gc_lines(done.collection)
    if done.sweep:
        yield _sweep_line(done.sweep)
    if done.skipped:
        yield f"out of time: {', '.join(done.skipped)} left for the next run"


def _sweep_line(sweep: Sweep) -> str:
    covered = sweep.report.covered
    files = count_text(sweep.file_count, "file")
    sizes = f"{size_text(covered['bytes'])} of {size_text(sweep.size)}"
    verdict = "ok" if sweep.report.ok else "NOT OK"
    return f"verified: {covered['files']:,} of {files}, {sizes}: {verdict}"


def _object(done: Upkeep) -> dict[str, object]:
    return {
        "pack": pack_object(done.packing) if done.packing else None,
        "gc": attrs.asdict(done.collection) if done.collection else None,
        "verify": _sweep_object(done.sweep) if done.sweep else None,
        "failed": [
            {"part": name, "what": text_of(error)}
            for name, error in done.errors.items()
        ],
        "skipped": done.skipped,
    }


def _sweep_object(sweep: Sweep) -> dict[str, object]:
    report = sweep.report
    return {
        "ok": report.ok,
        "files": report.covered["files"],
        "files_total": sweep.file_count,
        "bytes": report.covered["bytes"],
        "bytes_total": sweep.size,
        "findings": [attrs.asdict(finding) for finding in report.findings],
    }
