"""
Sizes, times, durations, progress lines, output files, completion scripts.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from clikit import call

from castore.cli import text
from castore.cli.arguments import FORMATS, SHELLS
from castore.cli.completion import SCRIPTS, words
from castore.cli.doctor import has_wal_reset_race
from castore.cli.exits import CommandError, Exit
from castore.cli.parser import COMMANDS
from castore.cli.progress import Progress
from castore.cli.target import target
from castore.transcript import DOCUMENT_FORMATS, LINE_FORMATS


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_940, "9.9 kB"),
        (9_960, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (41_509_057, "42 MB"),
        (10**12, "1.0 TB"),
        (10**16, "10000 TB"),
    ],
)
def test_size_text(size: int, wanted: str) -> None:
    """A size has two or three digits and the unit that suits it."""
    assert wanted == text.size_text(size)


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (7505, "2 h 5 min")],
)
def test_duration_text(seconds: float, wanted: str) -> None:
    """A duration has its two largest units."""
    assert wanted == text.duration_text(seconds)


@pytest.mark.parametrize(
    ("time_ms", "wanted"),
    [
        (None, "-"),
        (0, "1970-01-01 00:00:00Z"),
        (1_767_323_041_999, "2026-01-02 03:04:01Z"),
        (1 << 62, f"{1 << 62} ms"),
    ],
)
def test_time_text(time_ms: int | None, wanted: str) -> None:
    """A time is in UTC; one that no calendar has is told as it is."""
    assert wanted == text.time_text(time_ms)


@hypothesis.given(st.text())
def test_printable(name: str) -> None:
    """Whatever a name holds, what is printed moves no cursor and can be encoded."""
    shown = text.printable(name)

    assert shown.isprintable()
    shown.encode()
    assert shown == name or not name.isprintable()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("0", 0),
        ("90s", 90),
        ("30m", 1800),
        ("24h", 86_400),
        ("7d", 604_800),
        ("1.5h", 5400),
    ],
)
def test_parse_duration(given: str, wanted: float) -> None:
    """A duration says its unit."""
    assert wanted == text.parse_duration(given)


@pytest.mark.parametrize(
    ("parse", "given"),
    [
        (text.parse_duration, "24"),
        (text.parse_duration, "-1h"),
        (text.parse_duration, "1y"),
        (text.parse_size, "1.5G"),
        (text.parse_size, "-1"),
        (text.parse_count, "-1"),
        (text.parse_count, "²"),
        (text.parse_time, "now"),
    ],
)
def test_parse_refuses(parse: object, given: str) -> None:
    """What is not of the form is no argument."""
    assert callable(parse)

    with pytest.raises(argparse.ArgumentTypeError):
        parse(given)


def test_parse_time_and_size() -> None:
    """Times are UTC unless they say; sizes count in thousands."""
    assert 1_767_323_041_000 == text.parse_time("2026-01-02T03:04:01")
    assert 1_767_323_041_000 == text.parse_time("2026-01-02T05:04:01+02:00")
    assert [7, 20 * 10**9, 500_000] == list(map(text.parse_size, ("7", "20G", "500kB")))


# --- progress ----------------------------------------------------------------


def test_progress_tells_rate_and_time_left() -> None:
    """Done, total, rate and the time left, at most some lines a second."""
    times = iter([0.0, 2.0, 2.01, 3.0])
    stream = io.StringIO()
    with Progress("verifying", stream, lambda: next(times)) as progress:
        progress.update(2_000_000, 10_000_000)
        progress.update(2_100_000, 10_000_000)
        progress.update(10_000_000, 5_000_000)

    assert [
        "",
        "verifying: 2.0 MB of 10 MB, 1.0 MB/s, 8 s left",
        "verifying: 10 MB, 3.3 MB/s",
        "",
    ] == stream.getvalue().split("\r\x1b[K")


def test_progress_without_anybody() -> None:
    """Where nobody watches nothing is said nor computed."""
    with Progress("verifying", None, lambda: 0.0) as progress:
        progress.update(1, 2)

    assert not progress.is_seen


# --- output files ------------------------------------------------------------


def names_in(folder: Path) -> list[str]:
    """Return the names in *folder*."""
    return [path.name for path in folder.iterdir()]


def test_target_is_never_half(tmp_path: Path) -> None:
    """A file that could not be written whole is not there, nor anything beside it."""
    path = tmp_path / "file"

    def write() -> None:
        with target(str(path)) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()

    assert [] == names_in(tmp_path)


def test_target_respects_what_came_meanwhile(tmp_path: Path) -> None:
    """A file that appears while another is written is not replaced."""
    path = tmp_path / "file"

    def write() -> None:
        with target(str(path)) as file:
            file.write(b"ours")
            path.write_bytes(b"theirs")

    with pytest.raises(CommandError) as caught:
        write()

    assert Exit.REFUSED == caught.value.code
    assert ["file"] == names_in(tmp_path)
    assert b"theirs" == path.read_bytes()


def test_target_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems without hard links get the file by a rename."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with target(str(tmp_path / "file")) as file:
        file.write(b"whole")

    assert ["file"] == names_in(tmp_path)
    assert b"whole" == (tmp_path / "file").read_bytes()


# --- the parser --------------------------------------------------------------


def test_formats_are_those_that_are_read() -> None:
    """The choices of --format are the formats of transcripts."""
    assert sorted(FORMATS) == sorted([*LINE_FORMATS, *DOCUMENT_FORMATS])


@pytest.mark.parametrize(
    ("found", "race"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
    ],
)
def test_which_sqlite_has_the_race(found: tuple[int, ...], race: bool) -> None:
    """The versions that have it are known."""
    assert race is has_wal_reset_race(found)


# --- completion --------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts_are_scripts(shell: str, tmp_path: Path) -> None:
    """Each names every command and option, and its shell can read it."""
    script = call("completion", shell).text
    if shell == "fish":
        options = ["-l grace", "-l json", "-s q"]
    else:
        options = ["--grace", "--json", "-q"]

    assert all(command.name in script for command in COMMANDS)
    assert all(option in script for option in options)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here to read its script")
    path = tmp_path / "script"
    path.write_text(script)
    subprocess.run([shell, "-n", str(path)], check=True)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("castore ver", {"verify"}),
        ("castore --store x re", {"restore", "repair", "rebuild", "recover", "report"}),
        ("castore gc --d", {"--dry-run"}),
        ("castore gc --grace ", set()),
        ("castore completion ", {"bash", "zsh", "fish"}),
        ("castore completion z", {"zsh"}),
        ("castore --js", {"--json"}),
    ],
)
def test_bash_completes(line: str, wanted: set[str]) -> None:
    """Commands, options and choices are offered where they may stand."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not here")
    parts = line.split(" ")
    quoted = " ".join(f"'{part}'" for part in parts)
    script = (
        f"{SCRIPTS['bash'](words())}\nCOMP_WORDS=({quoted})\n"
        f"COMP_CWORD={len(parts) - 1}\n_castore\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True
    )

    assert wanted == set(result.stdout.split())
