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
from castore.formats.file import file_name
from castore.gc import collect
from castore.packing.rewrite import close_journal
from castore.reading.survey import survey


rewrite = importlib.import_module("castore.packing.rewrite")
STEPS = ("_publish", "_drop", "_unlink")


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


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="no header, nobody looks at it"
)
@pytest.mark.parametrize("size", [0, 100])
def test_files_that_were_only_begun(size: int, folder: Path) -> None:
    """A file whose header was never whole goes. Not yet: it stays for ever."""
    root = folder / "store"
    castore.open(root, create=True).close()
    (root / file_name(bytes(16))).write_bytes(bytes(size))

    assert [] == files_left(root)
