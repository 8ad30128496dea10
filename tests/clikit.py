"""
Running the command in this process, and small stores to run it on.
"""

from __future__ import annotations

import contextlib
import io
import json

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from castore.cli import main


@attrs.frozen
class Result:
    """What a command did: exit code, standard output, standard error."""

    code: int
    data: bytes
    error: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.data.decode()

    @property
    def lines(self) -> list[str]:
        """Standard output in lines."""
        return self.text.splitlines()

    @property
    def object(self) -> Any:
        """The one JSON object on standard output."""
        return json.loads(self.data)


def call(*args: object, given: bytes = b"") -> Result:
    """Run the command with *args*, *given* on standard input."""
    out, error = _pipe(), _pipe()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        _standard_input(given),
    ):
        code = main([str(arg) for arg in args])
    return Result(code, _content(out), _content(error).decode())


def _pipe(data: bytes = b"") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", write_through=True)


def _content(pipe: io.TextIOWrapper) -> bytes:
    pipe.flush()
    buffer = pipe.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue()


class _standard_input(contextlib._RedirectStream[io.TextIOWrapper]):  # noqa: N801
    _stream = "stdin"

    def __init__(self, data: bytes) -> None:
        super().__init__(_pipe(data))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@attrs.frozen
class Shop:
    """A folder with a store in it and a way to call the command on that."""

    root: Path

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.root / "store"

    def __call__(self, *args: object, given: bytes = b"") -> Result:
        """Run the command on the store."""
        return call("--store", self.store, *args, given=given)

    def do(self, *args: object, given: bytes = b"") -> Any:
        """Run the command, which must be done, and return its JSON object."""
        result = self("--json", *args, given=given)
        assert (0, "") == (result.code, result.error), result.data
        return result.object

    def write(self, name: str, data: bytes) -> Path:
        """Write a file beside the store."""
        path = self.root / name
        path.write_bytes(data)
        return path

    def transcript(
        self, name: str = "a.jsonl", count: int = 5, more: Iterable[bytes] = ()
    ) -> Path:
        """Write a transcript of *count* good lines, and those in *more*."""
        lines = [
            json.dumps(
                {
                    "type": ("user", "assistant")[number % 2],
                    "uuid": f"{name}-{number}",
                    "timestamp": f"2026-01-02T03:04:{number % 60:02}.000Z",
                    "text": f"line {number} of {name}",
                }
            ).encode()
            + b"\n"
            for number in range(count)
        ]
        return self.write(name, b"".join([*lines, *more]))


def damage(store: Path) -> None:
    """Flip a bit in the middle of the largest file of frames."""
    path = max((store / "files").iterdir(), key=lambda file: file.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
