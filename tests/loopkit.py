"""
Commands on one store that are killed at random, and what must be there afterwards.

Transcripts grow while they are imported, again and again; others are removed, and
their segments deleted; agents append versions of payloads; tags move. Beside all
that the store is packed, collected, maintained, checked and read. Each command is
a process of its own, some run side by side, most are killed.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import random
import time

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import attrs
import kill_worker

from crash.checkers import faults_by_reference, faults_by_verify
from kill_worker import Acknowledged, Job
from killkit import Worker, lost

import castore

from castore import CastoreError, Store
from castore.digest import blob_digest
from castore.gc import collect
from castore.importer import find_segment, restore
from castore.reading.survey import survey


Bug = Callable[[], AbstractContextManager[object]]

SIDE_BY_SIDE = 4  # commands at once, at most
KILLED_SHARE = 0.75  # of all rounds; in the others all may end
APART_S = 0.15  # from one to the next
LATE = 1.3  # a kill comes at most so much later than such a command usually ends
REFERENCE_EVERY = 12  # rounds
NEW_COUNT = 100  # appends that are looked at after a round, and as many others
ORIGINAL_COUNT = 12  # files that grow
TAG_COUNT = 2
TAGGED_COUNT = 3  # contents that tags go round; few, so that what went comes again


#: What is done, and how often.
TASKS: Mapping[str, int] = {
    "import": 4,
    "agent": 3,
    "pack": 3,
    "gc": 3,
    "maintain": 1,
    "restore": 1,
    "verify": 1,
    "put": 1,
    "tag": 1,
    "rm": 1,
}


@attrs.define(eq=False)
class Original:
    """
    A transcript that grows.

    Attributes:
        path: Where it is, until it is removed.

        content: What it will hold at last.

        size: How much of it there is.

        acknowledged: How much an import that ended had before it; None for none.

        state: ``here``; ``removed``, and then its segment: ``doubtful`` while it is
            being deleted, ``deleted``.
    """

    path: Path
    content: bytes
    size: int = 0
    acknowledged: int | None = None
    state: str = "here"

    def grow(self, rng: random.Random) -> None:
        """Write some more, often not to the end of a line."""
        more = rng.choice([1, 2_000, 40_000, 200_000])
        part = self.content[self.size : self.size + rng.randint(1, more)]
        with self.path.open("ab") as file:
            file.write(part)
        self.size += len(part)

    def faults(self, found: bytes | None) -> Iterator[str]:
        """Yield what is wrong with what was *found* of it in a store."""
        if found is None:
            if self.acknowledged is not None and self.state in ("here", "removed"):
                yield f"{self.path.name} is lost"
        elif self.state == "deleted":
            yield f"{self.path.name} was deleted and is back"
        elif self.content[: len(found)] != found or len(found) > self.size:
            yield f"{self.path.name} is not what was imported"
        elif len(found) < (self.acknowledged or 0):
            yield f"{self.path.name} has lost its end"


@attrs.define(eq=False)
class Task:
    """
    A command, or an agent.

    Attributes:
        name: What it does.

        worker: The process.

        done: Called if it was done.

        kill_at: Time of the monotonic clock.

        begun: The same.
    """

    name: str
    worker: Worker
    done: Callable[[], None]
    kill_at: float = math.inf
    begun: float = attrs.Factory(time.monotonic)

    @property
    def has_ended(self) -> bool:
        """Whether the process is there no more, killed now if it is time."""
        if self.worker.process.is_alive() and time.monotonic() > self.kill_at:
            self.worker.process.kill()
            self.worker.process.join()
        return not self.worker.process.is_alive()


def nothing() -> None:
    """Do nothing."""


@attrs.define(eq=False)
class Loop:
    """
    A store, all that is done to it, and what it must hold.

    Attributes:
        root: A folder: the store, the transcripts, and what is restored.

        contents: What transcripts are to hold.

        rng: All that is left to chance, but for how fast things are.

        bug: That is in the package while commands run.

        tasks: What is done, and how often.

        killed_count: Commands that were killed so far.

        ended_count: Those that ended by themselves.
    """

    root: Path
    contents: Iterator[bytes]
    rng: random.Random
    bug: Bug = contextlib.nullcontext
    tasks: Mapping[str, int] = attrs.Factory(lambda: TASKS)
    killed_count: int = 0
    ended_count: int = 0
    _originals: list[Original] = attrs.Factory(list)
    _acknowledged: list[Acknowledged] = attrs.Factory(list)
    _tags: dict[str, set[bytes | None]] = attrs.Factory(dict)
    _usual: dict[str, float] = attrs.Factory(dict)
    _busy: set[object] = attrs.Factory(set)
    _numbers: Iterator[int] = attrs.Factory(itertools.count)
    _faults: list[str] = attrs.Factory(list)

    @property
    def store(self) -> Path:
        """Folder of the store."""
        return self.root / "store"

    def begin(self) -> None:
        """Make the store, and the folders beside it."""
        castore.open(self.store, create=True).close()
        for name in ("in", "out", "tagged"):
            (self.root / name).mkdir()
        for number in range(TAGGED_COUNT):
            data = self.rng.randbytes(2_000).hex() * self.rng.choice([1, 20, 400])
            (self.root / "tagged" / str(number)).write_text(f"{number} {data}")

    # --- a round -------------------------------------------------------------

    def round(self) -> list[str]:
        """Run some commands side by side, kill most, look; return what is wrong."""
        self._faults.clear()
        self._busy.clear()
        self._change_originals()
        is_killed = self.rng.random() < KILLED_SHARE
        tasks = []
        for _ in range(self.rng.randint(1, SIDE_BY_SIDE)):
            name = self.rng.choices(list(self.tasks), list(self.tasks.values()))[0]
            task: Task | None = getattr(self, f"_{name}")()
            if task is not None:
                if is_killed:
                    usual = self._usual.get(name, 0.3)
                    task.kill_at = task.begun + self.rng.uniform(0, LATE) * usual
                tasks.append(task)
                time.sleep(self.rng.uniform(0, APART_S))
        self._wait(tasks)
        number = next(self._numbers)
        self._look(with_reference=number % REFERENCE_EVERY == 0)
        return list(self._faults)

    def _wait(self, tasks: Sequence[Task]) -> None:
        left = list(tasks)
        while left:
            for task in [task for task in left if task.has_ended]:
                left.remove(task)
                self._settle(task)
            for task in left:
                while task.worker.pipe.poll() and task.worker.take():
                    pass
            time.sleep(0.002)

    def _settle(self, task: Task) -> None:
        """Take in what became of *task*."""
        task.worker.end()
        self._faults += [f"{task.name}: {error}" for error in task.worker.errors]
        self._acknowledged += task.worker.acknowledged
        code = task.worker.process.exitcode
        if code < 0:
            self.killed_count += 1
            return
        self.ended_count += 1
        seconds = time.monotonic() - task.begun
        before = self._usual.get(task.name, seconds)
        self._usual[task.name] = (before + seconds) / 2
        if code == 0:
            task.done()

    def _change_originals(self) -> None:
        here = [one for one in self._originals if one.state == "here"]
        if len(here) < ORIGINAL_COUNT and self.rng.random() < 0.3:
            number = len(self._originals)
            path = self.root / "in" / f"{number:03}.jsonl"
            here.append(Original(path, next(self.contents)))
            # An empty file is a log of its own, which stays beside the next.
            here[-1].grow(self.rng)
            self._originals.append(here[-1])
        for one in here:
            if self.rng.random() < 0.4:
                one.grow(self.rng)
        if len(here) > 3 and self.rng.random() < 0.1:
            one = self.rng.choice(here)
            one.path.unlink()
            one.state = "removed"

    # --- what is done --------------------------------------------------------

    def _start(self, name: str, done: Callable[[], None], *arguments: object) -> Task:
        job = Job(
            self.store,
            next(self._numbers),
            arguments=(name, *map(str, arguments)),
            bug=self.bug,
        )
        return Task(name, Worker.start(kill_worker.command, job), done)

    def _import(self) -> Task:
        here = [one for one in self._originals if one.state == "here"]
        sizes = [(one, one.size) for one in here]

        def done() -> None:
            for one, size in sizes:
                one.acknowledged = max(size, one.acknowledged or 0)

        return self._start("import", done, self.root / "in")

    def _restore(self) -> Task | None:
        some = [one for one in self._originals if one.acknowledged is not None]
        some = [one for one in some if one.state in ("here", "removed")]
        if not some:
            return None
        one = self.rng.choice(some)
        path = self.root / "out" / f"{next(self._numbers)}"

        def done() -> None:
            self._faults += one.faults(path.read_bytes())

        return self._start("restore", done, one.path, "-o", path)

    def _rm(self) -> Task | None:
        removed = [one for one in self._originals if one.state == "removed"]
        some = [one for one in removed if one.acknowledged is not None]
        if not some:
            return self._rm_segment()
        one = self.rng.choice(some)
        one.state = "doubtful"

        def done() -> None:
            one.state = "deleted"

        return self._start("rm", done, one.path)

    def _rm_segment(self) -> Task | None:
        segment = self._own_segment()
        if segment is None or self.rng.random() < 0.5:
            return None
        left = [one for one in self._acknowledged if one.segment != segment]
        self._acknowledged = left
        return self._start("rm", nothing, segment.hex())

    def _put(self) -> Task | None:
        name = f"tag{self.rng.randrange(TAG_COUNT)}"
        if name in self._busy:
            return None
        self._busy.add(name)
        path = self.root / "tagged" / str(self.rng.randrange(TAGGED_COUNT))
        digest = blob_digest(path.read_bytes())
        known = self._tags.setdefault(name, {None})
        known.add(digest)

        def done() -> None:
            known.intersection_update({digest})

        return self._start("put", done, path, "--tag", name)

    def _tag(self) -> Task | None:
        some = [name for name, known in self._tags.items() if None not in known]
        name = self.rng.choice(some) if some else ""
        if not some or name in self._busy:
            return None
        self._busy.add(name)
        known = self._tags[name]
        known.add(None)

        def done() -> None:
            known.intersection_update({None})

        return self._start("tag", done, "--delete", name)

    def _pack(self) -> Task:
        options = self.rng.choice([(), ("--max-duration", "1s"), ("--level", "1")])
        return self._start("pack", nothing, *options)

    def _gc(self) -> Task:
        return self._start("gc", nothing, "--grace", "0", "--yes")

    def _maintain(self) -> Task:
        share = self.rng.choice(["1/1", "1/7"])
        options = ("--grace", "0", "--yes", "--verify-share", share)
        return self._start("maintain", nothing, *options)

    def _verify(self) -> Task:
        return self._start("verify", nothing)

    def _agent(self) -> Task:
        segment = self._own_segment() if self.rng.random() < 0.7 else None
        job = Job(
            self.store,
            next(self._numbers),
            shared=segment or b"",
            count=self.rng.randint(3, 40),
            bug=self.bug,
        )
        worker = Worker.start(kill_worker.hold_versions, job)
        return Task("agent", worker, nothing)

    def _own_segment(self) -> bytes | None:
        """Return a segment of an agent that nobody works on."""
        some = sorted({one.segment for one in self._acknowledged} - self._busy)
        if not some:
            return None
        segment = self.rng.choice(some)
        self._busy.add(segment)
        return segment

    # --- looking -------------------------------------------------------------

    def _look(self, *, with_reference: bool) -> None:
        checkers = {"verify": faults_by_verify}
        if with_reference:
            checkers["reference"] = faults_by_reference
        for name, faults_of in checkers.items():
            self._faults += [
                f"{name}: {verdict} at {where}"
                for verdict, where in faults_of(self.store)
            ]
        try:
            with castore.open(self.store) as store:
                self._faults += lost(
                    store, self._some_acknowledged(all_=with_reference)
                )
                for one in self._originals:
                    self._faults += one.faults(_found(store, one.path))
                self._look_at_tags(store)
        except CastoreError as error:
            self._faults.append(f"{type(error).__name__}: {error}")

    def _some_acknowledged(self, *, all_: bool) -> list[Acknowledged]:
        """Return all, or the newest and some others."""
        old = self._acknowledged[:-NEW_COUNT]
        if all_ or len(old) <= NEW_COUNT:
            return self._acknowledged
        return self.rng.sample(old, NEW_COUNT) + self._acknowledged[-NEW_COUNT:]

    def _look_at_tags(self, store: Store) -> None:
        tags = store.tags()
        for name, known in self._tags.items():
            ref = tags.get(name)
            digest = blob_digest(store.get(ref)) if ref is not None else None
            if digest not in known:
                self._faults.append(f"{name} is not what was tagged")
            # What is seen stays.
            known.intersection_update({digest})

    # --- at last -------------------------------------------------------------

    def rest(self) -> list[str]:
        """Do all that is to be done, undisturbed; return what is wrong."""
        self._faults.clear()
        self._busy.clear()
        for start in (self._import, self._pack, self._gc, self._maintain):
            task = start()
            self._wait([task])
            if task.worker.process.exitcode:
                self._faults.append(f"{task.name} did not do its work")
        self._look(with_reference=True)
        self._look_for_garbage()
        return list(self._faults)

    def _look_for_garbage(self) -> None:
        with castore.open(self.store) as store:
            found = survey(store.engine.files, store=store.id)
            dead = collect(store.engine, grace_s=0, dry_run=True)
        self._faults += [f"garbage: {file.hex()}" for file in found.garbage]
        if dead.deleted_blob_count:
            self._faults.append(f"garbage: {dead.deleted_blob_count} blobs")

    def sizes(self) -> dict[str, int]:
        """Return the size of each file of the store but the catalog."""
        return {
            path.name: path.stat().st_size
            for path in self.store.rglob("*")
            if path.is_file() and not path.name.startswith("catalog")
        }


def _found(store: Store, path: Path) -> bytes | None:
    """Return what *store* has of the transcript at *path*, None for nothing."""
    try:
        segment = find_segment(store, str(path))
    except CastoreError:
        return None
    out = io.BytesIO()
    restore(store, segment, out)
    return out.getvalue()
