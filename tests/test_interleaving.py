"""
Whatever another process does between two steps of maintenance: nothing is lost.

At each call of the file seam that packing or collecting makes, somebody else acts
once, wherever the store's lock lets them.

Spec: spec/ordering.md, "Packing and deleting", "Side packs".
"""

from __future__ import annotations

import importlib
import random
import shutil
import tempfile

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest

from faultkit import CALLS

import castore

from castore import (
    BlobRef,
    ConflictError,
    LockedError,
    NewEntry,
    NotFoundError,
    Reference,
    Segment,
    Store,
    limits,
)
from castore.engine import Engine
from castore.engine.creating import create_store, store_id
from castore.gc import collect
from castore.packing import pack
from castore.packing.rewrite import Input, close_journal, maintenance, remove_dropped
from castore.storage import Files
from castore.verify import verify


gc = importlib.import_module("castore.gc")
rewrite = importlib.import_module("castore.packing.rewrite")
packing_run = importlib.import_module("castore.packing.pack")

RUN_COUNT = 12  # turns of one pair, for a budget of 1
ALL = 10  # budget from which somebody acts at every call
SMALL = {
    "JOURNAL_SIZE": 20_000,
    "OVERLAY_COMMIT_COUNT": 4,
    "SIDE_SIZE_MIN": 2000,
    "BLOCK_SIZE": 5000,
}


