"""
Repair: a damaged store is as good as its good copies, and says what it is not.
"""

from __future__ import annotations

import importlib
import random
import shutil

from collections.abc import Iterator
from pathlib import Path

import pytest

from attacks import ATTACKS
from attacks_payloads import NEXT
from clikit import call

import castore

from castore.digest import format_digest
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.packing import pack
from castore.packing.rewrite import close_journal
from castore.reading.files import OpenFiles
from castore.reading.frames import Frame, walk
from castore.repairing import Repaired, open_source, repair
from castore.storage import Files
from castore.verify import verify


def payload(number: int) -> bytes:
    """Return the bytes of a payload."""
    return random.Random(number).randbytes(3000)


def make(root: Path) -> None:
    """Make a store of packs and journals: entries, payloads, versions, a large one."""
    with castore.open(root, create=True) as store:
        log = store.create_session(key=("tool", "one"))
        before = None
        for number in range(9):
            before = store.put(payload(0) + b"%d" % number, like=before)
            refs = [
                castore.Reference("tool.out", store.put(payload(number))),
                castore.Reference("checkpoint", before),
            ]
            log.append([castore.NewEntry("turn", b"turn %d" % number, refs=refs)])
        large = store.put(random.Random("large").randbytes(3 << 20))
        log.append([castore.NewEntry("large", b"", [castore.Reference("x", large)])])
        pack(store.engine)
        for number in range(20, 24):
            log.append([turn(store, number)])
            close_journal(store.engine)
        log.append([turn(store, 30)])


def turn(store: castore.Store, number: int) -> castore.NewEntry:
    """Return an entry with a payload."""
    ref = castore.Reference("tool.out", store.put(payload(number)))
    return castore.NewEntry("turn", b"turn %d" % number, refs=[ref])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a good store."""
    root = tmp_path_factory.mktemp("made") / "store"
    make(root)
    assert verify(root).ok
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the good store, to be damaged, opened once."""
    root = shutil.copytree(made, tmp_path / "store")
    with castore.open(root):
        pass
    return root


def frames(root: Path) -> Iterator[tuple[Path, int, Frame]]:
    """Yield each frame with its file and the kind of that."""
    for file in OpenFiles(Files(root), None).headers():
        for frame in walk(file, file_format.SIZE, file.size()):
            assert isinstance(frame, Frame)
            yield root / file.name, file.header.kind, frame


def flip(path: Path, offset: int) -> None:
    """Flip a bit."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def mend(root: Path, *sources: Path) -> Repaired:
    """Repair the store."""
    with castore.open(root) as store:
        return repair(store.engine, [open_source(each) for each in sources])


def content(root: Path) -> list[object]:
    """Return all that the store says, payloads included."""
    with castore.open(root, read_only=True) as store:
        [log] = store.session(("tool", "one")).segments()
        return [
            (entry.hash, entry.body, [store.get(ref.blob) for ref in entry.refs])
            for entry in log.entries()
        ]


def is_payload(frame: Frame) -> bool:
    """Whether a frame of a pack holds payloads and nothing else."""
    return {item[0] for item in frame.table} <= {
        frame_format.BLOB,
        frame_format.DIFFERENCE,
    }


# --- from a copy of the same files -------------------------------------------


def test_each_frame_is_mended_from_a_copy(made: Path, root: Path) -> None:
    """Whatever was in a damaged frame of a closed file comes back from a copy."""
    with castore.open(root) as store:
        newest = store.engine.view.position.journal.hex()
    hit = set()
    for path, _, frame in list(frames(root)):
        if newest not in path.name and path not in hit:
            hit.add(path)
            flip(path, frame.end - 40)
    faults = verify(root).findings
    done = mend(root, made)

    assert done.is_whole
    assert verify(root).ok
    assert {f.where.partition("@")[0] for f in faults if "@" in f.where} <= set(
        done.replaced
    )
    assert len(done.replaced) >= 6
    assert content(made) == content(root)
    for name in done.quarantined:
        assert (root / name).exists()
        assert not (root / "files" / Path(name).name).exists()


def test_it_is_so_without_the_catalog_too(made: Path, root: Path) -> None:
    """What was mended stands in files: an index that is made anew finds it."""
    for path, kind, frame in list(frames(root)):
        if kind == file_format.PACK:
            flip(path, frame.end - 40)
            break
    mend(root, made)
    for path in root.glob("catalog*"):
        path.unlink()

    assert content(made) == content(root)


def test_missing_files_and_headers(made: Path, root: Path) -> None:
    """A file that is gone, one without a header and one that is cut come back."""
    packs = sorted({path for path, kind, _ in frames(root) if kind != 2})
    with castore.open(root) as store:
        newest = store.engine.view.position.journal.hex()
    gone, beheaded, cut = [path for path in packs if newest not in path.name][:3]
    gone.unlink()
    flip(beheaded, 20)
    cut.write_bytes(cut.read_bytes()[:-50])
    done = mend(root, made)

    assert done.is_whole
    assert verify(root).ok
    assert content(made) == content(root)


def test_a_single_file_is_a_source(made: Path, root: Path, tmp_path: Path) -> None:
    """A copy of one file under any name does."""
    path, _, frame = next(each for each in frames(root) if each[1] == file_format.PACK)
    copy = shutil.copy(path, tmp_path / "saved")
    flip(path, frame.end - 40)

    assert mend(root, Path(copy)).is_whole
    assert verify(root).ok


# --- payloads by name --------------------------------------------------------


def damage_payloads(root: Path) -> Path:
    """Damage a frame of payloads in a pack and the side pack's; return the first."""
    found = [each for each in frames(root) if each[1] == file_format.PACK]
    path, _, frame = next(each for each in reversed(found) if is_payload(each[2]))
    flip(path, frame.end - 40)
    return path


