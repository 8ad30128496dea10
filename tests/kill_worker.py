"""
What processes do to one store until they are killed, and what they report.

Each reports through a pipe, after a call returned, what it was told; and the
names of errors that no caller should see.
"""

from __future__ import annotations

import contextlib
import io
import random

from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path

import attrs

import castore

from castore import (
    BlobRef,
    CastoreError,
    ConflictError,
    GoneError,
    LockedError,
    NewEntry,
    NotFoundError,
    Reference,
)
from castore.cli import main
from castore.cli.exits import Exit
from castore.digest import blob_digest
from castore.gc import collect
from castore.packing import pack
from castore.segment import ANY, Segment


@attrs.frozen
class Acknowledged:
    """
    An append that returned.

    Attributes:
        segment: Its segment.

        first: Index of its first entry.

        bodies: Digests of the bodies of its entries.

        payloads: Digests of what they refer to.
    """

    segment: bytes
    first: int
    bodies: tuple[bytes, ...]
    payloads: tuple[bytes, ...] = ()


@attrs.frozen
class Job:
    """
    What a process is to do.

    Attributes:
        root: The store.

        seed: Of its chance.

        shared: A segment that others append to too, or that it goes on with.

        count: Of appends; 0 for as many as it can until it is killed.

        expect: Whether it expects the revision that it saw, and on a conflict
            reads and tries again; else it appends behind whatever is there.

        arguments: Of a command.

        bug: That is in the package while it works.
    """

    root: Path
    seed: int
    shared: bytes = b""
    count: int = 0
    expect: bool = True
    arguments: tuple[str, ...] = ()
    bug: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext


def reporting(job: Job, pipe: Connection, work: Callable[..., None]) -> None:
    """Do *work*, and report what ends it."""
    try:
        with job.bug():
            work(job, pipe)
    except Exception as error:  # noqa: BLE001 - all are reported
        pipe.send(f"{type(error).__module__}.{type(error).__name__}: {error}")
    finally:
        pipe.close()


def write(job: Job, pipe: Connection) -> None:
    """Begin a session and append to it, fork it, refer to payloads of all sizes."""
    rng = random.Random(job.seed)
    with castore.open(job.root) as store:
        segment = store.create_session(key=("kill", str(job.seed)), body=b"begin")
        pipe.send(Acknowledged(segment.id, 0, (blob_digest(b"begin"),)))
        while True:
            refs = []
            if rng.random() < 0.1:
                size = rng.choice([100, 10_000, 1_200_000])
                refs.append(Reference("state", store.put(rng.randbytes(size))))
            append(segment, pipe, rng, refs=refs)
            if rng.random() < 0.05:
                segment = segment.fork(rng.randint(1, segment.count), body=b"fork")
                at = segment.fork_index
                pipe.send(Acknowledged(segment.id, at, (blob_digest(b"fork"),)))


def share(job: Job, pipe: Connection) -> None:
    """Append so many times to a segment of its own and to a shared one."""
    rng = random.Random(job.seed)
    with castore.open(job.root) as store:
        own = store.create_session(body=b"begin")
        pipe.send(Acknowledged(own.id, 0, (blob_digest(b"begin"),)))
        shared = store.segment(job.shared)
        for _ in range(job.count):
            append(own, pipe, rng)
            if job.expect:
                append_expecting(shared, pipe, rng, store)
            else:
                append(shared, pipe, rng, expect=False)


def append(
    segment: Segment,
    pipe: Connection,
    rng: random.Random,
    *,
    refs: list[Reference] | None = None,
    expect: bool = True,
) -> None:
    """Append some entries and report them."""
    bodies = [
        rng.randbytes(rng.choice([0, 20, 3000])) for _ in range(rng.choice([1, 3]))
    ]
    entries = [NewEntry("tool", body, refs or ()) for body in bodies]
    done = segment.append(entries, expect=None if expect else ANY)
    pipe.send(
        Acknowledged(
            segment.id,
            done.first_index,
            tuple(map(blob_digest, bodies)),
            tuple(ref.blob.digest for ref in refs or ()),
        )
    )


def append_expecting(
    segment: Segment, pipe: Connection, rng: random.Random, store: castore.Store
) -> None:
    """Append; where others came first, look again and try again."""
    while True:
        try:
            append(segment, pipe, rng)
        except ConflictError:
            segment = store.segment(segment.id)
        else:
            return


def tidy(job: Job, pipe: Connection) -> None:
    """Pack, and collect what was deleted, in turns."""
    rng = random.Random(job.seed)
    with castore.open(job.root) as store:
        while True:
            try:
                if rng.random() < 0.5:
                    pack(store.engine, level=1)
                else:
                    doomed = store.create_session(body=rng.randbytes(5000))
                    doomed.delete()
                    collect(store.engine, grace_s=0, yes=True, level=1)
            except LockedError:
                continue
            except CastoreError as error:
                pipe.send(f"{type(error).__name__}: {error}")
                return


#: What a command may say that is done, or met others who maintain the store, or
#: found alive what it was about to delete.
LEGAL = (Exit.DONE, Exit.LOCKED, Exit.CONFLICT)


def command(job: Job, pipe: Connection) -> None:
    """Run the command ``castore``; its exit code is the process's."""
    error = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
        code = main(["-q", "--store", str(job.root), *job.arguments])
    if code not in LEGAL:
        pipe.send(f"castore {job.arguments[0]}: exit {code}: {error.getvalue()}")
    raise SystemExit(int(code))


ROLES = ("state.a", "state.b", "file.c")
HELD_COUNT = 40  # entries in which what is held is looked for


def hold_versions(job: Job, pipe: Connection) -> None:
    """Append versions of payloads, each like the one before; fork now and then."""
    rng = random.Random(job.seed)
    with castore.open(job.root) as store:
        if job.shared:
            segment = store.segment(job.shared)
        else:
            segment = store.create_session(key=("agent", str(job.seed)), body=b"begin")
            pipe.send(Acknowledged(segment.id, 0, (blob_digest(b"begin"),)))
        held = _held(segment)
        for _ in range(job.count):
            role = rng.choice(ROLES)
            if rng.random() < 0.1:
                held.update(_held_by_another(store, rng))
            like = held.get(role)
            old = store.get(like) if like else rng.randbytes(15_000).hex().encode()
            held[role] = store.put(changed(rng, old), like=like)
            append(segment, pipe, rng, refs=[Reference(role, held[role])])
            if rng.random() < 0.1:
                segment = segment.fork(rng.randint(1, segment.count), body=b"fork")
                pipe.send(
                    Acknowledged(
                        segment.id, segment.fork_index, (blob_digest(b"fork"),)
                    )
                )
                held = _held(segment)


def _held(segment: Segment) -> dict[str, BlobRef]:
    """Return what the newest entries of *segment* refer to, by role."""
    start = max(0, segment.count - HELD_COUNT)
    return {
        ref.role: ref.blob for entry, _ in segment.read(start) for ref in entry.refs
    }


def _held_by_another(store: castore.Store, rng: random.Random) -> dict[str, BlobRef]:
    """Return what some segment holds, which others may delete meanwhile."""
    session = rng.choice([one for one in store.sessions() if one.key])
    held = {}
    with contextlib.suppress(GoneError, NotFoundError):
        held = _held(rng.choice(session.segments()))
        for ref in held.values():
            store.get(ref)
    return held


def changed(rng: random.Random, data: bytes) -> bytes:
    """Return *data* with some bytes put in, and some left out."""
    at, size = rng.randrange(len(data)), rng.choice([0, 10, 100])
    return data[:at] + rng.randbytes(20).hex().encode() + data[at + size :]
