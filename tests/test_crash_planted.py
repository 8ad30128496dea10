"""
The crash tests find the faults that they are for: each is planted and must be found.

Spec: spec/ordering.md, "What holds at any time".
"""

from __future__ import annotations

import contextlib
import re

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import bugs
import pytest

from crash.campaign import Campaign, Options
from crash.disk import Stop
from crash.events import Synced
from crash.recording import RecordingFiles, Step
from crash.workloads import ALL
from crash.world import Intended

from castore.engine import journal, recovery
from castore.engine.commits import Committer
from castore.engine.journal import Tail
from castore.engine.side import SidePack
from castore.engine.upkeep import Upkeep
from castore.engine.view import View
from castore.errors import CastoreError, StorageError
from castore.packing.writer import PackWriter
from castore.reading.frames import Frame
from castore.storage import Files


Bug = AbstractContextManager[object]
patch = mock.patch.object


#: What was acknowledged is not there, or not whole.
LOST = (
    "lost|truncated log|corrupt frame|malformed record|missing pack|wrong head|NotFound"
)
SEEDS = range(5)
DIRECT = Options(
    per_step=1.5,
    made_only=True,
    again=0,
    doubtful=0,
    check_every=0,
    rest_every=0,
    fault_count_max=1,
)
CHECKED = attrs.evolve(DIRECT, check_every=8)
RESTING = attrs.evolve(DIRECT, rest_every=2)
KILLED_FIRST = attrs.evolve(DIRECT, first=Stop(power=False), doubtful=1)


def nothing(*_: object, **__: object) -> None:
    """Do nothing."""


def no_sync() -> Bug:
    """No file is ever synced."""
    return patch(RecordingFiles, "sync", nothing)


def no_folder_sync() -> Bug:
    """No folder is ever synced."""
    return patch(RecordingFiles, "sync_folder", nothing)


def no_sync_of_files() -> Bug:
    """The folder of journals and packs is never synced."""
    sync_folder = RecordingFiles.sync_folder

    def syncing(self: RecordingFiles, name: str) -> None:
        if name != "files":
            sync_folder(self, name)

    return patch(RecordingFiles, "sync_folder", syncing)


@contextlib.contextmanager
def answered_before_sync() -> Iterator[None]:
    """Commits are answered, and synced some time before the next one."""
    late: dict[RecordingFiles, list[Step]] = {}
    note = RecordingFiles.note

    def noting(self: RecordingFiles, step: Step) -> None:
        if isinstance(step, Synced):
            late.setdefault(self, []).append(step)
            return
        if isinstance(step, Intended):
            for synced in late.pop(self, []):
                note(self, synced)
        note(self, step)

    with patch(RecordingFiles, "note", noting):
        yield


@contextlib.contextmanager
def built_on_doubtful_bytes() -> Iterator[None]:
    """What stands behind the mark is taken as it is, not copied and synced."""
    make = journal.successor

    def successor(
        files: Files,
        opened: Any,
        store: bytes,
        tail: Tail,
        carried: Sequence[Frame] = (),
    ) -> Tail:
        if not carried:
            return make(files, opened, store, tail, carried)
        last = carried[-1]
        fd = files.open(last.name, write=True)
        files.truncate(fd, last.end)
        files.close(fd)
        return journal.tail_before(opened.get(tail.journal), last.end)

    with patch(recovery, "successor", successor):
        yield


def catalog_over_journal() -> Bug:
    """What the catalog lacks is not read from the journal."""
    return patch(View, "catch_up", nothing)


@contextlib.contextmanager
def sync_tried_again() -> Iterator[None]:
    """A sync that failed is called again, and believed."""
    sync = RecordingFiles.sync

    def trying(self: RecordingFiles, fd: int) -> None:
        try:
            sync(self, fd)
        except StorageError:
            sync(self, fd)

    with patch(RecordingFiles, "sync", trying):
        yield


@contextlib.contextmanager
def side_pack_not_synced() -> Iterator[None]:
    """A commit names a side pack that was not synced."""
    seal = SidePack.seal

    def sealing(self: SidePack) -> object:
        self._synced_end = self.end
        return seal(self)

    with patch(SidePack, "seal", sealing):
        yield


