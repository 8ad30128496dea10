"""
Accepting that something is lost: said once in the store log, and explained from then.

Spec: spec/storelog.md, "What is not there".
"""

from __future__ import annotations

from collections.abc import Collection

from castore.agreeing import named_by_files
from castore.digest import format_digest
from castore.engine import Engine
from castore.engine.change import Append, Change, NewEntry
from castore.engine.expect import Expect
from castore.engine.putting import keep_bytes
from castore.errors import CorruptionError, FormatError, LostError
from castore.formats import storelog
from castore.marking import Marks


REASON = "accepted with gc --accept-lost"
_SHOWN = 10  # names in a text; the error holds all


def check_lost(marks: Marks, accepted: Collection[bytes]) -> None:
    """
    Refuse to go on where something is lost that is not *accepted*, or the reverse.

    Raises:
        LostError: More is lost than was accepted.

        FormatError: Something was accepted that is there, or explained already, or
            that nothing needs.
    """
    names = frozenset(accepted)
    wrong = names - marks.lost
    if wrong:
        raise FormatError(
            what=f"{len(wrong)} of what was to be accepted as lost is not missing and "
            f"unexplained, so nothing was done: {_some(wrong)}"
        )
    left = marks.lost - names
    if left:
        raise LostError(
            what=f"{len(left)} references lead nowhere, so nothing was deleted: "
            f"{_some(left)}; run castore verify, restore them from a copy, or accept "
            "that they are lost (gc --accept-lost)",
            names=tuple(sorted(map(format_digest, left))),
        )


def accept_lost(
    engine: Engine, marks: Marks, names: Collection[bytes], *, dry_run: bool
) -> None:
    """
    Say in the store log that *names*, all that is lost, are; *marks* follow.

    Raises:
        CorruptionError: ``catalog differs``: some are in the files all the same.
    """
    _, found = named_by_files(engine, names, (), marks.policy.terms)
    there = [name for name, files in found.items() if files]
    if there:
        raise CorruptionError(
            what=f"{len(there)} blobs seemed lost and are there; nothing was done, run "
            "castore rebuild",
            verdict="catalog differs",
            where="catalog",
        )
    if not dry_run:
        body = storelog.erased(REASON, names)
        entry = NewEntry(storelog.LOST, keep_bytes(engine, body), content=body)
        append = Append(engine.store, engine.store, (entry,), Expect.ANY)
        engine.commit(Change((append,), maintenance=True))
    marks.explained |= marks.lost
    marks.lost = set()


def _some(names: Collection[bytes]) -> str:
    ordered = sorted(map(format_digest, names))
    more = len(ordered) - _SHOWN
    return ", ".join(ordered[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
