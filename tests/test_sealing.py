"""
Keys, seals and notes of real stores.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from proofkit import OTHER_SIGNER
from proofreference import REFERENCE, verdict

import castore

from castore import limits
from castore.errors import (
    CorruptionError,
    FormatError,
    LimitError,
    NeededError,
    NotFoundError,
    StorageError,
)
from castore.explaining import explain
from castore.gc import collect
from castore.packing import pack
from castore.proofs.notes import Checkpoint, open_checkpoint, sign
from castore.proving import _Log
from castore.reading.pinned import Pinned
from castore.sealing import KeyFile, Sealed, contradiction, recover, seal
from castore.storage import Files
from castore.store import Store
from castore.verify import Report, verify


def line(number: int) -> castore.NewEntry:
    """Return an entry."""
    return castore.NewEntry("line", b"%d" % number)


@attrs.define
class Scene:
    """A store, a key for it, and a log in it."""

    root: Path
    store: Store
    key: KeyFile
    log: castore.Segment

    def held(self, note: bytes, root: Path | None = None) -> Report:
        """Return what is said of the store, or of another folder, against a note."""
        pinned = Pinned(note, [self.key.read().public_key])
        return verify(root or self.root, against=pinned, jobs=1)

    def copy(self, name: str) -> Path:
        """Copy the store's folder."""
        return Path(shutil.copytree(self.root, self.root.with_name(name)))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Return a store with a log of 31 entries and a fork, and a key for it."""
    root = tmp_path / "store"
    with castore.open(root, create=True) as store:
        log = store.create_session(then=map(line, range(30)))
        log.fork(20).append([line(1)])
        key = KeyFile(tmp_path / "key")
        key.make(store.id)
        yield Scene(root, store, key, log)


# --- keys --------------------------------------------------------------------


def test_a_key_is_its_owners_alone(scene: Scene) -> None:
    """Key files are 0600, never replaced, and the name is derived from the store."""
    folder = scene.key.path.parent
    for name in ("key", "key.pub"):
        assert 0o600 == stat.S_IMODE((folder / name).stat().st_mode)
    public = scene.key.read().public_key
    assert f"{public}\n" == (folder / "key.pub").read_text()
    assert f"castore/{scene.store.id.hex()}" == public.name
    before = scene.key.path.read_bytes()
    with pytest.raises(StorageError, match="exists"):
        scene.key.make(scene.store.id)
    assert before == scene.key.path.read_bytes()
    for name in ("new.pub", "new.note"):
        (folder / name).write_bytes(b"")
        with pytest.raises(StorageError, match=f"{name} exists"):
            KeyFile(folder / "new").make(scene.store.id)
        (folder / name).unlink()
        assert not (folder / "new").exists()


def test_a_key_that_others_can_read_signs_nothing(scene: Scene) -> None:
    """Whose key may be known to others is told so."""
    scene.key.path.chmod(0o640)

    with pytest.raises(FormatError, match="chmod 600"):
        seal(scene.store, scene.key)


def test_what_is_no_key_of_this_store(scene: Scene, tmp_path: Path) -> None:
    """Another store's key, no key at all, and one inside of the store are refused."""
    with (
        castore.open(tmp_path / "other", create=True) as other,
        pytest.raises(FormatError, match="another store"),
    ):
        seal(other, scene.key)
    inside = KeyFile(scene.root / "key")
    inside.make(scene.store.id)
    with pytest.raises(FormatError, match="in the store"):
        seal(scene.store, inside)
    with pytest.raises(NotFoundError):
        seal(scene.store, KeyFile(tmp_path / "none"))
    (tmp_path / "text").write_bytes(b"\xff no key\n")
    (tmp_path / "text").chmod(0o600)
    with pytest.raises(FormatError, match="no private key"):
        seal(scene.store, KeyFile(tmp_path / "text"))
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(StorageError, match="no plain file"):
        seal(scene.store, KeyFile(tmp_path / "fifo"))
    assert 1 == scene.store.segment(scene.store.id).count


# --- sealing -----------------------------------------------------------------


def test_a_seal_is_held(scene: Scene) -> None:
    """The note is over the store log with the seal; what goes on extends it."""
    sealed = seal(scene.store, scene.key)
    head = scene.store.segment(scene.store.id).head

    assert (head.count, head.root) == (sealed.checkpoint.count, sealed.checkpoint.root)
    assert (2, head.count - 1) == (sealed.head_count, sealed.index)
    assert sealed.note == scene.key.last_note()
    report = scene.held(sealed.note)
    assert ("matches signed head", ()) == (report.against, report.findings)
    scene.log.append([line(2)])
    scene.store.tag("x", scene.store.put(b"x"))
    report = scene.held(sealed.note)
    assert ("extends pinned head", ()) == (report.against, report.findings)


