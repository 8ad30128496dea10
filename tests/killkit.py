"""
Processes that are killed while they work on a store, and what they were told.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection

from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import attrs
import kill_worker

from kill_worker import Acknowledged, Job

from castore import CastoreError, Store
from castore.digest import blob_digest, format_digest


CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["castore.packing", "castore.gc", "castore.cli", "kill_worker"]
)


@attrs.define(eq=False)
class Worker:
    """
    A process that works on a store.

    Attributes:
        acknowledged: What it was told, as far as it came to report it.

        errors: What it should not have met.
    """

    process: Any
    pipe: Connection
    acknowledged: list[Acknowledged] = attrs.Factory(list)
    errors: list[str] = attrs.Factory(list)

    @classmethod
    def start(cls, work: Callable[[Job, Connection], None], job: Job) -> Worker:
        """Start a process that does *work*."""
        receiving, sending = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(
            target=kill_worker.reporting, args=(job, sending, work), daemon=True
        )
        process.start()
        sending.close()
        return cls(process, receiving)

    def take(self) -> bool:
        """Take in one report; return whether there may be more."""
        try:
            report = self.pipe.recv()
        except (EOFError, OSError):  # the last one may be cut off
            return False
        if isinstance(report, str):
            self.errors.append(report)
        else:
            self.acknowledged.append(report)
        return True

    def end(self) -> None:
        """Kill the process, and take in what it had reported."""
        self.process.kill()
        self.process.join()
        while self.take():
            pass
        self.pipe.close()


def listen(workers: Sequence[Worker], until: Callable[[], bool]) -> None:
    """Take in reports until it is enough, or all have ended."""
    pipes = {worker.pipe: worker for worker in workers}
    while pipes and not until():
        for ready in multiprocessing.connection.wait(list(pipes), 0.05):
            if isinstance(ready, Connection) and not pipes[ready].take():
                del pipes[ready]


def lost(store: Store, acknowledged: Sequence[Acknowledged]) -> Iterator[str]:
    """Yield what of *acknowledged* is not there, or not where it was said to be."""
    for one in acknowledged:
        try:
            yield from _missing(store, one)
        except CastoreError as error:
            yield f"{one.segment.hex()}: {type(error).__name__}: {error}"


def _missing(store: Store, one: Acknowledged) -> Iterator[str]:
    indices = list(range(one.first, one.first + len(one.bodies)))
    found = list(store.segment(one.segment).read(indices[0], indices[-1] + 1))
    bodies = tuple(blob_digest(body) for _, body in found)
    if (indices, one.bodies) != ([entry.index for entry, _ in found], bodies):
        yield f"{one.segment.hex()}: entries {indices} are not what was appended"
    for digest in one.payloads:
        if digest != blob_digest(store.get(format_digest(digest))):
            yield f"{one.segment.hex()}: payload {digest.hex()} is another"


def check(store: Store, acknowledged: Sequence[Acknowledged]) -> None:
    """Everything *acknowledged* is there, where it was said to be."""
    assert [] == list(lost(store, acknowledged))


def read_all(store: Store) -> dict[bytes, int]:
    """Read every log to its end; return their counts."""
    counts = {}
    for session in store.sessions():
        for segment in session.segments():
            indices = [entry.index for entry, _ in segment.read()]
            assert list(range(segment.count)) == indices
            counts[segment.id] = len(indices)
    return counts
