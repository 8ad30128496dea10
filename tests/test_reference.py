"""
`spec/reference.py` reads what castore writes, alone.
"""

from __future__ import annotations

import ast
import json
import random
import shutil
import subprocess
import sys

from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import castore

from castore.gc import collect
from castore.packing import pack


REFERENCE = Path(__file__).parents[1] / "spec" / "reference.py"
LINES_MAX = 400  # an auditor reads them in an hour
ALLOWED = {"backports", "blake3", "cbor2", "compression", "zstandard"}

# Run where castore cannot be imported: prints what is in a store.
READ = """
import hashlib, json, sys
sys.modules["castore"] = None
sys.path.insert(0, sys.argv[1])
import reference
store = reference.Store(sys.argv[2])
print(json.dumps({
    "report": reference.check(sys.argv[2]),
    "heads": {s.hex(): [head[7], head[8].hex()] for s, head in store.heads.items()},
    "entries": {s.hex(): [e.hash.hex() for e in store.logs[s]] for s in store.heads},
    "blobs": {x: hashlib.sha256(store.blob(bytes.fromhex(x))).hexdigest()
              for x in sys.argv[3:]},
}))
"""

Shape = Callable[[castore.Store], None]


def entry(*payloads: castore.BlobRef, body: bytes = b"body") -> castore.NewEntry:
    """Return an entry that refers to *payloads*."""
    refs = [castore.Reference("tool.out", each) for each in payloads]
    return castore.NewEntry("line", body, refs=refs)


def sessions(store: castore.Store) -> None:
    """Two sessions, one with a key, many commits, an empty body."""
    log = store.create_session(key=("tool", "one"), body=b"first")
    for number in range(50):
        log.append([entry(body=b"%d" % number)])
    store.create_session(then=[castore.NewEntry("line", b"", time_ms=None), entry()])


def forks(store: castore.Store) -> None:
    """Forks of forks, also below the fork index of what is forked."""
    root = store.create_session(then=[entry(body=b"%d" % n) for n in range(6)])
    child = root.fork(4)
    child.append([entry(body=b"child")])
    child.fork(5).append([entry(body=b"grandchild")])
    child.fork(2).append([entry(body=b"of the root")])


def many_references(store: castore.Store) -> None:
    """An entry whose references stand in a ref list."""
    refs = [store.put(b"payload %d" % number) for number in range(300)]
    store.create_session().append([entry(*refs)])


def large_blobs(store: castore.Store) -> None:
    """Blobs that are chunked and stand in a side pack."""
    data = random.Random(1).randbytes(9_000_000)
    refs = [store.put(data), store.put(data[:2_000_000]), store.put(bytes(8_500_000))]
    store.create_session(then=[entry(*refs)])
    store.tag("large", refs[0])


def versions(store: castore.Store) -> None:
    """Payloads that are kept as differences, in many commits."""
    data, ref = random.Random(2).randbytes(100_000), None
    log = store.create_session(key=("tool", "versions"))
    for number in range(12):
        data = data[: number * 7000] + b"changed" + data[number * 7000 :]
        ref = store.put(data, like=ref)
        log.append([entry(ref, body=b"turn %d" % number)])


def packed(store: castore.Store) -> None:
    """Everything above, packed twice, with commits between and behind."""
    for shape in (sessions, forks, many_references, large_blobs, versions):
        shape(store)
    log = store.session(("tool", "versions")).segments()[0]
    pack(store.engine)
    log.append([entry(body=b"behind the pack")])
    pack(store.engine)
    log.append([entry(body=b"at the end")])


def removed(store: castore.Store) -> None:
    """Deleted segments, one of them inherited from, and what gc leaves."""
    versions(store)
    log = store.session(("tool", "versions")).segments()[0]
    child = log.fork(5)
    child.append([entry(store.put(bytes(5000)))])
    log.delete()
    store.create_session(then=[entry(store.put(b"x" * 9000))]).delete()
    for _ in range(2):
        collect(store.engine, grace_s=0, yes=True)
    pack(store.engine)
    child.append([entry(body=b"after gc")])


SHAPES = (sessions, forks, many_references, large_blobs, versions, packed, removed)


def state(store: castore.Store) -> dict[str, dict[str, Any]]:
    """Return all that can be read through the package."""
    logs = [log for session in store.sessions() for log in session.segments()]
    items = [(log, each) for log in logs for each in log.entries()]
    needed = {each.body for _, each in items}
    needed |= {ref.blob for log, each in items for ref in log.references(each)}
    there = [ref for ref in needed if store.has(ref)]
    return {
        "heads": {x.id.hex(): [x.count, x.head.root.hex()] for x in logs},
        "entries": {x.id.hex(): [e.hash.hex() for e in x.entries()] for x in logs},
        "blobs": {x.digest.hex(): sha256(store.get(x)).hexdigest() for x in there},
    }


def read(root: Path, folder: Path, blobs: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what the reference reads, alone in *folder*."""
    folder.mkdir()
    shutil.copy(REFERENCE, folder)
    command = [sys.executable, "-I", "-c", READ, str(folder), str(root), *blobs]
    done = subprocess.run(command, capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr.decode()[-2000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_reads_what_castore_writes(shape: Shape, tmp_path: Path) -> None:
    """Without the catalog the same heads, entries and blobs are there, and no fault."""
    root = tmp_path / "store"
    with castore.open(root, create=True) as store:
        shape(store)
        expected = state(store)
    for path in root.glob("catalog-*"):
        path.unlink()
    found = read(root, tmp_path / "alone", expected["blobs"])

    assert {each["severity"] for each in found["report"]["findings"]} <= {"explained"}
    assert expected["blobs"] == found["blobs"]
    for kind in ("heads", "entries"):
        assert expected[kind].items() <= found[kind].items()
    assert len(found["heads"]) == len(expected["heads"]) + 1  # the store log


def test_command(tmp_path: Path) -> None:
    """The command prints one object and says with its exit how it went."""
    root = tmp_path / "store"
    with castore.open(root, create=True) as store:
        sessions(store)

    def run(path: Path) -> tuple[int, dict[str, Any]]:
        command = [sys.executable, "-I", str(REFERENCE), str(path)]
        done = subprocess.run(command, capture_output=True, check=False)
        return done.returncode, json.loads(done.stdout)

    code, report = run(root)
    assert (0, True) == (code, report["ok"])

    journal = next((root / "files").iterdir())
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)
    code, report = run(root)
    assert (1, False) == (code, report["ok"])
    assert "corrupt frame" in {each["verdict"] for each in report["findings"]}

    assert 10 == run(tmp_path / "nothing")[0]


def test_is_short() -> None:
    """The reference is short enough to be read."""
    lines = REFERENCE.read_text("utf-8").splitlines()

    assert len(lines) <= LINES_MAX
    assert all(len(line) <= 100 for line in lines)


def test_stands_alone() -> None:
    """The reference shares nothing with the package."""
    nodes = list(ast.walk(ast.parse(REFERENCE.read_text("utf-8"))))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    for node in nodes:
        names += [x.name for x in node.names] if isinstance(node, ast.Import) else []

    modules = {name.partition(".")[0] for name in names}
    assert modules <= ALLOWED | set(sys.stdlib_module_names)
