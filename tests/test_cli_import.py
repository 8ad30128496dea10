"""
``import``: which files, and over and over.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from clikit import Shop

import castore

from castore.importer import find_segment


ROOT = str(Path(castore.__file__).parents[1])


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a shop with transcripts in some folders."""
    shop = Shop(tmp_path)
    for folder in ("in", "in/sub", "in/sub/agents"):
        (tmp_path / folder).mkdir()
        shop.transcript(f"{folder}/a.jsonl")
        shop.transcript(f"{folder}/agent-b.jsonl")
    return shop


def taken(shop: Shop, *options: object) -> set[str]:
    """Return what an import takes, by path below the folder."""
    files = shop.do("-q", "import", shop.root / "in", *options)["files"]
    return {str(Path(file["path"]).relative_to(shop.root / "in")) for file in files}


ALL = {
    f"{folder}{name}.jsonl"
    for folder in ("", "sub/", "sub/agents/")
    for name in ("a", "agent-b")
}


SUB = {path for path in ALL if path.startswith("sub/")}
AGENTS = {path for path in ALL if path.startswith("sub/agents/")}


@pytest.mark.parametrize(
    ("globs", "left_out"),
    [
        ([], set()),
        (["agent-*"], {path for path in ALL if "agent-b" in path}),
        (["agents"], AGENTS),
        (["sub/*.jsonl"], SUB),
        (["sub"], SUB),
        (["*/in/a.jsonl"], {"a.jsonl"}),
        (["a.jsonl", "agents"], {"a.jsonl", "sub/a.jsonl"} | AGENTS),
        (["A.jsonl", "b"], set()),
    ],
)
def test_exclude(shop: Shop, globs: list[str], left_out: set[str]) -> None:
    """A pattern fits a name, a path below the folder, or all of a path."""
    options = [option for glob in globs for option in ("--exclude", glob)]

    assert ALL - left_out == taken(shop, *options)


def test_exclude_of_what_is_named(shop: Shop) -> None:
    """A pattern holds for named files too."""
    path = shop.root / "in" / "a.jsonl"

    assert [] == shop.do("-q", "import", path, "--exclude", "a.*")["files"]


def test_since(shop: Shop) -> None:
    """Files that were changed before are left out, also if they are named."""
    for path in (shop.root / "in").rglob("*.jsonl"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    new = shop.root / "in" / "sub" / "a.jsonl"
    os.utime(new, (1_800_000_000, 1_800_000_000))

    assert {"sub/a.jsonl"} == taken(shop, "--since", "2027-01-15")
    assert ALL == taken(shop, "--since", "2023-01-01")
    old = shop.root / "in" / "a.jsonl"
    assert [] == shop.do("import", old, "--since", "2027-01-15")["files"]


# --- over and over -----------------------------------------------------------


class Watching:
    """An import that watches, in a process of its own."""

    def __init__(self, shop: Shop, *paths: object) -> None:
        command = [sys.executable, "-m", "castore", "--json", "--store", shop.store]
        command += ["import", "--watch", "--interval", "0.05s", shop.root / "in"]
        self.shop = shop
        self.process = subprocess.Popen(
            [str(part) for part in (*command, *paths)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": ROOT},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def until(self, done: Callable[[castore.Store], bool]) -> None:
        """Wait until the store is as it should be."""
        for _ in range(600):
            time.sleep(0.05)
            assert self.process.poll() is None
            if (self.shop.store / "castore.json").exists():
                try:
                    with castore.open(self.shop.store, read_only=True) as store:
                        if done(store):
                            return
                except castore.CastoreError:
                    continue  # it is being made
        pytest.fail("the store never became what it should")

    def end(self, number: signal.Signals) -> tuple[int, dict[str, object], str]:
        """Ask for the end; return exit code, JSON object, standard error."""
        self.process.send_signal(number)
        out, error = self.process.communicate(timeout=60)
        facts: dict[str, object] = json.loads(out)
        return self.process.returncode, facts, error.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch(shop: Shop, number: signal.Signals) -> None:
    """What is there, what grows and what comes is taken in; a signal ends it well."""
    with Watching(shop) as watching:
        watching.until(lambda store: store.stats().segments == len(ALL))
        grown = shop.root / "in" / "a.jsonl"
        with grown.open("ab") as file:
            file.write(b'{"type":"late"}\n')
        watching.until(
            lambda store: store.segment(find_segment(store, str(grown)).id)
            .entry(-1)
            .kind == "late"
        )  # fmt: skip
        shop.transcript("in/new.jsonl")
        watching.until(lambda store: store.stats().segments == len(ALL) + 1)
        code, facts, error = watching.end(number)

    assert (0, []) == (code, facts["failed"])
    assert "watching" in error
    assert isinstance(facts["files"], list)
    by_name = {file["path"]: file for file in facts["files"]}
    assert len(ALL) + 1 == len(by_name)
    assert (6, 6) == tuple(by_name[str(grown)][k] for k in ("entries", "new_entries"))


def test_watch_goes_on_after_failures(shop: Shop) -> None:
    """A file that cannot be taken in is told once, and the others go on."""
    os.mkfifo(shop.root / "in" / "pipe")
    with Watching(shop, shop.root / "in" / "pipe") as watching:
        watching.until(lambda store: store.stats().segments == len(ALL))
        shop.transcript("in/new.jsonl")
        watching.until(lambda store: store.stats().segments == len(ALL) + 1)
        code, facts, error = watching.end(signal.SIGTERM)

    assert 3 == code
    assert 1 == error.count("no plain file")
    assert isinstance(facts["failed"], list)
    assert 1 == len(facts["failed"])


def test_watch_ends_inside_of_a_file(shop: Shop) -> None:
    """A signal does not wait for a large file; the next import goes on there."""
    large = shop.root / "in" / "large.jsonl"
    large.write_bytes(b"".join(b'{"n":%d}\n' % n for n in range(60_000)))
    with Watching(shop) as watching:
        watching.until(lambda store: store.stats().entries > 2000)
        code, _, _ = watching.end(signal.SIGTERM)
    done = shop.do("import", large)["files"][0]

    assert 0 == code
    assert 60_000 == done["entries"]
    assert 0 <= done["new_entries"] < 60_000
    assert shop.do("verify")["ok"]
