"""
Several processes find what one finds.

Spec: spec/checking.md, step 4.
"""

from __future__ import annotations

import random

from pathlib import Path

import pytest

import castore

from castore import limits
from castore.packing import pack
from castore.reading import helpers
from castore.reading.parts import helper_count
from castore.verify import verify


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A store of a journal with many commits, and the same one packed."""
    folder = tmp_path_factory.mktemp("stores")
    rng = random.Random(5)
    for name in ("plain", "packed"):
        with castore.open(folder / name, create=True) as store:
            segment = store.create_session()
            for _ in range(30):
                bodies = [rng.randbytes(rng.randrange(2000)) for _ in range(9)]
                refs = [castore.Reference("x", store.put(rng.randbytes(50)))]
                some = [castore.NewEntry("y", body, refs) for body in bodies]
                segment.append(some)
            other = segment.fork(77)
            other.append([castore.NewEntry("z", b"other")])
            if name == "packed":
                pack(store.engine)
    return [folder / "plain", folder / "packed"]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PART_SIZE", 5000)


def test_report_is_that_of_one_process(stores: list[Path]) -> None:
    """A good store gets the same report, whatever the number of processes."""
    for path in stores:
        assert verify(path, jobs=1) == verify(path, jobs=3)


def test_findings_in_damaged_files_are_those_of_one_process(
    stores: list[Path],
) -> None:
    """Wherever bytes are flipped or cut: the same findings in the same order."""
    rng = random.Random(6)
    for path in stores:
        for file in sorted((path / "files").iterdir()):
            good = file.read_bytes()
            for _ in range(2):
                data = bytearray(good)
                for _ in range(rng.randrange(1, 4)):
                    data[rng.randrange(188, len(data))] ^= 1 << rng.randrange(8)
                file.write_bytes(data[: rng.choice((len(data), len(data) - 40))])

                assert verify(path, jobs=1) == verify(path, jobs=2)
            file.write_bytes(good)


def test_work_of_a_process_that_dies_is_done_here(
    stores: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Helpers that never answer change nothing but the time."""
    alone = verify(stores[1], jobs=1)
    monkeypatch.setattr(helpers, "_CODE", "exit() #")

    assert alone == verify(stores[1], jobs=2)


def test_progress_reaches_the_end(stores: list[Path]) -> None:
    """Progress grows to all bytes of the files, with several processes too."""
    told: list[tuple[int, int]] = []
    verify(stores[0], jobs=2, progress=lambda *step: told.append(step))

    assert sorted(told) == told
    assert told[-1][0] == pytest.approx(told[-1][1], abs=188 * 4)


@pytest.mark.parametrize(
    ("jobs", "size", "count"), [(1, 100, 0), (2, 100, 2), (8, 35, 3), (8, 19, 0)]
)
def test_count_of_helpers(jobs: int, size: int, count: int) -> None:
    """As many as are wanted, none where there is too little for two."""
    assert count == helper_count(jobs, size, 10)
