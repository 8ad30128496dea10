"""
What a command says: lines for people, or one JSON object for scripts.
"""

from __future__ import annotations

import itertools
import json
import sys

from collections.abc import Iterable, Mapping

from castore.cli.exits import Exit, text_of
from castore.cli.progress import Progress
from castore.cli.text import printable


_LINE_COUNT = 200  # lines written at once


class Output:
    """
    Standard output and standard error of one command.

    Attributes:
        json: Whether standard output gets one JSON object and nothing else.

        quiet: Whether only faults, errors, answers and JSON are said.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet

    @property
    def is_watched(self) -> bool:
        """Whether standard output is a terminal."""
        return sys.stdout.isatty()

    def line(self, text: str = "") -> None:
        """Say one line to whoever reads the output; escapes come out harmless."""
        if not self.json and not self.quiet:
            _print(printable(text))

    def lines(self, texts: Iterable[str]) -> None:
        """Say many lines, each while the ones behind it are still made."""
        if self.json or self.quiet:
            return
        left = iter(texts)
        while some := list(itertools.islice(left, _LINE_COUNT)):
            _print("\n".join(map(printable, some)))

    def answer(self, text: str) -> None:
        """Say the line that the command was called for, `quiet` or not."""
        if not self.json:
            _print(printable(text))

    def object(self, value: Mapping[str, object]) -> None:
        """Give scripts their one object."""
        if self.json:
            _print(json.dumps(value))

    def note(self, text: str) -> None:
        """Say something beside the output."""
        if not self.quiet:
            self._say(text)

    def warn(self, text: str) -> None:
        """Say what went wrong, and the command goes on."""
        self._say(text)

    def fail(self, code: Exit, error: BaseException) -> None:
        """Say why the command ends."""
        text = text_of(error)
        self._say(text)
        kind = type(error).__name__
        facts: dict[str, object] = {"code": int(code), "kind": kind, "what": text}
        if kind == "LostError":
            facts["lost"] = list(getattr(error, "names", ()))
        self.object({"error": facts})

    def progress(self, label: str) -> Progress:
        """Return what says how far *label* is, if anybody watches."""
        watched = sys.stderr.isatty() and not self.quiet
        return Progress(label, sys.stderr if watched else None)

    def _say(self, text: str) -> None:
        sys.stdout.flush()
        line = _encodable(f"castore: {printable(text)}", sys.stderr.encoding)
        print(line, file=sys.stderr, flush=True)


def _print(text: str) -> None:
    print(_encodable(text, sys.stdout.encoding))


def _encodable(text: str, encoding: str | None) -> str:
    name = encoding or "utf-8"
    return text.encode(name, "backslashreplace").decode(name)
