"""
Exit codes, and the one line that says why.
"""

from __future__ import annotations

import fcntl
import inspect

from collections.abc import Callable
from pathlib import Path

import pytest

from clikit import Result, Shop, call, damage

import castore.errors

from castore.cli.exits import CODES, MEANINGS, CommandError, Exit, code_of, text_of
from castore.errors import (
    CastoreError,
    ConflictError,
    CorruptionError,
    LockedError,
    NotFoundError,
    StorageError,
)
from castore.store import Store


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with one transcript, and another one beside it."""
    shop = Shop(tmp_path)
    shop.transcript("new.jsonl")
    shop("-q", "import", shop.transcript())
    return shop


def fails(shop: Shop) -> Result:
    """Return what happens for a segment that is not there."""
    return shop("log", "none")


def finds(shop: Shop) -> Result:
    """Return what happens to a damaged store."""
    damage(shop.store)
    return shop("verify")


def half(shop: Shop) -> Result:
    """Return what happens when some files cannot be taken in."""
    return shop("import", shop.root / "none", shop.root / "a.jsonl")


def refuses(shop: Shop) -> Result:
    """Return what happens when a file would be replaced."""
    return shop("restore", shop.root / "a.jsonl", "-o", shop.root / "a.jsonl")


def meets(shop: Shop) -> Result:
    """Return what happens when a name means two segments."""
    shop("import", shop.transcript("b.jsonl"))
    return shop("log", "0")


def misses(shop: Shop) -> Result:
    """Return what happens where there is no store."""
    return call("--store", shop.root / "none", "stats")


def waits(shop: Shop) -> Result:
    """Return what happens while somebody else maintains the store."""
    with (shop.store / "maintenance").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return shop("gc")


def outdates(shop: Shop) -> Result:
    """Return what happens to a store of a newer format."""
    path = shop.store / "castore.json"
    text = path.read_text()
    path.write_text(text.replace('"castore": 1', '"castore": 2'))
    return shop("stats")


def stops(shop: Shop) -> Result:
    """Return what happens when a person interrupts."""
    with pytest.MonkeyPatch.context() as patch:

        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(Store, "put", interrupt)
        return shop("put", shop.root / "a.jsonl")


CASES: dict[Exit, Callable[[Shop], Result]] = {
    Exit.DONE: lambda shop: shop("stats"),
    Exit.FINDINGS: finds,
    Exit.USAGE: lambda shop: shop("log"),
    Exit.PARTIAL: half,
    Exit.REFUSED: refuses,
    Exit.FAILED: fails,
    Exit.CONFLICT: meets,
    Exit.NO_STORE: misses,
    Exit.LOCKED: waits,
    Exit.UNSUPPORTED: outdates,
    Exit.INTERRUPTED: stops,
}


@pytest.mark.parametrize("code", list(Exit))
def test_every_code_happens(shop: Shop, code: Exit) -> None:
    """Each exit code is what the table says, and an error is one line."""
    result = CASES[code](shop)

    assert code == result.code, result.error
    assert "Traceback" not in result.error
    if code not in (Exit.DONE, Exit.FINDINGS, Exit.INTERRUPTED):
        assert [True] == [
            line.startswith("castore: ") for line in result.error.split("\n") if line
        ]


def test_the_codes_are_those_of_the_design() -> None:
    """Scripts rely on the numbers; each has a meaning."""
    assert [0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 130] == [int(code) for code in Exit]
    assert list(Exit) == list(MEANINGS)


def test_every_error_has_a_code() -> None:
    """No class of errors is forgotten, and none in the table is gone."""
    kinds = {
        name
        for name, kind in vars(castore.errors).items()
        if inspect.isclass(kind) and issubclass(kind, CastoreError)
    }

    assert kinds == set(CODES)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFoundError("x"), Exit.FAILED),
        (ConflictError("x", "head", 1, 2), Exit.CONFLICT),
        (LockedError("x", "y"), Exit.LOCKED),
        (StorageError("x", 28, True), Exit.FAILED),
        (CorruptionError("x", "corrupt frame", "y"), Exit.FAILED),
        (CorruptionError("x", "unsupported version", "y"), Exit.UNSUPPORTED),
        (CommandError(Exit.REFUSED, "x"), Exit.REFUSED),
        (FileNotFoundError(2, "No such file", "name"), Exit.FAILED),
        (ValueError("a bug"), None),
    ],
)
def test_code_of(error: Exception, code: Exit | None) -> None:
    """An error's class tells its code; what has none is a bug and not hidden."""
    assert code == code_of(error)


