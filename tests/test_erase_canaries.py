"""
What was erased is nowhere: not in any file of the store, raw or decoded.

A store of journals, packs, differences, chunk lists, side packs and forks; each
payload and body holds a canary of its own. A budget of 10 makes 10,000 of them and
erases 1,000; less at a share of that.

Spec: spec/erasing.md, "Where it stands".
"""

from __future__ import annotations

import importlib
import random

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import bugs
import pytest

from erasekit import MARK, canaries_in, canary, files_of, frames_of, tails_in

import castore

from castore import limits
from castore.engine.putting import put_parts
from castore.errors import CastoreError, GoneError
from castore.formats import frame as frame_format
from castore.packing import pack
from castore.verify import verify


scoping = importlib.import_module("castore.erasing.scope")
erasing = importlib.import_module("castore.erasing.erase")
rewrite = importlib.import_module("castore.packing.rewrite")
patch = mock.patch.object
COUNT = 1000  # payloads for each whole 1 of the budget
SMALL: dict[str, Any] = {
    "JOURNAL_SIZE": 60_000,
    "PACK_SIZE": 300_000,
    "SIDE_SIZE_MIN": 3000,
}
COMMON = [bytes([number]) * 500 for number in range(5)]  # chunks of many lists


@attrs.define
class Planted:
    """
    A store, and what was put where.

    Attributes:
        numbers: Canaries of each payload, by reference.

        logs: Ids of its segments.
    """

    store: castore.Store
    rng: random.Random
    numbers: dict[castore.BlobRef, set[bytes]] = attrs.Factory(dict)
    logs: list[bytes] = attrs.Factory(list)
    count: int = 0

    def canary(self) -> bytes:
        """Return the next canary."""
        self.count += 1
        return canary(self.count)

    def put(self, data: bytes, like: castore.BlobRef | None = None) -> castore.BlobRef:
        """Put *data*."""
        ref = self.store.put(data, like=like)
        self.numbers[ref] = marks_in(data)
        return ref

    def fill(self, count: int) -> None:
        """Append *count* payloads and bodies of all sorts, to several sessions."""
        rng, stop = self.rng, self.count + count
        newest: dict[bytes, tuple[castore.BlobRef, bytes]] = {}
        while self.count < stop:
            if not self.logs or rng.random() < 0.02:
                self.logs.append(self.store.create_session(body=self.canary()).id)
            if rng.random() < 0.02:
                parent = self.store.segment(rng.choice(self.logs))
                self.logs.append(parent.fork(body=self.canary()).id)
            log = self.store.segment(rng.choice(self.logs))
            ref = self._payload(log.id, newest)
            entries = [
                castore.NewEntry("turn", b"body " + self.canary(), [ref]),
                castore.NewEntry("note", self.put(b"small " + self.canary())),
            ]
            log.append(entries)

    def _payload(
        self, log: bytes, newest: dict[bytes, tuple[castore.BlobRef, bytes]]
    ) -> castore.Reference:
        """Put something: a version of a state, something large, or small."""
        rng, kind = self.rng, self.rng.random()
        if kind < 0.5:
            like, before = newest.get(log, (None, rng.randbytes(700)))
            # Versions replace each other's canaries, and go on from each other.
            data = before[:300] + self.canary() + before[316:]
            newest[log] = self.put(data, like), data
            return castore.Reference("checkpoint.state", newest[log][0])
        if kind < 0.6:  # to a side pack
            large = rng.randbytes(4000) + self.canary()
            return castore.Reference("file", self.put(large))
        if kind < 0.7:  # in chunks, of which others have some too
            parts = [self.rng.choice(COMMON), rng.randbytes(60) + self.canary()]
            ref = put_parts(self.store.engine, parts)
            self.numbers[ref] = marks_in(parts[1])
            return castore.Reference("list", ref)
        return castore.Reference("out", self.put(rng.randbytes(99) + self.canary()))


