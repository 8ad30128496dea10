"""
The whole way: files in, packed, back out, checked by two checkers.
"""

import io
import json
import subprocess
import sys

from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

import castore

from castore.importer import import_paths, restore
from castore.packing import pack
from castore.verify import verify


REFERENCE = Path(__file__).parents[1] / "spec" / "reference.py"
FOLDERS = ("claude-code", "claw-code", "pi", "swe-agent")


def line(number: int) -> bytes:
    """Return one good line."""
    record = {
        "type": "user",
        "uuid": f"{number}",
        "timestamp": "2026-01-01T00:00:00Z",
        "message": {"role": "user", "content": "x" * 50},
    }
    return json.dumps(record).encode() + b"\n"


GOOD = b"".join(line(number) for number in range(40))
HOSTILE = {
    "torn last line": GOOD + line(41)[:-20],
    "broken lines": GOOD + b'{"a":\n' + GOOD + b"]]\n",
    "crlf": GOOD.replace(b"\n", b"\r\n"),
    "no final newline": GOOD + line(99)[:-1],
    "bom": b"\xef\xbb\xbf" + GOOD,
    "bad utf-8": GOOD + b'{"type":"user","x":"\xff\xfe"}\n',
    "duplicate keys": GOOD + b'{"type":"a","type":"b"}\n',
    "nul bytes": GOOD + bytes(3) + b"\n" + bytes(100),
    "a 30 MB line": GOOD + b'{"type":"user","x":"' + b"q" * 30_000_000 + b'"}\n' + GOOD,
    "empty": b"",
    "only line ends": b"\n\r\n\n",
    "noise": bytes((n * 7919) % 251 for n in range(5000)),
}


class Comparing(io.RawIOBase):
    """Takes what is restored and compares it with a file, holding neither."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = path.open("rb")
        self.equal = True

    def write(self, data: Any) -> int:
        """Compare *data* with the file's next bytes."""
        self.equal = self.equal and self.file.read(len(data)) == bytes(data)
        return len(data)

    def finish(self) -> bool:
        """Return whether all was equal and nothing is left."""
        equal = self.equal and not self.file.read(1)
        self.file.close()
        return equal


def check_whole_way(paths: list[Path], root: Path) -> None:
    """Import *paths*, pack, restore, import again, verify twice without catalog."""
    names = [str(path) for path in paths]
    with castore.open(root, create=True) as store:
        found = list(import_paths(store, names, now_ms=1))
        assert names == [item.path for item in found]
        pack(store.engine)
        for item in found:
            sink = Comparing(Path(item.path))
            restore(store, store.segment(item.segment_id), cast(BinaryIO, sink))
            assert sink.finish(), item.path
        entries = store.stats().entries
        size = store.engine.disk_size()
        again = list(import_paths(store, names, now_ms=2))
        assert 0 == sum(item.new_entries for item in again)
        assert entries == store.stats().entries
        assert store.engine.disk_size() - size < 4096
    for name in root.glob("catalog-*"):
        name.unlink()
    report = verify(root)
    assert report.ok, report.findings
    command = [sys.executable, "-I", str(REFERENCE), str(root)]
    other = subprocess.run(command, capture_output=True, check=False)
    assert 0 == other.returncode, other.stdout[-2000:] + other.stderr[-2000:]
    assert json.loads(other.stdout)["ok"]
    with castore.open(root) as store:
        for item in found:
            sink = Comparing(Path(item.path))
            restore(store, store.segment(item.segment_id), cast(BinaryIO, sink))
            assert sink.finish(), item.path


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_files(folder: str, data: Path, tmp_path: Path) -> None:
    """Every real transcript comes back byte for byte, and both checkers agree."""
    paths = sorted(path for path in (data / folder).rglob("*") if path.is_file())
    assert paths
    check_whole_way(paths, tmp_path / "store")


def test_hostile_files(tmp_path: Path) -> None:
    """Whatever a file holds, it comes back byte for byte."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name, content in HOSTILE.items():
        (folder / f"{name}.jsonl").write_bytes(content)
    check_whole_way(sorted(folder.iterdir()), tmp_path / "store")


def test_packed_size(data: Path, tmp_path: Path) -> None:
    """Packed, a folder is at most 1.25 times one solid long-window stream."""
    import zstandard

    for folder in ("claude-code/2a55af89", "claude-code/0cf3db51", "pi"):
        paths = sorted(path for path in (data / folder).iterdir() if path.is_file())
        root = tmp_path / folder.replace("/", "-")
        with castore.open(root, create=True) as store:
            list(import_paths(store, [str(path) for path in paths], now_ms=1))
            pack(store.engine)
        size = sum(path.stat().st_size for path in (root / "files").iterdir())
        lines = dict.fromkeys(
            one for path in paths for one in path.read_bytes().splitlines(keepends=True)
        )
        parameters = zstandard.ZstdCompressionParameters.from_level(
            3, window_log=27, enable_ldm=True
        )
        solid = zstandard.ZstdCompressor(compression_params=parameters)
        assert size <= 1.25 * len(solid.compress(b"".join(lines)))
