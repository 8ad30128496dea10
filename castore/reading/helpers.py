"""
Processes that read parts of a store's files for this one.

They are started anew and not forked, since a fork takes locks along and leaves
their holders behind. What they cannot do is done here instead: they change how
long it takes and nothing else.

Spec: spec/checking.md, step 4.
"""

from __future__ import annotations

import contextlib
import gc
import pickle
import queue
import subprocess
import sys

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from types import TracebackType
from typing import Any, BinaryIO, Self

import attrs

from castore.errors import CastoreError
from castore.formats.commit import Commit
from castore.formats.entry import Start
from castore.formats.head import Head
from castore.reading.contents import FrameContents, Part, read_part
from castore.reading.files import OpenFile, OpenFiles
from castore.reading.image import RunHeader
from castore.reading.parts import Span
from castore.reading.stored import StoredBlobs, StoredRun, Wants
from castore.storage import Files


# The paths of this process come as arguments: it may have found castore by them.
_CODE = "import sys; sys.path[:] = sys.argv[1:]; from castore.reading.helpers import"
_Process = subprocess.Popen[bytes]
# What is raised where the other side died, or could not even begin.
_FAILURES = (OSError, EOFError, pickle.UnpicklingError)


class Helpers:
    """
    Some processes that read, each a part at a time; for one thread.
    """

    def __init__(
        self, files: Files, opened: Mapping[bytes, OpenFile], count: int
    ) -> None:
        """
        Start *count* processes.

        Args:
            files: The store's folder.

            opened: Its files, by id; read here where no process could.

            count: How many.
        """
        self._opened = opened
        self._processes: list[_Process] = []
        # One that died leaves a gap, so that nobody waits for it.
        self._idle: queue.SimpleQueue[_Process | None] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(count)
        for _ in range(count):
            self._idle.put(self._start(str(files.root.absolute())))

    def _start(self, root: str) -> _Process | None:
        try:
            process = subprocess.Popen(  # noqa: S603 - this package
                [sys.executable, "-c", f"{_CODE} serve; serve()", *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0,  # an interrupt from the terminal is for us
            )
        except OSError:
            return None
        self._processes.append(process)
        with contextlib.suppress(OSError):
            _tell(process, root)
        return process

    def read(self, spans: Sequence[Span]) -> Iterator[Part]:
        """Return what stands in each of *spans*, in order."""
        return self._threads.map(self._read, spans)

    def _read(self, span: Span) -> Part:
        process = self._idle.get()
        part: Part | None = None
        try:
            if process and process.stdout:
                _tell(process, span)
                part = pickle.load(process.stdout)  # noqa: S301 - from ourselves
        except _FAILURES:
            process = None
        finally:
            self._idle.put(process)
        if part is None:
            file = self._opened[span.file]
            part = read_part(file, span.start, span.end, span.stop)
        return part

    def close(self) -> None:
        """Stop the processes, whatever they do."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._threads.shutdown()
        for process in self._processes:
            with contextlib.suppress(OSError):
                process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _tell(process: _Process, value: str | Span) -> None:
    if process.stdin:
        pickle.dump(value, process.stdin)
        process.stdin.flush()


#: What a part has one or more of for each frame.
_KINDS: tuple[type, ...] = (
    FrameContents,
    StoredBlobs,
    StoredRun,
    Wants,
    RunHeader,
    Start,
    Head,
    Commit,
)
# By themselves attrs objects go as dicts made in Python: twice the time to write.
_FIELDS = {kind: [field.name for field in attrs.fields(kind)] for kind in _KINDS}
_VALUES = {kind: attrgetter(*names) for kind, names in _FIELDS.items()}
_SETTERS = {  # of their slots, frozen or not
    kind: [getattr(kind, name).__set__ for name in names]
    for kind, names in _FIELDS.items()
}


def _reduced(part: object) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    kind = type(part)
    return _made, (kind, _VALUES[kind](part))


def _made(kind: type, values: tuple[object, ...]) -> object:
    part: object = object.__new__(kind)
    for put, value in zip(_SETTERS[kind], values, strict=True):
        put(part, value)
    return part


def _answer(part: Part | None, answers: BinaryIO) -> None:
    pickler = pickle.Pickler(answers, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = dict.fromkeys(_FIELDS, _reduced)
    pickler.dump(part)
    answers.flush()


def serve() -> None:
    """
    Read what standard input asks for until it ends: a folder, then spans.

    Answers with what stands in a span, or None where that fails.
    """
    gc.disable()  # nothing here refers to itself; looking costs a tenth
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    opened = OpenFiles(Files(pickle.load(asked)), None)  # noqa: S301 - from ourselves
    while True:
        try:
            span: Span = pickle.load(asked)  # noqa: S301
        except EOFError:
            return
        part: Part | None = None
        with contextlib.suppress(CastoreError):
            file = opened.get(span.file)
            part = read_part(file, span.start, span.end, span.stop)
        _answer(part, answers)
