"""
Hashing: the published vectors, contexts, names of blobs.
"""

from __future__ import annotations

import hashlib
import itertools
import json

from pathlib import Path
from typing import Any

import pytest

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from castore.digest import (
    CONTEXT_NAMES,
    PREFIX,
    SIZE,
    blob_digest,
    blob_hash,
    format_digest,
    in_context,
    parse_digest,
    sha256,
)
from castore.errors import FormatError


# Lengths around every size at which the tree of BLAKE3 changes its shape.
LENGTHS = [0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 8192, 31_744, 102_400]


def pattern(size: int) -> bytes:
    """Return the input of *size* bytes that the BLAKE3 authors use."""
    return bytes(itertools.islice(itertools.cycle(range(251)), size))


@pytest.fixture
def published(data: Path) -> dict[str, Any]:
    """Return the vectors of the BLAKE3 authors."""
    path = data / "vectors" / "blake3.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


# --- published vectors -------------------------------------------------------


def test_blob_names_are_the_published_hashes(published: dict[str, Any]) -> None:
    """A blob's name is the plain hash of all 35 inputs, whole or in parts."""
    for case in published["cases"]:
        given = pattern(case["input_len"])
        expected = bytes.fromhex(case["hash"])[:SIZE]
        state = blob_hash()
        for at in range(0, len(given), 1000):
            state.update(given[at : at + 1000])

        assert expected == blob_digest(given) == state.digest()
        assert (
            expected == blob_digest(bytearray(given)) == blob_digest(memoryview(given))
        )
    assert 35 == len(published["cases"])


def test_the_library_gives_the_published_outputs(published: dict[str, Any]) -> None:
    """
    The library below computes all three modes, extended outputs too. castore has
    no keyed mode, and contexts of its own: those are checked at the library.
    """
    key = published["key"].encode()
    context = published["context_string"]
    for case in published["cases"]:
        given = pattern(case["input_len"])
        modes = {
            "hash": blake3(given),
            "keyed_hash": blake3(given, key=key),
            "derive_key": blake3(given, derive_key_context=context),
        }
        for name, state in modes.items():
            expected = bytes.fromhex(case[name])
            assert expected == state.digest(length=len(expected))
            assert expected[:SIZE] == state.digest()


# --- blobs -------------------------------------------------------------------


@pytest.mark.parametrize("size", [*LENGTHS, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_threads_do_not_change_a_name(size: int) -> None:
    """A blob has one name on one core and on all."""
    given = pattern(size)

    assert blake3(given).digest() == blob_digest(given)


@given(st.lists(st.binary(max_size=3000), max_size=6))
def test_parts_do_not_change_a_name(parts: list[bytes]) -> None:
    """A blob that comes in parts has the name that it has as a whole."""
    state = blob_hash()
    for part in parts:
        state.update(memoryview(part))

    assert blob_digest(b"".join(parts)) == state.digest()


def test_names_are_those_that_b3sum_prints() -> None:
    """The name of "abc", as any other tool for BLAKE3 gives it."""
    assert (
        "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        == format_digest(blob_digest(b"abc"))
    )


# --- contexts ----------------------------------------------------------------


@given(st.lists(st.binary(max_size=200), max_size=4), st.sampled_from(CONTEXT_NAMES))
def test_a_context_is_derive_key(parts: list[bytes], name: str) -> None:
    """A hash with a context is derive_key of the parts together, under its text."""
    whole = b"".join(parts)
    expected = blake3(whole, derive_key_context=f"castore v1 2026-11 {name}").digest()

    assert expected == in_context[name](*parts) == in_context[name](memoryview(whole))


@given(st.binary(max_size=200))
def test_no_two_contexts_agree(given: bytes) -> None:
    """One input has another hash in each context, as a blob, and in SHA-256."""
    hashes = [call(given) for call in in_context.values()]
    hashes += [blob_digest(given), sha256(given)]

    assert len(CONTEXT_NAMES) + 2 == len(set(hashes))
    assert {SIZE} == {len(digest) for digest in hashes}


def test_a_context_remembers_nothing() -> None:
    """What was hashed before does not change what comes."""
    first = in_context["leaf"](b"x")
    in_context["leaf"](b"y", b"z")

    assert first == in_context["leaf"](b"x")


def test_contexts_are_those_that_are_named() -> None:
    """There is one function for each name, and it says which."""
    assert list(CONTEXT_NAMES) == list(in_context)
    for name, call in in_context.items():
        assert f"*{name}*" in (call.__doc__ or "")


@given(st.binary(max_size=200))
def test_the_other_hash_is_sha256(given: bytes) -> None:
    """The store log's tree uses SHA-256 and nothing around it."""
    assert hashlib.sha256(given).digest() == sha256(given)


# --- names as text -----------------------------------------------------------


@given(st.binary(min_size=SIZE, max_size=SIZE))
def test_names_come_back(digest: bytes) -> None:
    """A name that is written is the one that is read."""
    text = format_digest(digest)

    assert text.startswith(PREFIX)
    assert digest == parse_digest(text)


@given(st.binary(min_size=SIZE, max_size=SIZE), st.data())
def test_a_name_has_one_spelling(digest: bytes, data: st.DataObject) -> None:
    """A name with one character changed is refused or another name."""
    text = format_digest(digest)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    try:
        found = parse_digest(changed)
    except FormatError:
        return

    assert changed == format_digest(found)


@given(st.text())
def test_other_text_is_no_name(text: str) -> None:
    """What is no name is refused, whatever it is; the error does not show it."""
    with pytest.raises(FormatError) as caught:
        parse_digest(text)

    assert "not a blob name" in caught.value.what
