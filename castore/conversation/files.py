"""
Files of hash-chained logs and segment logs, read without a store.

Spec: spec/conversations.md, "Files".
"""

from __future__ import annotations

from typing import BinaryIO

import attrs

from castore.conversation.lines import LineReader
from castore.conversation.state import Fold
from castore.records.fields import Record
from castore.records.state import RestoredState
from castore.transcript import detect, spans


@attrs.frozen
class LogFile:
    """
    What a file holds.

    Attributes:
        format: ``session-log`` (hash-chained) or ``segment-log``.

        entries: Of `castore.records.entries`, in order.

        state: What they come to; `RestoredState.notes` tells what is torn, not
            understood, or does not have the hash that it should.
    """

    format: str
    entries: tuple[Record, ...]
    state: RestoredState


def read_log(file: BinaryIO, path: str, format: str | None = None) -> LogFile:  # noqa: A002
    """
    Return what *file* holds.

    Args:
        file: Seekable and binary.

        path: Its path or name.

        format: As from `castore.transcript.detect`; found out by default.

    Raises:
        FormatError: It is no log, or a line is no entry; names the line's number.
    """
    name = format or detect(file, path)
    reader = LineReader(name)
    fold = Fold()
    entries: list[Record] = []

    def take(entry: Record) -> None:
        entries.append(entry)
        fold.take(entry, reader.head)

    for span in spans(file, name):
        file.seek(span.start)
        entry = reader.take(span.kind, file.read(span.stop - span.start))
        if entry is not None:
            take(entry)
    for entry in reader.end():
        take(entry)
    fold.note(reader.notes)
    return LogFile(name, tuple(entries), fold.state)