def test_payloads_come_from_another_store(root: Path, tmp_path: Path) -> None:
    """Another store that has the same payloads, however stored, gives them."""
    before = content(root)
    with castore.open(tmp_path / "other", create=True) as other:
        for number in [*range(9), *range(20, 24), 30]:
            other.put(payload(number), tag=str(number))
            other.put(payload(0) + b"%d" % number, tag=f"version {number}")
        large = random.Random("large").randbytes(3 << 20)
        other.put(large, tag="large")
    damage_payloads(root)
    done = mend(root, tmp_path / "other")

    assert done.is_whole
    assert done.taken_count
    assert verify(root).ok
    assert before == content(root)


def test_what_is_nowhere_is_named(root: Path) -> None:
    """Without a source the rest is whole, and each loss is named with who needs it."""
    path = damage_payloads(root)
    done = mend(root)
    report = verify(root)
    missing = {f.where for f in report.findings if f.verdict == "missing blob"}

    assert [f"files/{path.name}"] == list(done.replaced)
    assert {"missing blob"} == {f.verdict for f in report.findings}
    assert missing == {f"blob:{each.ref.partition(':')[2]}" for each in done.lost}
    assert done.lost
    assert all(each.count and each.entries for each in done.lost)


def test_a_later_put_heals(root: Path) -> None:
    """After a repair lost bytes count as not stored: who puts them heals the store."""
    before = content(root)
    damage_payloads(root)
    assert mend(root).lost
    with castore.open(root) as store:
        log = store.create_session(key=("by", "hand"))
        for number in range(9):
            refs = [
                castore.Reference("x", store.put(data))
                for data in (payload(number), payload(0) + b"%d" % number)
            ]
            log.append([castore.NewEntry("again", b"", refs)])
        large = store.put(random.Random("large").randbytes(3 << 20))
        log.append([castore.NewEntry("again", b"", [castore.Reference("x", large)])])

    assert verify(root).ok
    assert before == content(root)


def test_what_is_lost_can_be_accepted(root: Path) -> None:
    """The names that a repair gives are those that gc wants to hear."""
    from castore.gc import collect

    damage_payloads(root)
    names = [each.ref for each in mend(root).lost]
    with castore.open(root) as store:
        digests = [bytes.fromhex(name.partition(":")[2]) for name in names]
        collect(store.engine, accept_lost=digests)
    report = verify(root)

    assert report.ok
    assert len(names) == len(report.explained)


# --- what cannot be mended ---------------------------------------------------


def test_entries_that_are_nowhere_are_not_dropped(root: Path) -> None:
    """A file whose entries are lost stays as it is: a log is never made shorter."""
    with castore.open(root) as store:
        [log] = store.session(("tool", "one")).segments()
        run = store.engine.view.known.find_run(log.id, log.count - 3)
        assert run is not None
    path = root / file_format.file_name(run.file)
    flip(path, run.offset + 60)
    before = path.read_bytes()
    findings = verify(root).findings
    done = mend(root)

    assert (f"files/{path.name}",) == done.left
    assert not done.is_whole
    assert before == path.read_bytes()
    assert findings == verify(root).findings


def test_what_was_erased_does_not_come_back(
    made: Path, root: Path, tmp_path: Path
) -> None:
    """An older copy has what was erased since; a repair does not take it."""
    with castore.open(root) as store:
        [log] = store.session(("tool", "one")).segments()
        [entry] = list(log.entries(3, 4))
        ref = entry.refs[0].blob
        castore.erase(store, ref, reason="asked")
    damage_payloads(root)
    done = mend(root, made)

    assert done.is_whole
    assert verify(root).ok
    with castore.open(root) as store, pytest.raises(castore.GoneError):
        store.get(ref)


def test_a_later_put_heals_beside_a_file_that_stays(tmp_path: Path) -> None:
    """Lost bytes count as not stored, though the damaged file is still there."""
    root = tmp_path / "store"
    with castore.open(root, create=True) as store:
        store.create_session(key=("a", "1"), then=[turn(store, 1)])
        path = root / file_format.file_name(store.engine.view.position.journal)
        size = path.stat().st_size
        close_journal(store.engine)
        store.create_session(key=("b", "1"), then=[turn(store, 1)])
    flip(path, size - 40)
    done = mend(root)
    missing = [f.where for f in verify(root).findings if f.verdict == "missing blob"]
    with castore.open(root) as store:
        ref = store.put(payload(1), tag="again")
        assert payload(1) == store.get(ref)
    left = [f.where for f in verify(root).findings if f.verdict == "missing blob"]

    assert done.left
    assert format_digest(ref.digest) in {each.ref for each in done.lost}
    assert {f"blob:{ref.digest.hex()}"} == set(missing) - set(left)