def test_nothing_of_the_user_is_signed(scene: Scene) -> None:
    """A note holds the store's id, a count and a root; no name, path or time."""
    sealed = seal(scene.store, scene.key)
    origin, count, root, empty, signature, end = sealed.note.decode().split("\n")

    assert (f"castore/{scene.store.id.hex()}", "2") == (origin, count)
    assert ("", "") == (empty, end)
    assert 44 == len(root)
    assert signature.startswith(f"— {origin} ")


def test_each_seal_extends_the_one_before(scene: Scene) -> None:
    """Older notes hold as long as the store goes on; lists of heads are small."""
    notes = []
    for number in range(5):
        scene.log.append([line(number)])
        notes.append(seal(scene.store, scene.key).note)

    for note in notes[:-1]:
        assert "extends pinned head" == scene.held(note).against
    assert "matches signed head" == scene.held(notes[-1]).against


def test_what_a_seal_covers_is_never_collected(scene: Scene) -> None:
    """Collecting and packing leave the lists of all seals, and gc agrees twice."""
    notes = [seal(scene.store, scene.key).note]
    scene.log.append([line(1)])
    notes.append(seal(scene.store, scene.key).note)
    scene.log.fork(3).delete()
    for _ in range(2):
        collect(scene.store.engine, grace_s=0, yes=True)
        pack(scene.store.engine)
    scene.log.append([line(2)])

    for note in notes:
        assert () == scene.held(note).findings
    scene.store.engine.rebuild()
    assert () == scene.held(notes[0]).findings


def test_why_the_heads_of_a_seal_are_kept(scene: Scene) -> None:
    """They are explained by the entry, and erased for nobody who does not know."""
    sealed = seal(scene.store, scene.key)
    blob = scene.store.segment(scene.store.id).entry(sealed.index).refs[0].blob
    (found,) = explain(scene.store.engine, [blob.digest])

    assert ("kept", [sealed.index]) == (
        found.state,
        [each.index for each in found.kept],
    )
    with pytest.raises(NeededError, match="heads"):
        castore.erase(scene.store, blob, reason="asked for")


def test_a_deleted_segment_stays_sealed(scene: Scene) -> None:
    """Its final head keeps a leaf, and a proof of its last state."""
    gone = scene.store.create_session(then=[line(1)])
    final = gone.head
    gone.delete()
    sealed = seal(scene.store, scene.key)

    assert 3 == sealed.head_count
    assert () == scene.held(sealed.note).findings
    assert final.count == 2


def test_many_segments_are_sealed_in_parts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More heads than one payload holds stand in several."""
    monkeypatch.setattr(limits, "SEAL_PAGE_COUNT", 3)
    logs = [scene.store.create_session() for _ in range(8)]
    sealed = seal(scene.store, scene.key)
    own = scene.store.segment(scene.store.id)

    assert (10, 4) == (sealed.head_count, len(own.entry(-1).refs))
    assert () == scene.held(sealed.note).findings
    for log in logs:
        assert "ok" == verdict(log.prove_sealed().encode())
    logs[0].append([line(1)])
    again = seal(scene.store, scene.key)
    assert () == scene.held(again.note).findings
    assert 3 == len({*own.entry(-1).refs} & {*own.entry(sealed.index).refs})


def test_too_many_segments(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """More segments than an entry can name are refused; nothing is signed."""
    monkeypatch.setattr(limits, "SEAL_PAGE_COUNT", 1)
    monkeypatch.setattr(limits, "ENTRY_REFS_COUNT_MAX", 1)

    with pytest.raises(LimitError, match="cannot be sealed"):
        seal(scene.store, scene.key)
    assert scene.key.last_note() is None


def test_an_empty_store_is_sealed(tmp_path: Path) -> None:
    """A store without segments has a seal of no heads."""
    with castore.open(tmp_path / "store", create=True) as store:
        key = KeyFile(tmp_path / "key")
        public = key.make(store.id)
        sealed = seal(store, key)
    report = verify(tmp_path / "store", against=Pinned(sealed.note, [public]), jobs=1)

    assert (0, "matches signed head") == (sealed.head_count, report.against)


def test_two_who_seal_at_once(scene: Scene) -> None:
    """Who has the key signs one after the other: all notes are of one history."""
    found: list[Sealed] = []

    def work() -> None:
        with castore.open(scene.root) as store:
            found.append(seal(store, KeyFile(scene.key.path)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [2, 3, 4, 5] == sorted(each.checkpoint.count for each in found)
    last = max(found, key=lambda each: each.checkpoint.count)
    assert last.note == scene.key.last_note()
    for each in found:
        assert () == scene.held(each.note).findings


def test_who_signs_lets_others_wait(scene: Scene) -> None:
    """While somebody signs with a key nobody else does."""
    done: list[Sealed] = []

    def work() -> None:
        with castore.open(scene.root) as store:
            done.append(seal(store, KeyFile(scene.key.path)))

    thread = threading.Thread(target=work)
    with scene.key.held():
        thread.start()
        thread.join(0.3)
        assert [] == done
    thread.join()
    assert 1 == len(done)


def test_lists_of_heads_are_stored_as_differences(scene: Scene) -> None:
    """A list of heads costs what changed since the one before."""
    for _ in range(60):
        scene.store.create_session()
    seal(scene.store, scene.key)
    scene.log.append([line(1)])
    sealed = seal(scene.store, scene.key)
    (page,) = scene.store.segment(scene.store.id).entry(sealed.index).refs
    found = scene.store.stat(page.blob)

    assert "difference" == found.form
    assert found.stored_size < found.size // 4


def test_files_of_a_key_are_durable(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is synced before it gets its name, and its folder behind that."""
    calls: list[str] = []
    for name in ("create", "write", "sync", "link", "replace", "sync_folder"):
        real = getattr(Files, name)

        def call(
            self: Files, *args: Any, _name: str = name, _real: Any = real
        ) -> object:
            if self.root == scene.key.path.parent:
                calls.append(_name)
            return _real(self, *args)

        monkeypatch.setattr(Files, name, call)

    scene.key.keep(b"note")
    assert ["create", "write", "sync", "replace", "sync_folder"] == calls
    calls.clear()
    scene.key.put_aside(1)
    assert ["link", "sync_folder"] == calls
    calls.clear()
    KeyFile(scene.key.path.with_name("other")).make(scene.store.id)
    assert [*["create", "write", "sync"] * 2, "sync_folder"] == calls


