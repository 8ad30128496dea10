"""
Some actors on one store, in every order of their steps.

Each actor is a thread with files of its own, as a process would have; it hands
over before a call of the file seam that others may notice, before it takes the
store's lock, and between the things that it does. One runs at a time, so an
order of steps is one run, and the same order is the same run. Who holds the
store's lock is let go on: nobody else could do more than read.

Orders that differ only by two steps which touch nothing in common, one behind the
other, are one: of such orders the first is done (sleep sets, Godefroid 1996).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import threading
import zlib

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import attrs

from castore.catalog.database import Database
from castore.reading.mark import LOCK
from castore.storage import Files


KILL = "kill"  # who kills the actor that may be killed
CHANGING = ("create", "link", "unlink", "write", "truncate")
ASKING = ("read_up_to", "size", "size_of", "identity", "open", "exists")
HELD = "flock of "  # what `lock` and `close` touch of a file

#: What a step touched; whether it changed that.
Touched = dict[str, bool]


class Killed(BaseException):
    """The actor is there no more."""


class Redundant(Exception):  # noqa: N818 - it is no error
    """All orders that begin like this one were done."""


def commute(one: Mapping[str, bool], other: Mapping[str, bool]) -> bool:
    """Whether neither of two steps changes what the other one touches."""
    return not any(one[name] or other[name] for name in one.keys() & other.keys())


# --- who takes turns ------------------------------------------------------------


@attrs.define(eq=False)
class Actor:
    """
    A thread that does things on a store.

    Attributes:
        name: Says who it is.

        work: What it does; it calls `Turns.hand_over` in between.

        error: What ended it, if that was an error.

        has_ended: Whether it has.
    """

    name: str
    work: Callable[[], None]
    error: Exception | None = None
    has_ended: bool = False
    is_killed: bool = False
    only_kill: bool = False
    turn: threading.Semaphore = attrs.Factory(lambda: threading.Semaphore(0))


@attrs.define(eq=False)
class Turns:
    """
    Actors of which one runs at a time.

    Attributes:
        actors: By name.

        victim: Who may be killed; nobody if empty.

        touched: By the step that is being done.
    """

    actors: dict[str, Actor] = attrs.Factory(dict)
    victim: str = ""
    touched: Touched = attrs.Factory(dict)
    _current: Actor | None = None
    _back: threading.Semaphore = attrs.Factory(lambda: threading.Semaphore(0))

    @property
    def name(self) -> str:
        """Who runs."""
        return self._current.name if self._current else ""

    def choices(self) -> list[str]:
        """Return who could go on, who ran last first."""
        living = [each for each in self.actors.values() if not each.has_ended]
        held = [each for each in living if each.only_kill]
        names = [each.name for each in held or living]
        if self._current and self._current.name in names:
            names.remove(self._current.name)
            names.insert(0, self._current.name)
        if self.victim in names and not self.actors[self.victim].is_killed:
            names.append(KILL)
        return names

    def step(self, name: str) -> Touched:
        """Let *name* go on to its next turn; return what it touched."""
        actor = self.actors[self.victim if name == KILL else name]
        self.touched = {self.victim: name == KILL} if actor.name == self.victim else {}
        actor.is_killed |= name == KILL
        actor.only_kill = False
        self._current = actor
        actor.turn.release()
        self._back.acquire()
        return self.touched

    def start(self, *actors: Actor) -> None:
        """Bring *actors* to their first turns."""
        for actor in actors:
            self.actors[actor.name] = actor
            threading.Thread(target=self._run, args=(actor,), daemon=True).start()

    def _run(self, actor: Actor) -> None:
        actor.turn.acquire()
        try:
            if not actor.is_killed:
                actor.work()
        except Exception as error:  # noqa: BLE001 - all are looked at
            actor.error = error
        except Killed:
            pass
        finally:
            actor.has_ended = True
            self._back.release()

    def hand_over(self, *, only_kill: bool = False) -> None:
        """Let others have a turn; with *only_kill* the one who kills alone."""
        actor = self._current
        if actor is None:
            return
        if actor.is_killed:
            raise Killed
        if only_kill and actor.name != self.victim:
            return
        actor.only_kill = only_kill
        self._back.release()
        actor.turn.acquire()
        if actor.is_killed:
            raise Killed

    def touch(self, name: str, *, changing: bool = False) -> None:
        """Take note that the step that is being done touches *name*."""
        self.touched[name] = changing or self.touched.get(name, False)

    def end(self) -> None:
        """Be done with all actors: those that have not ended are killed."""
        for actor in self.actors.values():
            while not actor.has_ended:
                actor.is_killed = True
                self._current = actor
                actor.turn.release()
                self._back.acquire()
        self._current = None


# --- what they do it through ----------------------------------------------------


class OrderFiles(Files):
    """Files of one actor; what it holds is let go when it ends."""

    def __init__(self, root: Path, turns: Turns) -> None:
        super().__init__(root)
        self._turns = turns
        self._names: dict[int, str] = {}
        self._flocks: set[int] = set()
        self._is_holding = False

    def let_go(self) -> None:
        """Close all that is open, as the system does when a process is gone."""
        for fd in list(self._names):
            self.close(fd)

    # --- calls that are noticed ---------------------------------------------------

    def _before(self, call: str, name: str) -> None:
        turns = self._turns
        if call in CHANGING:
            turns.hand_over(only_kill=self._is_holding)
            if call in ("create", "link", "unlink"):
                turns.touch(name.partition("/")[0], changing=True)
        turns.touch(name, changing=call in CHANGING)

    def create(self, name: str) -> int:
        """Make the file."""
        self._before("create", name)
        fd = super().create(name)
        self._names[fd] = name
        return fd

    def open(self, name: str, *, write: bool = False) -> int:
        """Open the file."""
        self._before("open", name)
        fd = super().open(name, write=write)
        self._names[fd] = name
        return fd

    def link(self, old: str, new: str) -> None:
        """Give the file one more name."""
        self._before("link", new)
        super().link(old, new)

    def list(self, name: str) -> list[str]:
        """List the folder."""
        if not self._is_holding:
            self._turns.hand_over()
        self._turns.touch(name)
        return super().list(name)

    def close(self, fd: int) -> None:
        """Close the file."""
        if fd not in self._names:
            return  # it was let go; the number may be another file's by now
        name = self._names.pop(fd)
        if fd in self._flocks:
            self._flocks.discard(fd)
            self._turns.touch(HELD + name, changing=True)
        super().close(fd)

    def lock(self, fd: int, *, exclusive: bool = True, wait: bool = False) -> bool:
        """Take the flock; the store's has nobody else, for who is at a turn."""
        name = self._names[fd]
        self._turns.hand_over(only_kill=self._is_holding)
        if name != LOCK:
            self._turns.touch(HELD + name, changing=True)
        had = super().lock(fd, exclusive=exclusive, wait=False)
        if had:
            self._flocks.add(fd)
            self._is_holding |= name == LOCK
        return had

    def unlock(self, fd: int) -> None:
        """Give the flock back."""
        name = self._names[fd]
        self._flocks.discard(fd)
        if name == LOCK:
            self._is_holding = False
        else:
            self._turns.touch(HELD + name, changing=True)
        super().unlock(fd)

    # --- what a model of orders needs not -------------------------------------------

    def sync(self, fd: int) -> None:
        """Do nothing: no power goes here."""

    def sync_folder(self, name: str) -> None:
        """Do nothing."""

    def identity(self, fd: int) -> tuple[int, int]:
        """Return what is the same for a copy."""
        return 1, zlib.crc32(self._names[fd].encode())


