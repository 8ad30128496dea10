"""
Which journals count: those in effect, and the chain from the newest of them.

Spec: spec/file.md, "Journal"; spec/checking.md, steps 3 and 4.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import attrs

from castore.formats import file as file_format
from castore.formats.file import FileHeader, file_name
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
    journals = {
        file: item for file, item in good.items() if _is_journal(item.file.header)
    }
    found = {file for file, item in journals.items() if file == marked or _stands(item)}
    todo = list(found)
    while todo:
        pred = journals[todo.pop()].file.header.pred
        if pred in journals and pred not in found:
            found.add(pred)
            todo.append(pred)
    return sorted((journals[file] for file in found), key=_newest_first)


def chain_from(newest: FileContents, good: Good) -> list[FileContents]:
    """Return *newest* and its predecessors as far as they are there, newest first."""
    chain = [newest]
    while (pred := predecessor(chain[-1].file.header, good)) is not None:
        chain.append(pred)
    return chain


def predecessor(header: FileHeader, good: Good) -> FileContents | None:
    """Return the journal before the one with *header*, None if none can be used."""
    if header.number == 1 or header.pred not in good:
        return None
    found = good[header.pred]
    before = found.file.header
    return found if _is_journal(before) and before.number < header.number else None


def cut_chain(
    chain: list[FileContents], dropped: Iterable[bytes]
) -> list[FileContents]:
    """Return *chain* up to the first journal that the store log has dropped."""
    gone = set(dropped)
    stops = (at for at, item in enumerate(chain) if item.file.id in gone)
    return chain[: next(stops, len(chain))]


def judge_chain_end(
    last: FileHeader, good: Good, ended: Container[bytes]
) -> tuple[str, str, str] | None:
    """
    Return what is wrong with where a chain ends: verdict, place, detail.

    Args:
        last: Header of its oldest journal.

        good: Contents of all files whose header is good.

        ended: Files at which a chain may end: dropped ones, and refused ones,
            about which enough is said.
    """
    pred = last.pred
    if last.number == 1 or pred in ended:
        return None
    if pred not in good:
        return ("missing pack", file_name(pred), "predecessor of a journal")
    what = "its predecessor is no journal of a lower number"
    return ("broken link", file_name(last.id), what)


def judge_numbers(effective: Iterable[FileContents], findings: Findings) -> None:
    """Report journals in effect (newest first) whose number another one has."""
    seen: set[int] = set()
    for item in effective:
        number = item.file.header.number
        if number in seen:
            what = f"another journal has number {number}, too"
            findings.add("fork evidence", item.file.name, what)
        seen.add(number)


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
    latest_groups: list[tuple[int, int]] = []
    latest = 0
    for frame in reversed(contents.frames):
        latest = max(latest, frame.group_start)
        latest_groups.append((frame.offset, latest))
    for gap in contents.gaps:
        while latest_groups and latest_groups[-1][0] < gap.offset:
            latest_groups.pop()
        behind = latest_groups[-1][1] if latest_groups else 0
        if behind <= gap.offset >= floor:
            frames = [item for item in contents.frames if item.offset < gap.offset]
            gaps = [item for item in contents.gaps if item.offset < gap.offset]
            return attrs.evolve(contents, frames=frames, gaps=gaps), gap.offset
    return contents, None


def _is_journal(header: FileHeader) -> bool:
    return header.kind == file_format.JOURNAL


def _newest_first(item: FileContents) -> tuple[int, bytes]:
    return -item.file.header.number, item.file.id


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
