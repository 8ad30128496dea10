"""
Two checkers of bundles that share no code say the same of the same bytes.
"""

from __future__ import annotations

import ast
import copy
import importlib
import io
import json
import random
import shutil
import subprocess
import sys

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bundleattacks import ATTACKS, GOOD
from bundlekit import Bundle, blobs_frame, new_log, ref, simple
from bundlescenes import listed, lists_frame, with_fork, with_large

import castore

from castore.bundles import Redaction, Wish, check_bundle, export_bundle


SPEC = Path(__file__).parents[1] / "spec"
LINES_MAX = 200
CASES = 400  # bundles that were changed somewhere, hashes made right; and flips


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    """The checker that was written from the pages alone."""
    sys.path.insert(0, str(SPEC))
    try:
        reference_bundle = importlib.import_module("reference_bundle")
    finally:
        sys.path.remove(str(SPEC))
    yield reference_bundle
    for name in ("reference", "reference_bundle"):
        sys.modules.pop(name, None)


Said = tuple[set[tuple[str, str, str]], bool, int]


def ours(path: Path) -> Said:
    """Return what the package says."""
    report = check_bundle(path).report
    found = (*report.findings, *report.explained)
    said = {(f.verdict, f.where, f.severity) for f in found}
    return said, report.ok, report.seq


def theirs(reference: ModuleType, path: Path) -> Said:
    """Return what the reference says."""
    report = reference.check(str(path))
    said = {(x["verdict"], x["where"], x["severity"]) for x in report["findings"]}
    return said, report["ok"], report["seq"]


@pytest.mark.parametrize("name", sorted({**GOOD, **ATTACKS}))
def test_attacks(name: str, tmp_path: Path, reference: ModuleType) -> None:
    """Of each attack, and of each good bundle, both say the same."""
    data, _ = {**GOOD, **ATTACKS}[name]()
    path = tmp_path / "bundle"
    path.write_bytes(data)

    assert ours(path) == theirs(reference, path)


# --- changed by chance -------------------------------------------------------


def scenes() -> list[Bundle]:
    """Return bundles with everything that there is in one."""
    log, payload = listed(ref(b"x"), ref(b"y", "a.b"))
    lists = simple(log, b"{}", b"", b"x", b"y")
    lists.frames.append(lists_frame(payload))
    hidden = new_log(b"one")
    hidden.add(b"", ref(b"abc"))
    absent = {ref(b"abc").blob.digest: 1}
    return [
        with_fork()[2],
        with_large(),
        lists,
        simple(hidden, b"{}", b"one", b"", withheld=absent),
    ]


def change_payload(bundle: Bundle, dice: random.Random) -> None:
    """Change a byte of a record."""
    payloads = dice.choice([frame[1] for frame in bundle.frames if any(frame[1])])
    number = dice.choice([at for at, payload in enumerate(payloads) if payload])
    data = bytearray(payloads[number])
    data[dice.randrange(len(data))] = dice.choice(
        (0, 1, 0x80, 0xFF, dice.randrange(256))
    )
    payloads[number] = bytes(data)


def change_table(bundle: Bundle, dice: random.Random) -> None:
    """Change a number of a descriptor."""
    item = dice.choice(dice.choice(bundle.frames)[0])
    at = dice.randrange(len(item))
    if type(item[at]) is int:
        item[at] = dice.choice((0, 1, item[at] + 1, 9, 64, 65, 99, 1 << 40))
    else:
        item[at] = dice.choice((bytes(len(item[at])), None, "x"))


def drop_record(bundle: Bundle, dice: random.Random) -> None:
    """Leave out a record."""
    table, payloads = dice.choice(bundle.frames)
    if len(table) > 1:
        at = dice.randrange(len(table))
        del table[at], payloads[at]


def double_record(bundle: Bundle, dice: random.Random) -> None:
    """Write a record twice."""
    table, payloads = dice.choice(bundle.frames)
    at = dice.randrange(len(table))
    table.append(copy.deepcopy(table[at]))
    payloads.append(payloads[at])


def drop_frame(bundle: Bundle, dice: random.Random) -> None:
    """Leave out a frame."""
    del bundle.frames[dice.randrange(1, len(bundle.frames))]


def double_frame(bundle: Bundle, dice: random.Random) -> None:
    """Write a frame twice."""
    at = dice.randrange(len(bundle.frames))
    bundle.frames.insert(at, copy.deepcopy(bundle.frames[at]))


def swap_frames(bundle: Bundle, dice: random.Random) -> None:
    """Change the order of two frames."""
    some = bundle.frames
    one, other = dice.randrange(len(some)), dice.randrange(len(some))
    some[one], some[other] = some[other], some[one]


def add_blob(bundle: Bundle, dice: random.Random) -> None:
    """Add a frame with a payload."""
    bundle.frames.insert(dice.randrange(1, len(bundle.frames) + 1), blobs_frame(b"new"))