def test_nothing_is_signed_for_what_the_index_says(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Growth is checked, not believed: hashes that are wrong sign nothing."""
    notes = [seal(scene.store, scene.key).note for _ in range(2)]
    monkeypatch.setattr(_Log, "growth", lambda *_: (bytes(32),))

    with pytest.raises(CorruptionError, match="bad proof"):
        seal(scene.store, scene.key)
    with pytest.raises(CorruptionError, match="bad proof"):
        contradiction(scene.store, notes, scene.key.read().public_key)
    assert notes[1] == scene.key.last_note()


# --- what is not signed ------------------------------------------------------


def test_an_older_copy_is_not_signed(scene: Scene) -> None:
    """A store that does not extend the last note is refused, and left as it is."""
    old = scene.copy("old")
    note = seal(scene.store, scene.key).note
    with castore.open(old) as store:
        with pytest.raises(CorruptionError, match="rolled back"):
            seal(store, scene.key)
        assert 1 == store.segment(store.id).count
    assert note == scene.key.last_note()
    assert {"rolled back"} == {f.verdict for f in scene.held(note, old).findings}


def test_another_history_is_not_signed(scene: Scene) -> None:
    """A copy that went on by itself is refused, with the other verdict."""
    old = scene.copy("old")
    note = seal(scene.store, scene.key).note
    with castore.open(old) as store:
        store.tag("x", store.put(b"x"))
        with pytest.raises(CorruptionError, match="fork evidence"):
            seal(store, scene.key)
    assert {"fork evidence"} == {f.verdict for f in scene.held(note, old).findings}


def test_a_note_beside_the_key_that_is_none(scene: Scene) -> None:
    """Who changed the last note cannot have another history signed by that."""
    note = seal(scene.store, scene.key).note
    path = scene.key.path.with_name(scene.key.note_name)
    for data in (note[:-2], sign(Checkpoint("x", 1, bytes(32)).text(), OTHER_SIGNER)):
        path.write_bytes(data)
        with pytest.raises(CorruptionError, match=r"malformed record|bad signature"):
            seal(scene.store, scene.key)


# --- restoring ---------------------------------------------------------------


def test_an_honest_restore_says_so(scene: Scene) -> None:
    """After a restore the store log names the note that it does not extend."""
    before = seal(scene.store, scene.key).note
    old = scene.copy("old")
    scene.log.append([line(1)])
    lost = seal(scene.store, scene.key)
    with castore.open(old) as store:
        sealed = recover(store, scene.key)
        assert "extends pinned head" == scene.held(before, old).against
        assert "matches signed head" == scene.held(sealed.note, old).against
        (finding,) = scene.held(lost.note, old).findings
        assert "fork evidence" == finding.verdict
        assert "an older state was restored" in finding.detail
        seal(store, scene.key)
    (aside,) = scene.key.path.parent.glob("key.note.*")
    assert lost.note == aside.read_bytes()


def test_a_restore_that_was_stopped_forgets_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the new note is there the key remembers the one that it has signed."""
    old = scene.copy("old")
    note = seal(scene.store, scene.key).note
    with castore.open(old) as store:
        with monkeypatch.context() as patch:
            patch.setattr(KeyFile, "keep", _stop)
            with pytest.raises(StorageError):
                recover(store, scene.key)
        assert note == scene.key.last_note()
        with pytest.raises(CorruptionError, match="fork evidence"):
            seal(store, scene.key)
        assert (
            "matches signed head"
            == scene.held(recover(store, scene.key).note, old).against
        )


def _stop(*_: object) -> None:
    raise StorageError("no room", errno=28, transient=True)


def test_there_is_nothing_to_recover(scene: Scene) -> None:
    """A store that extends the last note was not restored."""
    for _ in range(2):
        with pytest.raises(NotFoundError, match="nothing is lost"):
            recover(scene.store, scene.key)
        seal(scene.store, scene.key)


# --- contradictions ----------------------------------------------------------


def test_two_histories_are_evidence(scene: Scene) -> None:
    """Notes over two histories convict the key, whoever looks; both agree."""
    old = scene.copy("old")
    first = seal(scene.store, scene.key).note
    scene.log.append([line(1)])
    key = scene.key.read().public_key
    stolen = KeyFile(scene.root.with_name("stolen"))
    shutil.copy(scene.key.path, stolen.path)
    with castore.open(old) as store:
        store.tag("x", store.put(b"x"))
        longer = seal(store, stolen).note
        found = contradiction(store, [longer, first], key)
        with pytest.raises(NotFoundError, match="not the history"):
            contradiction(scene.store, [first, longer], key)

    assert found is not None
    assert (first, longer) == (found.older, found.newer)
    assert "ok" == verdict(found.encode())
    assert [2, 4] == REFERENCE.check(found.encode())["counts"]


def test_two_roots_at_one_count_need_no_store(scene: Scene) -> None:
    """Notes over as many entries with two roots speak for themselves."""
    old = scene.copy("old")
    stolen = KeyFile(scene.root.with_name("stolen"))
    shutil.copy(scene.key.path, stolen.path)
    with castore.open(old) as store:
        # A copy that commits says so first: both have three entries then.
        second = seal(store, stolen).note
    for _ in range(2):
        first = seal(scene.store, scene.key).note
    key = scene.key.read().public_key
    counts = [open_checkpoint(each, [key]).count for each in (first, second)]
    found = contradiction(None, [first, second], key)

    assert [3, 3] == counts
    assert found is not None
    assert "ok" == verdict(found.encode())


def test_one_history_is_no_evidence(scene: Scene) -> None:
    """Notes of one store that went on do not contradict each other."""
    first = seal(scene.store, scene.key).note
    second = seal(scene.store, scene.key).note
    key = scene.key.read().public_key

    assert contradiction(scene.store, [second, first], key) is None
    assert contradiction(None, [first, first], key) is None
    with pytest.raises(NotFoundError):
        contradiction(None, [second, first], key)
    other = sign(Checkpoint("x", 5, bytes(32)).text(), scene.key.read())
    with pytest.raises(FormatError, match="two logs"):
        contradiction(scene.store, [first, other], key)
    with pytest.raises(CorruptionError, match="bad signature"):
        contradiction(scene.store, [first, second], OTHER_SIGNER.public_key)


# --- proofs under a note -----------------------------------------------------


def test_a_head_is_proven_to_be_under_a_note(scene: Scene) -> None:
    """From an entry to the note in two files, while everything goes on."""
    entry = scene.log.prove(7)
    sealed = seal(scene.store, scene.key)
    scene.log.append([line(1)])
    scene.store.tag("x", scene.store.put(b"x"))
    proof = scene.log.prove_sealed()

    assert {"ok"} == {verdict(each.encode()) for each in (entry, proof)}
    assert entry.state == proof.head
    state = proof.entry.state
    checkpoint = sealed.checkpoint
    assert (checkpoint.count, checkpoint.root) == (state.count, state.root)


def test_what_no_seal_covers(scene: Scene) -> None:
    """Without a seal, or in a segment made since, there is nothing to prove."""
    with pytest.raises(NotFoundError, match="no seal covers"):
        scene.log.prove_sealed()
    seal(scene.store, scene.key)
    with pytest.raises(NotFoundError, match="no seal covers"):
        scene.store.create_session().prove_sealed()


def test_a_note_beside_the_key_is_durable_before_the_answer(scene: Scene) -> None:
    """Who is killed behind the seal has signed nothing that is not kept."""
    code = (
        "import os, sys, castore, castore.sealing as s\n"
        "s.KeyFile.keep = lambda *_: os._exit(9)\n"
        "with castore.open(sys.argv[1]) as store:\n"
        "    s.seal(store, s.KeyFile(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(scene.root), str(scene.key.path)]
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(command, env={"PYTHONPATH": paths}, check=False)

    assert 9 == done.returncode
    assert scene.key.last_note() is None
    assert 3 == seal(scene.store, scene.key).checkpoint.count
