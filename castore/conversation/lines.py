"""
Lines of the files that hash-chained logs and segment logs are, read as entries.

Spec: spec/conversations.md, "Files".
"""

from __future__ import annotations

import json

from collections.abc import Iterator
from typing import Any

from castore.errors import FormatError
from castore.records.entries import ENTRIES
from castore.records.fields import Record
from castore.transcript.chained import Chain
from castore.transcript.tokens import DECODER


#: Formats of `castore.transcript` whose lines are entries.
LOG_FORMATS = ("segment-log", "session-log")

_TAIL = "tail"


class LineReader:
    """
    Turns lines into entries, one after the other, and knows their numbers.

    The end of a line is what commits it. A last line without one is torn: it
    counts for nothing, and is noted. Only a hash-chained log, which wrote text
    and end separately, is read to a last line that is whole.

    Attributes:
        number: Of the line taken last; the first is 1.

        head: Hash of the entry taken last, if its line names one.

        notes: What was found to be wrong, and where.
    """

    def __init__(self, name: str) -> None:
        """Begin a file of the format *name*, one of `LOG_FORMATS`."""
        if name not in LOG_FORMATS:
            raise FormatError(what=f"{name} is no log of a conversation")
        self.number = 0
        self.head: bytes | None = None
        self.notes: list[str] = []
        self._chain = Chain() if name == "session-log" else None
        self._tail: bytes | None = None

    def take(self, kind: str, line: bytes) -> Record | None:
        """
        Return the entry that *line* is; None for a blank one and for the tail.

        Args:
            kind: Of its span.

            line: With its end.

        Raises:
            FormatError: It is none; names the line's number.
        """
        if kind == _TAIL:  # a later one says more
            self._tail = line
            return None
        self._tail = None
        self.number += 1
        return None if kind == "blank" else self._entry(line.removesuffix(b"\n"))

    def end(self) -> Iterator[Record]:
        """Yield the entry that the tail is, if it counts; note it if it does not."""
        tail, self._tail = self._tail, None
        if tail is None:
            return
        self.number += 1
        if self._chain is not None and isinstance(_parse(tail), dict):
            yield self._entry(tail)
        else:
            self.notes.append(f"line {self.number}: torn, {len(tail)} bytes")

    def _entry(self, line: bytes) -> Record:
        where = f"line {self.number}"
        members = _parse(line)
        if type(members) is not dict:
            raise FormatError(what=f"{where}: not an object of JSON in UTF-8")
        if self._chain is not None:
            wrong = self._chain.take([line])
            self.head = self._chain.last
            if wrong is not None:
                self.notes.append(f"{where}: {wrong}")
            members.pop("hash", None)
            members.pop("prev_hash", None)
        return ENTRIES.decode(members, where)


def _parse(line: bytes) -> Any:
    """Return the value of JSON that *line* is, None if it is none."""
    try:
        return DECODER.decode(line.decode())
    except (UnicodeDecodeError, json.JSONDecodeError, ValueError, RecursionError):
        return None
