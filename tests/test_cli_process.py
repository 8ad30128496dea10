"""
The command as a process of its own: pipes, imports, what is seen on a terminal.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys

from pathlib import Path

import pytest

from clikit import Shop, Terminal, call

from castore.cli.parser import COMMANDS


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with one transcript, longer than a pipe holds when listed."""
    shop = Shop(tmp_path)
    shop("-q", "import", shop.transcript(count=2000))
    return shop


def run(shop: Shop, *args: object) -> subprocess.CompletedProcess[bytes]:
    """Run the installed command on the store."""
    command = [sys.executable, "-m", "castore", "--store", shop.store, *args]
    return subprocess.run(list(map(str, command)), capture_output=True, check=False)


def test_the_command_is_a_module(shop: Shop) -> None:
    """``python -m castore`` is the command: output, errors and exit code."""
    good, bad = run(shop, "stats", "--json"), run(shop, "log", "none")

    assert (0, b"") == (good.returncode, good.stderr)
    assert 1 == json.loads(good.stdout)["segments"]
    assert (5, b"") == (bad.returncode, bad.stdout)
    assert bad.stderr.startswith(b"castore: ")


def test_bytes_go_through_a_pipe(shop: Shop) -> None:
    """What restore writes to standard output is the file and nothing else."""
    path = shop.root / "a.jsonl"

    assert path.read_bytes() == run(shop, "restore", path).stdout


def test_a_closed_pipe_is_quiet(shop: Shop) -> None:
    """Whoever stops reading hears no complaint."""
    command = [sys.executable, "-m", "castore", "--store", str(shop.store)]
    process = subprocess.Popen(
        [*command, "log", str(shop.root / "a.jsonl")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    process.stdout.close()
    with process:
        assert process.stderr
        error = process.stderr.read()

    assert (141, b"") == (process.returncode, error)


# --- imports -----------------------------------------------------------------

_TELL = """
import json, sys
import castore
before = set(sys.modules)
from castore.cli import main
code = main(sys.argv[1:])
new = sorted(set(sys.modules) - before)
print(json.dumps([int(code), new]), file=sys.stderr)
"""


def imported(shop: Shop, *args: object) -> set[str]:
    """Return what a command imports beyond ``import castore``."""
    command = [sys.executable, "-c", _TELL, "--store", shop.store, *args]
    result = subprocess.run(list(map(str, command)), capture_output=True, check=True)
    code, new = json.loads(result.stderr.splitlines()[-1])

    assert 0 == code
    return set(new)


def units(modules: set[str]) -> set[str]:
    """Return the units of castore among *modules*."""
    return {name.split(".")[1] for name in modules if name.startswith("castore.")}


def test_help_imports_nothing_but_the_parser(shop: Shop) -> None:
    """Help opens no database driver and knows no format."""
    new = imported(shop, "--help")

    assert {"cli"} == units(new)
    assert new.isdisjoint(
        {"sqlite3", "zstandard", "blake3", "cbor2", "attrs", "asyncio"}
    )
    assert {
        f"castore.cli.{name}"
        for name in (
            "arguments",
            "bundling_arguments",
            "checking_arguments",
            "exits",
            "keeping_arguments",
            "maintenance_arguments",
            "output",
            "parser",
            "progress",
            "proving_arguments",
            "text",
        )
    } == {name for name in new if name.startswith("castore.cli.")}


@pytest.mark.parametrize(
    ("command", "never"),
    [
        ("init", {"importer", "transcript", "verify", "gc", "packing", "marking"}),
        ("stats", {"importer", "transcript", "verify", "gc", "packing", "marking"}),
        ("tag", {"importer", "transcript", "verify", "gc", "packing", "marking"}),
        ("ls", {"importer", "transcript", "verify", "gc", "packing", "marking"}),
        ("pack", {"importer", "transcript", "verify", "gc", "marking"}),
        ("gc", {"importer", "transcript", "verify"}),
        ("verify", {"importer", "transcript", "gc", "packing", "marking", "engine"}),
        ("doctor", {"importer", "transcript", "gc", "packing", "marking", "verify"}),
    ],
)
def test_a_command_imports_what_it_needs(
    shop: Shop, command: str, never: set[str]
) -> None:
    """No command pays for what another one does."""
    assert units(imported(shop, "-q", command)).isdisjoint(never)


def test_checking_proofs_wants_no_store(shop: Shop) -> None:
    """What a stranger runs knows no engine, no catalog and no storage."""
    shop.do("prove", shop.root / "a.jsonl", "1", "-o", shop.root / "proof")
    new = imported(shop, "-q", "check", shop.root / "proof")

    parts = {"catalog", "engine", "reading", "segment", "storage", "store", "verify"}
    assert units(new).isdisjoint(parts)
    assert "cryptography" not in new


def test_every_command_can_be_imported() -> None:
    """The functions that the parser names are there."""
    assert all(callable(command.load()) for command in COMMANDS)


# --- what is seen ------------------------------------------------------------


def test_progress_is_silent_in_a_pipe(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a terminal hears how far something is."""
    monkeypatch.setattr("castore.cli.progress._PAUSE_S", -1.0)

    assert "" == shop("verify").error


def test_progress_is_seen_on_a_terminal(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a line comes and goes, unless quiet is asked for."""
    monkeypatch.setattr("castore.cli.progress._PAUSE_S", -1.0)
    path = shop.transcript(count=2010)
    for args in (
        ["verify"],
        ["import", path],
        ["restore", "--all", "-o", shop.store.parent / "out", "--force"],
        ["import", path, "--remove", "--older-than", "1000d"],
    ):
        loud, quiet = Terminal(), Terminal()
        with contextlib.redirect_stdout(io.StringIO()):
            for stream, more in ((loud, []), (quiet, ["-q"])):
                with contextlib.redirect_stderr(stream):
                    main_on(shop, *args, *more)

        assert "B/s" in loud.getvalue()
        assert loud.getvalue().endswith("\r\x1b[K")
        assert "" == quiet.getvalue()


def main_on(shop: Shop, *args: object) -> None:
    """Run the command with the streams as they are."""
    from castore.cli import main

    assert 0 == main(["--store", str(shop.store), *map(str, args)])


def test_help_names_every_command() -> None:
    """Whoever asks for help sees all that there is."""
    text = call("--help").text

    assert all(f"\n    {command.name}" in text for command in COMMANDS)
