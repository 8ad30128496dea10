"""
``report``: the store on one page.
"""

from __future__ import annotations

import argparse
import json

from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from castore.cli.exits import CommandError, Exit
from castore.cli.opening import existing_path, read_store
from castore.cli.output import Output
from castore.cli.page import page
from castore.cli.target import STDOUT, check_output, target
from castore.cli.versions import own_version
from castore.clock import now_ms
from castore.reading.affected import Affected
from castore.reading.findings import Finding
from castore.report import StoreReport, gather
from castore.verify import COVERED, Report, verify


def run(options: argparse.Namespace, out: Output) -> Exit:
    """Write a page about the store; names and paths only if they are asked for."""
    check_output(options, "page")
    if options.verify and options.verified is not None:
        raise CommandError(Exit.USAGE, "--verify or --verified, not both")
    path = existing_path(options)
    check = None if options.verified is None else _given(Path(options.verified))
    with read_store(options) as store:
        report = gather(store, names=options.names)
    if options.verify:
        with out.progress("verifying") as progress:
            check = verify(path, progress=progress.update)
    parts = page(
        report,
        made_ms=now_ms(),
        version=own_version(),
        limit=options.limit,
        title=str(path) if options.names else None,
        check=check,
    )
    with target(options.output, force=options.force) as file:
        for part in parts:
            file.write(part.encode("utf-8", "backslashreplace"))
    if options.output != STDOUT:
        out.line(f"wrote {options.output}")
    out.object(_object(report, check))
    is_good = not report.unreadable and (check is None or check.ok)
    return Exit.DONE if is_good else Exit.FINDINGS


def _given(path: Path) -> Report:
    """Return the report of a verification that stands in a file."""
    try:
        told = json.loads(path.read_bytes())
        report = Report(
            told["ok"] is True,
            str(told["against"]),
            int(told["seq"]),
            _findings(told["findings"]),
            _findings(told["explained"]),
            {name: int(told["covered"][name]) for name in COVERED},
            str(told["level"]),
            tuple(map(str, told["not_covered"])),
            tuple(Affected(**item) for item in told["affected"]),
            told["seed"],
            told["oldest_ms"],
        )
    except (ValueError, TypeError, KeyError) as error:
        what = f"{path} is nothing that castore verify --json wrote"
        raise CommandError(Exit.USAGE, what) from error
    return report


def _findings(told: Iterable[Mapping[str, object]]) -> tuple[Finding, ...]:
    names = [field.name for field in attrs.fields(Finding)]
    return tuple(Finding(*(str(item[name]) for name in names)) for item in told)


def _object(report: StoreReport, check: Report | None) -> dict[str, object]:
    told = attrs.asdict(report)
    told["growth"] = [
        {"time_ms": time_ms, "bytes": size} for time_ms, size in report.growth
    ]
    told["verify"] = check.to_json() if check else None
    return told
