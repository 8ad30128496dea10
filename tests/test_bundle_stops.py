"""
An import of a bundle that is stopped: nothing of it is there, or all.

Stopped after each call that changes a file: by a kill, and by a power cut that
keeps, drops, tears or zeroes what was not synced; and with each call failing.
"""

from __future__ import annotations

import errno
import shutil

from pathlib import Path

import pytest

from crash.disk import CatalogState, Disk, Stop
from crash.events import Event
from crash.placing import place
from crash.recording import RecordingFiles, catalogs_saved
from crash.scribe import open_store
from faultkit import FaultyFiles, Plan

import castore

from castore.bundles import Wish, export_bundle, import_bundle
from castore.engine import Engine
from castore.engine.creating import create_store, store_id
from castore.errors import CastoreError
from castore.verify import verify


STOPS = (
    Stop(power=False),
    Stop(power=False, data="torn"),
    Stop(power=True),
    Stop(power=True, data="dropped", names="dropped"),
    Stop(power=True, data="torn"),
    Stop(power=True, data="zeros", names="some"),
)
CATALOGS: tuple[CatalogState, ...] = ("newest", "missing")
ENTRIES = 12  # of the log that is taken in


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of a log and a fork of it, with payloads."""
    path = tmp_path / "bundle"
    with castore.open(tmp_path / "source", create=True) as store:
        log = store.create_session(key=("tool", "one"))
        for number in range(ENTRIES):
            ref = castore.Reference("x", store.put(b"payload %d" % number * 50))
            log.append([castore.NewEntry("line", b"%d" % number, [ref])])
        fork = log.fork(6)
        with path.open("wb") as file:
            export_bundle(store.engine, [Wish(log.id), Wish(fork.id)], file)
    return path


def counts(store: castore.Store) -> list[int]:
    """Return how many entries the segments of each session have."""
    found = [each for session in store.sessions() for each in session.segments()]
    return sorted(len(list(segment.read())) for segment in found)


ALL = [7, ENTRIES + 1]  # the fork, and the log with its start entry


def test_stopped_anywhere(tmp_path: Path, bundle: Path) -> None:
    """Whatever a stop leaves opens, with nothing of the bundle or with all of it."""
    files = RecordingFiles(tmp_path / "store")
    create_store(files)
    store = open_store(files)
    store.tag("before", store.put(b"acknowledged"))
    begun = len(files.record.steps)
    with catalogs_saved(files):
        import_bundle(store.engine, bundle)
    done = len(files.record.steps)
    assert ALL == counts(store)
    store.close()
    disk = Disk()
    seen: set[int] = set()

    for number, step in enumerate(files.record.steps[:done], 1):
        if isinstance(step, Event):
            disk.apply(step)
        if number < begun:
            continue
        for stop in STOPS:
            for catalog in CATALOGS:
                root = tmp_path / "found"
                how = Stop(stop.power, stop.data, stop.names, stop.lock, catalog)
                place(disk.image(how), root)
                with castore.open(root) as found:
                    there = counts(found)
                    assert there in ([], ALL), (number, stop)
                    assert b"acknowledged" == found.get(found.tags()["before"])
                    seen.add(len(there))
                    if number == done:
                        assert there == ALL
                assert verify(root).ok, (number, stop)
                shutil.rmtree(root)
    assert {0, 2} == seen


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_each_call_fails_once(tmp_path: Path, bundle: Path, error: int) -> None:
    """Where a call fails there is a typed error, and the next try takes all in."""
    number = 0
    while True:
        root = tmp_path / f"store{number}"
        plan = Plan(number=number, error=error)
        files = FaultyFiles(root, plan)
        create_store(files)
        engine = Engine(files, store_id(files, writing=True))
        plan.armed = True
        try:
            import_bundle(engine, bundle)
        except CastoreError:
            assert plan.hits
        plan.armed = False
        engine.close()
        with castore.open(root) as store:
            assert counts(store) in ([], ALL), plan.hits
            import_bundle(store.engine, bundle)
            assert ALL == counts(store)
        assert verify(root).ok, plan.hits
        shutil.rmtree(root)
        if not plan.hits:
            break
        number += 7  # another call each time, in the end all sorts of them
    assert number > 20
