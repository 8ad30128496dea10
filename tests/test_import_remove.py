"""
``import --remove``: an original goes only if nothing speaks against it.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import mmap
import os
import random
import subprocess
import sys

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from clikit import Shop

import castore

from castore.importer import (
    ImportedFile,
    Judged,
    content,
    find_segment,
    holders,
    import_file,
    import_paths,
    remove_originals,
    removing,
    restore,
)


FUTURE = 4_000_000_000_000  # ms; every file of these tests is older
LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells who has a file open"
)


class Place:
    """
    A store and a folder of originals that it has.

    Attributes:
        folder: Of the originals.

        store: Folder of the store.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "in"
        self.folder.mkdir()
        self.store = root / "store"

    def write(self, name: str = "a.jsonl", count: int = 5) -> Path:
        """Write an original."""
        path = self.folder / name
        path.write_bytes(b"".join(b'{"n":%d}\n' % n for n in range(count)))
        return path

    def take(self) -> list[ImportedFile]:
        """Import all."""
        with castore.open(self.store, create=True) as store:
            return list(import_paths(store, [self.folder], now_ms=FUTURE))

    def remove(
        self, files: list[ImportedFile], before_ms: int = FUTURE
    ) -> dict[str, str | None]:
        """Remove what may be removed; return what became of each by name."""
        with castore.open(self.store, read_only=True) as store:
            judged = list(remove_originals(store, files, before_ms=before_ms))
        assert sorted(f.path for f in files) == sorted(j.path for j in judged)
        return {Path(item.path).name: item.kept for item in judged}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a place for originals."""
    return Place(tmp_path)


def restored(store_path: Path, path: str) -> bytes:
    """Return what the store gives back for *path*."""
    out = io.BytesIO()
    with castore.open(store_path, read_only=True) as store:
        restore(store, find_segment(store, path), out)
    return out.getvalue()


@LINUX
def test_what_is_removed_is_restorable(place: Place) -> None:
    """Originals go, all of them, and each comes back."""
    before = {
        str(place.write(f"{n}.jsonl", n)): place.write(f"{n}.jsonl", n).read_bytes()
        for n in range(removing.BATCH_COUNT + 3)
    }
    done = place.take()

    assert {None} == set(place.remove(done).values())
    assert [] == list(place.folder.iterdir())
    assert all(data == restored(place.store, path) for path, data in before.items())
    assert {removing.GONE} == set(place.remove(done).values())


# --- what keeps an original --------------------------------------------------


def grow(path: Path) -> None:
    """Append a line."""
    with path.open("ab") as file:
        file.write(b"{}\n")


def flip(path: Path) -> None:
    """Change one byte and nothing that can be seen from outside."""
    facts = path.stat()
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def cut(path: Path) -> None:
    """Cut it."""
    os.truncate(path, 9)


def replace_by_link(path: Path) -> None:
    """Put a link to the same content in its place."""
    other = path.with_name("other")
    path.rename(other)
    path.symlink_to(other)


def replace_by_pipe(path: Path) -> None:
    """Put a pipe in its place."""
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    """Give it another name."""
    path.with_name("other").hardlink_to(path)


KEPT: dict[str, tuple[Callable[[Path], object], str]] = {
    "grown": (grow, removing.DIFFERS),
    "flipped": (flip, removing.DIFFERS),
    "cut": (cut, removing.DIFFERS),
    "link": (replace_by_link, removing.LINK),
    "pipe": (replace_by_pipe, removing.NO_FILE),
    "folder": (replace_by_folder, removing.NO_FILE),
    "two names": (link, removing.NAMES),
    "vanished": (Path.unlink, removing.GONE),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_changed_since_is_kept(place: Place, name: str) -> None:
    """A file that is not exactly what was imported stays, whatever it is now."""
    change, why = KEPT[name]
    path = place.write()
    other = place.write("fine.jsonl", 9)
    done = place.take()
    change(path)
    found = place.remove(done)

    assert why == found[path.name]
    assert (path.exists() or path.is_symlink()) == (name != "vanished")
    if sys.platform == "linux":
        assert not other.exists()


def test_a_file_that_is_too_new(place: Place) -> None:
    """The time of the last change counts, to the ms."""
    path = place.write()
    done = place.take()
    changed_ms = path.stat().st_mtime_ns // 1_000_000

    assert {path.name: removing.TOO_NEW} == place.remove(done, changed_ms - 1)
    if sys.platform == "linux":
        assert {path.name: None} == place.remove(done, changed_ms + 1)


def test_a_packed_file(place: Place) -> None:
    """Its content is in the store, its own bytes are not."""
    path = place.folder / "a.jsonl.zst"
    path.write_bytes(zstandard.compress(b"{}\n" * 9))
    done = place.take()

    assert {path.name: removing.PACKED} == place.remove(done)
    assert path.exists()


def test_a_store_that_is_damaged(place: Place) -> None:
    """What the store cannot give back is never removed."""
    path = place.write("a.jsonl", 2000)
    done = place.take()
    for file in (place.store / "files").iterdir():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    try:
        found = place.remove(done)
    except castore.CorruptionError:
        found = {}  # it cannot even be opened

    assert path.exists()
    assert all((why or "").startswith(removing.LACKS) for why in found.values())


def test_a_rewritten_original(place: Place) -> None:
    """What an older import knew is no reason to remove what is there now."""
    path = place.write("a.jsonl", 50)
    old = place.take()
    path.write_bytes(b"{}\n" * 3)
    new = place.take()

    assert {path.name: removing.DIFFERS} == place.remove(old)
    if sys.platform == "linux":
        assert {path.name: None} == place.remove(new)


# --- who has it open ---------------------------------------------------------

_HOLD = """
import mmap, sys
file = open(sys.argv[1], sys.argv[2])
if sys.argv[3] == "mapped":
    held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    file.close()
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held(path: Path, mode: str, how: str = "open") -> Iterator[None]:
    """Let another process have *path* open."""
    command = [sys.executable, "-c", _HOLD, str(path), mode, how]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        yield
        process.communicate()


