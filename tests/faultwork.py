"""
A workload on a medium that fails, and what must be true while and after it does.
"""

from __future__ import annotations

import contextlib
import random

from collections.abc import Callable
from typing import Any, cast
from unittest import mock

from crash.campaign import Fault, check_found, check_goes_on
from crash.recording import RecordingFiles
from crash.scribe import Scribe, Wanted
from crash.workloads import entries
from faultkit import NotingFiles, Plan

from castore import CastoreError, ClosedError, ConflictError, Reference, limits
from castore.gc import collect
from castore.packing import pack
from castore.reading.findings import FAULT
from castore.reading.survey import survey
from castore.storage import Files


class Talk:
    """
    Steps on one store; each can be done again if it failed.

    Attributes:
        scribe: Does them.
    """

    def __init__(self, files: NotingFiles) -> None:
        self.rng = random.Random(1)
        self.files = files
        self.scribe = Scribe(cast("RecordingFiles", files))
        self.steps: list[Callable[[], object]] = [
            self.begin,
            self.append,
            self.append_keyed,
            self.fork,
            self.difference,
            self.side,
            self.chunks,
            self.tags,
            self.delete,
            *[self.append] * 6,
            self.pack,
            self.side,
            self.collect,
            self.append,
            self.scribe.reopen,
            self.append,
            self.delete,
            self.untag,
            self.collect,
            self.pack,
            self.append,
        ]

    def some(self) -> list[Wanted]:
        """Return entries."""
        return entries(self.rng, self.rng.choice([1, 4]))

    def begin(self) -> None:
        """Begin the session that is appended to."""
        with contextlib.suppress(ConflictError):
            self.scribe.begin(b"hello", key=("test", "a"), then=self.some())

    @property
    def segment(self) -> Any:
        """Its first segment, as it is now."""
        return self.scribe.store.session(("test", "a")).segments()[0]

    def append(self) -> None:
        """Append."""
        self.scribe.append(self.segment, *self.some())

    def append_keyed(self) -> None:
        """Append under a key, which makes it happen once."""
        wanted: Wanted = ("tool", b"only once", ())
        segment = self.segment
        if any(entry.kind == "once" for entry in segment.entries()):
            segment.append([], key="once")
        self.scribe.append(segment, wanted, key=f"once{self.rng.random()}")

    def fork(self) -> None:
        """Fork, and append to the fork."""
        forked = self.scribe.fork(self.segment, 2, b"other", self.some())
        self.scribe.append(forked, *self.some())

    def difference(self) -> None:
        """Append a payload and one that is stored as the difference to it."""
        data = self.rng.randbytes(1500)
        first = self.scribe.store.put(data)
        second = self.scribe.store.put(data[:700] + b"more" + data[700:], like=first)
        refs = [Reference("a", first), Reference("b", second)]
        self.scribe.append(self.segment, ("tool", b"", refs))

    def side(self) -> None:
        """Append a payload that goes to the side pack."""
        large = self.scribe.store.put(self.rng.randbytes(5000))
        self.scribe.append(self.segment, ("tool", large, [Reference("x", large)]))

    def chunks(self) -> None:
        """Append a payload in chunks."""
        parts = [self.rng.randbytes(900) for _ in range(4)]
        ref = self.scribe.store.engine.pool.put_parts(parts)
        self.scribe.append(self.segment, ("tool", ref, ()))

    def tags(self) -> None:
        """Tag payloads."""
        self.scribe.tag("kept", self.rng.randbytes(4000))
        self.scribe.tag("other", b"small")

    def untag(self) -> None:
        """Let go of a tag."""
        if "kept" in self.scribe.store.tags():
            self.scribe.untag("kept")

    def delete(self) -> None:
        """Begin a session and delete it."""
        self.scribe.delete(self.scribe.begin(b"for nothing", then=self.some()))

    def close(self) -> None:
        """Close the store."""
        self.scribe.store.close()

    def pack(self) -> None:
        """Pack."""
        pack(self.scribe.store.engine)

    def collect(self) -> None:
        """Collect what nothing needs."""
        collect(self.scribe.store.engine, grace_s=0, yes=True)


def small() -> Any:
    """While this is on, few bytes are many."""
    return mock.patch.multiple(
        limits, JOURNAL_SIZE=6000, OVERLAY_COMMIT_COUNT=4, SIDE_SIZE_MIN=2000
    )


# --- what must be true -------------------------------------------------------


def run(files: NotingFiles, plan: Plan, *, creating: bool = False) -> None:
    """
    Do the workload while things fail, and check what is left.

    Raises:
        Fault: Something is lost, half or invented; or a failed sync had no
            consequence; or what failed once did not work after that.
    """
    plan.armed = creating
    with small():
        talk = _begin(files, plan)
        if talk is not None:
            plan.armed = True
            for step in [*([] if creating else talk.steps), talk.close]:
                _do(step, talk, plan)
        plan.armed = False
        _check(files)


def _begin(files: NotingFiles, plan: Plan) -> Talk | None:
    """Make and open the store; what failed once works when it is done again."""
    for _ in range(2):
        try:
            return Talk(files)
        except CastoreError as error:
            last = error
    if not plan.forever:
        raise Fault(f"not made after {plan.hits}: {last!r}") from last
    return None


def _do(step: Callable[[], object], talk: Talk, plan: Plan) -> None:
    before = len(plan.hits)
    try:
        step()
    except ConflictError as error:
        raise Fault(f"{step} after {plan.hits}: {error}") from error
    except CastoreError as error:
        if len(plan.hits) == before and not plan.forever and not plan.unsynced:
            # What failed may have poisoned the handle in a step that had nothing
            # more to write when it was done again.
            closed = isinstance(error, ClosedError) and plan.hits
            if not closed or not talk.scribe.store.engine.state.is_poisoned:
                raise Fault(f"{step} after {plan.hits}: {error!r}") from error
            talk.scribe.reopen()
            step()
            return
    else:
        if len(plan.hits) == before and not plan.unsynced:
            return
    if plan.forever:
        return
    if plan.unsynced:
        _check_refused(talk, plan)
        plan.unsynced = False
        talk.scribe.reopen()
        if step not in (talk.close, talk.scribe.reopen):
            step()
    elif step != talk.close:
        _again(step, talk)


def _again(step: Callable[[], object], talk: Talk) -> None:
    """Do what failed once again, on another handle if this one is closed."""
    try:
        talk.scribe.show()
        step()
    except ClosedError:
        talk.scribe.reopen()
        step()


def _check_refused(talk: Talk, plan: Plan) -> None:
    try:
        talk.scribe.begin(b"refused")
    except ClosedError:
        return
    except CastoreError as error:
        raise Fault(f"refused, but not as closed: {error!r}") from error
    raise Fault(f"the handle goes on after {plan.hits}")


def _check(files: NotingFiles) -> None:
    healthy = Files(files.root)
    seen = check_found(healthy, files.world)
    seen = check_goes_on(healthy, seen)
    faults = [one for one in survey(healthy).findings if one.severity == FAULT]
    if faults:
        raise Fault(f"survey: {faults}")
