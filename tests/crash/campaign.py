"""
Stopping a recorded workload everywhere, and looking at what is left.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import typing

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any
from unittest import mock

import attrs

from crash.checkers import CHECKERS, files_left
from crash.disk import CatalogState, Data, Disk, Image, LockState, Names, Stop
from crash.placing import place
from crash.recording import (
    QuickFiles,
    Record,
    RecordingFiles,
    catalogs_saved,
    folder_bytes,
)
from crash.scribe import Scribe
from crash.workloads import Workload, recorded
from crash.world import Intended, Seen, Settled, Shown, World, is_gone, look
from erasekit import canaries_in

from castore import CastoreError, NewEntry, Store, limits
from castore.catalog import SqliteCatalog
from castore.digest import blob_digest
from castore.engine import Engine, catalogs
from castore.engine.creating import create_store, store_id
from castore.gc import collect
from castore.packing import pack
from castore.segment import ANY
from castore.storage import Files


_DATA: tuple[Data, ...] = typing.get_args(Data)
_NAMES: tuple[Names, ...] = typing.get_args(Names)
_LOCKS: tuple[LockState, ...] = typing.get_args(LockState)
_CATALOGS: tuple[CatalogState, ...] = typing.get_args(CatalogState)
_PLAIN = (
    Stop(power=False),
    Stop(power=False, data="torn"),
    Stop(power=True, data="dropped", names="dropped"),
    Stop(power=True),
)
#: What is tried after every call, with each of these states of the catalog.
_GRID = (
    *_PLAIN,
    Stop(power=True, data="torn"),
    Stop(power=True, data="zeros"),
    Stop(power=True, data="some", names="some"),
)
_GRID_CATALOGS: tuple[CatalogState, ...] = ("missing", "checkpoint", "older", "newest")
_PLAIN_SHARE = 0.5
_COPY_SHARE = 0.1
_AGAIN_PER_STEP = 1.5  # ways to stop after each step of a recovery


@attrs.define
class Report:
    """
    What a campaign found.

    Attributes:
        count: Different states that were looked at.

        faults: What was wrong, each with how to find it again.
    """

    count: int = 0
    faults: list[str] = attrs.Factory(list)


@attrs.frozen
class Options:
    """
    How a campaign is run.

    Attributes:
        grid: Share of all plain ways to stop that are tried after each step of the
            workload.

        per_step: Other ways that are tried after each step, about.

        first: The one way in which the workload itself is stopped instead.

        made_only: Whether it is stopped only once the store was made.

        again: Of how many states one is stopped again while it is recovered; 0
            for none.

        doubtful: The same for states in which a kill left what was not synced.

        check_every: Of how many states one is looked at by readers and checkers
            too; 0 for none.

        go_on_every: Of how many states one is appended to, too.

        rest_every: Of how many states one is collected at last; 0 for none.

        catalogs: States of the catalog that are tried.

        fault_count_max: Faults after which it ends.
    """

    grid: float = 0.0
    per_step: float = 3.0
    first: Stop | None = None
    made_only: bool = False
    again: int = 40
    doubtful: int = 4
    check_every: int = 8
    go_on_every: int = 1
    rest_every: int = 8
    catalogs: tuple[CatalogState, ...] = _CATALOGS
    fault_count_max: int = 5


def stop_by_chance(rng: random.Random, options: Options) -> Stop:
    """Return a way to stop: often one of the plain ones, else anything."""
    catalog = rng.choice(options.catalogs)
    seed = rng.getrandbits(32)
    if rng.random() < _PLAIN_SHARE:
        lock: LockState = "copied" if rng.random() < _COPY_SHARE else "newest"
        plain = rng.choice(_PLAIN)
        return attrs.evolve(plain, lock=lock, catalog=catalog, seed=seed)
    return Stop(
        power=True,
        data=rng.choice(_DATA),
        names=rng.choice(_NAMES),
        lock=rng.choice(_LOCKS),
        catalog=catalog,
        seed=seed,
    )


def stops(rng: random.Random, options: Options, depth: int) -> Iterator[Stop]:
    """Yield ways to stop after one step, for a recovery that is recorded fewer."""
    if options.first and not depth:
        yield attrs.evolve(options.first, seed=rng.getrandbits(32))
        return
    if not depth:
        for stop, catalog in itertools.product(_GRID, _GRID_CATALOGS):
            if rng.random() < options.grid:
                seed = rng.getrandbits(32)
                yield attrs.evolve(stop, catalog=catalog, seed=seed)
    per_step = _AGAIN_PER_STEP if depth else options.per_step
    for _ in range(int(per_step) + (rng.random() < per_step % 1)):
        yield stop_by_chance(rng, options)


def _is_followed(stop: Stop, disk: Disk) -> bool:
    """Return whether the mark is whole, and the catalog one that must lead to it."""
    is_marked = stop.lock == "newest" and (stop.power or stop.data == "kept")
    is_led_to = is_marked and disk.is_led_to
    return is_led_to and stop.catalog in ("newest", "checkpoint")


# --- one state ---------------------------------------------------------------


class Fault(Exception):  # noqa: N818 - found, not raised by what is tested
    """What is found breaks a promise."""


def open_found(files: Files, world: World) -> Store:
    """Open what a stop left; where the store was not made yet, make it now."""
    if not world.is_made:
        create_store(files)
    return Store(Engine(files, store_id(files, writing=True)))


def check_found(files: Files, world: World) -> Seen:
    """
    Open what a stop left and return what it shows.

    Raises:
        Fault: It does not open, or something is lost, half, or invented.
    """
    try:
        store = open_found(files, world)
        try:
            seen = _check_shown(store, world)
        finally:
            store.close()
    except CastoreError as error:
        raise Fault(f"{type(error).__name__}: {error}") from error
    return seen


def _check_shown(store: Store, world: World) -> Seen:
    seen = look(store)
    for fault in world.faults(seen):
        raise Fault(fault)
    for segment in world.deleted:
        if not is_gone(store, segment):
            raise Fault(f"deleted segment {segment.hex()} is not known as deleted")
    return seen


def check_comes_to_rest(files: Files, seen: Seen) -> None:
    """
    Collect what was found, and again; nothing that is shown goes.

    Raises:
        Fault: It does, or garbage stays.
    """
    try:
        with Store(Engine(files, store_id(files, writing=True))) as store:
            collect(store.engine, grace_s=0, yes=True, level=1)
            again = collect(store.engine, grace_s=0, yes=True, level=1)
            if look(store) != seen:
                raise Fault("what is shown changed when garbage was collected")
            left = files_left(store)
    except CastoreError as error:
        raise Fault(f"collecting: {type(error).__name__}: {error}") from error
    if again.deleted_blob_count or left:
        raise Fault(f"garbage is left: {again.deleted_blob_count} blobs, {left}")


def check_goes_on(files: Files, seen: Seen) -> Seen:
    """
    Append to what was found, open it again and return what it shows then.

    Raises:
        Fault: It shows anything but what it showed, and what was appended.
    """
    try:
        with Store(Engine(files, store_id(files, writing=True))) as store:
            begun = store.create_session(body=b"after")
            logs = {**seen.logs, begun.id: (("start", blob_digest(b"after"), ()),)}
            for segment in list(seen.logs)[:1]:
                more = NewEntry("after", b"more")
                store.segment(segment).append([more], expect=ANY)
                logs[segment] += (("after", blob_digest(b"more"), ()),)
        with Store(Engine(files, store_id(files, writing=True))) as store:
            again = look(store)
    except CastoreError as error:
        raise Fault(f"going on: {type(error).__name__}: {error}") from error
    if again != attrs.evolve(seen, logs=logs):
        raise Fault("what is shown changed when it was opened again")
    return again


@contextlib.contextmanager
def _rebuilt_noted() -> Iterator[list[None]]:
    """Give a list that gets longer whenever a catalog is made from all files."""
    rebuild = catalogs.rebuild_catalog
    noted: list[None] = []

    def rebuilding(*args: Any) -> SqliteCatalog:
        noted.append(None)
        return rebuild(*args)

    with mock.patch.object(catalogs, "rebuild_catalog", rebuilding):
        yield noted


def check_state(
    image: Image,
    world: World,
    root: Path,
    *,
    may_rebuild: bool,
    goes_on: bool,
    with_checkers: bool,
    rests: bool = False,
) -> None:
    """
    Look at the state *image* in the new folder *root*.

    Args:
        image: What a stop left.

        world: What must be there.

        root: Where it is put.

        may_rebuild: Whether its catalog may be too old to follow the journals.

        goes_on: Whether it is appended to.

        with_checkers: Whether readers and checkers look at it too.

        rests: Whether it is collected at last.

    Raises:
        Fault: It breaks a promise.
    """
    place(image, root)
    files = QuickFiles(root)
    if with_checkers and world.is_made:
        _check_checkers(root, "before it is opened")
        _check_reading(root, world)
    _check_erased(root, world.erased)
    with _rebuilt_noted() as rebuilt:
        seen = check_found(files, world)
    if rebuilt and not may_rebuild:
        raise Fault("the catalog leads nowhere: files went before it was synced")
    if goes_on:
        seen = check_goes_on(files, seen)
    _check_erased(root, world.erased)
    counting = world.counting(seen)
    if counting:
        with Store(Engine(files, store_id(files, writing=True))) as store:
            pack(store.engine)
        _check_erased(root, counting)
    if rests:
        check_comes_to_rest(files, seen)
    if with_checkers:
        _check_checkers(root, "after it was recovered")


def _check_erased(root: Path, canaries: AbstractSet[bytes]) -> None:
    """Nothing of what was erased is in any file, whoever counts it."""
    if canaries and canaries & canaries_in(root):
        raise Fault("what was erased is still there")


def _check_checkers(root: Path, when: str) -> None:
    """What a stop leaves is legal: no checker sees a fault in it."""
    for name, faults_of in CHECKERS.items():
        for verdict, where in faults_of(root):
            raise Fault(f"{name}, {when}: {verdict} at {where}")


def _check_reading(root: Path, world: World) -> None:
    """A reader that may not write shows nothing wrong either, and writes nothing."""
    before = folder_bytes(root)
    files = Files(root)
    try:
        store = store_id(files, writing=False)
        with Store(Engine(files, store, read_only=True)) as reading:
            _check_shown(reading, world)
    except CastoreError as error:
        raise Fault(f"read-only: {type(error).__name__}: {error}") from error
    after = {n: d for n, d in folder_bytes(root).items() if not n.endswith("-shm")}
    before = {n: d for n, d in before.items() if not n.endswith("-shm")}
    if after != before:
        raise Fault("a reader wrote to the store")


# --- all states --------------------------------------------------------------


@attrs.define
class Campaign:
    """
    Stops one workload at each of its steps.

    Attributes:
        folder: Where states are put, one at a time; on memory if possible.

        kept: Where states with faults are left; None to leave none.
    """

    workload: Workload
    seed: int
    folder: Path
    options: Options = attrs.Factory(Options)
    kept: Path | None = None
    report: Report = attrs.Factory(Report)
    _known: set[bytes] = attrs.Factory(set)
    _names: Iterator[int] = attrs.Factory(itertools.count)

    def run(self) -> Report:
        """Record the workload, stop it everywhere, report."""
        root = self.folder / "recorded"
        with mock.patch.multiple(limits, RESERVE_SIZE=1000):
            record = recorded(self.workload, root, self.seed)
            shutil.rmtree(root)
            self.stop_everywhere(record)
        return self.report

    def stop_everywhere(self, record: Record, where: str = "", depth: int = 0) -> None:
        """
        Look at states of *record* after each of its steps.

        Args:
            record: What happened.

            where: After which step of which record it began.

            depth: How often it was stopped before.
        """
        rng = random.Random(f"{self.seed} {next(self._names)}")
        disk, world = record.disk, record.world.copy()
        for number, step in enumerate([None, *record.steps]):
            if isinstance(step, Intended | Settled | Shown):
                world.apply(step)
            elif step is not None:
                disk.apply(step)
            if self.options.made_only and not world.is_made:
                continue
            for stop in stops(rng, self.options, depth):
                self._look(disk, world, stop, f"{where} step {number}", depth)
                if len(self.report.faults) >= self.options.fault_count_max:
                    return

    def _look(
        self, disk: Disk, world: World, stop: Stop, where: str, depth: int
    ) -> None:
        image = disk.image(stop)
        if not self._is_new(image, world):
            return
        self.report.count += 1
        root = self.folder / f"state{next(self._names)}"
        count, options = self.report.count, self.options
        try:
            check_state(
                image,
                world,
                root,
                may_rebuild=bool(depth)
                or not (world.is_made and _is_followed(stop, disk)),
                goes_on=count % options.go_on_every == 0,
                with_checkers=bool(options.check_every)
                and count % options.check_every == 0,
                rests=bool(options.rest_every)
                and count % options.rest_every == 1 % options.rest_every,
            )
        except Exception as fault:  # noqa: BLE001 - any error but a typed one is a fault
            found = f"{self.workload.name} seed {self.seed}{where}, {stop}: {fault!r}"
            self.report.faults.append(found + self._keep(image))
        finally:
            shutil.rmtree(root)
        # What a kill leaves unsynced is where most can go wrong next.
        is_doubtful = not (depth or stop.power or disk.is_settled)
        every = self.options.doubtful if is_doubtful else self.options.again
        chance = random.Random(stop.seed).random()
        if depth < 2 and every and chance < 1 / every:
            again = self._stopped_again(disk, image, world)
            self.stop_everywhere(again, f"{where} again", depth + 1)

    def _is_new(self, image: Image, world: World) -> bool:
        parts = [name.encode() + found.data for name, found in image.files.items()]
        kind = bytes([image.power, image.is_copy])
        key = blob_digest(b"".join([kind, repr(world).encode(), *sorted(parts)]))
        is_new = key not in self._known
        self._known.add(key)
        return is_new

    def _keep(self, image: Image) -> str:
        if self.kept is None:
            return ""
        self.kept.mkdir(parents=True, exist_ok=True)
        root = self.kept / f"{self.workload.name}-{self.seed}-{next(self._names)}"
        place(image, root)
        return f" (in {root})"

    def _stopped_again(self, disk: Disk, image: Image, world: World) -> Record:
        """Return a record of how *image* is opened, shown and used."""
        root = self.folder / f"again{next(self._names)}"
        placed = place(image, root)
        found = Disk.of(placed) if image.power else disk.killed(placed)
        record = Record(found, world.copy())
        files = RecordingFiles(root, record)
        # What is wrong with the state itself was found by looking at it.
        with catalogs_saved(files), contextlib.suppress(CastoreError):
            _use(files)
        shutil.rmtree(root)
        return record


def _use(files: RecordingFiles) -> None:
    """Open a store, show all of it, append, begin, show it again."""
    scribe = Scribe(files)
    scribe.show()
    for segment in list(scribe.logs)[:1]:
        opened = scribe.store.segment(segment)
        scribe.append(opened, ("again", b"more", ()), ("again", b"and more", ()))
    scribe.begin(b"again")
    scribe.show()
    scribe.store.close()
