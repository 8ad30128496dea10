"""
Making a store: durable once it is answered, begun anew if it was stopped.

That a stop anywhere leaves no store, or a whole one, the crash tests show.

Spec: spec/ordering.md, "Making a store".
"""

from __future__ import annotations

import functools
import shutil

from collections.abc import Callable
from pathlib import Path

import pytest

from crash.events import Created, FolderSynced, Linked, Unlinked
from crash.recording import RecordingFiles, folder_bytes

import castore

from castore.engine.creating import create_store, store_id
from castore.errors import StorageError, UnsupportedError
from castore.packing import pack
from castore.storage import Files
from castore.verify import verify


MARKER = "castore.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the folder of a store with one short session."""
    with castore.open(tmp_path / "store", create=True) as store:
        store.create_session(body=b"body")
    return tmp_path / "store"


def journal_of(root: Path) -> Path:
    """Return the store's only file of frames."""
    (journal,) = (root / "files").iterdir()
    return journal


def test_folders_above_are_synced(tmp_path: Path) -> None:
    """Every folder that was perhaps made is durable before the store is one."""
    root = tmp_path / "new" / "and" / "newer"
    files = RecordingFiles(root)
    create_store(files)
    steps = files.record.steps

    linked = next(at for at, step in enumerate(steps) if isinstance(step, Linked))
    synced = {step.name for step in steps[:linked] if isinstance(step, FolderSynced)}
    above = {(root / name).resolve() for name in synced if name.startswith("..")}
    assert set(root.resolve().parents) == above


def test_folder_above_that_nobody_may_read(tmp_path: Path) -> None:
    """A folder that may not be read was not made here, and needs no sync."""

    class Refusing(Files):
        def sync_folder(self, name: str) -> None:
            if name == "../..":
                raise StorageError(what="no permission", errno=13, transient=False)
            super().sync_folder(name)

    create_store(Refusing(tmp_path / "store"))
    assert verify(tmp_path / "store").ok


class KilledError(Exception):
    """Nothing more is done."""


class Killed(RecordingFiles):
    """Files of a process that is killed once, when it has linked the marker."""

    def link(self, old: str, new: str) -> None:
        """Link, and be killed."""
        super().link(old, new)
        raise KilledError


@pytest.mark.parametrize(
    "again", [create_store, functools.partial(store_id, writing=True)]
)
def test_name_that_is_perhaps_not_durable(
    tmp_path: Path, again: Callable[[Files], object]
) -> None:
    """Where the maker was killed before its last sync, who comes next syncs."""
    files = Killed(tmp_path / "store")
    with pytest.raises(KilledError):
        create_store(files)
    done = len(files.record.steps)

    again(files)
    new = f"{MARKER}.new"
    assert [FolderSynced(""), Unlinked(new)] == files.record.steps[done:]
    again(files)
    assert done + 2 == len(files.record.steps)


def test_stopped_and_begun_anew(root: Path) -> None:
    """What a creation that was stopped left goes; the new store is another one."""
    files = RecordingFiles(root.with_name("other"))
    create_store(files)
    old = castore.open(files.root)
    old.close()
    (files.root / MARKER).unlink()
    left = journal_of(files.root)
    (files.root / "files" / ("0" * 32 + ".cas")).write_bytes(bytes(188))

    with castore.open(files.root, create=True) as store:
        assert old.id != store.id
    assert journal_of(files.root) != left
    assert verify(files.root).ok


def lose_catalog(root: Path) -> None:
    """Remove the catalog."""
    for path in root.glob("catalog-*"):
        path.unlink()


def damage_frame(root: Path) -> None:
    """Damage the first frame, so that commit 1 is gone."""
    journal = journal_of(root)
    data = bytearray(journal.read_bytes())
    data[250] ^= 1
    journal.write_bytes(data)


def damage_header(root: Path) -> None:
    """Damage the header, so that no frame can be told."""
    journal = journal_of(root)
    data = bytearray(journal.read_bytes())
    data[100] ^= 1
    journal.write_bytes(data)


def add_noise(root: Path) -> None:
    """Let all frames be unreadable."""
    journal = journal_of(root)
    journal.write_bytes(journal.read_bytes()[:188] + bytes(4000))


def pack_it(root: Path) -> None:
    """Pack the store."""
    with castore.open(root) as store:
        pack(store.engine)


def add_file(root: Path) -> None:
    """Add a file of somebody else."""
    shutil.rmtree(root / "files")
    (root / "files").mkdir()
    (root / "files" / "notes.txt").write_text("mine")


def add_link(root: Path) -> None:
    """Put a link in the place of the journal."""
    shutil.rmtree(root / "files")
    (root / "files").mkdir()
    (root / "files" / ("0" * 32 + ".cas")).symlink_to(root)


@pytest.mark.parametrize(
    "change",
    [
        lose_catalog,
        damage_frame,
        damage_header,
        add_noise,
        pack_it,
        add_file,
        add_link,
    ],
)
def test_store_that_lost_its_marker(root: Path, change: Callable[[Path], None]) -> None:
    """A folder that holds, or may hold, more than a stopped creation stays as it is."""
    change(root)
    (root / MARKER).unlink()
    before = folder_bytes(root)
    with pytest.raises((UnsupportedError, StorageError)):
        castore.open(root, create=True)
    assert before == folder_bytes(root)


def test_nothing_is_made_twice(root: Path) -> None:
    """A store that is there is left as it is."""
    files = RecordingFiles(root)
    create_store(files)
    assert not [step for step in files.record.steps if isinstance(step, Created)]
