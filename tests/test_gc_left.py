"""
What a collection that was stopped leaves behind goes with the next.

Spec: spec/ordering.md, "Packing and deleting".
"""

from __future__ import annotations

import contextlib
import importlib
import random

from pathlib import Path
from unittest import mock

import pytest

import castore

from castore import limits
from castore.engine import Engine
from castore.engine.creating import store_id
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.file import file_name
from castore.gc import collect
from castore.packing.rewrite import close_journal
from castore.reading.survey import survey
from castore.storage import Files


rewrite = importlib.import_module("castore.packing.rewrite")
STEPS = ("publish", "drop", "_unlink")


class Stop(BaseException):
    """A kill."""


def files_left(root: Path) -> list[str]:
    """Collect twice; return the files of the store in *root* that are garbage."""
    with castore.open(root) as store:
        for _ in range(2):
            collect(store.engine, grace_s=0, yes=True)
        found = survey(store.engine.files, store=store.id)
        assert found.first_fault() is None
        return [file_name(file) for file in found.garbage]


def stop_before(root: Path, step: str, size: int) -> None:
    """Have a collection stop before *step* that deletes a blob of *size*."""
    with mock.patch.object(limits, "SIDE_SIZE_MIN", 2000):
        with castore.open(root, create=True) as store:
            store.put(random.Random(1).randbytes(size), tag="t")
            store.untag("t")
            close_journal(store.engine)
        stop = mock.Mock(side_effect=Stop)
        with (
            castore.open(root) as store,
            mock.patch("castore.gc.remove_dropped"),
            mock.patch.object(rewrite, step, stop),
            contextlib.suppress(Stop),
        ):
            collect(store.engine, grace_s=0, yes=True)
        assert stop.called


@pytest.mark.parametrize("step", STEPS)
def test_files_go_with_the_next(step: str, folder: Path) -> None:
    """Packs that were never listed go, and files that were dropped."""
    root = folder / "store"
    stop_before(root, step, 500)

    assert [] == files_left(root)


@pytest.mark.parametrize("step", STEPS)
def test_side_packs_go_with_the_next(step: str, folder: Path) -> None:
    """Side packs too, though the commit that names one lives on in a pack."""
    root = folder / "store"
    stop_before(root, step, 5000)

    assert [] == files_left(root)


@pytest.mark.parametrize("size", [0, 100, 187])
def test_files_that_were_only_begun(size: int, folder: Path) -> None:
    """A file whose header was never whole goes: who made it was killed."""
    root = folder / "store"
    castore.open(root, create=True).close()
    (root / file_name(bytes(16))).write_bytes(bytes(size))

    assert [] == files_left(root)


def test_a_file_that_is_being_begun_stays(folder: Path) -> None:
    """A side pack without a header stays while its maker has its lock."""
    root = folder / "store"
    files = Files(root)
    castore.open(root, create=True).close()
    name = file_name(bytes(16))
    fd = files.create(name)
    assert files.lock(fd)

    assert [name] == files_left(root)

    files.close(fd)
    assert [] == files_left(root)


def test_a_damaged_file_stays(folder: Path) -> None:
    """A file of frames whose header is damaged goes on no account."""
    root = folder / "store"
    castore.open(root, create=True).close()
    other = root / file_name(bytes(16))
    other.write_bytes(bytes(file_format.SIZE) + frame_format.MAGIC)
    with castore.open(root) as store:
        collect(store.engine, grace_s=0, yes=True)

    assert other.exists()


class Collected(Files):
    """
    Files of a store that is collected when the first side pack was made.

    Attributes:
        made_count: Side packs.
    """

    made_count = 0

    def create(self, name: str) -> int:
        """Make *name*, and lose it."""
        fd = super().create(name)
        self.made_count += 1
        if self.made_count == 1:
            assert [] == files_left(self.root)
        return fd


def test_a_collection_before_the_lock(folder: Path) -> None:
    """Who finds the file collected that it was to lock begins another one."""
    root = folder / "store"
    castore.open(root, create=True).close()
    content = random.Random(2).randbytes(5000)
    with mock.patch.object(limits, "SIDE_SIZE_MIN", 2000):
        files = Collected(root)
        with castore.Store(Engine(files, store_id(files, writing=True))) as store:
            store.put(content, tag="t")
    with castore.open(root) as store:
        assert files.made_count == 2
        assert content == store.get(store.tags()["t"])
    assert [] == files_left(root)
