"""
The file seam: what `Files` promises of names, bytes, modes and errors.
"""

from __future__ import annotations

import errno
import os
import stat

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hypothesis import given
from hypothesis import strategies as st

from castore.errors import CorruptionError, NotFoundError, StorageError, UnsupportedError
from castore.storage import Files
from castore.storage import files as files_module


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
    monkeypatch.setattr(files, "create", fail_with(storage_failure(errno.ENOSPC)))
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
        with pytest.raises(NotFoundError, match="absent|new"):
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


# --- bytes -------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 60)), max_size=6),
    st.integers(0, 120),
    st.integers(0, 120),
)
def test_bytes_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[tuple[bytes, int]],
    size: int,
    offset: int,
) -> None:
    """Whatever is written where is read there; a read ends where the file does."""
    files = Files(tmp_path_factory.mktemp("bytes"))
    fd = files.create("file")
    known = bytearray()
    for data, at in writes:
        files.write(fd, data, at)
        if data:
            known.extend(bytes(max(0, at - len(known))))
            known[at : at + len(data)] = data

    assert len(known) == files.size(fd)
    assert bytes(known[offset : offset + size]) == files.read_up_to(fd, size, offset)
    if offset + size <= len(known):
        assert bytes(known[offset : offset + size]) == files.read(fd, size, offset)
    files.close(fd)


def test_nothing_is_answered_in_part(files: Files, fd: int) -> None:
    """A read that the file cannot satisfy is ``truncated log``, never less bytes."""
    files.write(fd, b"12345", 0)
    for size, offset in ((6, 0), (1, 5), (3, 9)):
        with pytest.raises(CorruptionError) as caught:
            files.read(fd, size, offset)
        assert "truncated log" == caught.value.verdict

    assert b"" == files.read(fd, 0, 9)


def limited(call: Callable[..., Any], most: int) -> Callable[..., Any]:
    """Return pread or pwrite as it would be if it moved at most *most* bytes."""

    def moved(fd: int, what: Any, offset: int) -> Any:
        part = min(what, most) if isinstance(what, int) else what[:most]
        return call(fd, part, offset)

    return moved


@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_short_writes_go_on(
    files: Files, fd: int, monkeypatch: Patch, kind: Callable[[bytes], Any]
) -> None:
    """What the system writes in pieces is written whole."""
    monkeypatch.setattr(os, "pwrite", limited(os.pwrite, 3))
    files.write(fd, kind(b"0123456789"), 2)

    assert b"\0\x000123456789" == content(files)


def test_short_reads_go_on(files: Files, fd: int, monkeypatch: Patch) -> None:
    """What the system gives in pieces is read whole."""
    files.write(fd, b"0123456789", 0)
    monkeypatch.setattr(os, "pread", limited(os.pread, 3))

    assert b"123456789" == files.read(fd, 9, 1)
    assert b"789" == files.read_up_to(fd, 20, 7)


def test_a_write_of_nothing_is_an_error(
    files: Files, fd: int, monkeypatch: Patch
) -> None:
    """A system that writes no bytes any more does not keep the writer for ever."""
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(StorageError) as caught:
        files.write(fd, b"x", 0)

    assert errno.EIO == caught.value.errno


def test_truncate_cuts(files: Files, fd: int) -> None:
    """A file is cut to the size that is asked for."""
    files.write(fd, b"0123456789", 0)
    files.truncate(fd, 4)

    assert (4, b"0123") == (files.size(fd), content(files))


def test_identity_tells_files_apart(files: Files, fd: int) -> None:
    """A file has one identity for all its descriptors; a copy has another."""
    same, other = files.open("file"), files.create("other")

    assert files.identity(fd) == files.identity(same)
    assert files.identity(fd) != files.identity(other)
    files.close(same)
    files.close(other)


def test_syncs_reach_the_system(files: Files, fd: int, monkeypatch: Patch) -> None:
    """A file's bytes and a folder's names are handed to the medium, each by a sync."""
    synced: list[str] = []
    for name in ("fsync", "fdatasync"):
        if hasattr(os, name):
            monkeypatch.setattr(os, name, lambda given, name=name: synced.append(name))
    files.sync(fd)
    files.sync_folder("")

    assert "fsync" == synced[-1]
    assert 1 <= len(synced) <= 2


