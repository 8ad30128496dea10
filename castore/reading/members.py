"""
The files of a store, and whether each holds what it must up to its end.

Spec: spec/checking.md, steps 3 and 4; spec/storelog.md, "The files of the store".
"""

from __future__ import annotations

import attrs

from castore.formats import file as file_format
from castore.reading.contents import FileContents
from castore.reading.findings import Findings


CORRUPT = "corrupt frame"


@attrs.define(eq=False)
class Member:
    """
    One file of the store.

    Attributes:
        contents: What stands in it up to its extent.

        stop: The extent: up to where its frames count.

        end: Where a whole frame must end with hash *frame*.

        frame: That hash, None where no end must be met.

        listed: Whether the store log lists it.

        torn: Where its last sync group is torn, None if it is not.
    """

    contents: FileContents
    stop: int
    end: int = 0
    frame: bytes | None = None
    listed: bool = False
    torn: int | None = None

    @property
    def id(self) -> bytes:
        """File id."""
        return self.contents.file.id

    @property
    def name(self) -> str:
        """Name of the file, as findings give it."""
        return self.contents.file.name

    @property
    def is_pack(self) -> bool:
        """Whether it is a pack."""
        return self.contents.file.header.kind == file_format.PACK


def make_member(
    contents: FileContents, stop: int, frame: bytes | None, *, listed: bool = False
) -> Member:
    """Return the member whose frames lead to *stop*, the last with hash *frame*."""
    return Member(contents.up_to(stop), stop, stop, frame, listed)


def judge_member(member: Member, findings: Findings) -> None:
    """Report what step 4 finds in one file of the store."""
    contents, name = member.contents, member.name
    corrupt = bool(contents.gaps)
    for gap in contents.gaps:
        findings.add(CORRUPT, f"{name}@{gap.offset}", gap.what)
    if member.torn is not None:
        what = "the last sync group is not whole"
        findings.notice(f"{name}@{member.torn}", what, "torn tail")
    for frame in contents.frames:
        if frame.refusal:
            findings.refuse(frame.refusal)
    if member.listed and member.is_pack and contents.file.size() > member.stop:
        corrupt = True
        what = "bytes behind the end that the store log lists"
        findings.add(CORRUPT, f"{name}@{member.stop}", what)
    if not corrupt:
        corrupt = not _meets_end(member, findings)
    if not corrupt:
        _judge_footers(member, findings)
    if member.listed and member.is_pack:
        frames = contents.frames
        if not frames or frames[-1].footer is None:
            what = "a pack without a footer at its end"
            findings.add(CORRUPT, f"{name}@{member.stop}", what)


def _meets_end(member: Member, findings: Findings) -> bool:
    contents = member.contents
    if member.frame is None or contents.ends_at(member.end, member.frame):
        return True
    verdict = CORRUPT if member.is_pack else "truncated log"
    what = f"no frame ends at {member.end} as it should"
    findings.add(verdict, f"{member.name}@{contents.end}", what)
    return not member.is_pack


def _judge_footers(member: Member, findings: Findings) -> None:
    frames = member.contents.frames
    offsets: list[int] = []
    for number, frame in enumerate(frames):
        where = f"{member.name}@{frame.offset}"
        if frame.footer is not None and frame.refusal is None:
            if frame.footer != offsets:
                what = "footer: not the offsets of the frames"
                findings.add("malformed record", where, what)
            if number + 1 < len(frames):
                findings.add("malformed record", where, "a frame behind the footer")
        offsets.append(frame.offset)
