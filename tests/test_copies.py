"""
A copied store says that it is one before it commits anything else.

Spec: spec/storelog.md, "Entries"; spec/folder.md, "What a mark is worth".
"""

from __future__ import annotations

import errno
import shutil

from pathlib import Path

import pytest

import castore

from castore.errors import StorageError
from castore.storage import Files
from castore.storage.files import storage_error


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a copy of a store."""
    with castore.open(tmp_path / "store", create=True) as store:
        store.create_session(key=("test", "a"))
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    return tmp_path / "copy"


def log_kinds(root: Path) -> list[str]:
    """Return the kinds of the entries of the store log."""
    with castore.open(root, read_only=True) as store:
        logs = store.engine.view.logs
        row = store.engine.view.known.find_segment(store.id)
        assert row is not None
        return [entry.kind for entry in logs.entries(row, 0, row.count)]


def test_said_once(root: Path) -> None:
    """The first commit of a copy comes after an entry of the store log, no other."""
    with castore.open(root) as store:
        assert ["start"] == log_kinds(root)
        store.create_session()
        store.create_session()
    with castore.open(root) as store:
        store.create_session()
    assert ["start", "instance"] == log_kinds(root)
    assert ["start"] == log_kinds(root.with_name("store"))


def test_said_after_there_was_no_room(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it could not be said, the next commit does."""
    write = Files.write

    def full(self: Files, fd: int, data: bytes | memoryview, offset: int) -> None:
        if bytes(data[:6]) != b"cslock":
            raise storage_error("writing", OSError(errno.ENOSPC, ""))
        write(self, fd, data, offset)

    with castore.open(root) as store:
        with monkeypatch.context() as patched:
            patched.setattr(Files, "write", full)
            with pytest.raises(StorageError):
                store.create_session()
        store.create_session()
    assert ["start", "instance"] == log_kinds(root)


def test_said_after_another_stop(root: Path) -> None:
    """A recovery of what another process left does not forget that it is a copy."""
    with castore.open(root) as store:
        seen = store.engine.state.seen
        assert seen is not None
        with (root / "files" / f"{seen.journal.hex()}.cas").open("ab") as journal:
            journal.write(b"torn")
        with store.engine.state.locked() as after:
            assert seen.journal != after.journal
        store.create_session()
    assert ["start", "instance"] == log_kinds(root)