@contextlib.contextmanager
def marked_before_sync() -> Iterator[None]:
    """The mark states what is not durable yet."""
    sync = RecordingFiles.sync
    write_group: Callable[..., None] = Committer._write_group

    def writing(self: Committer, *rest: Any, **options: Any) -> None:
        waiting: list[int] = []
        with patch(RecordingFiles, "sync", lambda _, fd: waiting.append(fd)):
            write_group(self, *rest, **options)
        for fd in waiting:
            sync(self._state.files, fd)  # type: ignore[arg-type]

    with patch(Committer, "_write_group", writing):
        yield


@contextlib.contextmanager
def packs_not_synced() -> Iterator[None]:
    """Packs are listed before they are durable."""
    finish: Callable[..., Any] = PackWriter.finish

    def finishing(self: PackWriter) -> Any:
        with patch(RecordingFiles, "sync", nothing):
            return finish(self)

    with patch(PackWriter, "finish", finishing):
        yield


def unlinked_before_catalog() -> Bug:
    """Files are removed while the catalog that is durable needs them."""
    return patch(Upkeep, "sync_catalog", lambda _: True)


@attrs.frozen
class Planted:
    """
    A bug, and how it is found.

    Attributes:
        bug: While this is on, it is there.

        workload: That shows it.

        found: What the first fault says, a regular expression.

        options: Of the campaign.
    """

    bug: Callable[[], Bug]
    workload: str
    found: str
    options: Options = DIRECT


BUGS = [
    Planted(no_sync, "talk", LOST),
    Planted(no_folder_sync, "talk", "no store"),
    Planted(no_sync_of_files, "journals", LOST),
    Planted(answered_before_sync, "talk", LOST),
    Planted(built_on_doubtful_bytes, "talk", LOST, KILLED_FIRST),
    Planted(catalog_over_journal, "talk", LOST),
    Planted(bugs.cut_below_the_mark, "talk", LOST),
    Planted(sync_tried_again, "failing", LOST),
    Planted(side_pack_not_synced, "payloads", LOST),
    Planted(marked_before_sync, "talk", LOST),
    Planted(packs_not_synced, "packing", LOST),
    Planted(bugs.unlinked_before_listed, "packing", LOST),
    Planted(unlinked_before_catalog, "packing", "catalog leads nowhere"),
    Planted(bugs.unlinked_before_listed, "collecting", LOST),
    Planted(unlinked_before_catalog, "collecting", "catalog leads nowhere"),
    Planted(unlinked_before_catalog, "torn_mark", "catalog leads nowhere"),
    Planted(bugs.packs_left_behind, "collecting", "garbage", RESTING),
    Planted(packs_not_synced, "versions", LOST, CHECKED),
    Planted(bugs.base_goes_from_under_its_heirs, "versions", LOST, CHECKED),
    Planted(bugs.wrong_base, "versions", "blob|NotFound", CHECKED),
    Planted(bugs.erased_and_not_unlinked, "erasing", "still there"),
    Planted(bugs.unlinked_and_not_synced, "erasing", "still there"),
]


@pytest.mark.parametrize(
    ("workload", "options"),
    [
        ("packing", DIRECT),
        ("collecting", RESTING),
        ("talk", KILLED_FIRST),
        ("versions", CHECKED),
        ("erasing", CHECKED),
    ],
)
def test_nothing_is_found_without_a_bug(
    workload: str, options: Options, tmp_path: Path
) -> None:
    """What finds the planted bugs finds nothing where none is planted."""
    few = attrs.evolve(options, per_step=0.5, doubtful=options.doubtful * 10)
    assert [] == Campaign(ALL[workload], SEEDS[0], tmp_path, few).run().faults


@pytest.mark.parametrize(
    "planted", BUGS, ids=lambda it: f"{it.bug.__name__}-{it.workload}"
)
def test_planted_bug_is_found(planted: Planted, tmp_path: Path) -> None:
    """A campaign finds the bug, within some hundred states."""
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        with planted.bug():
            campaign = Campaign(ALL[planted.workload], seed, folder, planted.options)
            try:
                faults = campaign.run().faults
            except CastoreError as error:
                faults = [f"the workload cannot go on: {error!r}"]
        if faults:
            assert re.search(planted.found, faults[0])
            return
    pytest.fail(f"{planted.bug.__name__} was not found in {len(SEEDS)} campaigns")
