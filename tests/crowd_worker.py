"""
What the processes of a crowd do to one store until they are told to stop.

Writers put the same few contents again and again, so that most of what they name
is just being condemned, deleted or moved.
"""

from __future__ import annotations

import random
import time

from collections.abc import Iterator
from multiprocessing.connection import Connection

import attrs

from kill_worker import Acknowledged, Job, changed
from runtimekit import chain
from runtimekit import commit as runtime_commit

import castore

from castore import (
    BlobRef,
    ConflictError,
    GoneError,
    LockedError,
    NewEntry,
    NotFoundError,
    Reference,
    Segment,
    Store,
)
from castore.digest import blob_digest
from castore.gc import collect
from castore.packing import pack
from castore.runtime import RuntimeStore


STOP = "stop"  # a file beside the store; when it is there, all come to an end
SIZES = [20, 300, 300, 300, 5_000, 5_000, 60_000, 1_300_000]
PACK_EVERY_S = 0.5
KEPT_COUNT = 3  # logs of one writer; of more the oldest is deleted


@attrs.frozen
class Deleted:
    """A log that its writer deleted, or is about to."""

    segment: bytes


@attrs.frozen
class Tagged:
    """A tag that its writer set, None for what it took away; about to, or done."""

    name: str
    digest: bytes | None
    is_done: bool


@attrs.frozen
class Checkpointed:
    """A commit of a runtime's session that returned."""

    session: str
    revision: int
    nodes: tuple[str, ...]
    number: int


@attrs.frozen
class Counted:
    """How often something was done."""

    what: str
    count: int


