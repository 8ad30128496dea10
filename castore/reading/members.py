"""
The files of a store, and whether each holds what it must.

Whatever names a file says where a frame with which hash ends in it: the mark, a
successor's header, a listing, a commit. Each of these *claims* has to be met by
the frames that count.

Spec: spec/checking.md, steps 3 and 4; spec/storelog.md, "The files of the store".
"""

from __future__ import annotations

import attrs

from castore.formats import file as file_format
from castore.reading.contents import FileContents
from castore.reading.findings import Findings


CORRUPT = "corrupt frame"

#: End and hash of a frame that has to be in a file.
Claim = tuple[int, bytes]


@attrs.define(eq=False)
class Member:
    """
    One file of the store.

    Attributes:
        contents: What stands in it up to its extent.

        stop: The extent: up to where its frames count.

        torn: Where its last sync group is torn, None if it is not.

        claims: What others say must be in it.
    """

    contents: FileContents
    stop: int
    torn: int | None = None
    claims: set[Claim] = attrs.Factory(set)

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


def make_member(contents: FileContents, stop: int) -> Member:
    """Return the member whose frames count up to *stop*."""
    return Member(contents.up_to(stop), stop)


def judge_member(member: Member, findings: Findings) -> None:
    """Report what step 4 finds in one file of the store."""
    contents, name = member.contents, member.name
    for gap in contents.gaps:
        findings.add(CORRUPT, f"{name}@{gap.offset}", gap.what)
    if member.torn is not None:
        what = "the last sync group is not whole"
        findings.notice(f"{name}@{member.torn}", what, "torn tail")
    for frame in contents.frames:
        if frame.refusal:
            findings.refuse(frame.refusal)
    size = contents.file.size()
    for end, digest in sorted(member.claims):
        if not contents.ends_at(end, digest):
            if not contents.gaps:
                what = f"no frame ends at {end} as it should"
                findings.add("truncated log", f"{name}@{contents.end}", what)
        elif member.is_pack and size > end:
            what = "bytes behind the end of a pack"
            findings.add(CORRUPT, f"{name}@{end}", what)
