"""
How far something is, on a terminal; nothing anywhere else.
"""

from __future__ import annotations

import time

from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from castore.cli.text import duration_text, size_text


_PAUSE_S = 0.1  # between two lines
_WARM_S = 1.0  # before a rate says anything about the time left
_CLEAR = "\r\x1b[K"


class Progress:
    """
    One line that says how much is done, how fast, and how long it still takes.

    A context manager: the line goes when it ends.
    """

    def __init__(
        self,
        label: str,
        stream: TextIO | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Begin.

        Args:
            label: What is done.

            stream: The terminal, None for silence.

            clock: Seconds.
        """
        self._name = self._label = label
        self._stream = stream
        self._clock = clock
        self._began = self._told = clock()
        self._shown = False
        self._done = 0

    @property
    def is_seen(self) -> bool:
        """Whether anybody sees it."""
        return self._stream is not None

    def update(self, done: int, total: int = 0) -> None:
        """Say that *done* bytes of *total* (0: nobody knows) are done."""
        if self._stream is None:
            return
        now = self._clock()
        if now - self._told < _PAUSE_S:
            return
        self._told = now
        self._stream.write(_CLEAR + self._line(done, total, now - self._began))
        self._stream.flush()
        self._shown = True

    def add(self, more: int, total: int = 0) -> None:
        """Say that *more* bytes are done."""
        self._done += more
        self.update(self._done, total)

    def step(self, what: str, done: int, total: int) -> None:
        """
        Say that *what* is being done now, and how far it is.

        What begins is shown at once, though nothing of it is done yet.
        """
        label = f"{self._name}, {what}" if what else self._name
        if label != self._label and self._stream is not None:
            self._label = label
            self._began = self._told = self._clock()
            self._stream.write(f"{_CLEAR}{label}")
            self._stream.flush()
            self._shown = True
        if done:
            self.update(done, total)

    def _line(self, done: int, total: int, spent_s: float) -> str:
        rate = done / spent_s
        known = total >= done
        of = f" of {size_text(total)}" if known and total else ""
        line = f"{self._label}: {size_text(done)}{of}, {size_text(rate)}/s"
        if known and total and rate and spent_s >= _WARM_S:
            line += f", {duration_text((total - done) / rate)} left"
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None and self._shown:
            self._stream.write(_CLEAR)
            self._stream.flush()
