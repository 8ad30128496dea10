"""
The demo runs, says what is so, and leaves nothing behind.
"""

from __future__ import annotations

import re

from pathlib import Path

import pytest

from clikit import Shop, call, damage

from castore.cli import demo as demo_module
from castore.cli.demo import Show, show_transcripts
from castore.cli.output import Output
from castore.verify import verify


def test_the_life_of_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns, a fork, a crash, garbage and the check: all goes well, and is gone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    result = call("demo")
    steps = [line.split()[0] for line in result.lines if line and line[0] != " "]

    assert 0 == result.code, result.text
    assert ["live", "fork", "crash", "pack", "gc", "verify", "read"] == steps[:7]
    assert re.search(r"^as JSONL 16 MB ", result.text, re.MULTILINE)
    assert [] == list(tmp_path.iterdir())


def test_the_life_of_an_agent_for_scripts(tmp_path: Path) -> None:
    """The object has what happened and what it cost; a kept store is whole."""
    folder = tmp_path / "kept"
    told = call("--json", "demo", "--keep", folder).object

    assert told["ok"]
    assert str(folder) == told["store"]
    assert told["packed_bytes"] < told["stored_bytes"] < told["jsonl_bytes"] / 10
    assert verify(folder).ok


def test_transcripts(tmp_path: Path) -> None:
    """Files are taken in, packed, checked and compared; the numbers are theirs."""
    shop = Shop(tmp_path)
    paths = [
        shop.transcript("a.jsonl", 50, [b"\xff torn"]),
        shop.transcript("b.jsonl", 3),
    ]
    told = call("--json", "demo", *paths).object

    assert told["ok"]
    assert sum(path.stat().st_size for path in paths) == told["jsonl_bytes"]
    assert "2 files given back, each equal byte for byte" in told["steps"][-1]


def test_a_difference_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that comes back otherwise is named, and the exit code says so."""
    path = Shop(tmp_path).transcript()

    def change(show: Show, store: Path) -> None:
        path.write_bytes(path.read_bytes().replace(b"line 1", b"line X"))

    monkeypatch.setattr(demo_module, "show_pack", change)
    result = call("demo", path)

    assert 1 == result.code
    assert f"NOT OK: {path} differs" in result.text


def test_damage_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is damaged is not called good."""
    path = Shop(tmp_path).transcript()
    check = demo_module.show_verify

    def spoil(show: Show, store: Path) -> None:
        damage(store)
        check(show, store)
        raise KeyboardInterrupt  # reading on would only fail

    monkeypatch.setattr(demo_module, "show_verify", spoil)
    show = Show(Output(quiet=True))
    with pytest.raises(KeyboardInterrupt):
        show_transcripts(show, tmp_path / "store", [str(path)])

    assert not show.ok
