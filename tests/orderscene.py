"""
Two writers and a collector on one store, and what must be true in the end.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import shutil

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import attrs

from crash.checkers import files_left
from orderkit import Actor, OrderFiles, Step, Turns, repeatable

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
    limits,
)
from castore.digest import format_digest
from castore.engine import Engine
from castore.engine.creating import create_store, store_id
from castore.gc import collect
from castore.packing.rewrite import close_journal
from castore.reading.survey import survey


rewrite = importlib.import_module("castore.packing.rewrite")

SMALL = {"SIDE_SIZE_MIN": 2000, "RESERVE_SIZE": 0}
HOUR_S = 3600
COLLECTOR = "collector"
_DICE = random.Random(3)
DEAD, GOES, KEPT = (_DICE.randbytes(400) for _ in range(3))
LARGE = _DICE.randbytes(2500)
SHARED_COUNT = 4  # entries of the log that may be forked and deleted
FORKED_AT = 3

#: An entry of the model: its body, and what it refers to.
Line = tuple[bytes, bytes | None]


@attrs.define(eq=False)
class Scene:
    """
    A store, who uses it, and what it must hold.

    Attributes:
        turns: Who goes on.

        root: Folder of the store.

        now_s: The time.

        grace_s: Of the collector.

        shared: Id of a log that is forked and deleted.

        own: Id of a log of each writer's own, by its name.

        dead: What nothing needs.

        logs: Entries of each living log, as acknowledged.

        tags: What they keep.

        collects_twice: Whether a writer collects too.
    """

    turns: Turns
    root: Path
    grace_s: int
    now_s: int = 1_000_000
    shared: bytes = b""
    own: dict[str, bytes] = attrs.Factory(dict)
    dead: BlobRef = attrs.Factory(lambda: BlobRef(b"", 0))
    logs: dict[bytes, list[Line]] = attrs.Factory(dict)
    tags: dict[str, bytes] = attrs.Factory(dict)
    collects_twice: bool = False

    def open(self) -> Store:
        """Open the store."""
        files = OrderFiles(self.root, self.turns)
        return Store(Engine(files, store_id(files, writing=True), timeout_s=1))

    def collect(self, store: Store, **options: Any) -> Any:
        """Collect."""
        grace_s = options.pop("grace_s", self.grace_s)
        return collect(store.engine, grace_s=grace_s, yes=True, level=1, **options)

    def begin(self) -> None:
        """Make the store: something is shared, something dead, something tagged."""
        create_store(OrderFiles(self.root, self.turns))
        with self.open() as store:
            ref = store.put(KEPT)
            lines: list[Line] = [(b"begin", None)]
            lines += [(b"%d" % n, KEPT) for n in range(1, SHARED_COUNT)]
            shared = store.create_session(body=b"begin")
            shared.append(
                [NewEntry("x", b, [Reference("r", ref)]) for b, _ in lines[1:]]
            )
            self.shared = shared.id
            self.logs[shared.id] = lines
            self.dead = store.put(DEAD, tag="u")
            store.untag("u")
            store.put(GOES, tag="t")
            self.tags["t"] = GOES
            close_journal(store.engine)
            for name in ("a", "b"):
                self.own[name] = store.create_session(body=b"own").id
                self.logs[self.own[name]] = [(b"own", None)]
            if self.grace_s:
                self.collect(store)
        self.now_s += 2 * HOUR_S


@attrs.define(eq=False)
class Writer:
    """One who uses the store of a scene."""

    scene: Scene
    store: Store
    name: str

    @property
    def segment(self) -> Segment:
        """Its own log."""
        return self.store.segment(self.scene.own[self.name])

    def append(self, body: bytes, data: bytes, ref: BlobRef) -> None:
        """Append to its own log; take note of it when that was acknowledged."""
        segment = self.segment
        segment.append([NewEntry("x", body, [Reference("r", ref)])])
        self.scene.logs[segment.id].append((body, data))


# --- what writers do ------------------------------------------------------------


def hit(writer: Writer) -> None:
    """Put what is there already, but dead, and name it."""
    writer.append(b"hit", DEAD, writer.store.put(DEAD))


def name(writer: Writer) -> None:
    """Name what is dead, without having its bytes: it may be gone."""
    with contextlib.suppress(NotFoundError):
        writer.append(b"name", DEAD, writer.scene.dead)


def large(writer: Writer) -> None:
    """Put what goes to the side pack, and name it."""
    writer.append(b"large", LARGE, writer.store.put(LARGE))


def like(writer: Writer) -> None:
    """Put what is stored as the difference to what is dead."""
    data = DEAD[:200] + b"changed" + DEAD[200:]
    for last in (False, True):
        ref = writer.store.put(data, like=writer.scene.dead)
        try:
            writer.append(b"like", data, ref)
        except NotFoundError:  # the base went: once more, it is stored whole
            if last:
                raise
        else:
            return


def fork(writer: Writer) -> None:
    """Fork the shared log, if it is there."""
    scene = writer.scene
    lines = [*scene.logs.get(scene.shared, [])[:FORKED_AT], (b"fork", None)]
    try:
        forked = writer.store.segment(scene.shared).fork(FORKED_AT, body=b"fork")
    except (GoneError, ConflictError):
        if scene.shared in scene.logs:
            raise
    else:
        scene.logs[forked.id] = lines


def delete(writer: Writer) -> None:
    """Delete the shared log."""
    writer.store.segment(writer.scene.shared).delete()
    del writer.scene.logs[writer.scene.shared]


def tag(writer: Writer) -> None:
    """Put what is there already, but dead, and tag it."""
    writer.store.put(DEAD, tag="u")
    writer.scene.tags["u"] = DEAD


def untag(writer: Writer) -> None:
    """Let go of a tag."""
    writer.store.untag("t")
    del writer.scene.tags["t"]


def move(writer: Writer) -> None:
    """Have a tag keep what is dead, without having its bytes: it may be gone."""
    with contextlib.suppress(NotFoundError):
        writer.store.tag("v", writer.scene.dead)
        writer.scene.tags["v"] = DEAD


def collect_too(writer: Writer) -> None:
    """Collect as well, if nobody does just now."""
    _collecting(writer.scene, writer.store)


#: What a writer does, one thing after another.
Program = Sequence[Callable[[Writer], None]]


# --- a run ----------------------------------------------------------------------


@attrs.define(eq=False)
class Template:
    """A store that was made once, and is copied for each run."""

    root: Path
    grace_s: int
    scene: Scene | None = None

    def copy(self, root: Path) -> Scene:
        """Return a scene on a copy of the store in the new folder *root*."""
        if self.scene is None:
            self.scene = Scene(Turns(), self.root, self.grace_s)
            made = self.scene
            with repeatable(made.turns, lambda: made.now_s * 1000, "begin"):
                made.begin()
        shutil.copytree(self.root, root)
        logs = {key: list(lines) for key, lines in self.scene.logs.items()}
        tags = dict(self.scene.tags)
        return attrs.evolve(self.scene, turns=Turns(), root=root, logs=logs, tags=tags)


def play(
    scene: Scene,
    programs: Sequence[Program],
    step: Step,
    *,
    kills: bool = False,
) -> None:
    """
    Have writers do *programs* beside a collector; check what is left.

    Raises:
        AssertionError: Something is lost or stays for ever, or somebody met an
            error that no caller should see.
    """
    turns = scene.turns
    scene.collects_twice = any(collect_too in program for program in programs)
    small: Any = SMALL
    with (
        mock.patch.multiple(limits, **small),
        mock.patch.object(rewrite, "_MAINTENANCE_TIMEOUT_S", 0),
        repeatable(turns, lambda: scene.now_s * 1000, "play"),
    ):
        mine = scene.open()
        writers = [
            Writer(scene, scene.open(), each)
            for each, _ in zip(scene.own, programs, strict=False)
        ]
        turns.victim = COLLECTOR if kills else ""
        works = [_doing(*each) for each in zip(writers, programs, strict=True)]
        turns.start(
            Actor(COLLECTOR, lambda: _collecting(scene, mine)),
            *[
                Actor(writer.name, work)
                for writer, work in zip(writers, works, strict=True)
            ],
        )
        try:
            while step(turns) is not None:
                pass
        finally:
            turns.end()
            _leave(mine, turns.actors[COLLECTOR])
            for writer in writers:
                _leave(writer.store, turns.actors[writer.name])
        for actor in turns.actors.values():
            assert actor.error is None, f"{actor.name}: {actor.error!r}"
        check(scene)


def _doing(writer: Writer, program: Program) -> Callable[[], None]:
    def work() -> None:
        for number, each in enumerate(program):
            if number:
                writer.scene.turns.hand_over()
            each(writer)

    return work


def _collecting(scene: Scene, store: Store) -> None:
    # Somebody was quicker each time; the next run comes. Or somebody collects.
    legal = (ConflictError, LockedError) if scene.collects_twice else (ConflictError,)
    with contextlib.suppress(*legal):
        scene.collect(store)


def _leave(store: Store, actor: Actor) -> None:
    if not actor.is_killed:
        store.close()
        return
    catalog = store.engine.state.catalog
    if catalog is not None:
        catalog.close()
    files = store.engine.files
    assert isinstance(files, OrderFiles)
    files.let_go()


# --- what must be true ----------------------------------------------------------


def check(scene: Scene) -> None:
    """All that is needed is there, after two more runs too; nothing else is then."""
    with scene.open() as store:
        check_needed(scene, store)
        for _ in range(2 if scene.grace_s else 1):
            scene.now_s += 2 * HOUR_S
            scene.collect(store)
        check_needed(scene, store)
        check_nothing_else(scene, store)


def check_needed(scene: Scene, store: Store) -> None:
    """Each log and tag is what was acknowledged."""
    found = {
        segment.id: [
            (body, store.get(entry.refs[0].blob) if entry.refs else None)
            for entry, body in segment.read()
        ]
        for session in store.sessions()
        for segment in session.segments()
    }
    assert scene.logs == found
    assert scene.tags == {key: store.get(ref) for key, ref in store.tags().items()}


def check_nothing_else(scene: Scene, store: Store) -> None:
    """No blob, file or condemned name is left that nothing needs."""
    needed = {castore.digest.blob_digest(data) for data in scene.tags.values()}
    logs = [*scene.logs, store.id]
    for segment in logs:
        for entry in store.segment(segment).entries():
            needed.add(entry.body.digest)
            if segment != store.id:
                needed |= {ref.blob.digest for ref in entry.refs}
    known = store.engine.refresh().known
    places = {place.digest for place in known.places()}
    assert needed == places, [format_digest(each) for each in needed ^ places]
    assert not store.engine.upkeep.condemned()
    result = survey(store.engine.files, store=store.id)
    assert result.first_fault() is None
    assert [] == files_left(store)
