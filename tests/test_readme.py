"""
The README says what is so.
"""

from __future__ import annotations

import contextlib
import io
import re

from pathlib import Path

import pytest

import castore.errors

from castore.cli.exits import MEANINGS


ROOT = Path(__file__).parents[1]
PACKAGE = Path(castore.errors.__file__).parent
README = (ROOT / "README.md").read_text("utf-8")
NO_UNITS = {"__init__.py", "__main__.py", "__pycache__", "py.typed"}


def section(title: str) -> str:
    """Return the text of one section."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(language: str) -> list[str]:
    """Return the blocks of code in *language*."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def table(title: str) -> list[list[str]]:
    """Return the rows of the table in a section, without its head."""
    rows = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def run(code: str) -> str:
    """Return what *code* prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - ours
    return out.getvalue()


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python in the README does what a reader expects, in ten lines."""
    code, conversation = blocks("python")
    monkeypatch.chdir(tmp_path)
    said = [run(block) for block in (code, conversation)]

    wanted = [
        ("start", b""),
        ("turn", b"hello"),
        ("start", b""),
        ("user", b"another way"),
    ]
    assert said == [f"{wanted}\n", "2 1\n"]
    assert 10 >= sum(bool(line.strip()) for line in code.splitlines())


def test_the_two_commands_come_first() -> None:
    """One command sets up and shows it; one sets up and tests it."""
    first, second, *_ = blocks("sh")

    assert first.startswith("python3 -m venv ")
    assert first.endswith("castore demo\n")
    assert second.startswith("python3 -m venv ")
    assert second.endswith("pytest\n")


def test_the_tree_is_as_shown() -> None:
    """Every unit of the package stands in the map, and what stands there exists."""
    cells = [
        path for row in table("The tree") for path in re.findall(r"`(.*?)`", row[0])
    ]
    shown = {path for path in cells if path.startswith("castore/")}
    there = {
        f"castore/{path.name}{'/' if path.is_dir() else ''}"
        for path in PACKAGE.iterdir()
        if path.name not in NO_UNITS
    }

    assert there == shown
    assert [] == [
        path for path in cells if path not in shown and not (ROOT / path).is_dir()
    ]


def test_the_map_is_in_the_order_of_layers() -> None:
    """The rows of the map are the layers that the tests hold, bottom first."""
    from test_layers import LAYERS

    rows = [
        {Path(path).stem for path in re.findall(r"`castore/(.*?)`", row[0])}
        for row in table("The tree")
    ]

    assert [layer for layer in LAYERS if "__init__" not in layer] == [
        row for row in rows if row
    ]


def test_the_exit_codes_are_those_of_the_command() -> None:
    """The table says what the command says."""
    wanted = [[str(int(code)), meaning] for code, meaning in MEANINGS.items()]

    assert wanted == table("The command")


def test_the_status_of_the_format_is_bold() -> None:
    """Nobody can miss that the format may still change."""
    assert re.search(r"^\*\*Status of the format: .*\*\*$", README, re.MULTILINE)
