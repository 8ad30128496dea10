"""
What commands print with ``--json``: the keys that are documented, no others.
"""

from __future__ import annotations

import os
import shutil

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clikit import Shop, call, damage

from castore.cli.parser import COMMANDS
from castore.cli.schemas import SCHEMAS
from castore.formats.entry import Reference
from castore.store import open as open_store
from castore.writing import NewEntry


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with a transcript, a tag, a fork and an entry with a payload."""
    shop = Shop(tmp_path)
    shop("-q", "import", shop.transcript())
    shop("put", "-", "--tag", "one", given=b"payload")
    shop("fork", shop.root / "a.jsonl")
    with open_store(shop.store) as store:
        state = Reference("checkpoint", store.put(b"state"))
        store.create_session(key=("by", "hand"), then=[NewEntry("turn", b"", [state])])
    open_store(shop.root / "other", create=True).close()
    shop("pin", "by:hand@1")
    shop("prove", "by:hand", "0", "-o", shop.root / "proved")
    add_notes(shop)
    return shop


def add_notes(shop: Shop) -> None:
    """Add two keys that signed a later state, of which one forgot."""
    for name in ("key", "old"):
        shop("key", "new", shop.root / name)
    copy = shutil.copytree(shop.store, shop.root / "copy")
    shop("seal", "--key", shop.root / "key", "-o", shop.root / "one")
    shop("seal", "--key", shop.root / "old", "-o", shop.root / "two")
    (shop.root / "key.note").unlink()
    shutil.rmtree(shop.store)
    copy.rename(shop.store)


def keys_of(value: dict[str, Any]) -> Iterator[str]:
    """Yield the keys of *value*, and those of the objects in its lists."""
    for key, inner in value.items():
        yield key
        for item in inner if isinstance(inner, list) else ():
            if isinstance(item, dict):
                yield from (f"{key}[].{name}" for name in item)


def check(command: str, value: dict[str, Any]) -> None:
    """Compare what *command* printed with what is documented; lists may be empty."""
    empty = {key for key, inner in value.items() if inner == []}
    wanted = {key for key in SCHEMAS[command] if key.partition("[]")[0] not in empty}

    assert wanted == {
        key for key in keys_of(value) if key in wanted or key not in empty
    }


ARGUMENTS: dict[str, list[str]] = {
    "scan": ["{root}/a.jsonl"],
    "init": [],
    "import": ["{root}/a.jsonl"],
    "export": ["{root}/a.jsonl", "-o", "{root}/bundle"],
    "push": ["{root}/other"],
    "pull": ["{root}/other"],
    "restore": ["{root}/a.jsonl", "-o", "{root}/copy"],
    "put": ["{root}/a.jsonl"],
    "get": ["one", "-o", "{root}/copy"],
    "tag": [],
    "ls": [],
    "log": ["{root}/a.jsonl"],
    "show": ["by:hand[1]"],
    "fork": ["{root}/a.jsonl"],
    "rm": ["{root}/a.jsonl"],
    "maintain": [],
    "pack": [],
    "verify": [],
    "repair": [],
    "prove": ["by:hand", "1", "-o", "{root}/proof"],
    "check": ["{root}/proved"],
    "key": ["new", "{root}/new"],
    "seal": ["--key", "{root}/key", "-o", "{root}/note"],
    "recover": ["--key", "{root}/old", "-o", "{root}/note"],
    "evidence": ["{root}/one", "{root}/one", "--key", "{root}/key.pub", "-o", "x"],
    "gc": [],
    "backup": ["{root}/backup"],
    "erase": ["by:hand@1", "--reason", "asked", "--receipt", "{root}/receipt"],
    "policy": ["--group", "checkpoint", "--keep-newest", "3", "by:hand"],
    "pin": ["by:hand@1"],
    "unpin": ["by:hand@1"],
    "explain": ["by:hand@1"],
    "rebuild": [],
    "stats": [],
    "report": ["-o", "{root}/page.html"],
    "doctor": [],
    "demo": ["{root}/a.jsonl"],
    "completion": ["bash"],
    "help": ["json"],
}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_json_is_as_documented(shop: Shop, command: str) -> None:
    """One object with exactly the documented keys, and nothing else anywhere."""
    arguments = [text.format(root=shop.root) for text in ARGUMENTS[command]]

    check(command, shop.do(command, *arguments))


def test_every_command_is_documented() -> None:
    """The schemas, and the cases above, are those of the commands that there are."""
    names = {command.name for command in COMMANDS}

    assert names == set(SCHEMAS) == set(ARGUMENTS)


def test_json_of_files_that_failed(shop: Shop) -> None:
    """What could not be taken in stands beside what could."""
    result = shop("--json", "import", shop.root / "none", shop.root / "a.jsonl")

    check("import", result.object)
    assert result.object["failed"]


def test_json_of_findings(shop: Shop) -> None:
    """A damaged store gives the same object, with findings in it."""
    damage(shop.store)
    result = shop("--json", "verify")

    assert 1 == result.code
    assert result.object["findings"]
    check("verify", result.object)


def test_json_of_what_is_explained(shop: Shop) -> None:
    """What was collected and is still named stands apart, with the run that took it."""
    with open_store(shop.store) as store:
        log = store.create_session()
        for _ in range(2):
            state = Reference("checkpoint", store.put(os.urandom(100)))
            log.append([NewEntry("turn", b"", [state])])
    shop("gc", "--grace", "0", "--keep-checkpoints", "1")
    value = shop.do("verify")

    assert value["ok"]
    assert {"verdict", "severity", "where", "detail"} == set(value["explained"][0])
    assert {"files", "frames", "blobs", "entries", "segments", "bytes"} == set(
        value["covered"]
    )


def test_json_of_what_doctor_sees(shop: Shop) -> None:
    """The objects in doctor's answer have the documented keys too."""
    value = shop.do("doctor")
    for key in ("store", "sqlite"):
        names = SCHEMAS["doctor"][key].partition("object: ")[2].split(", ")

        assert set(names) == set(value[key])


@pytest.mark.parametrize(
    "arguments",
    [["log", "none"], ["nonsense"], ["get", "one"], ["show", "x[1]", "--body"]],
)
def test_json_of_a_failure(shop: Shop, arguments: list[str]) -> None:
    """A command that fails gives scripts one object as well: code, kind, text."""
    result = shop("--json", *arguments)

    assert {"error"} == set(result.object)
    assert {"code", "kind", "what"} == set(result.object["error"])
    assert result.code == result.object["error"]["code"]
    assert f"castore: {result.object['error']['what']}\n" == result.error


def test_help_json_prints_the_schemas() -> None:
    """They can be read by people and by scripts."""
    text = call("help", "json").text

    assert SCHEMAS == call("--json", "help", "json").object["text"]
    assert all(f"castore {command}\n" in text for command in SCHEMAS)
