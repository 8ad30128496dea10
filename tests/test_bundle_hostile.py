"""
Hostile bundles: refused with a typed error, in little memory, nothing written.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

from pathlib import Path

import pytest

from bundleattacks import ATTACKS
from bundlescenes import three
from hypothesis import given, settings
from hypothesis import strategies as st

import castore

from castore.bundles import check_bundle
from castore.digest import in_context
from castore.verify import verify


WEIGHER = Path(__file__).parent / "bundle_weigher.py"
MEMORY_MAX = 32 << 10  # KiB, above what a small good bundle takes
RANDOM = 40  # files of no sense


def nonsense(dice: random.Random) -> bytes:
    """Return a bundle's header and first bytes, and nothing sensible behind."""
    data = three()[1].data()
    keep = dice.choice((0, 8, 100, 188, 192, 200, 216, 240))
    rest = bytearray(dice.randbytes(dice.randrange(2000)))
    rest += b"csF1" * dice.randrange(200)
    return data[:keep] + bytes(rest)


def bundle_of_sizes(table: int, raw: int, stored: int) -> bytes:
    """Return a bundle whose first frame states these sizes."""
    header = three()[1].data()[:188]
    front = b"csF1" + bytes((1, 0)) + (1).to_bytes(2)
    sizes = b"".join(size.to_bytes(4) for size in (table, raw, stored))
    return header + front + sizes + (188).to_bytes(8) + bytes(500)


def test_hostile_bundles_take_little_memory(tmp_path: Path) -> None:
    """Each is refused with a typed error within 32 MiB, and leaves nothing."""
    dice = random.Random(11)
    folder, store = tmp_path / "bundles", tmp_path / "store"
    folder.mkdir()
    castore.open(store, create=True).close()
    (folder / "0-good").write_bytes(three()[1].data())
    for name, make in ATTACKS.items():
        (folder / name).write_bytes(make()[0])
    for number in range(RANDOM):
        (folder / f"random-{number}").write_bytes(nonsense(dice))
    for number in range(3):
        for size in ((1 << 32) - 1, 1 << 31, (1 << 18) + 1, 1 << 18, 12 << 20):
            data = bundle_of_sizes(*(size if at == number else 9 for at in range(3)))
            (folder / f"size-{number}-{size}").write_bytes(data)
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to(folder / "0-good")
    (folder / "folder").mkdir()
    around = sorted(tmp_path.iterdir())

    command = [sys.executable, str(WEIGHER), str(folder), str(store)]
    env = {**os.environ, "PYTHONPATH": str(Path(castore.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    weighed = [json.loads(line) for line in done.stdout.splitlines()]

    assert len(weighed) == 2 * len(list(folder.iterdir()))
    base = {item["taking"]: item["kib"] for item in weighed[:2]}
    assert ["ok", "taken"] == [item["end"] for item in weighed[:2]]
    for item in weighed[2:]:
        refused = {"CorruptionError", "StorageError", "refused"}
        assert item["end"] in refused, item
        assert item["status"] == 0, item
        assert item["kib"] - base[item["taking"]] <= MEMORY_MAX, item
    assert around == sorted(tmp_path.iterdir())
    assert verify(store).ok


@pytest.mark.parametrize("front", [b"", b"csF1", b"csF1" + bytes(24)])
def test_a_file_full_of_magics(front: bytes, tmp_path: Path) -> None:
    """Nothing is searched behind what is wrong: time does not grow with its square."""
    path = tmp_path / "bundle"
    path.write_bytes(three()[1].data() + front + b"csF1" * (1 << 20))

    report = check_bundle(path).report

    assert ["corrupt frame"] == [finding.verdict for finding in report.findings]


@given(data=st.binary(max_size=600), place=st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_judged(
    data: bytes, place: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever stands in a file, a report comes of it and no other error."""
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    header = bytearray(three()[1].data()[:188])
    header[156:] = in_context["file"](bytes(header[:156]))
    whole = [b"", b"\x89castore", bytes(header), bytes(header) + b"csF1"]
    path.write_bytes(whole[place] + data)

    assert not check_bundle(path).report.ok
