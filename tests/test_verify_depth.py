"""
Checks that leave something out: they say what, and never say what is not so.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import sqlite3

from pathlib import Path

import pytest

from attacks import ATTACKS
from clikit import Shop
from corruption import make_larger
from stores import make_full

import castore

from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats import storelog
from castore.packing import pack
from castore.reading.depth import Depth, Level, Share
from castore.reading.files import OpenFiles
from castore.reading.findings import FAULT
from castore.reading.frames import Frame, walk
from castore.storage import Files
from castore.verify import Report, verify


SHALLOW = [Level.STRUCTURE, Level.STORED, Level.CONTENTS, Level.CHAINS]


def faults(report: Report) -> set[tuple[str, str]]:
    """Return verdict and place of all faults."""
    return {(f.verdict, f.where) for f in report.findings if f.severity == FAULT}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of some packs with payloads, and a journal."""
    root = tmp_path_factory.mktemp("packed") / "store"
    make_larger(root)
    return root


def payload_frames(root: Path) -> list[tuple[Path, int, int]]:
    """Return file, offset and end of the frames of packs that hold payloads only."""
    opened = OpenFiles(Files(root), None)
    return [
        (root / file.name, frame.offset, frame.end)
        for file in opened.headers()
        if file.header.kind == file_format.PACK
        for frame in walk(file, file_format.SIZE, file.size())
        if isinstance(frame, Frame)
        and {item[0] for item in frame.table} == {frame_format.BLOB}
    ]


def flip(path: Path, offset: int) -> None:
    """Flip a bit."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


# --- levels ------------------------------------------------------------------


@pytest.mark.parametrize("level", SHALLOW)
def test_a_good_store_is_good_at_each_level(tmp_path: Path, level: Level) -> None:
    """Each level says what it left out, and the same last commit."""
    maker = make_full(tmp_path / "store")
    whole, report = verify(maker.root), verify(maker.root, depth=Depth(level))

    assert (True, ()) == (report.ok, report.findings)
    assert (whole.seq, level.title) == (report.seq, report.level)
    assert Level.ALL - level == len(report.not_covered)
    assert () == whole.not_covered


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_less_is_said_and_nothing_else(tmp_path: Path, name: str) -> None:
    """What a level finds, all of them find: the same verdict at the same place."""
    ATTACKS[name](tmp_path / "store")
    told = [faults(verify(tmp_path / "store", depth=Depth(level))) for level in Level]

    for lower, higher in itertools.pairwise(told):
        assert lower <= higher


def first_level(root: Path) -> Level | None:
    """Return the lowest level that finds a fault; all above must, too."""
    told = [each for each in Level if not verify(root, depth=Depth(each)).ok]
    assert told == [each for each in Level if told and each >= told[0]]
    return told[0] if told else None


def test_stored_bytes_need_their_level(packed: Path, tmp_path: Path) -> None:
    """A flip in the middle of a payload frame of a pack is no matter of structure."""
    root = shutil.copytree(packed, tmp_path / "store")
    path, _, end = payload_frames(root)[-1]
    flip(path, end - 40)

    assert Level.STORED == first_level(root)


def test_a_size_that_leads_astray_is_found_where_it_is(tmp_path: Path) -> None:
    """Of frames passed by their sizes the one that lies is named, not the next."""
    root = tmp_path / "store"
    with castore.open(root, create=True) as store:
        for number in range(20):
            store.put(random.Random(number).randbytes(300_000).hex().encode(), tag="x")
            store.put(b"%d" % number * 90_000, tag=str(number))
        pack(store.engine)
    path, offset, _ = payload_frames(root)[-1]
    flip(path, offset + 19)  # of the stored size, its lowest byte
    found = faults(verify(root, depth=Depth(Level.STRUCTURE)))

    assert faults(verify(root)) >= found
    assert ("corrupt frame", f"files/{path.name}@{offset}") in found


def test_a_body_of_the_store_log_that_stands_elsewhere(tmp_path: Path) -> None:
    """Which files count is told right, wherever the store log has its bodies."""
    root = tmp_path / "store"
    with castore.open(root, create=True) as store:
        body = castore.NewEntry("line", storelog.named("x"))
        store.create_session(then=[body])
        store.put(random.Random(1).randbytes(900_000), tag="large")
        pack(store.engine)
        store.put(b"x", tag="x")
        store.untag("x")
        store.put(b"y", tag="y")
        pack(store.engine)
    packs = {path for path, _, _ in payload_frames(root)}
    shallow = verify(root, depth=Depth(Level.STRUCTURE))

    assert packs
    assert (True, ()) == (shallow.ok, shallow.findings)


def test_a_lost_payload_needs_all(tmp_path: Path) -> None:
    """That a payload which an entry names is nowhere is found by the last level."""
    ATTACKS["difference_without_its_base"](tmp_path / "store")

    assert Level.ALL == first_level(tmp_path / "store")


def test_structure_reads_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of payloads in packs are passed, not read."""
    with castore.open(tmp_path / "store", create=True) as store:
        for number in range(9):
            store.put(random.Random(number).randbytes(400_000), tag=str(number))
        pack(store.engine)
    sizes: list[int] = []
    read = Files.read_up_to

    def count(files: Files, fd: int, size: int, offset: int) -> bytes:
        data = read(files, fd, size, offset)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(Files, "read_up_to", count)
    assert verify(tmp_path / "store", depth=Depth(Level.STRUCTURE), jobs=1).ok
    shallow = sum(sizes)
    sizes.clear()
    verify(tmp_path / "store", jobs=1)

    assert shallow * 20 < sum(sizes)