def test_errors_of_the_system_name_the_file() -> None:
    """A failed system call is told by its file and reason, in one line."""
    assert "name: No such file" == text_of(FileNotFoundError(2, "No such file", "name"))
    assert "one two" == text_of(NotFoundError("one\n  two"))


def test_bugs_are_not_hidden(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is nobody's mistake but ours keeps its traceback."""

    def fail(_: Store) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Store, "stats", fail)

    with pytest.raises(ZeroDivisionError):
        shop("stats")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["nonsense"], 2),
        (["stats", "--nonsense"], 2),
        (["sta"], 2),
        (["gc", "--grace", "5"], 2),
        (["gc", "--grace", "-1h"], 2),
        (["gc", "--keep-checkpoints", "-1"], 2),
        (["pack", "--level", "99"], 2),
        (["log", "{root}/a.jsonl", "--since", "yesterday"], 2),
        (["show", "{root}/a.jsonl"], 2),
        (["show", "{root}/a.jsonl[0]", "-o", "x"], 2),
        (["show", "{root}/a.jsonl[99]"], 5),
        (["fork", "{root}/a.jsonl", "--at", "99"], 2),
        (["fork", "{root}/a.jsonl", "--at", "0"], 2),
        (["get", "blake3:12"], 2),
        (["get", "blake3:" + "00" * 32], 5),
        (["get", "no-such-tag"], 5),
        (["tag", "one"], 2),
        (["tag", "--delete"], 2),
        (["tag", "--delete", "none"], 5),
        (["tag", "\udcff", "blake3:" + "00" * 32], 5),
        (["log", "\udcff"], 5),
        (["put", "{root}/none"], 5),
        (["put", "{root}"], 5),
        (["import", "{root}/none"], 5),
        (["import", "--max-bytes", "10", "{root}/new.jsonl"], 4),
        (["import", "{root}/new.jsonl", "{root}/none"], 3),
        (["restore", "{root}/a.jsonl", "-o", "{root}/no/folder"], 5),
        (["restore", "{root}/a.jsonl", "-o", ""], 2),
        (["verify", "{root}"], 10),
        (["demo", "--keep", "{root}"], 4),
        (["demo", "{root}/none"], 1),
        (["completion", "tcsh"], 2),
        (["help", "nonsense"], 2),
    ],
)
def test_what_is_wrong_is_one_line(shop: Shop, arguments: list[str], code: int) -> None:
    """Whatever is asked wrongly ends with its code and one line, no traceback."""
    result = shop("-q", *(text.format(root=shop.root) for text in arguments))

    assert code == result.code, result.error
    assert result.error.count("\n") == (0 if code == 1 else 1)
    assert "line 1 of" not in result.error


@pytest.mark.parametrize(
    "arguments", [["--help"], ["log", "--help"], ["help"], ["--version"]]
)
def test_help_needs_no_store(tmp_path: Path, arguments: list[str]) -> None:
    """Whoever asks for help gets it, wherever."""
    result = Shop(tmp_path)(*arguments)

    assert (0, "") == (result.code, result.error)
    assert "castore" in result.text


def test_init_leaves_other_folders_alone(tmp_path: Path) -> None:
    """A folder with something else in it is refused."""
    (tmp_path / "mine").write_bytes(b"")

    assert 4 == call("init", "--store", tmp_path).code
    assert ["mine"] == [path.name for path in tmp_path.iterdir()]
