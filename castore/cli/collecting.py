"""
``gc``: what nothing needs goes, and is told of.
"""

from __future__ import annotations

import argparse
import contextlib
import time

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from castore.cli.exits import CommandError, Exit, code_of
from castore.cli.metrics import Run, Sample, samples_of_gc, write_metrics
from castore.cli.opening import existing_path, open_store
from castore.cli.output import Output
from castore.cli.text import count_text, size_text, time_text
from castore.digest import SIZE, parse_digest
from castore.errors import FormatError, LockedError, LostError


if TYPE_CHECKING:
    from castore.gc import Report


_WHY = {
    "grace": "their grace runs, the first may go from {} on",
    "held": "in files that a live process writes; when it ends",
    "plan": "not in the plan; with another",
    "time": "out of time; with the next run",
    "bytes": "more would be written anew than was allowed; with the next run",
    "room": "no room to rewrite their files",
}


def gc(options: argparse.Namespace, out: Output) -> Exit:
    """
    Remove what nothing needs.

    Says nothing to who wants it quiet where somebody else is at it.
    """
    from castore.gc import Bounds, collect

    if options.print_systemd:
        return _print_units(options, out)
    plan, lost = _plan(options.plan), _lost(options.accept_lost)
    try:
        with metered(options) as meter:
            with open_store(options) as store, out.progress("gc") as progress:
                report = collect(
                    store.engine,
                    grace_s=options.grace,
                    keep_checkpoints=options.keep_checkpoints,
                    dry_run=options.dry_run,
                    plan=plan,
                    accept_lost=lost,
                    yes=options.yes,
                    bounds=Bounds(options.max_duration, options.max_rewrite_bytes),
                    progress=progress.step,
                )
            meter.samples = [*samples_of_gc(report)]
    except LostError as error:
        for name in error.names:
            out.answer(name)
        raise
    except LockedError:
        if out.json or not out.quiet:
            raise
        return Exit.LOCKED
    for line in gc_lines(report):
        out.line(line)
    out.object(attrs.asdict(report))
    return Exit.DONE


def _plan(text: str | None) -> bytes | None:
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        plan = bytes.fromhex(text)
        if len(plan) == SIZE and plan.hex() == text:
            return plan
    raise CommandError(Exit.USAGE, f"{text!r} is no plan: want 64 hex digits")


def _lost(name: str | None) -> list[bytes]:
    """Return the names that a file lists, one a line; from # on is a comment."""
    if name is None:
        return []
    found = []
    for number, line in enumerate(Path(name).read_text("utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                found.append(parse_digest(text))
            except FormatError as error:
                what = f"{name}, line {number}: {error}"
                raise CommandError(Exit.USAGE, what) from None
    return found


def _print_units(options: argparse.Namespace, out: Output) -> Exit:
    from castore.cli.systemd import units

    if out.json:
        raise CommandError(Exit.USAGE, "--print-systemd prints text, and no JSON")
    arguments = ["--store", str(existing_path(options)), "gc", "--quiet"]
    arguments += [f"--grace={options.grace:g}s"]
    if options.keep_checkpoints is not None:
        arguments.append(f"--keep-checkpoints={options.keep_checkpoints}")
    if options.yes:
        arguments.append("--yes")
    if options.max_duration is not None:
        arguments.append(f"--max-duration={options.max_duration:g}s")
    if options.max_rewrite_bytes is not None:
        arguments.append(f"--max-rewrite-bytes={options.max_rewrite_bytes}")
    if options.prometheus:
        arguments.append(f"--prometheus={Path(options.prometheus).absolute()}")
    for line in units("gc", "what nothing needs goes", arguments).splitlines():
        out.answer(line)
    return Exit.DONE


def gc_lines(report: Report) -> Iterator[str]:
    """Yield what a collection did, for people."""
    went = "would go" if report.dry_run else "deleted"
    blobs = count_text(report.deleted_blob_count, "blob")
    yield f"{went}: {blobs}, {size_text(report.deleted_raw_bytes)} raw"
    if report.dry_run:
        yield f"plan: {report.plan}"
    else:
        freed, now = size_text(max(0, report.freed_bytes)), report.stored_bytes
        yield f"freed: {freed} on disk, {size_text(now)} left"
    if report.files_dropped or report.files_rewritten:
        yield (
            f"files: {report.files_dropped:,} dropped, {report.files_rewritten:,} "
            f"rewritten as {report.files_written:,}, {report.files_kept:,} as they were"
        )
    blobs = count_text(report.retained_blob_count, "blob")
    roots = count_text(report.root_count, "root")
    yield f"kept: {blobs}, {size_text(report.retained_raw_bytes)} raw, from {roots}"
    why = [f"{name} {count:,}" for name, count in report.retained_by.items() if count]
    if why:
        yield f"kept as: {', '.join(why)}"
    if report.resurrected_blob_count:
        blobs = count_text(report.resurrected_blob_count, "blob")
        yield f"needed again: {blobs}"
    for reason, later in report.later.items():
        if later.blob_count:
            blobs = count_text(later.blob_count, "blob")
            because = _WHY[reason].format(time_text(report.next_ms))
            yield f"later: {blobs}, {size_text(later.raw_bytes)} raw: {because}"
    if report.missing_blob_count:
        accepted = report.accepted_blob_count
        more = f", {accepted:,} of them accepted now" if accepted else ""
        yield f"missing and explained: {report.missing_blob_count:,}{more}"


# --- metrics -----------------------------------------------------------------


@attrs.define
class Meter:
    """What a run came to; *code* is how it ends where nothing is raised."""

    samples: list[Sample] = attrs.Factory(list)
    code: Exit = Exit.DONE


@contextlib.contextmanager
def metered(options: argparse.Namespace) -> Iterator[Meter]:
    """
    Have the run be told of in ``--prometheus``, if that was said, however it ends; not
    a dry one.
    """
    if not options.prometheus or getattr(options, "dry_run", False):
        yield Meter()
        return
    path, meter, begun = Path(options.prometheus), Meter(), time.monotonic()
    store = str(existing_path(options))

    def write(code: Exit) -> None:
        spent = time.monotonic() - begun
        run = Run(options.command, store, code, time.time(), spent)
        write_metrics(path, run, meter.samples)

    try:
        yield meter
    except BaseException as error:
        with contextlib.suppress(OSError):  # the other error says more
            write(code_of(error) or Exit.FAILED)
        raise
    write(meter.code)
