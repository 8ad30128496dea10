"""
What a run of maintenance came to, for the textfile collector of node_exporter.

Each metric is documented in ``castore help metrics``.
"""

from __future__ import annotations

import contextlib
import os
import re

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from castore.cli.exits import Exit
from castore.reading.findings import FAULT


if TYPE_CHECKING:
    from castore.gc import Report
    from castore.maintain import Upkeep


#: Name without ``castore_`` and what it tells; all are gauges.
METRICS = {
    "maintenance_run_timestamp_seconds": "when the last run ended, by command",
    "maintenance_success_timestamp_seconds": "when the last run ended with exit code "
    "0, by command",
    "maintenance_exit_code": "exit code of the last run, by command",
    "maintenance_duration_seconds": "what the last run took, by command",
    "gc_roots": "living segments, tags, and the store log",
    "gc_examined_blobs": "blobs that were there",
    "gc_retained_blobs": "blobs that something needs",
    "gc_retained_raw_bytes": "their raw size",
    "gc_deleted_blobs": "blobs that the last run deleted",
    "gc_deleted_raw_bytes": "their raw size",
    "gc_freed_bytes": "by how much that shrank the files of the store",
    "gc_resurrected_blobs": "blobs that were condemned and are needed again",
    "gc_missing_blobs": "references that lead nowhere and are explained",
    "gc_later_blobs": "blobs that nothing needs and that stay for now, by reason",
    "gc_later_raw_bytes": "their raw size, by reason",
    "gc_next_timestamp_seconds": "when the next of them may go, if any waits",
    "gc_files": "files that were kept, rewritten, dropped, written; by state",
    "store_bytes": "size of the files of the store",
    "verify_faults": "faults that the last check of a share of the files found",
    "verify_checked_bytes": "what that check read",
}
_SUCCESS = "maintenance_success_timestamp_seconds"

#: Name, labels, value.
Sample = tuple[str, dict[str, str], float]


@attrs.frozen
class Run:
    """
    A run of one command.

    Attributes:
        command: ``gc`` or ``maintain``.

        store: The store's folder.

        code: How it ended.

        ended_s: When, seconds since 1970 UTC.

        duration_s: How long it took.
    """

    command: str
    store: str
    code: Exit
    ended_s: float
    duration_s: float


def samples_of_gc(report: Report) -> Iterator[Sample]:
    """Yield what a collection came to."""
    plain = {
        "gc_roots": report.root_count,
        "gc_examined_blobs": report.examined_blob_count,
        "gc_retained_blobs": report.retained_blob_count,
        "gc_retained_raw_bytes": report.retained_raw_bytes,
        "gc_deleted_blobs": report.deleted_blob_count,
        "gc_deleted_raw_bytes": report.deleted_raw_bytes,
        "gc_freed_bytes": report.freed_bytes,
        "gc_resurrected_blobs": report.resurrected_blob_count,
        "gc_missing_blobs": report.missing_blob_count,
        "store_bytes": report.stored_bytes,
    }
    yield from ((name, {}, value) for name, value in plain.items())
    for reason, later in report.later.items():
        yield "gc_later_blobs", {"reason": reason}, later.blob_count
        yield "gc_later_raw_bytes", {"reason": reason}, later.raw_bytes
    if report.next_ms is not None:
        yield "gc_next_timestamp_seconds", {}, report.next_ms / 1000
    for state in ("kept", "rewritten", "dropped", "written"):
        yield "gc_files", {"state": state}, getattr(report, f"files_{state}")


def samples_of_upkeep(done: Upkeep) -> Iterator[Sample]:
    """Yield what a run of all parts came to."""
    if done.collection is not None:
        yield from samples_of_gc(done.collection)
    if done.sweep is not None:
        findings = done.sweep.report.findings
        faults = [item for item in findings if item.severity == FAULT]
        yield "verify_faults", {}, len(faults)
        yield "verify_checked_bytes", {}, done.sweep.report.covered["bytes"]


def write_metrics(path: Path, run: Run, samples: Iterable[Sample]) -> None:
    """
    Write *path* anew, at once: who reads it meanwhile has the old or the new.

    When the last run without a fault ended is taken over from what stands there.

    Raises:
        OSError: It cannot be written. What stood there stands there still.
    """
    told: list[Sample] = [
        ("maintenance_run_timestamp_seconds", {}, run.ended_s),
        ("maintenance_exit_code", {}, int(run.code)),
        ("maintenance_duration_seconds", {}, run.duration_s),
    ]
    ended = run.ended_s if run.code is Exit.DONE else _last_success(path)
    if ended is not None:
        told.append((_SUCCESS, {}, ended))
    labels = {"command": run.command, "store": run.store}
    _replace(path, _text([*told, *samples], labels))


def _text(samples: Iterable[Sample], labels: dict[str, str]) -> str:
    by_name: dict[str, list[str]] = {}
    for name, own, value in samples:
        pairs = {**labels, **own}.items()
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in pairs)
        line = f"castore_{name}{{{inner}}} {_number(value)}"
        by_name.setdefault(name, []).append(line)
    parts = []
    for name, lines in by_name.items():
        parts.append(f"# HELP castore_{name} {METRICS[name]}")
        parts.append(f"# TYPE castore_{name} gauge")
        parts += lines
    return "\n".join(parts) + "\n"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _escaped(text: str) -> str:
    plain = text.encode(errors="replace").decode()
    for mark, stands in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        plain = plain.replace(mark, stands)
    return plain


def _last_success(path: Path) -> float | None:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    line = rf"^castore_{_SUCCESS}\{{.*\}} ([0-9.]{{1,20}})$"
    found = re.search(line, text, re.MULTILINE)
    return float(found[1]) if found else None


def _replace(path: Path, text: str) -> None:
    # The collector reads names ending in .prom only: this is none.
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def metrics_text() -> str:
    """Return what each metric tells, for people."""
    lines = [
        "Each has the labels command (gc or maintain) and store (its folder).",
        "",
    ]
    lines += [f"castore_{name}\n    {meaning}" for name, meaning in METRICS.items()]
    return "\n".join(lines)
