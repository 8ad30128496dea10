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
import json
import re

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NoReturn

import attrs

from castore.errors import FormatError
from castore.limits import MIB, NAME_SIZE_MAX


SKIP_DEPTH = 8  # levels, from the deepest handed on, at which skipping is tried
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


_PLAIN = rb'[^"\\\x00-\x1f]*+'
_ESCAPE = rb'\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})'
# The regular expression engine keeps some 300 bytes for each repetition.
_BODY = re.compile(rb"%b(?:%b%b){0,1000}" % (_PLAIN, _ESCAPE, _PLAIN))
_ESCAPE_BEGUN = re.compile(rb"(?:\\(?:u[0-9A-Fa-f]{0,3})?)?")  # or nothing
_SCALAR = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?|true|false|null"
# A scalar counts once its end is seen: the next chunk may go on with it.
_LEXEME = re.compile(
    rb'[ \t\n\r]*+(?:([{}\[\]:,])|("%b")|((?:%b)(?=[ \t\n\r,\]}])))'
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
    lexer = _Lexer(chunks, offset)
    for mark, stop, text in lexer:
        # In a bracket, a number that only the end settles was cut short.
        if mark not in legal or (stack and lexer.ended):
            raise _malformed(stop)
        if mark in b":,":
            in_object = mark == ord(",") and stack[-1] == ord("{")
            legal = _AT_KEY if in_object else _AT_VALUE
            continue
        if mark in b"]}":
            stack.pop()
        depth = len(stack)
        is_key = mark == _QUOTE and legal in (_AT_KEY, _AT_FIRST_KEY)
        if depth <= shallow and mark in b'"0':
            yield Token(KEY if is_key else VALUE, stop, depth, text)
        elif depth <= shallow:
            yield Token(chr(mark), stop, depth, None)
        skipped = (
            mark in b"[{" and shallow <= depth < shallow + SKIP_DEPTH and lexer.skip()
        )
        if skipped and depth == shallow:
            yield Token("}" if mark == ord("{") else "]", lexer.stop, depth, None)
        if is_key:
            legal = _AT_COLON
        elif mark in b"[{" and not skipped:
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


class _Lexer:
    """
    JSON cut into (first byte, stop, text if short); `_DIGIT` for scalars.
    """

    def __init__(self, chunks: Iterable[bytes], offset: int) -> None:
        self.ended = False  # whether all chunks were taken
        self._chunks = chunks
        self._offset = offset
        self._buffer = b""  # begins at offset
        self._at = 0  # in buffer
        self._text: str | None = None  # the buffer, a character for each byte

    def __iter__(self) -> Iterator[tuple[int, int, bytes | None]]:
        begun: bytearray | None = None  # what is kept of a string not yet ended
        for chunk in chain(_valid(self._chunks, self._offset), self._end()):
            self._offset += self._at
            self._buffer = buffer = self._buffer[self._at :] + chunk
            self._at = 0
            self._text = None
            while True:
                if begun is not None:
                    if not self._string_part(begun):
                        break
                    short = len(begun) <= TEXT_SIZE_MAX
                    yield _QUOTE, self.stop, bytes(begun) if short else None
                    begun = None
                elif found := _LEXEME.match(buffer, self._at):
                    self._at = at = found.end()
                    start = found.start(found.lastindex or 0)
                    mark = _DIGIT if found.lastindex == 3 else buffer[start]
                    short = at - start <= TEXT_SIZE_MAX
                    text = buffer[start:at] if short else None
                    yield mark, self._offset + at, text
                elif self._string_begun():
                    begun = bytearray(b'"')
                else:
                    break

    def _end(self) -> Iterator[bytes]:
        """Yield the white space that settles a number at the end."""
        self.ended = True
        yield b"\n"

    def skip(self) -> bool:
        """
        Step over the value whose bracket came last, if all of it is in the buffer
        and `json` takes it; some ten times as fast as token by token.
        """
        if self._text is None:
            # Brackets, quotes and escapes are ASCII; the rest is checked UTF-8.
            self._text = self._buffer.decode("latin-1")
        try:
            self._at = DECODER.raw_decode(self._text, self._at - 1)[1]
        except (ValueError, RecursionError):
            return False
        return True

    @property
    def stop(self) -> int:
        """Offset behind what was handed on or stepped over."""
        return self._offset + self._at

    def _string_begun(self) -> bool:
        """Whether a string begins here; if not, more input must help."""
        rest = self._buffer[self._at :].lstrip(SPACE)
        self._at = len(self._buffer) - len(rest)
        if rest.startswith(b'"'):
            self._at += 1
            return True
        if not _SCALAR_BEGUN.fullmatch(rest) or len(rest) > NUMBER_SIZE_MAX:
            raise _malformed(self.stop)
        return False

    def _string_part(self, begun: bytearray) -> bool:
        """Go on in a string, keep what may be wanted; return whether it ended."""
        buffer = self._buffer
        while found := _BODY.match(buffer, self._at):
            start, self._at = self._at, found.end()
            if len(begun) <= TEXT_SIZE_MAX:
                begun += buffer[start : min(self._at, start + TEXT_SIZE_MAX)]
            if buffer[self._at : self._at + 1] == b'"':
                self._at += 1
                begun += b'"'
                return True
            if _ESCAPE_BEGUN.fullmatch(buffer, self._at):
                break
            if self._at == start:
                raise _malformed(self.stop)
        return False


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


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _float(text: str) -> float | None:
    # Tokens of more are not handed on either.
    return float(text) if len(text) <= TEXT_SIZE_MAX else None


# NaN and Infinity are Python's, not JSON's: no other reader would take them.
DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_float)
