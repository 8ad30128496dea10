"""
Files that are one JSON document with a list of messages, cut into messages.

A message's span runs from the end of what came before to its own last byte, so
the comma and white space in front of a message belong to it::

    {"version": 1, "messages": [     before
    {...}                            message
    , {...}                          message
    ], "usage": {}}                  after

Reserved kinds: ``before`` runs through the list's bracket, ``after`` from the
last message to the end. Where the file stops being JSON nothing can be cut any
more: the rest is one ``broken`` span; so is all of a file without the list. If
the file is cut short right behind a span, that one counts as bad. A list named
twice is cut the first time.
"""

from __future__ import annotations

import os

from collections.abc import Iterator
from typing import BinaryIO

import attrs

from castore.errors import FormatError
from castore.transcript.reading import mark_size, read_range
from castore.transcript.records import (
    Sketch,
    Span,
    native_id_of,
    slug,
    text_of,
    time_of,
    value_of,
)
from castore.transcript.tokens import KEY, Token, tokens


ELEMENT_DEPTH = 3  # the object, the list, the message, its fields


def document_spans(file: BinaryIO, *, array: str, kind: str) -> Iterator[Span]:
    """
    Yield the spans of *file*: its end is where it was at the first step.

    Memory is bounded whatever the size of the document or of a message.

    Args:
        file: The document.

        array: Name of the list in the outermost object.

        kind: Kind of a message that names neither role nor type.
    """
    size = file.seek(0, os.SEEK_END)
    start = mark_size(file)
    stream = tokens(read_range(file, start, size), shallow=ELEMENT_DEPTH, offset=start)
    held: Span | None = None
    try:
        for span in _cut(stream, array, kind):
            if held:
                yield held
            held = span
        bad = held is None
    except FormatError:
        bad = True
    stop = held.stop if held else 0
    if held:
        yield attrs.evolve(held, bad=bad and stop == size)
    if stop < size:
        yield Span(stop, size, "broken" if bad else "after", None, None, bad)


def _cut(stream: Iterator[Token], array: str, kind: str) -> Iterator[Span]:
    """
    Yield ``before`` and the messages, then check the rest; nothing if no list
    is found.
    """
    key: object = None
    for token in stream:
        if token.depth != 1:
            continue
        if token.name == KEY:
            key = value_of(token)
        elif token.name == "[" and key == array:
            yield Span(0, token.stop, "before", None, None, False)
            yield from _elements(stream, token.stop, kind)
            break
    for _ in stream:
        pass


def _elements(stream: Iterator[Token], start: int, kind: str) -> Iterator[Span]:
    element = Sketch()
    for token in stream:
        if token.name == "]" and token.depth == 1:
            return
        if element.take(token):
            record = element.value if isinstance(element.value, dict) else {}
            yield Span(
                start,
                token.stop,
                slug(text_of(record, "role") or text_of(record, "type") or "", kind),
                time_of(record),
                native_id_of(record),
                False,
            )
            start = token.stop
            element = Sketch()