def shared_content(number: int) -> bytes:
    """Return one of the contents that all writers put."""
    rng = random.Random(number)
    size = SIZES[number % len(SIZES)]
    return rng.randbytes(size // 2) + b"line\n" * (size // 10)


def _is_over(job: Job) -> bool:
    return (job.root.parent / STOP).exists()


# --- writers --------------------------------------------------------------------


def write_much(job: Job, pipe: Connection) -> None:
    """Append, fork, delete, tag and untag, and put what others put too."""
    rng = random.Random(job.seed)
    with castore.open(job.root) as store:
        writer = _Writer(store, pipe, rng, f"writer {job.seed}")
        while not _is_over(job):
            writer.act()


@attrs.define(eq=False)
class _Writer:
    store: Store
    pipe: Connection
    rng: random.Random
    name: str
    held: dict[bytes, BlobRef] = attrs.Factory(dict)
    segments: list[Segment] = attrs.Factory(list)
    is_tagged: bool = False

    def act(self) -> None:
        """Do one thing."""
        if not self.segments:
            self._begin(self.store.create_session(body=b"begin"), b"begin")
        acts = [self._append] * 12 + [self._fork, self._new, self._delete, self._tag]
        self.rng.choice(acts)()

    def _begin(self, segment: Segment, body: bytes) -> None:
        self.segments.append(segment)
        at = segment.fork_index
        self.pipe.send(Acknowledged(segment.id, at, (blob_digest(body),)))

    def _append(self) -> None:
        segment = self.rng.choice(self.segments)
        refs = [Reference("checkpoint.state", self._put(segment))]
        refs += [Reference("tool.out", self._shared()) for _ in range(2)]
        body = shared_content(self.rng.randrange(4))
        done = segment.append([NewEntry("tool", body, refs)])
        payloads = tuple(ref.blob.digest for ref in refs)
        self.pipe.send(
            Acknowledged(segment.id, done.first_index, (blob_digest(body),), payloads)
        )

    def _put(self, segment: Segment) -> BlobRef:
        """Put the next version of what the newest entry of *segment* refers to."""
        like = self.held.get(segment.id)
        old = self.store.get(like) if like else shared_content(4)
        self.held[segment.id] = self.store.put(changed(self.rng, old), like=like)
        return self.held[segment.id]

    def _shared(self) -> BlobRef:
        return self.store.put(shared_content(self.rng.randrange(24)))

    def _fork(self) -> None:
        segment = self.rng.choice(self.segments)
        forked = segment.fork(self.rng.randint(1, segment.count), body=b"fork")
        self._begin(forked, b"fork")

    def _new(self) -> None:
        self._begin(self.store.create_session(body=b"begin"), b"begin")

    def _delete(self) -> None:
        while len(self.segments) > KEPT_COUNT:
            segment = self.segments.pop(0)
            self.held.pop(segment.id, None)
            self.pipe.send(Deleted(segment.id))
            segment.delete()

    def _tag(self) -> None:
        if self.is_tagged:
            self.pipe.send(Tagged(self.name, None, is_done=False))
            self.store.untag(self.name)
            self.pipe.send(Tagged(self.name, None, is_done=True))
        else:
            data = shared_content(self.rng.randrange(24))
            self.pipe.send(Tagged(self.name, blob_digest(data), is_done=False))
            self.store.put(data, tag=self.name)
            self.pipe.send(Tagged(self.name, blob_digest(data), is_done=True))
        self.is_tagged = not self.is_tagged


def checkpoint_much(job: Job, pipe: Connection) -> None:
    """Commit turns of a runtime's session, each with a checkpoint."""
    name = f"runtime {job.seed}"
    with castore.open(job.root) as store:
        runtime = RuntimeStore(store, name)
        revision, above, number = 0, None, 0
        while not _is_over(job):
            number += 1
            nodes = chain(f"{name} {number}", parent=above)
            made = runtime_commit(revision, nodes, session=name, number=number)
            revision = runtime.commit_runtime_state(made).head_revision
            above = nodes[-1].node_id
            pipe.send(Checkpointed(name, revision, (above,), number))


# --- readers --------------------------------------------------------------------


def read_much(job: Job, pipe: Connection) -> None:
    """Read logs from end to end, whichever; only what is deleted may be gone."""
    rng = random.Random(job.seed)
    while not _is_over(job):
        with castore.open(job.root, read_only=rng.random() < 0.5) as store:
            pipe.send(Counted("read", sum(_read_one(store, rng) for _ in range(20))))


def _read_one(store: Store, rng: random.Random) -> int:
    """Read a log with its payloads; return whether there was one."""
    sessions = list(store.sessions())
    try:
        segments = rng.choice(sessions).segments() if sessions else []
    except (GoneError, NotFoundError):
        return 0  # one of them went between two looks, or the session
    if not segments:
        return 0
    segment = rng.choice(segments)
    try:
        count = segment.count
        indices = [entry.index for entry in _all_read(store, segment)]
    except (GoneError, NotFoundError):
        if not _is_deleted(store, segment):
            raise
        return 0
    assert list(range(max(count, len(indices)))) == indices
    return 1


def _all_read(store: Store, segment: Segment) -> Iterator[castore.Entry]:
    for entry, _ in segment.read():
        for ref in entry.refs:
            assert ref.blob.size == len(store.get(ref.blob))
        yield entry


def _is_deleted(store: Store, segment: Segment) -> bool:
    try:
        store.segment(segment.id)
    except GoneError:
        return True
    return False


# --- maintenance ----------------------------------------------------------------


def collect_much(job: Job, pipe: Connection) -> None:
    """Collect without a grace, again and again."""
    with castore.open(job.root) as store:
        while not _is_over(job):
            try:
                report = collect(store.engine, grace_s=0, yes=True, level=1)
            except LockedError:
                continue  # somebody packs
            except ConflictError as error:
                if error.subject != "blob":
                    raise
                continue  # what was dead came alive, each time it was tried
            pipe.send(Counted("deleted", report.deleted_blob_count))


def pack_much(job: Job, pipe: Connection) -> None:
    """Pack, again and again, and leave others some time in between."""
    with castore.open(job.root) as store:
        while not _is_over(job):
            time.sleep(PACK_EVERY_S)
            try:
                was_done = pack(store.engine, level=1).seq is not None
            except LockedError:
                continue  # somebody collects
            pipe.send(Counted("packed", was_done))
