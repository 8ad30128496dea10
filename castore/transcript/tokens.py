"""
JSON as a stream of tokens, checked to the last byte and in bounded memory.

For lines and documents that are too big for `json.loads`, which takes several
times their size. What is JSON is decided here: RFC 8259 in UTF-8, so no
``NaN``, no control character in a string and nothing after the value. Two
bounds, both above what a line short enough for `json.loads` could hold:
`DEPTH_MAX` levels of nesting, `NUMBER_SIZE_MAX` bytes of a number.
"""

from __future__ import annotations

import codecs
import re

from collections.abc import Iterable, Iterator
from itertools import chain

import attrs

from castore.errors import FormatError
from castore.limits import MIB, NAME_SIZE_MAX


DEPTH_MAX = MIB  # levels; the stack has one byte for each
NUMBER_SIZE_MAX = MIB  # bytes
# Bytes of a string or number that is handed on. NAME_SIZE_MAX characters fit,
# however they are escaped: twelve bytes make one character at most.
TEXT_SIZE_MAX = 12 * NAME_SIZE_MAX + 2

SPACE = b" \t\n\r"
KEY = "key"
VALUE = "value"


@attrs.frozen
class Token:
    """
    A bracket, a key or a scalar.

    Attributes:
        name: ``{``, ``}``, ``[``, ``]``, `KEY` or `VALUE`.

        stop: Offset behind its last byte.

        depth: How many brackets are open around it.

        text: A key or scalar as it stands in the input, quotes and escapes
            included; None for brackets and above `TEXT_SIZE_MAX` bytes.
    """

    name: str
    stop: int
    depth: int
    text: bytes | None


_PLAIN = rb'[^"\\\x00-\x1f]*'
_ESCAPE = rb'\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})'
_BODY = re.compile(rb"%b(?:%b%b)*" % (_PLAIN, _ESCAPE, _PLAIN))
_ESCAPE_BEGUN = re.compile(rb"\\(?:u[0-9A-Fa-f]{0,3})?")
_SCALAR = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null"
# A scalar counts once its end is seen: the next chunk may go on with it.
_LEXEME = re.compile(
    rb'[ \t\n\r]*(?:([{}\[\]:,])|("%b")|((?:%b)(?=[ \t\n\r,\]}])))'
    % (_BODY.pattern, _SCALAR)
)
_SCALAR_BEGUN = re.compile(rb"[-+.0-9a-zE]*")

_QUOTE = ord('"')
_DIGIT = ord("0")  # stands for all scalars but strings

# What may come next, as the first bytes of lexemes.
_AT_VALUE = b'{["0'
_AT_ITEM = b'{["0]'
_AT_KEY = b'"'
_AT_FIRST_KEY = b'"}'
_AT_COLON = b":"
_IN_OBJECT = b",}"
_IN_ARRAY = b",]"
_AT_END = b""


def tokens(
    chunks: Iterable[bytes], *, shallow: int, offset: int = 0
) -> Iterator[Token]:
    """
    Yield the tokens of one JSON value with at most *shallow* brackets around.

    Deeper ones are checked and not handed on. Each comes as soon as its chunk
    is read, so what came before an error is good up to there. Chunks without
    any value (white space, or none at all) yield nothing. Where the input is
    cut into chunks makes no difference.

    Args:
        chunks: The input, each a few hundred KiB at most; memory is a small
            multiple of that.

        shallow: Deepest level handed on.

        offset: Where the first chunk lies in the file.

    Raises:
        FormatError: Not one JSON value, or one beyond the bounds above.
    """
    legal = _AT_VALUE
    stack = bytearray()
    for mark, stop, text in _lexemes(chunks, offset):
        if mark not in legal:
            raise _malformed(stop)
        if mark in b":,":
            in_object = mark == ord(",") and stack[-1] == ord("{")
            legal = _AT_KEY if in_object else _AT_VALUE
            continue
        if mark in b"]}":
            stack.pop()
        depth = len(stack)
        is_key = mark == _QUOTE and legal in (_AT_KEY, _AT_FIRST_KEY)
        if depth <= shallow:
            name = KEY if is_key else VALUE if mark in b'"0' else chr(mark)
            yield Token(name, stop, depth, text)
        if is_key:
            legal = _AT_COLON
        elif mark in b"[{":
            if depth == DEPTH_MAX:
                raise _malformed(stop)
            stack.append(mark)
            legal = _AT_FIRST_KEY if mark == ord("{") else _AT_ITEM
        elif depth:
            legal = _IN_OBJECT if stack[-1] == ord("{") else _IN_ARRAY
        else:
            legal = _AT_END
    if stack:
        raise FormatError("not JSON: the input ends inside of a value")


def _lexemes(
    chunks: Iterable[bytes], offset: int
) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield (first byte, stop, text if short) of each; `_DIGIT` for scalars."""
    buffer = b""
    at = 0  # in buffer, which begins at offset
    begun: bytearray | None = None  # what is kept of a string not yet ended
    # The white space behind the end settles a number that stands there.
    for chunk in chain(_valid(chunks, offset), (b"\n",)):
        buffer, offset, at = buffer[at:] + chunk, offset + at, 0
        while True:
            if begun is not None:
                at = _string_part(buffer, at, begun)
                if at == len(buffer) or _ESCAPE_BEGUN.fullmatch(buffer, at):
                    break
                if buffer[at] != _QUOTE:
                    raise _malformed(offset + at)
                at += 1
                begun += b'"'
                whole = len(begun) <= TEXT_SIZE_MAX
                yield _QUOTE, offset + at, bytes(begun) if whole else None
                begun = None
            elif found := _LEXEME.match(buffer, at):
                at = found.end()
                start = found.start(found.lastindex or 0)
                short = at - start <= TEXT_SIZE_MAX
                mark = _DIGIT if found.lastindex == 3 else buffer[start]
                yield mark, offset + at, buffer[start:at] if short else None
            else:
                at = len(buffer) - len(buffer[at:].lstrip(SPACE))
                if buffer[at : at + 1] == b'"':
                    begun = bytearray(b'"')
                    at += 1
                elif (
                    not _SCALAR_BEGUN.fullmatch(buffer, at)
                    or len(buffer) - at > NUMBER_SIZE_MAX
                ):
                    raise _malformed(offset + at)
                else:
                    break


def _string_part(buffer: bytes, at: int, begun: bytearray) -> int:
    """Return where the good part of a string ends; keep what may be wanted."""
    found = _BODY.match(buffer, at)
    stop = found.end() if found else at
    if len(begun) <= TEXT_SIZE_MAX:
        begun += buffer[at : min(stop, at + TEXT_SIZE_MAX)]
    return stop


def _valid(chunks: Iterable[bytes], offset: int) -> Iterator[bytes]:
    """
    Yield what is UTF-8, never half a character; raise at the first that is not.
    """
    rest = b""
    for chunk in chunks:
        data = rest + chunk
        size = len(data)
        if not data.isascii():
            try:
                size = codecs.utf_8_decode(data, "strict", False)[1]
            except UnicodeDecodeError as error:
                yield data[: error.start]
                raise _malformed(offset + error.start) from None
        yield data[:size]
        rest = data[size:]
        offset += size
    if rest:
        raise _malformed(offset)


def _malformed(offset: int) -> FormatError:
    return FormatError(f"not JSON at byte {offset}")