def _noticed(call: str) -> Callable[..., Any]:
    method = getattr(Files, call)

    def noticing(self: OrderFiles, what: int | str, *args: Any, **options: Any) -> Any:
        name = what if isinstance(what, str) else self._names[what]
        self._before(call, name)
        return method(self, what, *args, **options)

    return noticing


for _name in (*CHANGING, *ASKING):
    if _name not in OrderFiles.__dict__:
        setattr(OrderFiles, _name, _noticed(_name))


# --- the same order is the same run ---------------------------------------------


@contextlib.contextmanager
def repeatable(turns: Turns, now_ms: Callable[[], int], seed: str) -> Iterator[None]:
    """
    While this is on, what is random is the same in each run, for each actor and
    *seed*; the time is *now_ms*; and what is asked of the catalog is noticed.
    """
    counts: dict[str, Iterator[int]] = {}

    def urandom(size: int) -> bytes:
        number = next(counts.setdefault(turns.name, itertools.count()))
        return hashlib.shake_128(f"{seed} {turns.name} {number}".encode()).digest(size)

    def time_ns() -> int:
        return now_ms() * 1_000_000

    fetch, using = Database.fetch, Database.using

    def fetching(self: Database, *args: Any) -> list[tuple[Any, ...]]:
        turns.touch("catalog")
        return fetch(self, *args)

    def being_used(self: Database, begin: str | None = None) -> Any:
        turns.touch("catalog", changing=begin == "BEGIN IMMEDIATE")
        return using(self, begin)

    with (
        mock.patch("os.urandom", urandom),
        mock.patch("time.time_ns", time_ns),
        mock.patch.object(Database, "fetch", fetching),
        mock.patch.object(Database, "using", being_used),
    ):
        yield


