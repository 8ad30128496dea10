"""
The JSON of message sessions: integers of 64 bits only, commas may trail.

`json` reads what it takes of it at C speed. What that refuses is read again here,
where trailing commas, leading zeros and control characters in texts are taken as
their system takes them, and the place of a fault is told. Of a name given twice
the last counts. Surrogate pairs are taken; a lone surrogate is no text.

No error shows what stands at its place.

Spec: spec/messages.md.
"""

from __future__ import annotations

import json
import re

from typing import Any

from castore.errors import FormatError
from castore.records.messages import NUMBER_MAX


DEPTH_MAX = 128  # arrays and objects inside one another

_SPACE = re.compile(r"[ \t\n\r]*")
_DIGITS = re.compile(r"-?[0-9]+")
_PLAIN = re.compile(r'[^"\\]*')
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_CONTROL = re.compile(r"[\x7f-\x9f]")
_LITERALS = {"null": None, "true": True, "false": False}
_ESCAPES = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}


def _integer(digits: str) -> int:
    # Long ones would make `int` refuse them, or take its time.
    if (
        len(digits.lstrip("-0")) > 19
        or not -NUMBER_MAX - 1 <= int(digits) <= NUMBER_MAX
    ):
        raise ValueError("a number beyond 64 bits")
    return int(digits)


def _no_number(_text: str) -> Any:
    raise ValueError("a number that is no integer")


_DECODER = json.JSONDecoder(
    parse_int=_integer,
    parse_float=_no_number,
    parse_constant=_no_number,
    strict=False,
)


def parse(text: str) -> Any:
    """
    Return the value that *text* is.

    Raises:
        FormatError: It is none; says where and why.
    """
    try:
        value = _DECODER.decode(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # refuses a lone one
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text[error.pos] == "{":
            # Of lines, most likely: no use to read the first one again.
            what = f"character {error.pos + 1}: something behind the value"
            raise FormatError(what=what) from None
    except (ValueError, RecursionError):
        pass  # read again below, for its place
    else:
        return value
    parser = _Parser(text)
    value = parser.value(DEPTH_MAX)
    if parser.at < len(text):
        raise parser.fault("something behind the value")
    return value


class _Parser:
    """Reads values of *text* from the position *at* on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fault(self, what: str) -> FormatError:
        return FormatError(what=f"character {self.at + 1}: {what}")

    def value(self, depth: int) -> Any:
        """Return the value here, and go behind it and the space around it."""
        sign = self._next()
        if sign == '"':
            found: Any = self._string()
        elif sign in "{[" and sign:
            if not depth:
                raise self.fault("nested too deep")
            self.at += 1
            found = self._object(depth) if sign == "{" else self._array(depth)
        elif match := _DIGITS.match(self.text, self.at):
            found = self._number(match)
        else:
            found = self._literal()
        self._next()
        return found

    def _next(self) -> str:
        """Go to what is no space, and return its character; empty at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def _take(self, sign: str) -> bool:
        if self._next() != sign:
            return False
        self.at += 1
        return True

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise self.fault(f"no {sign}")

    def _literal(self) -> bool | None:
        for name, value in _LITERALS.items():
            if self.text.startswith(name, self.at):
                self.at += len(name)
                return value
        raise self.fault("no value")

    def _number(self, match: re.Match[str]) -> int:
        try:
            number = _integer(match[0])
        except ValueError as error:
            raise self.fault(str(error)) from None
        self.at = match.end()
        if self.text[self.at : self.at + 1] in (".", "e", "E"):
            raise self.fault("a number that is no integer")
        return number

    def _array(self, depth: int) -> list[Any]:
        values = []
        while not self._take("]"):
            values.append(self.value(depth - 1))
            if not self._take(","):
                self._need("]")
                break
        return values

    def _object(self, depth: int) -> dict[str, Any]:
        members = {}
        while not self._take("}"):
            if self._next() != '"':
                raise self.fault("no name")
            name = self._string()
            self._need(":")
            members[name] = self.value(depth - 1)
            if not self._take(","):
                self._need("}")
                break
        return members

    def _string(self) -> str:
        parts = []
        self.at += 1
        while True:
            match = _PLAIN.match(self.text, self.at)
            if match:
                parts.append(match[0])
                self.at = match.end()
            sign = self.text[self.at : self.at + 1]
            if not sign:
                raise self.fault("a text without an end")
            self.at += 1
            if sign == '"':
                return "".join(parts)
            parts.append(self._escape())

    def _escape(self) -> str:
        sign = self.text[self.at : self.at + 1]
        if sign != "u":
            if sign not in _ESCAPES:
                raise self.fault("no such escape")
            self.at += 1
            return _ESCAPES[sign]
        high = self._unit()
        if not 0xD800 <= high < 0xE000:
            return chr(high)
        if high < 0xDC00 and self.text.startswith("\\u", self.at):
            self.at += 1
            low = self._unit()
            if 0xDC00 <= low < 0xE000:
                return chr(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF))
        raise self.fault("a lone surrogate")

    def _unit(self) -> int:
        """Return the number at ``uXXXX``, and go behind it."""
        match = _HEX.match(self.text, self.at + 1)
        if not match:
            raise self.fault("no four digits")
        self.at = match.end()
        return int(match[0], 16)


def render(value: Any) -> str:
    """
    Return *value* as their system writes it: names sorted, no space, one line.

    Raises:
        FormatError: It holds a number that is no integer of 64 bits with a sign,
            or what JSON does not have.
    """
    check(value)
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def check(value: Any) -> None:
    """Refuse what `render` cannot write, as it does."""
    _check(value, DEPTH_MAX)


def _check(value: Any, depth: int) -> None:
    kind = type(value)
    if not depth:
        raise FormatError(what="nested too deep")
    if kind is dict:
        for name, inner in value.items():
            _check(name, 1)
            _check(inner, depth - 1)
    elif kind in (list, tuple):
        for inner in value:
            _check(inner, depth - 1)
    elif kind is int:
        if not -NUMBER_MAX - 1 <= value <= NUMBER_MAX:
            raise FormatError(what="a number out of range for JSON")
    elif kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise FormatError(what="a text with a lone surrogate") from None
    elif value is not None and kind is not bool:
        raise FormatError(what=f"{kind.__name__} has no place in a message session")
