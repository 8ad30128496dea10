"""
What is said of bundles: good ones, attacks, and damage by chance.
"""

from __future__ import annotations

import ast
import os
import random

from pathlib import Path

import pytest

from bundleattacks import ATTACKS, GOOD
from bundlekit import simple
from bundlescenes import Attack, three, with_fork

import castore.bundles

from castore.bundles import check_bundle, is_bundle
from castore.errors import CorruptionError, StorageError
from castore.reading.findings import FAULT
from castore.verify import Report


FLIPS = 300


def found(report: Report) -> set[tuple[str, str]]:
    """Return verdict and place of all that a report says."""
    return {(f.verdict, f.where) for f in (*report.findings, *report.explained)}


def check(path: Path, data: bytes) -> Report:
    """Return what is said of a bundle of these bytes."""
    path.write_bytes(data)
    return check_bundle(path).report


@pytest.mark.parametrize("name", sorted(GOOD))
def test_good(name: str, tmp_path: Path) -> None:
    """Of a good bundle no fault is said."""
    data, wanted = GOOD[name]()

    report = check(tmp_path / "bundle", data)

    assert (True, wanted) == (report.ok, found(report))
    assert (len(data), 7) == (report.covered["bytes"], report.seq)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attacks(name: str, tmp_path: Path) -> None:
    """Of each attack exactly what is due is said, and a taker refuses it."""
    data, wanted = ATTACKS[name]()
    (tmp_path / "bundle").write_bytes(data)

    checked = check_bundle(tmp_path / "bundle")

    assert (False, wanted) == (checked.report.ok, found(checked.report))
    with pytest.raises(CorruptionError) as caught:
        checked.raise_fault()
    assert (caught.value.verdict, caught.value.where) in wanted


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """One flipped bit anywhere is a fault; nothing but typed errors comes of it."""
    data = with_fork()[2].data()
    dice = random.Random(6)
    bits = range(len(data) * 8)

    for bit in dice.sample(bits, FLIPS):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        report = check(tmp_path / "bundle", bytes(bad))
        assert not report.ok, bit
        assert any(finding.severity == FAULT for finding in report.findings)


def test_every_cut_is_found(tmp_path: Path) -> None:
    """A bundle that is cut anywhere is at fault."""
    data = with_fork()[2].data()

    for size in range(0, len(data), 7):
        assert not check(tmp_path / "bundle", data[:size]).ok, size


def test_roots_that_were_asked_for(tmp_path: Path) -> None:
    """Roots of a log are told at the counts that stand in the bundle."""
    log, fork, bundle = with_fork()
    (tmp_path / "bundle").write_bytes(bundle.data())
    asked = {log.segment: [1, 3, 9], fork.segment: [2, 3], bytes(16): [1]}

    roots = check_bundle(tmp_path / "bundle", asked=asked).roots

    wanted = {(log.segment, 1), (log.segment, 2), (log.segment, 3)}
    assert wanted | {(fork.segment, 2), (fork.segment, 3)} == set(roots)
    assert fork.head().root != roots[fork.segment, 3]
    assert log.head().root == roots[log.segment, 3]


def test_what_a_bundle_is(tmp_path: Path) -> None:
    """A bundle is known by its front; other kinds of file and names are none."""
    _, bundle = three()
    path, other = tmp_path / "bundle", tmp_path / "other"
    path.write_bytes(bundle.data())
    bundle.header = {"kind": 3}
    other.write_bytes(bundle.data())

    assert is_bundle(path)
    assert not is_bundle(other)
    assert not is_bundle(tmp_path)
    assert not is_bundle(tmp_path / "nothing")


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_no_plain_file(kind: str, tmp_path: Path) -> None:
    """What is no plain file is refused, and hangs nobody."""
    path = tmp_path / "bundle"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        (tmp_path / "real").write_bytes(three()[1].data())
        path.symlink_to(tmp_path / "real")

    assert not is_bundle(path)
    with pytest.raises(StorageError):
        check_bundle(path)


def test_details_name_no_contents(tmp_path: Path) -> None:
    """What is said holds no payload, no role and no key."""
    secret = b"s3cr3t-payload"
    log, _ = three()
    log.add(secret)
    report = check(tmp_path / "bundle", simple(log, b"{}", secret, b"one").data())

    assert not report.ok
    assert "s3cr3t" not in str(report.to_json())


def test_checking_reads_the_file_alone() -> None:
    """No module that checks a bundle knows a store, its engine or its index."""
    folder = Path(castore.bundles.__file__).parent
    bad = {"engine", "catalog", "store", "packing", "segment", "writing", "blobfile"}
    names = ("manifest", "opening", "groups", "logs", "payloads", "checking")

    for name in names:
        tree = ast.parse((folder / f"{name}.py").read_text("utf-8"))
        found = {
            node.module.split(".")[1]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("castore.")
            and node.module is not None
        }
        assert found
        assert not found & bad, name


def test_attacks_have_one_name_each() -> None:
    """An attack is one thing, and no two are the same bytes."""
    made: dict[bytes, str] = {}
    attacks: dict[str, Attack] = {name: make() for name, make in ATTACKS.items()}

    for name, (data, wanted) in attacks.items():
        assert wanted
        assert made.setdefault(data, name) == name
