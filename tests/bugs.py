"""
Bugs to plant in maintenance and in what it runs beside: each is there while it is
entered.

Where a process must be killed at the right moment for one to show, it waits there
for *pause_s*.
"""

from __future__ import annotations

import contextlib
import importlib
import time

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from castore import gc
from castore.catalog.rows import Place
from castore.engine import recovery
from castore.engine.state import State
from castore.formats.file import file_name
from castore.formats.frame import DIFFERENCE
from castore.importer import remembering
from castore.importer.remembering import Memory
from castore.importer.taking import _Taker
from castore.marking import names_since
from castore.packing import versions
from castore.packing.accounting import Accounting
from castore.packing.carrying import Carrier
from castore.packing.writer import PackWriter
from castore.reading.files import OpenFile
from castore.reading.frames import Frame


# The package has functions of the modules' names.
rewrite = importlib.import_module("castore.packing.rewrite")
pack = importlib.import_module("castore.packing.pack")
erasing = importlib.import_module("castore.erasing.erase")
Bug = AbstractContextManager[object]
patch = mock.patch.object


def nothing(*_: object, **__: object) -> None:
    """Do nothing."""


# --- erased and still there ---------------------------------------------------


def erased_and_carried_on() -> Bug:
    """The store log says that it is erased, and packs carry it on."""
    make: Callable[..., None] = Carrier.__init__

    def making(self: Carrier, *args: Any) -> None:
        make(self, *args[:2], frozenset(), *args[3:])

    return patch(Carrier, "__init__", making)


@contextlib.contextmanager
def erased_and_not_unlinked() -> Iterator[None]:
    """An erasure is answered while old files stay for the next maintenance."""
    with patch(rewrite, "drop", nothing), patch(erasing, "settle", nothing):
        yield


@contextlib.contextmanager
def unlinked_and_not_synced() -> Iterator[None]:
    """Old files are removed, and the folder is not synced behind that."""
    unlink: Callable[..., None] = rewrite._unlink

    def unlinking(engine: Any, gone: Any) -> None:
        with patch(type(engine.files), "sync_folder", nothing):
            unlink(engine, gone)

    with patch(rewrite, "_unlink", unlinking):
        yield


# --- lost ---------------------------------------------------------------------


@contextlib.contextmanager
def unlinked_before_listed(pause_s: float = 0.0) -> Iterator[None]:
    """Files are removed before the packs that replace them count."""
    publish: Callable[..., int] = rewrite.publish

    def publishing(engine: Any, listings: Any, files: Any, *rest: Any) -> int:
        for file in files:
            engine.files.unlink(file_name(file))
        engine.files.sync_folder("files")
        time.sleep(pause_s)
        return publish(engine, listings, files, *rest)

    with patch(rewrite, "publish", publishing):
        yield


@contextlib.contextmanager
def record_dropped(_pause_s: float = 0.0) -> Iterator[None]:
    """A rewrite leaves some blobs out that are alive, and does not account for them."""
    carry = Carrier._carry_place

    def carrying(self: Carrier, place: Place) -> None:
        if place.digest[0] % 16:
            carry(self, place)

    nobody = patch(Accounting, "left_out", lambda *_: iter(()))
    with patch(Carrier, "_carry_place", carrying), nobody:
        yield


@contextlib.contextmanager
def acknowledged_before_commit(_pause_s: float = 0.0) -> Iterator[None]:
    """An import is done before the last batch of a file was committed."""
    append = _Taker._append

    def appending(self: _Taker, segment: Any, batches: Any, tally: Any) -> None:
        some = list(batches)
        append(self, segment, iter(some[:-1]), tally)

    with patch(_Taker, "_append", appending):
        yield


@contextlib.contextmanager
def remembered_before_commit(pause_s: float = 0.0) -> Iterator[None]:
    """A file is known to be unchanged before what is new of it was committed."""
    append = _Taker._append

    def appending(self: _Taker, segment: Any, batches: Any, tally: Any) -> None:
        some = list(batches)
        if some:
            revision = segment.revision + len(some)
            seen = self._seen(segment.id, revision, tally)
            if seen is not None:
                self._memory.keep(self._source.path, seen)
                self._memory.flush()
                time.sleep(pause_s)
        append(self, segment, iter(some), tally)

    def any_revision(self: Memory, found: Any) -> Any:
        return self._store.segment(found.segment)

    with (
        patch(_Taker, "_append", appending),
        patch(Memory, "_segment", any_revision),
        patch(remembering, "SETTLED_NS", 0),
    ):
        yield