# --- shares ------------------------------------------------------------------


def damaged(packed: Path, tmp_path: Path) -> Path:
    """Return a copy in which one payload frame is damaged."""
    root = shutil.copytree(packed, tmp_path / "store")
    path, _, end = payload_frames(root)[-1]
    flip(path, end - 40)
    return root


def test_subsets_are_everything(packed: Path, tmp_path: Path) -> None:
    """Each frame is in one share of all; damage is found by one, and by none twice."""
    root = damaged(packed, tmp_path)
    shares = [verify(root, depth=subset(number, 5)) for number in range(1, 6)]
    whole = verify(root, depth=Depth(Level.CONTENTS))

    assert [False] == [report.ok for report in shares if not report.ok]
    assert faults(whole) == set().union(*map(faults, shares))
    assert whole.covered["frames"] <= sum(each.covered["frames"] for each in shares)
    assert all("share" in report.not_covered[0] for report in shares)
    for place in itertools.product([b"a" * 16, b"b" * 16], range(200)):
        assert 1 == sum(Share.subset(n, 5).has(*place) for n in range(1, 6))


def subset(number: int, of: int) -> Depth:
    """Return the depth of one share."""
    return Depth(Level.CONTENTS, Share.subset(number, of))


def test_a_sample_is_its_seed(packed: Path) -> None:
    """The same seed chooses the same frames, others others, about as many as said."""
    places = [
        (bytes([file]) * 16, offset) for file in range(9) for offset in range(200)
    ]

    def chosen(seed: int) -> set[tuple[bytes, int]]:
        share = Share.sample(0.05, seed)
        return {place for place in places if share.has(*place)}

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)
    assert all(40 < len(chosen(seed)) < 150 for seed in range(9))
    assert set(places) == {p for p in places if Share.sample(1.0, 3).has(*p)}
    report = verify(packed, depth=Depth(Level.CONTENTS, Share.sample(0.05, 7)))
    assert "frames beyond 5% of the frames, seed 7" == report.not_covered[0]


def test_what_a_share_cannot_judge_is_refused(packed: Path) -> None:
    """Chains and references want everything."""
    for level in (Level.CHAINS, Level.ALL):
        with pytest.raises(ValueError, match="all that there is"):
            verify(packed, depth=Depth(level, Share.subset(1, 2)))


# --- one segment -------------------------------------------------------------


def test_one_segment(tmp_path: Path) -> None:
    """Damage that it does without is no fault of a segment; what it needs is."""
    root = tmp_path / "store"
    with castore.open(root, create=True) as store:
        good = store.create_session(then=[castore.NewEntry("line", b"good")]).id
        ref = castore.Reference("x", store.put(random.Random(1).randbytes(3 << 20)))
        entry = castore.NewEntry("line", b"bad", refs=[ref])
        bad = store.create_session(then=[entry]).id
    path = max((root / "files").iterdir(), key=lambda each: each.stat().st_size)
    flip(path, path.stat().st_size - 60)

    assert not verify(root).ok
    assert verify(root, segment=good).ok
    assert not verify(root, segment=bad).ok
    with pytest.raises(castore.NotFoundError):
        verify(root, segment=b"\0" * 16)