# --- all orders -----------------------------------------------------------------


@attrs.define
class _Node:
    """
    Where somebody had to be chosen.

    Attributes:
        choices: Who could go on.

        chosen: Who did.

        touched: What that step touched.

        asleep: Whose step was done in this place before, in an order that is this
            one but for steps that commute; and what it touches.
    """

    choices: list[str]
    chosen: str
    asleep: dict[str, Touched]
    touched: Touched = attrs.Factory(dict)


#: Does the next step, and says who did it; nobody if all have ended.
Step = Callable[[Turns], str | None]

#: Does a scene, step by step.
Run = Callable[[Step], None]


def by_chance(rng: random.Random) -> Step:
    """Return steps of whoever it happens to be; often the same one goes on."""
    stays = rng.choice(_STAYS)

    def step(turns: Turns) -> str | None:
        choices = turns.choices()
        if not choices:
            return None
        goes_on = turns.name == choices[0] and rng.random() < stays
        name = choices[0] if goes_on else rng.choice(choices)
        turns.step(name)
        return name

    return step


_STAYS = (0.3, 0.8, 0.95)


@attrs.define
class Orders:
    """
    All orders of the steps of a scene.

    Attributes:
        run: Does the scene once.

        count: Runs so far, those included that were given up as redundant.
    """

    run: Run
    count: int = 0
    _path: list[_Node] = attrs.Factory(list)
    _depth: int = 0

    def __iter__(self) -> Iterator[list[str]]:
        """Do the scene once for each order; yield who went on in each step."""
        while True:
            self._depth = 0
            self.count += 1
            with contextlib.suppress(Redundant):
                self.run(self._step)
                yield [node.chosen for node in self._path]
            while self._path and not self._choose_another(self._path[-1]):
                self._path.pop()
            if not self._path:
                return

    def _step(self, turns: Turns) -> str | None:
        choices = turns.choices()
        if not choices:
            return None
        if self._depth == len(self._path):
            self._path.append(self._new_node(choices))
        node = self._path[self._depth]
        assert node.choices == choices, "the same order is not the same run"
        self._depth += 1
        node.touched = turns.step(node.chosen)
        return node.chosen

    def _new_node(self, choices: list[str]) -> _Node:
        asleep: dict[str, Touched] = {}
        if self._path:
            last = self._path[-1]
            asleep = {
                name: touched
                for name, touched in last.asleep.items()
                if commute(touched, last.touched)
            }
        awake = [name for name in choices if name not in asleep]
        if not awake:
            raise Redundant
        return _Node(choices, awake[0], asleep)

    def _choose_another(self, node: _Node) -> bool:
        """Choose somebody else in *node*, if there is somebody."""
        node.asleep = {**node.asleep, node.chosen: node.touched}
        awake = [name for name in node.choices if name not in node.asleep]
        if awake:
            node.chosen, node.touched = awake[0], {}
        return bool(awake)