@contextlib.contextmanager
def collected_beside_writers(pause_s: float = 0.0) -> Iterator[None]:
    """What was named while gc was at work goes all the same."""

    def waiting(engine: Any, due: set[bytes], marks: Any, _: object) -> None:
        deadline = time.monotonic() + 5 * pause_s
        while not due.intersection(names_since(engine, marks.position)):
            if time.monotonic() >= deadline:
                return
            time.sleep(0.02)
            engine.refresh()

    with (
        patch(gc, "_check_agreement", waiting),
        patch(gc, "_named_since", lambda *_: iter(())),
    ):
        yield


@contextlib.contextmanager
def cut_below_the_mark(pause_s: float = 0.0) -> Iterator[None]:
    """Who opens a store takes nothing over that the mark covers."""

    def durable_end(file: OpenFile, *_: object) -> int:
        return file.header.carried_end

    def frames_behind(_: OpenFile, end: int) -> tuple[list[Frame], int]:
        return [], end

    write_mark = State.write_mark

    def writing(self: State, *args: Any, **options: Any) -> Any:
        time.sleep(pause_s)
        return write_mark(self, *args, **options)

    with (
        patch(recovery, "_durable_end", durable_end),
        patch(recovery, "frames_behind", frames_behind),
        patch(State, "write_mark", writing),
    ):
        yield


def base_goes_from_under_its_heirs(_pause_s: float = 0.0) -> Bug:
    """What is stored elsewhere as a difference to what goes is not looked for."""

    def files_with(digest: bytes, engine: Any, marks: Any) -> set[bytes]:
        place = engine.view.known.find_place(digest)
        return {place.file} | marks.copies.get(digest, set()) if place else set()

    return patch(gc, "_files_with", files_with)


@contextlib.contextmanager
def wrong_base(_pause_s: float = 0.0) -> Iterator[None]:
    """A version that was turned around names the base that it had before."""
    form = versions.Versions._form

    def forming(self: versions.Versions, step: Any) -> Any:
        made = form(self, step)
        before = self._base(step.digest)
        if made.descriptor[0] == DIFFERENCE and before is not None:
            made.descriptor[4] = before
        return made

    with patch(versions.Versions, "_form", forming):
        yield


def not_asked_again(_pause_s: float = 0.0) -> Bug:
    """What writers believe to be stored is not asked again after a deletion."""
    write_mark = State.write_mark

    def writing(self: State, *args: Any, **options: Any) -> Any:
        return write_mark(self, *args, **{**options, "gc_raised": False})

    return patch(State, "write_mark", writing)


@contextlib.contextmanager
def recovered_unnoticed(_pause_s: float = 0.0) -> Iterator[None]:
    """The same where a recovery is what makes the deletion count: a bug there was."""
    recover = State._recover

    def recovering(self: State, *args: Any) -> Any:
        with not_asked_again():
            return recover(self, *args)

    with patch(State, "_recover", recovering):
        yield


def taken_from_the_living(_pause_s: float = 0.0) -> Bug:
    """The side pack of a process that lives is taken for one that nobody writes."""
    return patch(rewrite, "is_idle", return_value=True)


# --- never at rest --------------------------------------------------------------


def packed_again(_pause_s: float = 0.0) -> Bug:
    """Packing rewrites the journal with its own last commit, for ever."""
    return patch(pack, "_is_packed", lambda _: False)


@contextlib.contextmanager
def packs_left_behind(pause_s: float = 0.0) -> Iterator[None]:
    """What a killed process left is removed by nobody."""
    finish = PackWriter.finish

    def finishing(self: PackWriter) -> Any:
        time.sleep(pause_s)
        return finish(self)

    with (
        patch(pack, "remove_dropped", nothing),
        patch(gc, "remove_dropped", nothing),
        patch(PackWriter, "finish", finishing),
    ):
        yield