def test_a_head_may_have_been_lost(tmp_path: Path) -> None:
    """A frame that is damaged may have held a newer head: no segment is called good."""
    root = tmp_path / "store"
    with castore.open(root, create=True) as store:
        first = store.create_session(then=[castore.NewEntry("line", b"one")])
        first.append([castore.NewEntry("line", b"two")])
        path = root / file_format.file_name(store.engine.view.position.journal)
    flip(path, path.stat().st_size - 40)

    assert not verify(root, segment=first.id).ok


# --- what it means -----------------------------------------------------------


def test_who_names_what_is_missing(tmp_path: Path) -> None:
    """A missing payload comes with the entries that name it, some and how many."""
    root = tmp_path / "store"
    with castore.open(root, create=True) as store:
        ref = castore.Reference("x", store.put(b"payload" * 99))
        first = store.create_session()
        first.append([castore.NewEntry("line", b"first", refs=[ref])])
        size = (root / file_format.file_name(store.engine.view.position.journal)).stat()
        other = store.create_session()
        for number in range(7):
            other.append([castore.NewEntry("line", b"%d" % number, refs=[ref])])
        path = root / file_format.file_name(store.engine.view.position.journal)
    flip(path, size.st_size - 40)
    report = verify(root)
    told = {each.where: each for each in report.affected}
    [missing] = [f.where for f in report.findings if f.verdict == "missing blob"]

    assert (7, 5) == (told[missing].count, len(told[missing].entries))
    assert f"segment:{other.id.hex()}[1]" == told[missing].entries[0]
    assert "bytes" in told[missing].stands


# --- the command -------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with a transcript."""
    shop = Shop(tmp_path)
    shop("-q", "import", shop.transcript())
    return shop


def test_command(shop: Shop) -> None:
    """Each way to leave something out is said, with the seed that was drawn."""
    sample = shop.do("verify", "--sample", "50%")
    again = shop.do("verify", "--sample", "50%", "--seed", sample["seed"])
    segment = shop.do("ls")["segments"][0]["segment_id"]
    file = next((shop.store / "files").iterdir())

    assert sample == again
    assert "contents" == sample["level"]
    assert shop.do("verify", "--subset", "2/7")["not_covered"]
    assert "structure" == shop.do("verify", "--level", "structure")["level"]
    assert shop.do("verify", "--segment", segment)["ok"]
    assert "each file by itself" == shop.do("verify", file)["against"]
    assert [] == shop.do("verify", "--catalog")["findings"]


@pytest.mark.parametrize(
    "args",
    [
        ["--seed", "3"],
        ["--subset", "8/7"],
        ["--sample", "0%"],
        ["--sample", "5%", "--level", "all"],
        ["--sample", "5%", "--subset", "1/2"],
        ["--max-duration", "1m", "--catalog"],
        ["--segment", "zz"],
    ],
)
def test_what_does_not_go_together(shop: Shop, args: list[str]) -> None:
    """Nothing is checked where it is not clear what is meant."""
    assert 2 == shop("verify", *args).code


def test_time_and_ledger(shop: Shop) -> None:
    """With time everything is checked and noted; without, it says what is left."""
    done = shop.do("verify", "--max-duration", "1h")
    none = shop.do("verify", "--max-duration", "0")

    assert done["oldest_ms"]
    assert (0, done["oldest_ms"]) == (none["covered"]["files"], none["oldest_ms"])
    assert "which the next run begins with" in none["not_covered"][0]


def test_the_catalog_is_compared(shop: Shop) -> None:
    """A row that differs is a fault of the catalog; no catalog is only a notice."""
    path = next(shop.store.glob("catalog-1-*.sqlite"))
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        base.execute("DELETE FROM tag")
        base.execute("DELETE FROM place WHERE hex(digest) < '8'")
    result = shop("--json", "verify", "--catalog")
    faulty = result.object["findings"]
    path.unlink()
    missing = shop.do("verify", "--catalog")["findings"]

    assert 1 == result.code
    assert [("catalog differs", "catalog")] == [
        (f["verdict"], f["where"]) for f in faulty
    ]
    assert [("not covered", "catalog")] == [(f["verdict"], f["where"]) for f in missing]
