"""
``repair``: good copies for what is damaged, from wherever there are some.
"""

from __future__ import annotations

import argparse

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from castore.cli.exits import Exit
from castore.cli.opening import open_store
from castore.cli.output import Output
from castore.cli.text import count_text


if TYPE_CHECKING:
    from castore.repairing import Repaired


def repair(options: argparse.Namespace, out: Output) -> Exit:
    """Mend what can be mended; say what is lost, and what to do then."""
    from castore.repairing import open_source
    from castore.repairing import repair as repair_store

    sources = [open_source(Path(each).absolute()) for each in options.sources]
    with open_store(options) as store, out.progress("reading") as progress:
        done = repair_store(store.engine, sources, progress=progress.update)
    steps = list(_next_steps(done))
    for line in _lines(done):
        out.line(line)
    for each in done.lost:
        named = (
            f"{', '.join(each.entries)}; {count_text(each.count, 'entry', 'entries')}"
        )
        out.answer(f"lost: {each.ref}: named by {named}")
    for name in done.left:
        out.answer(f"left as it is: {name}: what it held is nowhere, or it is in use")
    for step in steps:
        out.line(f"next: {step}")
    out.object(
        {
            "faults": done.fault_count,
            "replaced": list(done.replaced),
            "left": list(done.left),
            "quarantined": list(done.quarantined),
            "taken_count": done.taken_count,
            "lost": [
                {"ref": each.ref, "entries": list(each.entries), "count": each.count}
                for each in done.lost
            ],
            "seq": done.seq,
            "next": steps,
        }
    )
    return Exit.DONE if done.is_whole else Exit.FINDINGS


def _lines(done: Repaired) -> Iterator[str]:
    if not done.fault_count:
        yield "nothing is damaged"
        return
    yield f"{count_text(done.fault_count, 'fault')} before"
    if done.replaced:
        what = count_text(len(done.replaced), "damaged file")
        yield f"{what} replaced by packs; kept in quarantine/ until you remove them"
    if done.taken_count:
        yield f"{count_text(done.taken_count, 'blob')} taken from what --from named"


def _next_steps(done: Repaired) -> Iterator[str]:
    if done.fault_count:
        yield "castore verify"
    if not done.is_whole:
        yield "castore repair --from ANOTHER, with another copy, if there is one"
    if done.left:
        yield (
            "else restore the store from a backup, put it in place of this one, and "
            "run castore recover"
        )
    elif done.lost:
        yield "or put what is lost again: the same bytes heal what names them"
        yield (
            "else castore gc --accept-lost FILE, with the names above in FILE, one a "
            "line; or castore erase REF for what shall not come back"
        )
