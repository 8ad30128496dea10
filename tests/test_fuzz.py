"""
Bytes made to break each format: whoever reads them raises nothing but typed errors,
in bounded memory and time.

A budget of 50 is the long form: a million executions.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import textwrap
import types

from pathlib import Path
from typing import Any

import pytest

from fuzz_formats import TARGETS, faults

from castore import codec, compress
from castore.formats import (
    chunked,
    commit,
    entry,
    frame,
    head,
    mark,
    marker,
    seal,
    stored,
    storelog,
)
from castore.formats import file as file_format
from castore.proofs import form, notes


EXECUTIONS = 20_000  # of all formats together, at a budget of 1
FOUND = 4_000  # cases within which a planted bug must be found


@pytest.mark.parametrize("name", TARGETS)
def test_only_typed_errors(name: str, budget: float) -> None:
    """No other exception, and no more memory than the bytes are worth."""
    count = int(EXECUTIONS * budget) // len(TARGETS)
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
    script = str(Path(__file__).with_name("fuzz_formats.py"))
    # A process of its own: one that hangs is ended by the limit on its time.
    done = subprocess.run(
        [sys.executable, script, name, "0", str(count)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, (done.returncode, done.stderr)
    assert json.loads(done.stdout) == []


IS_LIST = "isinstance(value, list) and len(value) == {}"

#: For each format: module, function, guards in it, what stands there instead.
Planted = tuple[str, Any, str, tuple[str, ...], str]
PLANTED: list[Planted] = [
    ("castore.json", marker, "decode_marker", (", RecursionError",), ""),
    ("castore.json", marker, "decode_marker", ("facts.keys() == keys",), "True"),
    (
        "lock",
        mark,
        "decode_lock",
        ("len(data) != SIZE", "_mark_hash(body)[:_CHECK_SIZE] != data[-_CHECK_SIZE:]"),
        "False",
    ),
    (
        "file header",
        file_format,
        "decode_header",
        ("len(data) >= SIZE", "_file_hash(body) == data[SIZE - 32 : SIZE]"),
        "True",
    ),
    ("frame", frame, "parse_header", ("room >= HEADER_SIZE and",), "True or"),
    ("frame", frame, "_check_descriptor", ("len(item) >= 2",), "True"),
    ("frame", frame, "_is_entries", ("len(rest) == 5",), "True"),
    ("frame", frame, "_is_plain_array", ("len(rest) == 1",), "True"),
    ("frame", compress, "_check_header", ("header.content_size != raw_size",), "False"),
    ("entries", stored, "_check_stored", ("len(stored) in (4, 5)",), "True"),
    ("entries", stored, "entries_of", ("body >= count",), "False"),
    ("entry", entry, "decode_entry", ("len(value) in (8, 9)",), "True"),
    ("entry", entry, "check_refs", ("isinstance(ref, list) and",), "True or"),
    ("head", head, "parse_head", (IS_LIST.format(12),), "True"),
    ("commit", commit, "_parse_sides", ("len(value) % 3 == 0",), "True"),
    ("store log", storelog, "_listing", ("isinstance(item, list) and",), "True or"),
    ("store log", storelog, "_fold_deleted", ('type(value["head"]) is bytes',), "True"),
    ("store log", storelog, "_add_absent", ("isinstance(blobs, list)",), "True"),
    ("ref list", entry, "check_refs", ("isinstance(ref, list) and",), "True or"),
    ("chunk list", chunked, "decode_chunks", ("len(value) == 2 and",), "True or"),
    ("difference", compress, "patch", ("zstd.ZstdError",), "KeyError"),
    ("proof", form, "parse_state", (IS_LIST.format(4),), "True"),
    ("proof", form, "parse_path", ("isinstance(value, list) and",), "True or"),
    ("note", notes.Note, "parse", ("UnicodeDecodeError",), "KeyError"),
    ("note", notes.Checkpoint, "parse", ("len(digits) < 20",), "True"),
    ("seal", seal, "_split_page", ("need(data,",), "need(True,"),
    ("object", codec, "_load", ("cbor2.CBORDecodeError:",), "KeyError:"),
]


def planted(function: Any, guards: tuple[str, ...], other: str) -> types.CodeType:
    """Return the code of a function with *other* in the place of its guards."""
    source = textwrap.dedent(inspect.getsource(function))
    for guard in guards:
        assert source.count(guard) == 1
        source = source.replace(guard, other)
    made: dict[str, Any] = {}
    code = "from __future__ import annotations\n" + source
    exec(code, function.__globals__, made)  # noqa: S102 - our own source
    changed = made[function.__name__]
    found: types.CodeType = getattr(changed, "__func__", changed).__code__
    return found


@pytest.mark.parametrize(
    ("name", "module", "function", "guards", "other"),
    PLANTED,
    ids=[f"{name}-{function}-{n}" for n, (name, _, function, *_) in enumerate(PLANTED)],
)
def test_a_guard_that_is_gone_is_found(
    name: str,
    module: Any,
    function: str,
    guards: tuple[str, ...],
    other: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without any one of these guards a case raises what no caller expects."""
    whole = inspect.getattr_static(module, function)
    inner = getattr(whole, "__func__", whole)  # of a class method
    # The code itself, so that whoever holds the function has the bug too.
    monkeypatch.setattr(inner, "__code__", planted(inner, guards, other))

    assert next(faults(name, range(FOUND)), None)