def lengthen(bundle: Bundle, dice: random.Random) -> None:
    """Add bytes behind the end."""
    bundle.tail = dice.randbytes(dice.randrange(1, 60))


CHANGES: list[Callable[[Bundle, random.Random], None]] = [
    change_payload,
    change_table,
    drop_record,
    double_record,
    drop_frame,
    double_frame,
    swap_frames,
    add_blob,
    lengthen,
]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_and_hashed_again(
    change: Callable[[Bundle, random.Random], None],
    tmp_path: Path,
    reference: ModuleType,
) -> None:
    """Where something is changed and every frame hashed again both say the same."""
    dice = random.Random(change.__name__)
    path = tmp_path / "bundle"
    faults = 0

    for scene in scenes():
        for _ in range(CASES // (9 * 4)):
            bundle = copy.deepcopy(scene)
            change(bundle, dice)
            path.write_bytes(bundle.data())
            said = ours(path)
            assert said == theirs(reference, path)
            faults += not said[1]
    assert faults > CASES // (9 * 4)


def test_flips_and_cuts(tmp_path: Path, reference: ModuleType) -> None:
    """Of a flipped bit and a cut both say the same."""
    dice = random.Random(7)
    path = tmp_path / "bundle"

    for scene in scenes()[::2]:
        whole = scene.data()
        for _ in range(CASES // 4):
            data = bytearray(whole)
            if dice.random() < 0.7:
                data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            else:
                del data[dice.randrange(len(data)) :]
            path.write_bytes(data)
            said = ours(path)
            assert said == theirs(reference, path)
            assert not said[1]


# --- what a store makes ------------------------------------------------------


def make_store(root: Path, dice: random.Random) -> castore.Store:
    """Return a store with a tree of segments, of all sorts of entries."""
    store = castore.open(root, create=True)
    segments = [store.create_session(key=("t", "one"), body=b"{}")]
    for number in range(dice.randrange(2, 12)):
        segment = store.segment(dice.choice(segments).id)
        refs = [
            castore.Reference(
                dice.choice(("tool.out", "state", "")),
                store.put(dice.randbytes(dice.choice((0, 9, 5000))) + b"%d" % at),
            )
            for at in range(dice.choice((0, 1, 3, 300)))
        ]
        entries = [castore.NewEntry("line", b"%d" % number, refs)] * dice.choice((1, 4))
        segment.append(entries)
        if dice.random() < 0.4:
            segments.append(segment.fork(dice.randrange(1, segment.count + 1)))
    return store


def test_stores_bundles(tmp_path: Path, reference: ModuleType) -> None:
    """Of bundles that generated stores make both say the same, and no fault."""
    dice = random.Random(8)
    path = tmp_path / "bundle"

    for number in range(12):
        with make_store(tmp_path / f"store{number}", dice) as store:
            living = [
                each for session in store.sessions() for each in session.segments()
            ]
            some = dice.sample(living, min(len(living), 2))
            wishes = [Wish(each.id, dice.randrange(each.count)) for each in some]
            redaction = Redaction(dice.choice(((), ("tool",))), dice.random() < 0.3)
            with path.open("wb") as file:
                export_bundle(store.engine, wishes, file, redaction=redaction)
        said = ours(path)
        assert said == theirs(reference, path)
        assert said[1]


# --- the reference -----------------------------------------------------------


def test_the_reference_is_short_and_alone() -> None:
    """The reference has at most 200 lines and imports nothing of the package."""
    source = (SPEC / "reference_bundle.py").read_text("utf-8")
    lines = source.splitlines()
    modules = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert len(lines) <= LINES_MAX
    assert all(len(line) <= 100 for line in lines)
    assert modules - sys.stdlib_module_names == {"cbor2", "reference"}


def test_the_reference_as_a_command(tmp_path: Path) -> None:
    """Two files of spec/ check a bundle where there is no package and no store."""
    for name in ("reference.py", "reference_bundle.py"):
        shutil.copy(SPEC / name, tmp_path / name)
    (tmp_path / "castore.py").write_text("raise ImportError\n")
    redacted = io.BytesIO()
    with castore.open(tmp_path / "store", create=True) as store:
        secret = castore.Reference("tool.out", store.put(b"secret" * 99))
        log = store.create_session(then=[castore.NewEntry("line", b"x", [secret])])
        wish, redaction = Wish(log.id), Redaction({"tool"})
        export_bundle(store.engine, [wish], redacted, redaction=redaction)
    assert b"secret" not in redacted.getvalue()
    for data, code in ((redacted.getvalue(), 0), (b"x", 1)):
        (tmp_path / "bundle").write_bytes(data)
        command = [sys.executable, "reference_bundle.py", "bundle"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        report: dict[str, Any] = json.loads(done.stdout)
        assert (code, code == 0) == (done.returncode, report["ok"])
