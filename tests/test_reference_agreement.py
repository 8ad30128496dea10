"""
Two checkers that share no code say the same of the same damage.
"""

from __future__ import annotations

import random
import shutil

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from attacks import ATTACKS
from corruption import reference as load_reference
from framemaker import FileMaker
from storemaker import Maker
from stores import make_full, make_small

from castore.verify import verify


CASES = 60  # damages of each kind, at a budget of 1

#: What is left to `castore verify`, each with the reason: nothing of it is about
#: bytes that are lost or wrong. The reference must not fail with it.
LEFT = {
    "other_names": "a notice; what has such a name is never read",
    "slices_of_another_reference": "slices are hashed where a range is read",
    "slices_of_other_bytes": "slices are hashed where a range is read",
}

Said = tuple[set[tuple[str, str]], int]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The checker that was written from the pages alone."""
    return load_reference()


def ours(root: Path) -> Said:
    """Return what the package says."""
    report = verify(root)
    found = {(f.verdict, f.where) for f in (*report.findings, *report.explained)}
    return found, report.seq


def theirs(reference: ModuleType, root: Path) -> Said:
    """Return what the reference says."""
    report = reference.check(root)
    found = [*report["findings"], *report.get("explained", [])]
    return {(item["verdict"], item["where"]) for item in found}, report["seq"]


@pytest.mark.parametrize("name", sorted(ATTACKS.keys() - LEFT))
def test_attacks(name: str, tmp_path: Path, reference: ModuleType) -> None:
    """Of each attack both checkers say the same."""
    root = tmp_path / "store"
    ATTACKS[name](root)

    assert theirs(reference, root) == ours(root)


@pytest.mark.parametrize("name", LEFT)
def test_left_out(name: str, tmp_path: Path, reference: ModuleType) -> None:
    """What the reference leaves out it says nothing else of."""
    root = tmp_path / "store"
    ATTACKS[name](root)
    (found, seq), (all_found, all_seq) = theirs(reference, root), ours(root)

    assert seq == all_seq
    assert found < all_found


def flipped(data: bytes, dice: random.Random) -> bytes:
    """Return *data* with one bit flipped."""
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def cut(data: bytes, dice: random.Random) -> bytes:
    """Return the front of *data*."""
    return data[: dice.randrange(len(data))]


def shuffled(file: FileMaker, dice: random.Random) -> bytes:
    """Return a file whose frames were swapped, repeated, left out or moved on."""
    ends = [*file.offsets[1:], len(file.data)]
    pairs = zip(file.offsets, ends, strict=True)
    frames = [bytes(file.data[start:end]) for start, end in pairs]
    one, two = dice.randrange(len(frames)), dice.randrange(len(frames))
    match dice.randrange(4):
        case 0:
            frames[one], frames[two] = frames[two], frames[one]
        case 1:
            frames.insert(one, frames[two])
        case 2:
            del frames[one]
        case _:
            frames.insert(one, dice.randbytes(dice.randrange(1, 300)))
    return bytes(file.data[:188]) + b"".join(frames)


def damages(maker: Maker, dice: random.Random, count: int) -> Iterator[str]:
    """Damage the store in many ways, one after the other; yield what was done."""
    files = [*maker.packs, *maker.sides, *maker.journals]
    files = [file for file in files if file.path.exists()]
    for number in range(count):
        file = dice.choice(files)
        data = bytes(file.data)
        for name, changed in (
            ("flip", flipped(data, dice)),
            ("cut", cut(data, dice)),
            ("shuffle", shuffled(file, dice) if file.offsets else data),
            ("flip twice", flipped(flipped(data, dice), dice)),
            ("flip a header", flipped(data[:188], dice) + data[188:]),
        ):
            file.path.write_bytes(changed)
            yield f"{name} {number} of {file.path.name}"
        file.path.write_bytes(data)
    for file in files:
        moved = file.path.rename(maker.root / "quarantine")
        yield f"{file.path.name} gone"
        moved.rename(file.path)


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("make", [make_small, make_full])
def test_random_damage(
    make: Callable[..., Maker],
    marked: bool,
    tmp_path: Path,
    reference: ModuleType,
    budget: float,
) -> None:
    """Of flipped bits, cuts, shuffled frames and lost files both say the same."""
    maker = make(tmp_path / "store", marked=marked)
    dice = random.Random(5)
    for what in damages(maker, dice, int(CASES * budget) // 4):
        assert theirs(reference, maker.root) == ours(maker.root), what


def test_copied_store(tmp_path: Path, reference: ModuleType) -> None:
    """In a copy the mark is nothing to both."""
    maker = make_full(tmp_path / "store")
    shutil.copytree(maker.root, tmp_path / "copy")

    assert theirs(reference, tmp_path / "copy") == ours(tmp_path / "copy")
