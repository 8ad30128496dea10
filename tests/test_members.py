"""
Which files are the store's at a position, while others go on.

Spec: spec/ordering.md, "Packing and deleting"; spec/file.md, "Journal".
"""

from __future__ import annotations

import importlib
import itertools

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import castore

from castore import NewEntry, Store
from castore.formats.file import JOURNAL
from castore.packing import pack
from castore.packing.rewrite import close_journal, closed_files
from castore.verify import verify


members = importlib.import_module("castore.engine.members")
rewrite = importlib.import_module("castore.packing.rewrite")


@pytest.fixture
def root(folder: Path) -> Path:
    """Return a store with something in it."""
    with castore.open(folder / "store", create=True) as store:
        store.create_session(then=[NewEntry("a", b"b")])
        close_journal(store.engine)
    return folder / "store"


def overtaken(
    reader: Store, writer: Store, *, turn: int = 0, looks: bool = True
) -> Any:
    """
    Have the writer go on once, after the reader has followed the chain of journals
    for the time number *turn*; if it *looks*, anew then, as where a file has gone.
    """
    chain, turns = members._chain, itertools.count()

    def following(*args: Any) -> Any:
        found = chain(*args)
        if next(turns) == turn:
            writer.create_session(then=[NewEntry("a", b"acknowledged")])
            close_journal(writer.engine)
            writer.create_session(then=[NewEntry("a", b"in the next one")])
            writer.engine.upkeep.apply_all()
            if looks:
                reader.engine.refresh()
        return found

    return mock.patch.object(members, "_chain", following)


def successors(store: Store) -> Iterator[tuple[bytes, int]]:
    """Yield the journals that have a successor, and where that says they end."""
    for file in store.engine.state.opened.headers():
        if file.header.kind == JOURNAL and file.header.number > 1:
            yield file.header.pred, file.header.pred_end


def closed(root: Path) -> bool:
    """Return whether what counts as closed ends where its successor says."""
    with castore.open(root) as reader, castore.open(root) as writer:
        with overtaken(reader, writer):
            found = {item.file.id: item.stop for item in closed_files(reader.engine)}
        ends = dict(successors(reader))
        return all(found[file] == ends[file] for file in found.keys() & ends.keys())


def packed(root: Path) -> bool:
    """Return whether all that was acknowledged is there after packing."""
    with castore.open(root) as store, castore.open(root) as writer:
        # The first time is under the store's lock: nobody goes on then.
        with overtaken(store, writer, turn=1):
            pack(store.engine, level=1)
        seq = writer.engine.refresh().position.seq
    report = verify(root)
    return report.ok and report.seq == seq


def test_a_newest_journal_is_not_closed(root: Path) -> None:
    """What was the newest journal when one looked is none that ends there."""
    assert closed(root)


def test_nothing_is_packed_away(root: Path) -> None:
    """Commits that come while files are chosen stand in what is packed, or stay."""
    assert packed(root)


def test_two_looks_that_differ_are_found(root: Path) -> None:
    """Who takes ends from one look and the newest journal from another loses it."""

    def once(engine: Any) -> Any:
        view = engine.refresh()
        found = members.members(view, engine.state.opened, engine.store)
        return view.position.journal, found

    with mock.patch.object(rewrite, "files_now", once):
        assert not closed(root)
        assert not packed(root)


def known(root: Path) -> bool:
    """Return whether all journals are on the chain of the state that was asked for."""
    with castore.open(root) as reader, castore.open(root) as writer:
        store = reader.engine
        view = store.refresh()
        newest = store.state.opened.get(view.position.journal).header.number
        with overtaken(reader, writer, looks=False):
            found = members.members(view, store.state.opened, store.store)
        headers = [store.state.opened.get(file).header for file in found]
    return all(header.number <= newest for header in headers)


def test_journals_that_came_since_are_none(root: Path) -> None:
    """A catalog that others brought further adds no journal to an older state."""
    assert known(root)


def test_a_catalog_that_is_believed_is_found(root: Path) -> None:
    """Who takes each file in which places stand has journals without a successor."""
    with mock.patch.object(members, "_is_side", return_value=True):
        assert not known(root)