@LINUX
@pytest.mark.parametrize("mode", ["rb", "ab", "r+b"])
def test_a_file_that_another_process_has_open(place: Place, mode: str) -> None:
    """However it is open, it stays; once it is closed, it goes."""
    path = place.write()
    done = place.take()
    with held(path, mode):
        assert {path.name: removing.OPEN} == place.remove(done)
    assert {path.name: None} == place.remove(done)


@LINUX
@pytest.mark.parametrize("leases", [True, False])
def test_a_file_that_is_open_here_or_mapped(
    place: Place, monkeypatch: pytest.MonkeyPatch, leases: bool
) -> None:
    """The own process counts as any other, and a mapping as an open file."""
    if not leases:
        monkeypatch.setattr("castore.importer.removing.Lease", NoLease)
    path = place.write()
    done = place.take()
    with path.open("rb"):
        assert {path.name: removing.OPEN} == place.remove(done)
    with held(path, "rb", "mapped"):
        assert {path.name: removing.OPEN} == place.remove(done)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        file.close()
        assert {path.name: removing.OPEN} == place.remove(done)
    all_seen = leases or holders.Holders.look().complete
    assert {path.name: None if all_seen else removing.UNKNOWN} == place.remove(done)


class NoLease(holders.Lease):
    """A lease on a file system that has none."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        if self.is_held:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        self.is_known = self.is_held = False


def blind(*_: object) -> holders.Holders:
    """See nothing, and know that."""
    return holders.Holders(Counter(), frozenset(), complete=False)


def test_what_cannot_be_told_keeps_all(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without leases and with processes that cannot be seen, nothing goes."""
    monkeypatch.setattr("castore.importer.removing.Lease", NoLease)
    monkeypatch.setattr(holders.Holders, "look", blind)
    path = place.write()

    assert {path.name: removing.UNKNOWN} == place.remove(place.take())
    assert path.exists()