def marks_in(data: bytes) -> set[bytes]:
    """Return the canaries in *data*."""
    return {MARK + part[:12] for part in data.split(MARK)[1:]}


@pytest.fixture
def planted(folder: Path, budget: float) -> Iterator[Planted]:
    """Return a store that was filled, packed in between, opened again and again."""
    rng = random.Random(5)
    whole = max(200, int(COUNT * budget))
    with mock.patch.multiple(limits, **SMALL):
        made = Planted(castore.open(folder / "store", create=True), rng)
        for part in (4, 3, 2):
            made.fill(whole // part // 2)
            pack(made.store.engine)
            made.store.close()  # and its side pack
            made.store = castore.open(folder / "store")
        made.fill(whole - made.count)
        yield made
        made.store.close()


def erase_some(planted: Planted) -> tuple[set[bytes], set[castore.BlobRef]]:
    """Erase a tenth of the payloads; return their canaries, and the payloads."""
    chosen = planted.rng.sample(list(planted.numbers), len(planted.numbers) // 10)
    castore.erase(planted.store, *chosen, reason="asked for", shared=True)
    gone = set(chosen)
    return set().union(*(planted.numbers[ref] for ref in gone)), gone


def check(planted: Planted) -> None:
    """Erase some; none of it may be anywhere, and all else must be whole."""
    root = planted.store.engine.files.root
    # Compressed bytes may look like a canary that there never was.
    real = {canary(number) for number in range(1, planted.count + 1)}
    before = canaries_in(root) & real
    logs = [planted.store.segment(log) for log in planted.logs]
    proofs = {log.id: (log.prove(log.count - 1), log.head) for log in logs}

    erased, gone = erase_some(planted)

    # No canary of what went is left; every other one is where it was.
    assert erased <= before
    assert before - erased == canaries_in(root) & real
    assert set() == tails_in(root, erased)
    report = verify(root, jobs=1)
    assert (True, ()) == (report.ok, report.findings)
    assert len(gone) == len(report.explained)
    for ref, marks in planted.numbers.items():
        if ref in gone:
            with pytest.raises(GoneError, match="erased by entry"):
                planted.store.get(ref)
        else:
            assert marks <= marks_in(planted.store.get(ref))
    for log in logs:
        proof, head = proofs[log.id]
        assert (proof, head) == (log.prove(proof.index), log.head)


def test_no_canary_is_left(planted: Planted) -> None:
    """Of erased payloads nothing is left; the rest is whole, and proves the same."""
    check(planted)


def test_the_store_has_all_forms(planted: Planted) -> None:
    """What the canaries stand in: each kind of file, and each form of a payload."""
    root = planted.store.engine.files.root
    files = planted.store.engine.state.opened.headers()
    kinds = {
        record.kind
        for path in files_of(root)
        for frame in frames_of(root, path)
        for record in frame.records
    }

    assert {1, 2, 3} == {file.header.kind for file in files}
    assert {frame_format.BLOB, frame_format.DIFFERENCE, frame_format.CHUNKED} <= kinds
    assert len(planted.logs) > 4
    assert any(planted.store.segment(log).fork_index for log in planted.logs)


# --- planted bugs ------------------------------------------------------------


def chunk_of_another_goes() -> AbstractContextManager[object]:
    """All chunks of what goes go."""
    return patch(scoping._Finder, "_is_free", lambda *_: True)


def chunks_stay() -> AbstractContextManager[object]:
    """A list goes, its chunks stay."""
    return patch(scoping._Finder, "_is_free", lambda *_: False)


BUGS = [
    bugs.erased_and_carried_on,
    bugs.erased_and_not_unlinked,
    bugs.wrong_base,
    chunk_of_another_goes,
    chunks_stay,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_planted_bug_is_found(
    bug: Callable[[], AbstractContextManager[object]], planted: Planted
) -> None:
    """Each of these is seen in the files."""
    with bug(), pytest.raises((AssertionError, CastoreError)):
        check(planted)
