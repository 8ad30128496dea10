"""
What is done to a store while it is recorded. Small: each is stopped everywhere.
"""

from __future__ import annotations

import contextlib
import errno
import random
import threading

from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import attrs

from crash.disk import LOCK
from crash.recording import Record, RecordingFiles, catalogs_saved
from crash.scribe import Scribe, Wanted
from erasekit import canary

from castore import CastoreError, Reference, Segment, limits
from castore.engine.putting import put_parts
from castore.gc import collect
from castore.packing import pack


Fails = Callable[[str, int], int]
_GRACE_S = 3600


def text(rng: random.Random, size: int) -> bytes:
    """Return some *size* bytes that compress as text does."""
    words = [rng.randbytes(3).hex() for _ in range(20)]
    made = " ".join(rng.choice(words) for _ in range(size // 7 + 1))
    return made.encode()[:size]


def entries(rng: random.Random, count: int) -> list[Wanted]:
    """Return *count* entries without references."""
    kinds = ["user", "assistant", "tool"]
    return [
        (rng.choice(kinds), text(rng, rng.choice([0, 5, 40, 300])), ())
        for _ in range(count)
    ]


def making(files: RecordingFiles, _: random.Random) -> None:
    """A store is made."""
    Scribe(files).store.close()


def talk(files: RecordingFiles, rng: random.Random) -> None:
    """A session, appends of one and of many, a fork, keys, closing in between."""
    scribe = Scribe(files)
    segment = scribe.begin(b"hello", key=("test", "a"), then=entries(rng, 2))
    for count in (1, 1, 7, 1):
        scribe.append(segment, *entries(rng, count))
    scribe.append(segment, *entries(rng, 1), key="once")
    fork = scribe.fork(segment, rng.randint(1, 12), b"other", entries(rng, 1))
    scribe.append(fork, *entries(rng, 2))
    scribe.append(segment, *entries(rng, 1))
    scribe.reopen()
    segment = scribe.store.segment(segment.id)
    scribe.append(segment, *entries(rng, 3))
    scribe.begin(b"second", key=("test", "b"))
    scribe.store.close()


def payloads(files: RecordingFiles, rng: random.Random) -> None:
    """Blobs in the journal and in side packs, shared ones, differences, tags."""
    scribe = Scribe(files)
    segment = scribe.begin(b"")
    data = rng.randbytes(1500)
    first = scribe.store.put(data)
    big = scribe.store.put(rng.randbytes(5000))  # to the side pack
    refs = [Reference("state", first), Reference("file.a", big)]
    scribe.append(segment, ("tool", b"result", refs))
    for number in range(3):
        data = data[:700] + rng.randbytes(20) + data[700:]
        first = scribe.store.put(data, like=first)
        refs = [Reference("state", first)]
        scribe.append(segment, (f"step{number}", first, refs), *entries(rng, 1))
    scribe.tag("kept", rng.randbytes(100))
    scribe.tag("kept", rng.randbytes(4000))
    scribe.tag("other", b"some")
    lost = scribe.store.put(rng.randbytes(6000))  # that no commit names for long
    scribe.untag("other")
    other = scribe.begin(b"", then=[("tool", lost, ())])
    scribe.append(other, ("tool", rng.randbytes(4500), [Reference("x", big)]))
    scribe.store.close()


def journals(files: RecordingFiles, rng: random.Random) -> None:
    """Journals that are full after some commits, closed and followed by others."""
    with mock.patch.multiple(limits, JOURNAL_SIZE=2500, OVERLAY_COMMIT_COUNT=3):
        scribe = Scribe(files)
        segment = scribe.begin(b"begin", key=("test", "j"))
        other = scribe.begin(b"other")
        for number in range(9):
            scribe.append(segment, *entries(rng, rng.choice([1, 4])))
            if number % 3 == 0:
                scribe.append(other, ("tool", rng.randbytes(300), ()))
        scribe.delete(other)
        fork = scribe.fork(segment, 2, b"fork")
        scribe.append(fork, ("tool", rng.randbytes(900), ()))
        scribe.reopen()
        scribe.append(scribe.store.segment(segment.id), *entries(rng, 2))
        scribe.store.close()


def handles(files: RecordingFiles, rng: random.Random) -> None:
    """Two handles that write in turns, as two processes would."""
    with mock.patch.multiple(limits, JOURNAL_SIZE=4000, OVERLAY_COMMIT_COUNT=4):
        first = Scribe(files)
        segment = first.begin(b"shared", key=("test", "s"))
        second = Scribe(files)
        second.logs = first.logs
        other = second.store.segment(segment.id)
        own = second.begin(b"own")
        for number in range(6):
            first.append(segment, *entries(rng, 1))
            other = second.store.segment(segment.id)
            second.append(other, *entries(rng, 2))
            segment = first.store.segment(segment.id)
            if number % 2:
                second.append(own, ("tool", rng.randbytes(2500), ()))
                first.tag(f"t{number}", rng.randbytes(50))
        first.store.close()
        second.delete(own)
        second.append(other, *entries(rng, 1))
        second.store.close()


def threads(files: RecordingFiles, rng: random.Random) -> None:
    """Threads whose commits share syncs."""
    scribe = Scribe(files)
    segments = [scribe.begin(b"%d" % number) for number in range(4)]
    wanted = [[entries(rng, rng.choice([1, 3])) for _ in range(4)] for _ in segments]
    barrier = threading.Barrier(len(segments))
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            for some in wanted[number]:
                barrier.wait(10)
                scribe.append(segments[number], *some)
        except BaseException as error:  # noqa: BLE001 - reraised below
            failed.append(error)
            barrier.abort()

    workers = [threading.Thread(target=run, args=(n,)) for n in range(len(segments))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed:
        raise failed[0]
    scribe.store.close()


def failing(files: RecordingFiles, rng: random.Random) -> None:
    """Syncs and writes that fail; the store is opened again and work goes on."""
    scribe = Scribe(files)
    segment = scribe.begin(b"before")
    for _ in range(12):
        try:
            scribe.append(segment, *entries(rng, 2))
            scribe.tag("big", rng.randbytes(3000))
        except CastoreError:
            _reopen_at_last(scribe)
            segment = scribe.store.segment(segment.id)
    scribe.store.close()


def _reopen_at_last(scribe: Scribe) -> None:
    """Open the store again; what fails meanwhile fails a few times only."""
    for _ in range(5):
        with contextlib.suppress(CastoreError):
            scribe.reopen()
            return
    scribe.reopen()


def torn_mark(files: RecordingFiles, rng: random.Random) -> None:
    """A mark that was written in part only, and a pack once that was recovered."""
    scribe = Scribe(files)
    segment = scribe.begin(b"begin", then=entries(rng, 2))
    scribe.reopen()  # with which the catalog gets past the journal's beginning
    segment = scribe.store.segment(segment.id)
    with files.tearing(LOCK), contextlib.suppress(CastoreError):
        scribe.append(segment, *entries(rng, 2))
    scribe.reopen()
    segment = scribe.store.segment(segment.id)
    scribe.append(segment, *entries(rng, 1))
    pack(scribe.store.engine)
    scribe.append(segment, *entries(rng, 1))
    scribe.store.close()


def packing(files: RecordingFiles, rng: random.Random) -> None:
    """Packs of journals and side packs, garbage collected, work in between."""
    scribe = Scribe(files)
    segment = scribe.begin(b"begin", key=("test", "p"))
    other = scribe.begin(b"other", then=[("tool", rng.randbytes(400), ())])
    state = scribe.store.put(rng.randbytes(3000))
    scribe.append(segment, ("tool", b"", [Reference("state", state)]))
    scribe.append(segment, *entries(rng, 4))
    scribe.tag("old", rng.randbytes(2500))
    pack(scribe.store.engine)
    scribe.append(segment, *entries(rng, 2))
    scribe.untag("old")
    scribe.delete(other)
    fork = scribe.fork(segment, 3, b"fork", entries(rng, 1))
    collect(scribe.store.engine, grace_s=0, yes=True)
    scribe.append(fork, ("tool", rng.randbytes(2600), [Reference("state", state)]))
    scribe.reopen()
    segment = scribe.store.segment(segment.id)
    scribe.append(segment, *entries(rng, 2))
    pack(scribe.store.engine)
    scribe.append(segment, *entries(rng, 1))
    collect(scribe.store.engine, grace_s=0, yes=True)
    scribe.store.close()


def collecting(files: RecordingFiles, rng: random.Random) -> None:
    """
    Garbage in journals, packs and side packs that is condemned, comes alive again in
    part, goes after its grace; and some that goes at once.
    """
    with mock.patch.multiple(limits, JOURNAL_SIZE=4000, OVERLAY_COMMIT_COUNT=4):
        scribe = Scribe(files)
        segment = scribe.begin(b"begin", key=("test", "c"))
        doomed = scribe.begin(b"doomed", then=entries(rng, 3))
        fork = scribe.fork(doomed, 2, b"heir", entries(rng, 1))
        dead = [rng.randbytes(size) for size in (300, 2500, 900)]
        for data in dead:
            scribe.tag("goes", data)
        scribe.untag("goes")
        scribe.delete(doomed)
        scribe.collect(grace_s=_GRACE_S)
        again = scribe.store.put(dead[0])
        scribe.append(segment, ("tool", b"alive again", [Reference("x", again)]))
        scribe.collect(grace_s=_GRACE_S)
        scribe.tag("again", dead[1])
        scribe.append(fork, *entries(rng, 2))
        scribe.reopen()
        scribe.untag("again")
        scribe.collect(grace_s=_GRACE_S)
        scribe.tag("late", dead[2])
        scribe.collect()
        segment = scribe.store.segment(segment.id)
        scribe.append(segment, ("tool", b"", [Reference("x", again)]))
        scribe.store.close()


def versions(files: RecordingFiles, rng: random.Random) -> None:
    """
    Payloads of slots, stored against each other: forks go on from them, packs turn
    them around, some journals at a time, and gc drops old ones and bases.
    """
    with mock.patch.multiple(
        limits,
        DIFFERENCE_WHOLE_EVERY=3,
        DIFFERENCE_TURNED_EVERY=3,
        JOURNAL_SIZE=2500,
        PACKING_SIZE=1,
        SLOT_SIZE_MIN=100,
    ):
        scribe = Scribe(files)
        lent = scribe.store.put(rng.randbytes(700))
        other = scribe.begin(b"lent", then=[("tool", b"", [Reference("x", lent)])])
        segment = scribe.begin(b"begin", key=("test", "v"))
        held: Slots = {"checkpoint.a": rng.randbytes(1500), "file.b": text(rng, 900)}
        _versions(scribe, segment, held, rng, 4)
        pack(scribe.store.engine, max_duration_s=0)
        # Its base is only where the other log keeps it.
        like = scribe.store.put(scribe.store.get(lent) + b"more", like=lent)
        scribe.append(segment, ("tool", b"", [Reference("y", like)]))
        fork = scribe.fork(segment, segment.count - 2, b"fork")
        _versions(scribe, fork, dict(held), rng, 2)
        scribe.delete(other)
        scribe.collect()
        _versions(scribe, segment, held, rng, 3)
        pack(scribe.store.engine, max_duration_s=0)
        scribe.delete(fork)
        scribe.collect(keep_checkpoints=2)
        scribe.reopen()
        _versions(scribe, scribe.store.segment(segment.id), held, rng, 1)
        pack(scribe.store.engine)
        scribe.store.close()


#: What slots hold.
Slots = dict[str, bytes]


def _versions(
    scribe: Scribe, segment: Segment, held: Slots, rng: random.Random, count: int
) -> None:
    """Append *count* versions of what is *held*, each stored against the one before."""
    for _ in range(count):
        slot = rng.choice(list(held))
        like = scribe.store.put(held[slot])
        at = rng.randrange(len(held[slot]))
        held[slot] = held[slot][:at] + rng.randbytes(20) + held[slot][at:]
        ref = Reference(slot, scribe.store.put(held[slot], like=like))
        scribe.append(segment, ("tool", b"", [ref]))


def large(files: RecordingFiles, rng: random.Random) -> None:
    """Blobs as large as they must be for a side pack and for a chunk list."""
    scribe = Scribe(files)
    segment = scribe.begin(b"")
    side = scribe.store.put(text(rng, 1000) * 1100)
    scribe.append(segment, ("tool", b"", [Reference("file", side)]))
    chunked = scribe.store.put(text(rng, 3000) * 2900)
    scribe.append(segment, ("tool", chunked, [Reference("file", side)]))
    scribe.append(segment, *entries(rng, 1))
    scribe.store.close()


def erasing(files: RecordingFiles, rng: random.Random) -> None:
    """
    Payloads and a session erased from journals, packs, side packs, differences and
    chunk lists, with work in between.
    """
    with mock.patch.multiple(limits, JOURNAL_SIZE=3000, SLOT_SIZE_MIN=100):
        scribe = Scribe(files)
        segment = scribe.begin(b"begin")
        doomed = scribe.begin(b"doomed " + canary(0), then=entries(rng, 2))
        like, refs, data = None, [], rng.randbytes(900)
        for number in range(1, 6):
            data = data[:300] + canary(number) + data[316:]
            like = scribe.store.put(data, like=like)
            big = scribe.store.put(canary(10 + number) + rng.randbytes(2100))
            parts = [bytes(300), canary(20 + number) + bytes([number]) * 50]
            listed = put_parts(scribe.store.engine, parts)
            refs += [(like, number), (big, 10 + number), (listed, 20 + number)]
            named = [Reference(f"role.{at}", ref) for at, (ref, _) in enumerate(refs)]
            scribe.append(segment, ("tool", canary(30 + number), named[-3:]))
            if number == 3:
                pack(scribe.store.engine)
        scribe.reopen()  # which lets go of its side pack
        segment = scribe.store.segment(segment.id)
        erased = [refs[at] for at in sorted(rng.sample(range(len(refs)), 4))]
        body = segment.entry(2).body
        scribe.erase(*((ref, canary(n)) for ref, n in erased), (body, canary(32)))
        scribe.append(segment, *entries(rng, 2))
        scribe.erase_session(doomed, canary(0))
        scribe.append(segment, *entries(rng, 1))
        pack(scribe.store.engine)
        scribe.store.close()


@attrs.frozen
class Workload:
    """
    Something to record.

    Attributes:
        run: Does it.

        side_size: `limits.SIDE_SIZE_MIN` meanwhile.

        fails: Which syncs and writes fail, if some shall.
    """

    run: Callable[[RecordingFiles, random.Random], None]
    side_size: int = 2000
    fails: Callable[[random.Random], Fails] | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.run.__name__


def _some_fail(rng: random.Random) -> Fails:
    chosen = {("sync", rng.randint(6, 25)) for _ in range(3)}
    chosen |= {("write", rng.randint(12, 50)) for _ in range(2)}

    def fails(what: str, number: int) -> int:
        if (what, number) not in chosen:
            return 0
        return errno.EIO if what == "sync" else errno.ENOSPC

    return fails


ALL = {
    one.name: one
    for one in (
        Workload(making),
        Workload(talk),
        Workload(payloads),
        Workload(journals),
        Workload(handles),
        Workload(threads),
        Workload(failing, fails=_some_fail),
        Workload(torn_mark),
        Workload(packing),
        Workload(collecting),
        Workload(versions),
        Workload(erasing),
        Workload(large, side_size=limits.SIDE_SIZE_MIN),
    )
}


@contextlib.contextmanager
def _no_limits(workload: Workload) -> Iterator[None]:
    with mock.patch.multiple(limits, SIDE_SIZE_MIN=workload.side_size):
        yield


def recorded(workload: Workload, folder: Path, seed: int) -> Record:
    """Run *workload* in the new *folder* and return what happened."""
    rng = random.Random(seed)
    fails = workload.fails(rng) if workload.fails else lambda _what, _number: 0
    folder.mkdir()
    files = RecordingFiles(folder, fails=fails)
    with _no_limits(workload), catalogs_saved(files):
        workload.run(files, rng)
    return files.record
