"""
Writers, a collector, a packer and a reader on one store, all at once.

The collector is killed again and again, the others go on until they are told to
stop. What was acknowledged is looked for then.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing.connection
import random
import time

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path

import attrs
import crowd_worker

from crash.checkers import CHECKERS, files_left
from crowd_worker import Checkpointed, Counted, Deleted, Tagged
from kill_worker import Acknowledged, Job
from killkit import Worker, lost
from runtimekit import snapshot

import castore

from castore import CastoreError, Store
from castore.gc import collect
from castore.records.checkpoint import HydratedSessionCheckpoint
from castore.runtime import RuntimeStore


Work = Callable[[Job, Connection], None]
WRITERS: tuple[Work, ...] = (
    *[crowd_worker.write_much] * 6,
    *[crowd_worker.checkpoint_much] * 2,
)
OTHERS: tuple[Work, ...] = (crowd_worker.pack_much, crowd_worker.read_much)
END_S = 120.0  # in which all must come to an end

Bug = Callable[[], AbstractContextManager[object]]


@attrs.define(eq=False)
class Crowd:
    """
    Processes on the store in *root*.

    Attributes:
        bug: That is in the package while they work.

        life_s: Of a collector, at most.

        writers: What writers do.

        killed_count: Collectors that were killed so far.

        counts: How often something was done, as far as it was reported.
    """

    folder: Path
    rng: random.Random
    bug: Bug = contextlib.nullcontext
    life_s: float = 3.0
    writers: Sequence[Work] = WRITERS
    killed_count: int = 0
    counts: dict[str, int] = attrs.Factory(dict)
    _logs: dict[bytes, list[Acknowledged]] = attrs.Factory(dict)
    _deleted: set[bytes] = attrs.Factory(set)
    _tags: dict[str, set[bytes | None]] = attrs.Factory(dict)
    _sessions: dict[str, Checkpointed] = attrs.Factory(dict)
    _numbers: Iterator[int] = attrs.Factory(itertools.count)
    _workers: list[Worker] = attrs.Factory(list)

    def has(self, what: str) -> bool:
        """Return whether *what* was done, also by those that still work."""
        told = (each for worker in self._workers for each in worker.acknowledged)
        return bool(self.counts.get(what)) or any(
            isinstance(each, Counted) and each.what == what and each.count
            for each in told
        )

    @property
    def root(self) -> Path:
        """Folder of the store."""
        return self.folder / "store"

    def run(self, enough: Callable[[], bool]) -> list[str]:
        """Let all work until it is *enough*, or one failed; return what is wrong."""
        stop = self.folder / crowd_worker.STOP
        stop.unlink(missing_ok=True)
        castore.open(self.root, create=True).close()
        workers = [self._start(work) for work in (*self.writers, *OTHERS)]
        self._workers = workers
        collector = self._start(crowd_worker.collect_much)
        kill_at = self._next_kill()
        while not (enough() or any(each.errors for each in [*workers, collector])):
            _take([*workers, collector])
            if time.monotonic() > kill_at:
                self._kill(collector)
                if not collector.errors:
                    collector = self._start(crowd_worker.collect_much)
                    kill_at = self._next_kill()
        stop.touch()
        faults = _join([*workers, collector])
        for worker in [*workers, collector]:
            self._settle(worker)
            faults += worker.errors
        return faults or self.faults()

    def _start(self, work: Work) -> Worker:
        return Worker.start(work, Job(self.root, next(self._numbers), bug=self.bug))

    def _kill(self, collector: Worker) -> None:
        collector.end()
        self._settle(collector)
        self.killed_count += 1
        if not collector.acknowledged:
            self.life_s *= 1.2  # so slow is this machine now

    def _next_kill(self) -> float:
        return time.monotonic() + self.rng.uniform(0, self.life_s)

    def _settle(self, worker: Worker) -> None:
        """Take in what *worker* was told."""
        for each in worker.acknowledged:
            match each:
                case Acknowledged():
                    self._logs.setdefault(each.segment, []).append(each)
                case Deleted():
                    self._deleted.add(each.segment)
                case Tagged():
                    known = self._tags.setdefault(each.name, {None})
                    known.add(each.digest)
                    if each.is_done:
                        known.intersection_update({each.digest})
                case Checkpointed():
                    self._sessions[each.session] = each
                case Counted():
                    self.counts[each.what] = self.counts.get(each.what, 0) + each.count

    # --- looking -----------------------------------------------------------------

    def faults(self) -> list[str]:
        """Look at what is there, collect, look again; return what is wrong."""
        try:
            with castore.open(self.root) as store:
                found = [*self._lost(store), *self._checked()]
                collect(store.engine, grace_s=0, yes=True, level=1)
                again = collect(store.engine, grace_s=0, dry_run=True)
                if again.deleted_blob_count:
                    found.append(f"garbage: {again.deleted_blob_count} blobs")
                found += [f"garbage: {name}" for name in files_left(store)]
                return [*found, *self._lost(store), *self._checked()]
        except CastoreError as error:
            return [f"{type(error).__name__}: {error}"]

    def _checked(self) -> Iterator[str]:
        for name, faults_of in CHECKERS.items():
            for verdict, where in faults_of(self.root):
                yield f"{name}: {verdict} at {where}"

    def _lost(self, store: Store) -> Iterator[str]:
        for segment, acknowledged in self._logs.items():
            if segment not in self._deleted:
                yield from lost(store, acknowledged)
        tags = {name: ref.digest for name, ref in store.tags().items()}
        for name, known in self._tags.items():
            if tags.get(name) not in known:
                yield f"{name}: its tag is not what it was"
        for each in self._sessions.values():
            yield from _lost_checkpoint(store, each)


def _lost_checkpoint(store: Store, told: Checkpointed) -> Iterator[str]:
    read = RuntimeStore(store, told.session).load_session()
    found = read.checkpoint if read is not None else None
    wanted = snapshot(told.number)
    if found is None or _parts(found) != _parts(wanted):
        yield f"{told.session}: its newest checkpoint is not what was committed"


def _parts(found: HydratedSessionCheckpoint) -> tuple[object, ...]:
    whole = found.plugin_snapshot, found.tool_state, found.execution_state
    return (found.turn_state, *whole)


def _take(workers: Sequence[Worker]) -> None:
    """Take in what *workers* report."""
    pipes = {each.pipe: each for each in workers if not each.pipe.closed}
    for ready in multiprocessing.connection.wait(list(pipes), 0.02):
        if isinstance(ready, Connection) and not pipes[ready].take():
            ready.close()


def _join(workers: Sequence[Worker]) -> list[str]:
    """Wait until *workers* have ended by themselves; return who has not."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline and any(not each.pipe.closed for each in workers):
        _take(workers)
    late = [f"{each.process.name} goes on" for each in workers if not each.pipe.closed]
    for worker in workers:
        worker.process.kill() if not worker.pipe.closed else worker.process.join()
    return late