def test_no_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no list of processes, it is not complete."""
    monkeypatch.setattr(holders, "_PROC", tmp_path)

    assert not holders.Holders.look().complete
    (tmp_path / "1").mkdir()
    assert not holders.Holders.look().complete


# --- changes at the worst moment ---------------------------------------------


def between(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[], object], where: str
) -> None:
    """Do *change* once, right before or behind the comparison with the store."""
    real = content.restore
    pending = [change]

    def watched(*args: object) -> object:
        if where == "before":
            pending.pop()() if pending else None
        size = real(*args)  # type: ignore[arg-type]
        if where == "behind":
            pending.pop()() if pending else None
        return size

    monkeypatch.setattr("castore.importer.removing.restore", watched)


@LINUX
@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize(
    "name", [n for n in KEPT if n not in ("pipe", "folder", "vanished")]
)
def test_changes_meanwhile(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    """A change in the middle of it is seen; what is there then stays."""
    path = place.write()
    done = place.take()
    change, _ = KEPT[name]
    between(monkeypatch, lambda: change(path), where)
    (why,) = place.remove(done).values()

    assert why in (removing.CHANGED, removing.DIFFERS)
    assert path.exists()


@LINUX
def test_an_open_meanwhile(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that opens it while it is compared keeps it."""
    path = place.write()
    done = place.take()
    with contextlib.ExitStack() as stack:
        between(monkeypatch, lambda: stack.enter_context(path.open("ab")), "behind")
        assert {path.name: removing.OPEN} == place.remove(done)
    assert path.exists()


@LINUX
def test_an_open_at_the_last_moment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opened it before it got its other name gives it its own back."""
    monkeypatch.setattr("castore.importer.removing.Lease", FreeLease)
    path = place.write()
    done = place.take()
    looks: list[object] = []
    real = holders.Holders.look
    with contextlib.ExitStack() as stack:

        def look() -> holders.Holders:
            if looks:
                (hidden,) = place.folder.glob(".*.removing")
                stack.enter_context(hidden.open("ab"))
            looks.append(None)
            return real()

        monkeypatch.setattr(holders.Holders, "look", look)
        assert {path.name: removing.OPEN} == place.remove(done)
    assert [path] == list(place.folder.iterdir())


class FreeLease(NoLease):
    """A lease that knows of nobody."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.is_known = True

    def is_unbroken(self) -> bool:
        """Return that it is."""
        return True