def test_older_journals_go_along(made: Path, root: Path) -> None:
    """The chain ends at a journal that was dropped: what is older is not lost."""
    with castore.open(root) as store:
        [log] = store.session(("tool", "one")).segments()
        run = store.engine.view.known.find_run(log.id, log.count - 3)
        assert run is not None
    flip(root / file_format.file_name(run.file), run.offset + 60)
    done = mend(root, made)

    assert 1 == len(done.replaced) == len(done.quarantined)
    assert verify(root).ok
    assert content(made) == content(root)


def test_a_foreign_copy_mends_nothing(root: Path, tmp_path: Path) -> None:
    """A file of the same name with other content is no copy."""
    path = damage_payloads(root)
    make(tmp_path / "other")
    other = next((tmp_path / "other" / "files").iterdir())
    shutil.copytree(root, tmp_path / "copy")
    (tmp_path / "copy" / "files" / path.name).write_bytes(other.read_bytes())

    assert mend(root, tmp_path / "copy").lost


def test_a_good_store_is_left_alone(root: Path) -> None:
    """Nothing is written where nothing is wrong."""
    assert Repaired(0) == mend(root)


# --- stopped -----------------------------------------------------------------


class StoppedError(Exception):
    """The process went away."""


@pytest.mark.parametrize("step", ["publish", "drop"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_stopped_anywhere_it_goes_on(
    made: Path, root: Path, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either nothing counts or all of it does; the next run ends what is left."""
    module = importlib.import_module("castore.repairing.repair")
    real = getattr(module, step)

    def stop(*args: object) -> None:
        if when == "after":
            real(*args)
        raise StoppedError

    damage_payloads(root)
    with monkeypatch.context() as patch:
        patch.setattr(module, step, stop)
        with castore.open(root) as store, pytest.raises(StoppedError):
            repair(store.engine, [open_source(made)])
    is_done = verify(root).ok
    done = mend(root, made)

    assert is_done == (step == "drop" or when == "after")
    assert done.is_whole
    assert verify(root).ok
    assert content(made) == content(root)


def test_the_damaged_file_is_kept_before_it_goes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its second name is there before the commit that drops it."""
    module = importlib.import_module("castore.repairing.repair")
    publish = module.publish
    path = damage_payloads(root)
    before = path.read_bytes()

    def look(*args: object) -> object:
        assert before == (root / "quarantine" / path.name).read_bytes()
        return publish(*args)

    monkeypatch.setattr(module, "publish", look)
    mend(root)

    assert before == (root / "quarantine" / path.name).read_bytes()
    assert not path.exists()


# --- records that do not give their blob ---------------------------------------


def test_a_difference_that_lies_is_left_out(tmp_path: Path) -> None:
    """A record in a good frame that does not give its blob goes, and its heirs."""
    ATTACKS["difference_of_a_corrupt_one"](tmp_path / "store")
    before = verify(tmp_path / "store").findings
    done = mend(tmp_path / "store")
    [left] = verify(tmp_path / "store").findings

    assert {"corrupt blob", "missing blob"} == {each.verdict for each in before}
    assert "missing blob" == left.verdict
    assert [left.where] == [f"blob:{each.ref.partition(':')[2]}" for each in done.lost]


def test_an_heir_is_kept_where_its_base_comes(tmp_path: Path) -> None:
    """With a source for what is corrupt, what hangs on it is right again."""
    ATTACKS["difference_of_a_corrupt_one"](tmp_path / "store")
    with castore.open(tmp_path / "other", create=True) as other:
        other.put(NEXT, tag="next")
    done = mend(tmp_path / "store", tmp_path / "other")

    assert (done.is_whole, done.taken_count) == (True, 1)
    assert verify(tmp_path / "store").ok


# --- the command ---------------------------------------------------------------


def test_command(made: Path, root: Path) -> None:
    """It says what is lost and what to do next; with a copy nothing is."""
    damage_payloads(root)
    broken = shutil.copytree(root, root.parent / "broken")
    lost = call("--store", broken, "--json", "repair")
    whole = call("--store", root, "repair", "--from", made)
    again = call("--store", root, "--json", "repair")

    assert 1 == lost.code
    assert any("--accept-lost" in step for step in lost.object["next"])
    assert lost.object["lost"][0]["entries"]
    assert (0, "") == (whole.code, whole.error)
    assert "next: castore verify" in whole.text
    assert (0, None) == (again.code, again.object["seq"])


def test_a_source_that_is_none(root: Path, tmp_path: Path) -> None:
    """What is neither a store nor a file of frames is refused before anything."""
    (tmp_path / "text").write_text("text")
    (tmp_path / "folder").mkdir()

    for name in ("text", "folder", "nothing"):
        result = call("--store", root, "repair", "--from", tmp_path / name)
        assert 5 == result.code
