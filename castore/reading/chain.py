"""
Which journals count: those in effect, and the chain from the newest of them.

Spec: spec/file.md, "Journal"; spec/checking.md, steps 3 and 4.
"""

from __future__ import annotations

import itertools

from collections.abc import Iterable, Mapping

import attrs

from castore.formats import file as file_format
from castore.reading.contents import FileContents
from castore.reading.findings import Findings


#: Contents of all files with a good header, by file id.
Good = Mapping[bytes, FileContents]


def journals_in_effect(good: Good, marked: bytes | None) -> list[FileContents]:
    """
    Return the journals in effect, newest first, whatever was dropped.

    Of two with one number the one with the lower id comes first.

    Args:
        good: Contents of all files whose header is good.

        marked: The journal that a mark that is worth something names.
    """
    found = [
        item
        for file, item in good.items()
        if item.file.header.kind == file_format.JOURNAL
        and (file == marked or _stands(item))
    ]
    return sorted(found, key=lambda item: (-item.file.header.number, item.file.id))


def chain_from(newest: FileContents, good: Good) -> list[FileContents]:
    """Return *newest* and its predecessors as far as they are there, newest first."""
    chain = {newest.file.id: newest}
    header = newest.file.header
    while header.number > 1 and header.pred in good and header.pred not in chain:
        chain[header.pred] = good[header.pred]
        header = good[header.pred].file.header
    return list(chain.values())


def judge_numbers(effective: Iterable[FileContents], findings: Findings) -> None:
    """Report journals in effect (newest first) whose number another one has."""
    for one, other in itertools.pairwise(effective):
        number = other.file.header.number
        if one.file.header.number == number:
            what = f"another journal has number {number}, too"
            findings.add("fork evidence", other.file.name, what)


def settle_newest(
    contents: FileContents, floor: int
) -> tuple[FileContents, int | None]:
    """
    Cut the newest journal where it is torn.

    Args:
        contents: Of the whole file.

        floor: End of a mark that is a lower bound on it, else 0.

    Returns:
        What stands before the torn place, and that place. It is None where
        nothing is torn; gaps that stay are damage.
    """
    latest = max((frame.group_start for frame in contents.frames), default=0)
    for gap in contents.gaps:
        if latest <= gap.offset >= floor:
            frames = [item for item in contents.frames if item.offset < gap.offset]
            gaps = [item for item in contents.gaps if item.offset < gap.offset]
            return attrs.evolve(contents, frames=frames, gaps=gaps), gap.offset
    return contents, None


def _stands(contents: FileContents) -> bool:
    """Whether the carried part is whole, or something was written behind it."""
    carried_end = contents.file.header.carried_end
    end = file_format.SIZE
    for frame in contents.frames:
        if frame.offset != end or end >= carried_end:
            break
        end = frame.end
    behind = any(frame.offset >= carried_end for frame in contents.frames)
    return end == carried_end or behind