@LINUX
def test_a_name_that_is_taken_meanwhile(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came to the name is not replaced; the other name is told."""
    path = place.write()
    done = place.take()
    looks: list[object] = []
    real = holders.Holders.look
    before = path.read_bytes()

    def look() -> holders.Holders:
        if looks:
            path.write_bytes(b"new")
            (hidden,) = place.folder.glob(".*.removing")
            os.utime(hidden, (5, 5))
        looks.append(None)
        return real()

    monkeypatch.setattr(holders.Holders, "look", look)
    (why,) = place.remove(done).values()
    (hidden,) = place.folder.glob(".*.removing")

    assert f"{removing.CHANGED}; it is called {hidden.name} now" == why
    assert (b"new", before) == (path.read_bytes(), hidden.read_bytes())


_STORM = """
import os, random, sys, time
rng = random.Random(int(sys.argv[2]))
folder, log = sys.argv[1], open(sys.argv[3], "a", buffering=1)
print("ready", flush=True)
while True:
    number = rng.randrange(190)  # ten are left in peace
    name = os.path.join(folder, f"{number}.jsonl")
    what = rng.randrange(5)
    time.sleep(rng.random() / 500)
    try:
        if what in (0, 3):
            # Never makes a file: what is written to is an original.
            fd = os.open(name, os.O_WRONLY | (0, os.O_APPEND)[what == 3])
            os.write(fd, b"[")
            print(number, file=log)
            os.close(fd)
        elif what == 1:
            os.link(name, f"{name}.{rng.getrandbits(40)}")
        elif what == 2:
            os.rename(name, f"{name}.{rng.getrandbits(40)}")
        else:
            os.unlink(name)
    except FileNotFoundError:
        pass
"""


@LINUX
@pytest.mark.parametrize("seed", [1, 2])
def test_in_a_storm(place: Place, seed: int, budget: float) -> None:
    """
    While another process writes, links, renames and unlinks, nothing is removed
    that was written to, what was left in peace is, and the store gives it all back.
    """
    rng = random.Random(seed)
    log = place.folder.parent / "log"
    for turn in range(max(1, int(budget))):
        for path in place.folder.iterdir():
            path.unlink()
        log.write_text("")
        for number in range(200):
            place.write(f"{number}.jsonl", rng.randrange(1, 30))
        before = {p.name: p.read_bytes() for p in place.folder.iterdir()}
        done = place.take()
        facts = [str(place.folder), str(seed + turn), str(log)]
        storm = [sys.executable, "-c", _STORM, *facts]
        with subprocess.Popen(storm, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            found = place.remove(done)
            process.kill()
        gone = {name for name, why in found.items() if why is None}
        written = {f"{number}.jsonl" for number in log.read_text().split()}

        assert {f"{number}.jsonl" for number in range(190, 200)} <= gone
        assert not gone & written
        told = " ".join(why for why in found.values() if why is not None)
        assert all(p.name in told for p in place.folder.glob(".*.removing"))
        for name in gone:
            path = place.folder / name
            assert before[name] == restored(place.store, str(path))


# --- the command -------------------------------------------------------------


@LINUX
def test_the_command(tmp_path: Path) -> None:
    """It says what went and what stayed, and why."""
    shop = Shop(tmp_path)
    old, new = shop.transcript("old.jsonl"), shop.transcript("new.jsonl")
    os.utime(old, (1, 1))
    result = shop("import", old, new, "--remove", "--older-than", "14d")

    assert 0 == result.code
    assert result.lines[-2].startswith("removed 1 original, ")
    assert f"kept 1 original: {removing.TOO_NEW}" == result.lines[-1]
    assert (False, True) == (old.exists(), new.exists())
    facts = shop.do("import", new, "--remove", "--older-than", "0")
    assert [str(new)] == [item["path"] for item in facts["removed"]]
    assert not new.exists()


def test_nothing_goes_when_something_failed(tmp_path: Path) -> None:
    """One file that could not be taken in keeps all the others."""
    shop = Shop(tmp_path)
    path = shop.transcript()
    result = shop("import", path, tmp_path / "x", "--remove", "--older-than", "0")

    assert 3 == result.code
    assert "nothing is removed" in result.error
    assert path.exists()


@pytest.mark.parametrize(
    "options",
    [["--remove"], ["--older-than", "0"], ["--remove", "--older-than", "0", "--watch"]],
)
def test_what_must_be_said(tmp_path: Path, options: list[str]) -> None:
    """Half of the wish is refused before anything is done."""
    shop = Shop(tmp_path)
    path = shop.transcript()

    assert 2 == shop("import", path, *options).code
    assert path.exists()
    assert not shop.store.exists()


def test_what_was_not_imported(place: Place) -> None:
    """A file that was taken in elsewhere is kept."""
    path = place.write()
    place.take()
    with castore.open(place.folder.parent / "other", create=True) as other:
        done = import_file(other, path, now_ms=FUTURE)
    with castore.open(place.store, read_only=True) as store:
        (judged,) = remove_originals(store, [done], before_ms=FUTURE)

    assert isinstance(judged, Judged)
    assert (judged.kept or "").startswith(removing.LACKS)
    assert path.exists()


def test_who_waits_is_told_how_far_it_is(place: Place) -> None:
    """What is compared is told while it is, all of it."""
    size = place.write().stat().st_size
    told: list[int] = []
    files = place.take()
    with castore.open(place.store, read_only=True) as store:
        list(remove_originals(store, files, before_ms=FUTURE, given=told.append))

    assert size == sum(told)
