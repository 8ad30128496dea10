"""
Numbers and names: what the pages of the format say is what the code holds.
"""

from __future__ import annotations

import ast
import re

from collections.abc import Iterator
from pathlib import Path

import pytest

import castore.errors

from castore import limits
from castore.codec import encode_record
from castore.digest import CONTEXT_NAMES
from castore.formats import commit as commit_format
from castore.formats import marker


SPEC = Path(__file__).parents[1] / "spec"
PACKAGE = Path(castore.errors.__file__).parent


def text_of(page: str) -> str:
    """Return the text of a page."""
    return (SPEC / page).read_text("utf-8")


# Row of the table: what it says, in the row's order; None: nothing to compare.
ROWS: dict[str, tuple[int | None, ...]] = {
    "entry, hashed form": (limits.ENTRY_SIZE_MAX,),
    "references of an entry; of a ref list": (
        limits.ENTRY_REFS_COUNT_MAX,
        limits.REF_LIST_COUNT_MAX,
    ),
    "kind of an entry; role": (limits.KIND_SIZE_MAX, limits.ROLE_SIZE_MAX),
    "session key: namespace; text": (None, limits.NAME_SIZE_MAX),
    "commit key; tag name": (limits.KEY_SIZE_MAX, limits.NAME_SIZE_MAX),
    "nesting: record; object": (limits.RECORD_DEPTH_MAX, limits.OBJECT_DEPTH_MAX),
    "object": (limits.OBJECT_SIZE_MAX,),
    "frame: raw part; stored part; table; records": (
        limits.FRAME_RAW_SIZE_MAX,
        limits.FRAME_STORED_SIZE_MAX,
        limits.FRAME_TABLE_SIZE_MAX,
        limits.FRAME_RECORD_COUNT_MAX,
    ),
    "heads of one commit": (commit_format.HEAD_COUNT_MAX,),
    "blob kept whole or as a difference, and base of a difference": (
        limits.BLOB_RECORD_SIZE_MAX,
    ),
    "chunks of a blob": (None,),
    "depth of a difference": (limits.DIFFERENCE_DEPTH_MAX,),
    "base of a difference": (limits.DIFFERENCE_BASE_SIZE_MIN,),
    "castore.json": (marker.SIZE_MAX,),
    "zstd window": (1 << limits.WINDOW_LOG_MAX,),
    "file": (limits.FILE_SIZE_MAX,),
    "proof": (limits.PROOF_SIZE_MAX,),
    "note; its signatures": (
        limits.NOTE_SIZE_MAX,
        limits.NOTE_SIGNATURE_COUNT_MAX,
    ),
    "seq, index, offset, time": (1 << 63,),
}
ELSEWHERE = {"SLICE_SIZE", "SLICED_SIZE_MIN"}  # spec/blob.md
UNITS = {"": 1, "MiB": limits.MIB}


def numbers(cell: str) -> list[int]:
    """Return the last number of each part of a cell, in bytes where it says MiB."""
    found = []
    for part in cell.split(";"):
        power = re.search(r"(\d+)\^(\d+)", part)
        plain = re.findall(r"(\d[\d,]*) ?(MiB)?", part)
        if power:
            found.append(int(power[1]) ** int(power[2]))
        else:
            digits, unit = plain[-1]
            found.append(int(digits.replace(",", "")) * UNITS[unit])
    return found


def test_limits_are_those_of_the_page() -> None:
    """Every bound of the page is the code's, and the other way round."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text_of("limits.md"), re.MULTILINE)
    found = {name: cell for name, cell in rows if name != "what"}

    assert ROWS.keys() == found.keys()
    for name, values in ROWS.items():
        pairs = zip(values, numbers(found[name]), strict=True)
        assert all(ours in (None, theirs) for ours, theirs in pairs), name


def test_every_limit_of_the_format_has_its_row() -> None:
    """A bound that readers hold is on the page before it is in the code."""
    source = (PACKAGE / "limits.py").read_text("utf-8")
    part = source.partition("# --- formats")[2].partition("# --- this writer's")[0]
    names = set(re.findall(r"^([A-Z_]+) =", part, re.MULTILINE)) - ELSEWHERE
    values = {value for row in ROWS.values() for value in row}
    logarithms = {"WINDOW_LOG_MAX": 1 << limits.WINDOW_LOG_MAX}

    assert names
    for name in names:
        assert logarithms.get(name, getattr(limits, name)) in values, name


def test_slices_are_those_of_the_page() -> None:
    """A reference has slices above 8 MiB, one for each MiB."""
    assert (limits.MIB, 8 * limits.MIB + 1) == (
        limits.SLICE_SIZE,
        limits.SLICED_SIZE_MIN,
    )
    assert "`B(slice)` of each 1 MiB" in text_of("blob.md")
    assert "if the blob is larger than 8 MiB" in text_of("blob.md")


def test_contexts_are_those_of_the_page() -> None:
    """The contexts in use are those that the suite's page lists, in its order."""
    (line,) = re.findall(
        r"^The names in use: (.*)\.$", text_of("suite.md"), re.MULTILINE
    )

    assert list(CONTEXT_NAMES) == re.findall(r"`(\w+)`", line)


def test_layout_tables_add_up() -> None:
    """In a table of fields each offset is the one before plus its width."""
    sizes = {"file.md": 188, "folder.md": 256}
    for page, size in sizes.items():
        rows = re.findall(r"^\| (\d+) \| (\d+) \|", text_of(page), re.MULTILINE)
        at = 0
        for offset, width in rows:
            assert int(offset) == at
            at += int(width)
        assert at == size


def verdicts_of_the_page() -> set[str]:
    """Return the verdicts of the closed set; numbers and ids as ``*``."""
    text = text_of("verdicts.md").partition("## Place")[0].partition("## Severity")[2]
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    names = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    return {re.sub(r"\b[bkr]$|\b[bkr]\b", "*", name) for name in names}


def constants(tree: ast.Module) -> dict[str, str]:
    """Return the texts that a module gives names to."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and type(node.value.value) is str:
                    found[target.id] = node.value.value
    return found


# Where a call takes a verdict: name of the function, number of the argument.
PLACES = {"need": 2, "refusal": 1, "add": 0, "notice": 2, "CorruptionError": 1}


def verdict_arguments(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield what is given as a verdict in the calls of a module."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else ""
        name = function.id if isinstance(function, ast.Name) else name
        owner = ast.unparse(getattr(function, "value", function))
        if name == "add" and "findings" not in owner:
            continue
        yield from (word.value for word in node.keywords if word.arg == "verdict")
        if name in PLACES and len(node.args) > PLACES[name]:
            yield node.args[PLACES[name]]


def test_every_verdict_is_on_the_page() -> None:
    """Code says no verdict that is not in the closed set."""
    trees = [ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")]
    named = {name: text for tree in trees for name, text in constants(tree).items()}
    used = {
        argument.value if isinstance(argument, ast.Constant) else named[argument.id]
        for tree in trees
        for argument in verdict_arguments(tree)
        if isinstance(argument, ast.Constant)
        or (isinstance(argument, ast.Name) and argument.id in named)
    }

    assert {"corrupt frame", "malformed record", "fork evidence"} <= used
    assert set() == used - verdicts_of_the_page()


def test_a_record_is_not_deeper_than_the_page_says() -> None:
    """Four arrays are a record, five are none."""
    assert b"\x81\x81\x81\x81\x01" == encode_record([[[[1]]]])
    with pytest.raises(castore.errors.FormatError, match="deep"):
        encode_record([[[[[1]]]]])