class TurnFiles(Files):
    """
    Files between whose calls another one has its turn, once.

    Attributes:
        count: Calls so far, while there is somebody.

        at: The call before which the other one acts.

        other: Who acts.

        names: Of the calls.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.count = 0
        self.at = -1
        self.other: Callable[[], None] | None = None
        self.names: list[str] = []

    def call(self, name: str) -> None:
        """Take note of a call; let the other one act before it."""
        if self.other is None:
            return
        self.names.append(name)
        number, self.count = self.count, self.count + 1
        if number == self.at:
            other, self.other = self.other, None
            other()


def _counted(name: str) -> Callable[..., Any]:
    method = getattr(Files, name)

    def call(self: TurnFiles, *args: Any, **options: Any) -> Any:
        self.call(name)
        return method(self, *args, **options)

    return call


for _name in CALLS:
    setattr(TurnFiles, _name, _counted(_name))


@attrs.define
class Scene:
    """
    A store that one process maintains while another one uses it.

    Attributes:
        mine: Of the one who maintains it.

        other: Of the other one; it waits for no lock.

        segment: To which the other one appends.

        waiting: What the other one has put, and not named yet.

        dead: What nothing needs, until somebody puts it again.

        acknowledged: Body and payload of each append that returned.
    """

    files: TurnFiles
    mine: Store
    other: Store
    segment: Segment
    waiting: dict[bytes, BlobRef]
    dead: bytes
    acknowledged: list[tuple[bytes, bytes]] = attrs.Factory(list)

    def put(self, body: bytes, data: bytes, like: bytes = b"") -> None:
        """
        Put *data* and append, as the other one.

        If the commit names something that gc took meanwhile, once more: what it
        has in memory it writes itself, what it believed to be stored it cannot.
        """
        for last in (False, True):
            base = self.other.put(like) if like else None
            ref = self.other.put(data, like=base)
            try:
                self.append(body, data, ref)
            except NotFoundError:
                if last:
                    raise
            else:
                return

    def append(self, body: bytes, payload: bytes, ref: BlobRef) -> None:
        """Append as the other one, and take note of it."""
        self.segment.append([NewEntry("tool", body, [Reference("x", ref)])])
        self.acknowledged.append((body, payload))


def scene(root: Path) -> Scene:
    """Return a store with garbage in each kind of file, used by two."""
    dice = random.Random(5)
    files = TurnFiles(root)
    create_store(files)
    dead = dice.randbytes(3000)
    with castore.open(root) as past:
        for number in range(3):
            # In journals and in a side pack: what stays, and what goes.
            for size in (500, 2500):
                past.put(dice.randbytes(size), tag=f"kept {number} {size}")
                past.put(dice.randbytes(size), tag="goes")
            close_journal(past.engine)
        past.put(dead, tag="goes")
        past.untag("goes")
        past.create_session(then=[NewEntry("tool", b"for nothing")]).delete()
    mine = Store(Engine(files, store_id(files, writing=True)))
    mine.put(dice.randbytes(2300), tag="kept here 2300")
    other = castore.open(root, timeout_s=0)
    segment = other.create_session(body=b"other")
    named = dice.randbytes(2200)
    made = Scene(files, mine, other, segment, {}, dead)
    made.append(b"first", named, other.put(named))
    for size in (100, 2100, 4000):  # no commit has named these
        data = dice.randbytes(size)
        made.waiting[data] = other.put(data)
    return made


# --- what the other one does -------------------------------------------------


def begin_journal(scene: Scene) -> None:
    """It closes the journal and begins another one."""
    data = b"in the journal before"
    scene.put(b"1", data)
    close_journal(scene.other.engine)
    scene.put(b"2", data)


def name_and_leave(scene: Scene) -> None:
    """It names what it had put, and lets its side pack go."""
    for data, ref in scene.waiting.items():
        scene.append(b"named", data, ref)
    scene.other.close()


def name_and_die(scene: Scene) -> None:
    """It names what it had put, and is killed: nobody tells the catalog."""
    for data, ref in scene.waiting.items():
        scene.append(b"named", data, ref)
    scene.other.engine._side.close()


def put_and_name(scene: Scene) -> None:
    """It puts something large and names it."""
    scene.put(b"large", random.Random(6).randbytes(3500))


def put_the_dead(scene: Scene) -> None:
    """It puts again what is being collected."""
    scene.put(b"alive", scene.dead)


def like_the_dead(scene: Scene) -> None:
    """It stores something as the difference to what is being collected."""
    data = scene.dead[:1000] + b"changed" + scene.dead[1000:]
    scene.put(b"like it", data, scene.dead)


def come_and_go(scene: Scene) -> None:
    """A third one opens the store, appends and closes it."""
    data = random.Random(7).randbytes(2600)
    with castore.open(scene.files.root, timeout_s=0) as third:
        segment = third.segment(scene.segment.id)
        ref = third.put(data)
        segment.append([NewEntry("tool", b"third", [Reference("x", ref)])])
        scene.acknowledged.append((b"third", data))


def rebuild(scene: Scene) -> None:
    """It makes the catalog anew, and goes on."""
    scene.other.engine.rebuild()
    put_the_dead(scene)


OTHERS = [
    begin_journal,
    name_and_leave,
    name_and_die,
    put_and_name,
    put_the_dead,
    like_the_dead,
    come_and_go,
    rebuild,
]


# --- what this one does ------------------------------------------------------


def collecting(store: Store) -> None:
    """Collect, at once."""
    collect(store.engine, grace_s=0, yes=True, level=1)


def packing(store: Store) -> None:
    """Pack."""
    pack(store.engine, level=1)


def removing(store: Store) -> None:
    """Remove files that do not count."""
    with maintenance(store.engine):
        remove_dropped(store.engine)


WORKS = [collecting, packing, removing]


def attempt(
    folder: Path, work: Callable[[Store], None], other: Callable[[Scene], None], at: int
) -> tuple[list[str], bool]:
    """
    Do *work* while *other* acts before its call *at*.

    Returns:
        The names of all calls, and whether the other one could act.
    """
    root = Path(tempfile.mkdtemp(dir=folder)) / "store"
    small: Any = SMALL
    with mock.patch.multiple(limits, **small):
        made = scene(root)
        acted = []

        def turn() -> None:
            try:
                other(made)
            except LockedError:
                return
            acted.append(True)

        made.files.at, made.files.other = at, turn
        work(made.mine)
        made.files.other = None
        made.mine.close()
        made.other.close()
        check(root, made)
    shutil.rmtree(root.parent)
    return made.files.names, bool(acted)


def check(root: Path, made: Scene) -> None:
    """All that was acknowledged is there, and both kinds of checks find no fault."""
    with castore.open(root) as store:
        segment = store.segment(made.segment.id)
        found = [
            (body, [store.get(ref.blob) for ref in entry.refs])
            for entry, body in segment.read(1)
        ]
        assert [(body, [data]) for body, data in made.acknowledged] == found
        for name, ref in store.tags().items():
            assert int(name.split()[-1]) == len(store.get(ref))
    report = verify(root)
    assert report.ok, report.findings
    # Maintenance that comes after finds nothing in its way.
    with castore.open(root) as store:
        collect(store.engine, grace_s=0, yes=True, level=1)
    check_bodies(root, made)


def check_bodies(root: Path, made: Scene) -> None:
    """What was acknowledged is still there."""
    with castore.open(root, read_only=True) as store:
        segment = store.segment(made.segment.id)
        assert len(made.acknowledged) + 1 == segment.count
        for entry, _ in segment.read(1):
            for ref in entry.refs:
                store.get(ref.blob)


@pytest.mark.parametrize("other", OTHERS, ids=[each.__name__ for each in OTHERS])
@pytest.mark.parametrize("work", WORKS, ids=[each.__name__ for each in WORKS])
def test_somebody_acts_in_between(
    work: Callable[[Store], None],
    other: Callable[[Scene], None],
    folder: Path,
    budget: float,
) -> None:
    """Maintenance goes on, and what the other one was told is true."""
    assert [] == faults(folder, work, other, budget)


def faults(
    folder: Path,
    work: Callable[[Store], None],
    other: Callable[[Scene], None],
    budget: float,
) -> list[str]:
    """Return what went wrong, by call, at some of all calls; all for a large budget."""
    names, _ = attempt(folder, work, other, -1)
    step = 1.0 if budget >= ALL else max(1.0, len(names) / (RUN_COUNT * budget))
    shift = random.Random(f"{work} {other.__name__}").random() * step
    wrong = []
    acted_count = 0
    for number in range(int(len(names) / step)):
        at = int(number * step + shift)
        try:
            _, acted = attempt(folder, work, other, at)
        except Exception as error:  # noqa: BLE001 - all are reported
            wrong.append(f"before call {at}, {names[at]}: {error!r}")
        else:
            acted_count += acted
    if not wrong and not acted_count:
        wrong.append("nobody could act")
    return wrong


# --- these tests find what they are for --------------------------------------


Within = list[range]


def asked_too_late(engine: Engine, within: Within) -> list[Input]:
    """Ask whether a side pack is idle after what of it counts: a bug there was."""
    first = engine.files.count  # type: ignore[attr-defined]
    view = engine.refresh()
    found = []
    for file, stop in rewrite.members(view, engine.state.opened, engine.store).items():
        opened = engine.state.opened.get(file)
        if file != view.position.journal and rewrite.is_free(engine, opened):
            found.append(Input(opened, stop))
    within.append(range(first, engine.files.count))  # type: ignore[attr-defined]
    return found


def listed_too_late(engine: Engine, within: Within) -> None:
    """List files after what counts: a bug there was."""
    first = engine.files.count  # type: ignore[attr-defined]
    with engine.state.locked():
        wanted = rewrite.members(engine.view, engine.state.opened, engine.store)
    found = rewrite._free_files(engine)
    within.append(range(first, engine.files.count))  # type: ignore[attr-defined]
    gone = [file for file in found if file.id not in wanted]
    rewrite._unlink(engine, [file.name for file in gone])


@pytest.mark.parametrize(
    ("bug", "where", "work", "other"),
    [
        (asked_too_late, "closed_files", packing, name_and_die),
        (listed_too_late, "remove_dropped", packing, begin_journal),
    ],
    ids=["asked too late", "listed too late"],
)
def test_a_race_that_was_mended_is_found(
    bug: Callable[[Engine, Within], Any],
    where: str,
    work: Callable[[Store], None],
    other: Callable[[Scene], None],
    folder: Path,
) -> None:
    """Who acts between the two questions of the old code shows its bug."""
    within: Within = []
    faults = 0
    with mock.patch.object(packing_run, where, lambda engine: bug(engine, within)):
        attempt(folder, work, other, -1)
        for at in within[0]:
            try:
                attempt(folder, work, other, at)
            except (AssertionError, castore.CastoreError):
                faults += 1
    assert faults


def test_a_conflict_is_met(folder: Path) -> None:
    """What comes alive while it is being deleted is seen, and stays."""
    errors: list[ConflictError] = []
    check_dead = gc._check_dead

    def checking(*args: Any) -> None:
        try:
            check_dead(*args)
        except ConflictError as error:
            errors.append(error)
            raise

    with mock.patch("castore.gc._check_dead", checking):
        assert [] == faults(folder, collecting, put_the_dead, 1)
    assert {"blob"} == {error.subject for error in errors}
