"""
The form of attacks: damage and forgeries, each with the findings that it must lead to.

An attack gets an empty folder, makes a store there with its own hands in it, and
returns what a checker must say: pairs of verdict and place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from framemaker import (
    FileMaker,
    Item,
)
from storemaker import Log, Maker

from castore.digest import blob_digest
from castore.formats.entry import Reference
from castore.verify import verify


Found = set[tuple[str, str]]
Attack = Callable[[Path], Found]

ATTACKS: dict[str, Attack] = {}


def attack(make: Attack) -> Attack:
    """Register an attack under its name."""
    ATTACKS[make.__name__] = make
    return make


def at(file: FileMaker, offset: int | None = None) -> str:
    """Return the place of a file, or of a frame of it."""
    name = f"files/{file.header.id.hex()}.cas"
    return name if offset is None else f"{name}@{offset}"


def entry_at(log: Log, index: int | None = None) -> str:
    """Return the place of a segment, or of an entry of it."""
    name = f"segment:{log.segment.hex()}"
    return name if index is None else f"{name}[{index}]"


def blob_at(data: bytes) -> str:
    """Return the place of a blob."""
    return f"blob:{blob_digest(data).hex()}"


def line(text: bytes, *refs: Reference) -> Item:
    """Return an entry like all others."""
    return Item("line", text, refs)


def said(root: Path, *sure: tuple[str, str]) -> Found:
    """Return all that is found, where *sure* is among it and the rest follows."""
    report = verify(root)
    found = {(f.verdict, f.where) for f in (*report.findings, *report.explained)}
    assert set(sure) <= found, found
    return found


def started(root: Path) -> tuple[Maker, Log]:
    """Return a store with one session of three entries."""
    maker = Maker(root)
    log = maker.new_session()
    maker.append(log, [line(b"one"), line(b"two")])
    return maker, log
