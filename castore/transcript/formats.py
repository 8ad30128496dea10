"""
The formats by name, and the one way to cut each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from castore.transcript.chained import chained_spans
from castore.transcript.documents import document_spans
from castore.transcript.lines import line_spans
from castore.transcript.reading import read_at
from castore.transcript.records import Span


LINE_FORMATS = (
    "claude-code",
    "claw-code",
    "codex",
    "gemini",
    "pi",
    "segment-log",
    "session-log",
    "trace-log",
    "jsonl",
)
# Name of the list of messages, and the kind of a message that names neither role
# nor type.
DOCUMENT_FORMATS = {
    "claw-legacy": ("messages", "message"),
    "claw-port": ("messages", "message"),
    "gemini-json": ("messages", "message"),
    "swe-agent": ("trajectory", "step"),
}
# Formats that one tool writes for one kind of session share its names.
NAMESPACES = {
    "gemini-json": "gemini",
    "session-log": "segment-log",
    "trace-log": "segment-log",
}


def spans(
    file: BinaryIO,
    format: str,  # noqa: A002
    *,
    start: int = 0,
) -> Iterator[Span]:
    """
    Yield the spans of *file* from *start* to its end, in order, lazily.

    Together they are the file, byte for byte, whatever it holds: each begins
    where the one before stopped, and none is empty. The position of *file* may
    be moved between two spans.

    Memory is some 3 MiB, whatever the size of a line or a document; a line of
    nothing but brackets that is just short enough for `json` takes 25 MiB. Cost:
    about that of `json` per line, and a few times that above 1 MiB.

    Args:
        file: Seekable and binary. It may grow meanwhile; a line file is then
            read to where its end is when it is reached.

        format: One of `LINE_FORMATS` or `DOCUMENT_FORMATS`, as from `detect`.

        start: Offset of a line's first byte, to go on with a file that has grown.
            0 for documents.

    Raises:
        ValueError: No such format, or nothing begins at *start*.
    """
    if format in DOCUMENT_FORMATS:
        if start:
            raise ValueError("a document is cut from its start only")
        array, kind = DOCUMENT_FORMATS[format]
        return document_spans(file, array=array, kind=kind)
    if format not in LINE_FORMATS:
        raise ValueError(f"no such transcript format: {format!r}")
    if start and (start < 0 or read_at(file, start - 1, 1) != b"\n"):
        raise ValueError(f"no line begins at byte {start}")
    cut = chained_spans if format == "session-log" else line_spans
    return cut(file, start)
