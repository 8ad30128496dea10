"""
The file seam: what `Files` promises of names.
"""

from __future__ import annotations

import errno
import os
import stat

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from castore.errors import (
    NotFoundError,
    StorageError,
)
from castore.storage import Files


Patch = pytest.MonkeyPatch


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return a seam on a folder of its own, which is there."""
    made = Files(tmp_path / "store")
    made.make_folder("")
    return made


@pytest.fixture
def fd(files: Files) -> Iterator[int]:
    """Return a descriptor of a new file ``file``."""
    made = files.create("file")
    yield made
    files.close(made)


def content(files: Files, name: str = "file") -> bytes:
    """Return what a file holds, read without the seam."""
    return files.path(name).read_bytes()


def mode(path: Path) -> int:
    """Return the permissions of a file or folder."""
    return stat.S_IMODE(path.lstat().st_mode)


def open_count() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - descriptors, not paths


# --- names -------------------------------------------------------------------


def test_what_is_made_is_private(tmp_path: Path) -> None:
    """Folders have mode 0700 and files 0600, whatever the umask allows."""
    before = os.umask(0)
    try:
        made = Files(tmp_path / "above" / "store")
        made.make_folder("")
        made.make_folder("files")
        made.close(made.create("files/one"))
        made.ensure("two")
    finally:
        os.umask(before)

    assert 0o700 == mode(made.root)
    assert 0o700 == mode(made.path("files"))
    assert 0o600 == mode(made.path("files/one"))
    assert 0o600 == mode(made.path("two"))


def test_folders_are_made_once(files: Files) -> None:
    """Making a folder that is there is no error and changes nothing."""
    files.make_folder("files")
    files.close(files.create("files/one"))
    files.make_folder("files")

    assert ["one"] == files.list("files")


def test_create_makes_a_new_file_only(files: Files) -> None:
    """What stands under a name, a link or a folder too, is never taken over."""
    files.close(files.create("file"))
    files.path("link").symlink_to("elsewhere")
    files.make_folder("folder")
    for name in ("file", "link", "folder"):
        with pytest.raises(StorageError) as caught:
            files.create(name)
        assert errno.EEXIST == caught.value.errno
        assert not caught.value.transient

    assert not files.exists("elsewhere")


def test_ensure_leaves_what_is_there(files: Files) -> None:
    """A file that is there stays as it is; one that is not is made, empty."""
    files.ensure("new")
    assert b"" == content(files, "new")
    files.path("old").write_bytes(b"kept")
    files.ensure("old")

    assert b"kept" == content(files, "old")


def test_ensure_loses_no_race(files: Files, monkeypatch: Patch) -> None:
    """Somebody else may make the file between the look and the making."""
    files.path("file").write_bytes(b"theirs")
    monkeypatch.setattr(files, "exists", lambda name: False)
    files.ensure("file")

    assert b"theirs" == content(files)
    with pytest.raises(NotFoundError):
        files.ensure("nowhere/file")


def test_ensure_reports_what_is_no_race(files: Files, monkeypatch: Patch) -> None:
    """Another failure than a race is an error."""
    full = StorageError(what="no room", errno=errno.ENOSPC, transient=True)

    def fail(name: str) -> int:
        raise full

    monkeypatch.setattr(files, "create", fail)
    with pytest.raises(StorageError):
        files.ensure("file")


def test_open_follows_no_link(files: Files) -> None:
    """A link under a file's name is refused, for reading and for writing."""
    files.path("real").write_bytes(b"secret")
    files.path("link").symlink_to("real")
    for write in (False, True):
        with pytest.raises(StorageError) as caught:
            files.open("link", write=write)
        assert errno.ELOOP == caught.value.errno


def test_open_does_not_wait_for_a_fifo(files: Files) -> None:
    """A FIFO in place of a file is refused at once and kept open by nobody."""
    os.mkfifo(files.path("fifo"))
    before = open_count()
    for write in (False, True):
        with pytest.raises(StorageError, match="no plain file"):
            files.open("fifo", write=write)

    assert before == open_count()


def test_open_takes_no_folder(files: Files) -> None:
    """A folder in place of a file is refused."""
    files.make_folder("folder")
    before = open_count()
    for write in (False, True):
        with pytest.raises(StorageError):
            files.open("folder", write=write)

    assert before == open_count()


def test_what_is_not_there_is_not_found(files: Files) -> None:
    """A name that is not there is `NotFoundError`, which names it."""
    calls: list[Callable[[], object]] = [
        lambda: files.open("absent"),
        lambda: files.open("absent", write=True),
        lambda: files.open("no/absent"),
        lambda: files.create("no/absent"),
        lambda: files.link("absent", "new"),
        lambda: files.sync_folder("absent"),
    ]
    for call in calls:
        with pytest.raises(NotFoundError, match=r"absent|new"):
            call()

    assert not files.exists("absent")
    assert 0 == files.size_of("absent")
    assert [] == files.list("absent")


def test_descriptors_are_not_inherited(files: Files, fd: int) -> None:
    """A child process gets no descriptor, and so no lock, of its parent."""
    other = files.open("file")

    assert not os.get_inheritable(fd)
    assert not os.get_inheritable(other)
    files.close(other)


def test_link_gives_a_second_name_once(files: Files, fd: int) -> None:
    """A link makes a file appear whole under a name that was free."""
    files.write(fd, b"whole", 0)
    files.link("file", "new")
    assert b"whole" == content(files, "new")
    with pytest.raises(StorageError) as caught:
        files.link("file", "new")

    assert errno.EEXIST == caught.value.errno


def test_unlink_is_done_when_it_is_gone(files: Files, fd: int) -> None:
    """Removing a name twice is fine; an open file can be read on."""
    files.write(fd, b"still here", 0)
    files.unlink("file")
    files.unlink("file")
    assert not files.exists("file")

    assert b"still here" == files.read(fd, 10, 0)


def test_unlink_removes_a_link_not_its_target(files: Files) -> None:
    """What a link leads to stays."""
    files.path("real").write_bytes(b"kept")
    files.path("link").symlink_to("real")
    files.unlink("link")

    assert b"kept" == content(files, "real")
    assert not files.exists("link")


def test_names_are_listed_in_order(files: Files) -> None:
    """All names come, sorted, of whatever kind."""
    for name in ("b", "a", "c"):
        files.close(files.create(name))
    files.make_folder("d")

    assert ["a", "b", "c", "d"] == files.list("")


def test_exists_sees_any_name(files: Files) -> None:
    """A link that leads nowhere stands in the way of a name, too."""
    files.path("dangling").symlink_to("nowhere")

    assert files.exists("dangling")
    assert not files.exists("nowhere")


def test_size_of_is_that_of_plain_files(files: Files, fd: int) -> None:
    """Links and folders have no size."""
    files.write(fd, b"12345", 0)
    files.path("link").symlink_to("file")
    files.make_folder("folder")

    assert [5, 0, 0] == [files.size_of(name) for name in ("file", "link", "folder")]
