"""
``scan``: what an import of files would save, without a store.
"""

from __future__ import annotations

import argparse

import attrs

from castore.cli.exits import Exit, code_of, text_of
from castore.cli.output import Output
from castore.cli.text import count_text, size_text
from castore.errors import CastoreError
from castore.importer import Choice
from castore.scanning import Scan, scan


_SUMS = ("size", "lines", "line_repeats", "string_repeats", "estimate")


def run(options: argparse.Namespace, out: Output) -> Exit:
    """Read files and say how much of them is repeated; nothing of what they hold."""
    failed: list[tuple[str, CastoreError]] = []

    def fail(path: str, error: CastoreError) -> None:
        failed.append((path, error))
        out.warn(text_of(error))

    choice = Choice(exclude=options.exclude or (), since_ms=options.since)
    with out.progress("scanning") as progress:
        watch = progress.update if progress.is_seen else None
        found = scan(options.paths, choice=choice, progress=watch, failed=fail)
    total = {name: found.total(name) for name in _SUMS}
    _tell(found, total, options.limit, out)
    out.object(
        {
            "files": [attrs.asdict(file) for file in found.files],
            "total": total,
            "sampled": found.sampled,
            "compressed_in_part": found.compressed_in_part,
            "failed": [{"path": path, "what": text_of(e)} for path, e in failed],
        }
    )
    if not failed:
        return Exit.DONE
    return Exit.PARTIAL if found.files else code_of(failed[0][1]) or Exit.FAILED


def _tell(found: Scan, total: dict[str, int], limit: int, out: Output) -> None:
    if not found.files:
        out.line("no transcripts found")
        return
    out.line("    size      lines  repeated: lines  strings  would take  file")
    for file in found.files[:limit]:
        row = {name: getattr(file, name) for name in _SUMS}
        out.line(f"{_row(row)}  {file.path}")
    left = len(found.files) - limit
    if left > 0:
        out.line(f"... and {count_text(left, 'smaller file')}")
    out.line(f"{_row(total)}  {count_text(len(found.files), 'file')}")
    times = total["size"] / max(1, total["estimate"])
    size = size_text(total["estimate"])
    out.line(f"estimate: {size} in castore after packing, {times:.1f} times smaller;")
    out.line(f"  {_method(found)}, the index not counted")


def _row(sums: dict[str, int]) -> str:
    size = sums["size"]
    lines = _part(sums["line_repeats"], size)
    strings = _part(sums["string_repeats"], size)
    estimate = size_text(sums["estimate"])
    return (
        f"{size_text(size):>8} {sums['lines']:>10,} {lines:>16} {strings:>8}"
        f" {estimate:>11}"
    )


def _part(repeated: int, size: int) -> str:
    return f"{100 * repeated / size:.0f} %" if size else "-"


def _method(found: Scan) -> str:
    """Return how the estimate was made."""
    blocks = "some blocks" if found.compressed_in_part else "all"
    what = f"made by compressing {blocks} of what is not repeated"
    return f"{what}, repeats judged by a sample of the lines" if found.sampled else what
