"""
What verify says of good stores and of every attack, and that it changes nothing.
"""

from __future__ import annotations

import json

from pathlib import Path

import attrs
import pytest

from attackkit import at
from attacks import ATTACKS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storemaker import Maker
from stores import make_full, make_small

from castore.errors import NotFoundError, StorageError
from castore.reading.findings import FAULT
from castore.storage import Files
from castore.verify import Report, verify


def found(report: Report) -> set[tuple[str, str]]:
    """Return verdict and place of all that a report says."""
    return {(f.verdict, f.where) for f in (*report.findings, *report.explained)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """A small store that is good."""
    return make_small(tmp_path_factory.mktemp("small") / "store")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """A store with every record type that is good."""
    return make_full(tmp_path_factory.mktemp("full") / "store")


def test_small_store_is_good(small: Maker) -> None:
    """Of a good store nothing is said."""
    report = verify(small.root)

    assert (True, set()) == (report.ok, found(report))
    assert report.seq == len(small.commits)


def test_full_store_is_good(full: Maker) -> None:
    """Every record type, packs, forks and a deletion are no finding."""
    report = verify(full.root)

    assert report.ok
    assert () == report.findings
    verdicts = [finding.verdict.rstrip("0123456789") for finding in report.explained]
    assert sorted(verdicts) == [
        "collected by run ",
        "erased by entry ",
        "lost, accepted by entry ",
    ]


def test_covered_counts(small: Maker) -> None:
    """What is covered is counted: files, frames, names, entries, heads, bytes."""
    expected = {
        "files": 1,
        "frames": len(small.journal.offsets),
        "blobs": 11,
        "entries": sum(len(log.hashes) for log in small.logs.values()),
        "segments": 3,
        "bytes": len(small.journal.data),
    }

    assert expected == verify(small.root).covered


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attack(name: str, tmp_path: Path) -> None:
    """Each attack leads to exactly the findings that the pages state."""
    expected = ATTACKS[name](tmp_path / "store")

    assert expected == found(verify(tmp_path / "store"))


def test_verify_takes_files(small: Maker) -> None:
    """A `Files` does as well as a path."""
    assert verify(str(small.root)) == verify(Files(small.root))


def test_no_store(tmp_path: Path) -> None:
    """Without castore.json there is no store to check."""
    with pytest.raises(NotFoundError):
        verify(tmp_path)


def test_verify_changes_nothing(full: Maker) -> None:
    """A check leaves every byte and every time as it was."""

    def state() -> dict[Path, tuple[int, bytes]]:
        paths = (path for path in full.root.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}

    before = state()
    verify(full.root)

    assert before == state()


def test_report_as_json(tmp_path: Path) -> None:
    """The report has these keys, its findings are sorted by place and verdict."""
    maker = make_full(tmp_path / "store")
    maker.packs[0].path.unlink()
    (maker.root / "notes").write_text("x")
    report = verify(maker.root).to_json()
    keys = ["ok", "against", "seq", "findings", "explained", "covered"]
    keys += ["level", "not_covered", "affected", "seed", "oldest_ms"]
    findings = report["findings"]
    assert isinstance(findings, list)
    places = [(finding["where"], finding["verdict"]) for finding in findings]

    assert keys == list(report)
    assert ["verdict", "severity", "where", "detail"] == list(findings[0])
    assert sorted(places) == places
    assert len(places) > 1
    assert report == json.loads(json.dumps(report))
    assert (False, "self-consistent") == (report["ok"], report["against"])


def test_notices_are_no_faults(tmp_path: Path) -> None:
    """A store with nothing but notices is good."""
    make_small(tmp_path / "store", marked=False)
    report = verify(tmp_path / "store")

    assert report.ok
    assert {"notice"} == {finding.severity for finding in report.findings}


def test_progress_reaches_the_end(full: Maker) -> None:
    """Progress never goes back and ends with all bytes of all files."""
    steps: list[tuple[int, int]] = []
    verify(full.root, progress=lambda done, total: steps.append((done, total)))
    sizes = [len(file.data) for file in (*full.packs, *full.sides, *full.journals[1:])]
    headers = 188 * len(sizes)

    assert sorted(steps) == steps
    assert {sum(sizes)} == {total for _, total in steps}
    assert sum(sizes) - headers == steps[-1][0]


def test_catalog_is_not_read(tmp_path: Path) -> None:
    """A catalog full of nonsense changes nothing: it is never opened."""
    maker = make_small(tmp_path / "store")
    (maker.root / "catalog-1-0.sqlite").write_bytes(b"nonsense")

    assert set() == found(verify(maker.root))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_flipped_bit_is_found(small: Maker, data: st.DataObject) -> None:
    """A flipped bit anywhere before the mark is a fault, and contents stay unsaid."""
    path, size = small.journal.path, len(small.journal.data)
    bit = data.draw(st.integers(0, 8 * size - 1))
    changed = bytearray(small.journal.data)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        path.write_bytes(changed)
        report = verify(small.root)
    finally:
        path.write_bytes(small.journal.data)

    assert not report.ok
    assert any(f.where.startswith(at(small.journal)) for f in report.findings)
    assert "payload" not in json.dumps(report.to_json())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_cut_is_found(small: Maker, data: st.DataObject) -> None:
    """A journal that is cut anywhere before its mark is a fault."""
    path, size = small.journal.path, len(small.journal.data)
    try:
        path.write_bytes(small.journal.data[: data.draw(st.integers(0, size - 1))])
        report = verify(small.root)
    finally:
        path.write_bytes(small.journal.data)

    assert not report.ok


def test_cut_without_a_mark_is_an_older_state(tmp_path: Path) -> None:
    """Without a mark every cut between frames is good up to the seq before it."""
    maker = make_small(tmp_path / "store", marked=False)
    for seq, offset in enumerate(maker.journal.offsets[1:], 1):
        maker.journal.path.write_bytes(maker.journal.data[:offset])
        report = verify(maker.root)

        assert (True, seq) == (report.ok, report.seq)


class Vanishing(Files):
    """Loses a file between listing and opening, some times."""

    def __init__(self, root: Path, name: str, times: int) -> None:
        super().__init__(root)
        self.name = name
        self.times = times

    def list(self, name: str) -> list[str]:
        """List one name more than there is."""
        names = super().list(name)
        if name == "files" and self.times:
            self.times -= 1
            names.append(self.name)
        return names


def test_a_file_that_vanishes_begins_the_check_again(small: Maker) -> None:
    """A file that was listed and is gone means that the state is another now."""
    files = Vanishing(small.root, f"{'0' * 32}.cas", 3)

    assert set() == found(verify(files))
    assert 0 == files.times


def test_a_store_that_never_holds_still(small: Maker) -> None:
    """After some tries the check gives up, and says that it may work later."""
    with pytest.raises(StorageError) as caught:
        verify(Vanishing(small.root, f"{'0' * 32}.cas", 1000))

    assert caught.value.transient


def test_severities(tmp_path: Path) -> None:
    """Only faults make a store bad."""
    maker = make_full(tmp_path / "store")
    maker.sides[-1].path.unlink()
    report = verify(maker.root)
    severe = [finding for finding in report.findings if finding.severity == FAULT]

    assert not report.ok
    assert ("missing pack", at(maker.sides[-1])) in found(report)
    assert not attrs.evolve(report, findings=tuple(severe)).ok