def test_sync_folder_keeps_nothing_open(files: Files, monkeypatch: Patch) -> None:
    """A folder that cannot be synced is an error, and its descriptor is closed."""
    before = open_count()
    monkeypatch.setattr(os, "fsync", fail_with(OSError(errno.EIO, "x")))
    with pytest.raises(StorageError):
        files.sync_folder("")

    assert before == open_count()


# --- errors ------------------------------------------------------------------


def fail_with(error: Exception) -> Callable[..., Any]:
    """Return a call that fails."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def storage_failure(number: int) -> StorageError:
    """Return the typed error for *number*."""
    return files_module.storage_error("writing", OSError(number, "x"))


CALLS: list[tuple[str, Callable[[Files, int], object]]] = [
    ("pwrite", lambda files, fd: files.write(fd, b"x", 0)),
    ("pread", lambda files, fd: files.read_up_to(fd, 1, 0)),
    ("ftruncate", lambda files, fd: files.truncate(fd, 0)),
    ("link", lambda files, fd: files.link("file", "new")),
    ("listdir", lambda files, fd: files.list("")),
    ("lstat", lambda files, fd: files.size_of("file")),
    ("fsync", lambda files, fd: files.sync_folder("")),
    ("close", lambda files, fd: files.close(fd)),
]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_failures_are_typed(
    files: Files,
    fd: int,
    monkeypatch: Patch,
    name: str,
    call: Callable[[Files, int], object],
    number: int,
) -> None:
    """What the system refuses is `StorageError` with its number and what was done."""
    with monkeypatch.context() as patch:
        if name == "lstat":
            patch.setattr(Path, "lstat", fail_with(OSError(number, "x")))
        patch.setattr(os, name, fail_with(OSError(number, "x")))
        with pytest.raises(StorageError) as caught:
            call(files, fd)

    assert number == caught.value.errno
    assert (number == errno.ENOSPC) == caught.value.transient
    assert os.strerror(number) in str(caught.value)


def test_a_full_disk_says_what_to_do() -> None:
    """No space is worth another try; the text says so. Errors may have no number."""
    assert "make room" in storage_failure(errno.ENOSPC).what
    assert "make room" in storage_failure(errno.EDQUOT).what
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EINTR, errno.EAGAIN):
        assert storage_failure(number).transient
    unknown = files_module.storage_error("reading", OSError("x"))
    assert (0, False) == (unknown.errno, unknown.transient)
    assert "reading: failed" == unknown.what


def test_a_closed_descriptor_is_an_error(files: Files) -> None:
    """Every call on a descriptor that is closed is `StorageError`."""
    fd = files.create("file")
    files.close(fd)
    calls: list[Callable[[], object]] = [
        lambda: files.read(fd, 1, 0),
        lambda: files.write(fd, b"x", 0),
        lambda: files.sync(fd),
        lambda: files.size(fd),
        lambda: files.identity(fd),
        lambda: files.truncate(fd, 0),
        lambda: files.lock(fd),
        lambda: files.unlock(fd),
        lambda: files.close(fd),
    ]
    for call in calls:
        with pytest.raises(StorageError) as caught:
            call()
        assert errno.EBADF == caught.value.errno


# --- the machine -------------------------------------------------------------


def test_the_boot_id_stays_until_the_next_boot(files: Files) -> None:
    """The boot id is 16 bytes, the same for all who ask."""
    assert 16 == len(files.boot_id())
    assert files.boot_id() == Files(files.root).boot_id()


def test_free_space_is_known(files: Files, monkeypatch: Patch) -> None:
    """A writer can ask for room before it writes; a failure is typed."""
    assert files.free_size() > 0
    with pytest.raises(NotFoundError):
        Files(files.root / "absent").free_size()


def test_other_systems_are_refused(files: Files, monkeypatch: Patch) -> None:
    """Where castore does not know how durable bytes are, it keeps no store."""
    monkeypatch.setattr(files_module.sys, "platform", "win32")
    with pytest.raises(UnsupportedError, match="win32"):
        files.boot_id()
