"""
Open records: strict where documented, lossless everywhere else.

Spec: spec/agents.md, "Open records" and "Large texts".
"""

from __future__ import annotations

import json

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from hypothesis import given
from hypothesis import strategies as st

from castore.errors import FormatError
from castore.records.fields import (
    BOOLEAN,
    EMPTY,
    TEXT,
    U32,
    Record,
    Tagged,
    Unknown,
    choice,
    many,
    named,
    one,
    optional,
    required,
)
from castore.records.large import put_in, take_out


@attrs.frozen(kw_only=True, repr=False)
class Part(Record):
    """A record with each sort of member."""

    text: str = required(TEXT)
    size: int | None = optional(U32, written=True)
    sure: bool = optional(BOOLEAN, False)
    colour: str | None = optional(choice("red", "blue"))


@attrs.frozen(kw_only=True, repr=False)
class Whole(Record):
    """A record of records."""

    parts: tuple[Record, ...] = optional(many(one(Part)), ())
    by_name: Mapping[str, Part] = optional(named(one(Part)), EMPTY)


KINDS = Tagged("kind", {"part": Part, "whole": Whole, "old_part": Part})

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
others = st.dictionaries(st.text().filter(lambda name: len(name) > 8), json_values)
parts = st.builds(
    lambda members, rest: dict({**members, **rest}.items()),
    st.fixed_dictionaries(
        {"text": st.text()},
        optional={
            "size": st.none() | st.integers(0, (1 << 32) - 1),
            "sure": st.none() | st.booleans(),
            "colour": st.sampled_from(["red", "blue", None]),
        },
    ),
    others,
)


def shuffled(value: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return the ways in which the members of *value* can stand."""
    return st.permutations(list(value.items())).map(dict)


@given(parts.flatmap(shuffled))
def test_round_trip_keeps_all(value: dict[str, Any]) -> None:
    """
    A record read and written is the object it was, members in their order; what was
    absent stays absent.
    """
    back = Part.decode(value).encode()
    assert json.dumps(back) == json.dumps(value)


@given(parts.flatmap(lambda part: shuffled({**part, "kind": "part"})))
def test_round_trip_keeps_the_tag_in_place(value: dict[str, Any]) -> None:
    """A tag that was read somewhere is written there."""
    back = KINDS.encode(KINDS.decode(value))
    assert json.dumps(back) == json.dumps(value)


@given(others, st.text().filter(lambda kind: kind not in KINDS.classes))
def test_unknown_kinds_survive(rest: dict[str, Any], kind: str) -> None:
    """An object of an unknown kind is kept whole and reported."""
    record = KINDS.decode({**rest, "kind": kind})
    assert isinstance(record, Unknown)
    assert json.dumps(KINDS.encode(record)) == json.dumps({**rest, "kind": kind})
    assert list(record.unknown("it")) == ["it: unknown kind"]
    assert list(KINDS.type.unknown(record, "it")) == ["it: unknown kind"]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([], "the record: not an object"),
        ({}, "text: missing"),
        ({"text": None}, "text: not text"),
        ({"text": 1}, "text: not text"),
        ({"text": "", "size": True}, "size: not an integer"),
        ({"text": "", "size": 1.0}, "size: not an integer"),
        ({"text": "", "size": 1 << 32}, "size: not an integer"),
        ({"text": "", "sure": 1}, "sure: not true or false"),
        ({"text": "", "colour": "green"}, "colour: not one of red, blue"),
    ],
)
def test_documented_members_are_strict(value: Any, where: str) -> None:
    """
    A documented member that is missing or of another type is refused, and the
    error names its place.
    """
    with pytest.raises(FormatError, match=where):
        Part.decode(value)


def test_errors_name_the_place_and_no_content() -> None:
    """
    The place is a path of documented names and positions; what stands there
    is not shown, nor a name that nobody documented.
    """
    value = {"by_name": {"secret-name": {"text": "secret"}, "b": {"text": 7}}}
    with pytest.raises(FormatError) as caught:
        Whole.decode(value)
    assert str(caught.value) == "by_name{1}.text: not text"
    assert "secret" not in repr(Part.decode({"text": "secret"}))


def test_unknown_members_are_reported_wherever_they_stand() -> None:
    """Every place with members that are not documented is told once."""
    value = {"parts": [{"text": ""}, {"text": "", "more": 1, "most": 2}], "new": 0}
    found = list(Whole.decode(value).unknown())
    assert found == ["the record: 1 unknown members", "parts[1]: 2 unknown members"]


def test_a_kind_with_two_names_is_written_by_its_first() -> None:
    """An alias is read as what it stands for."""
    record = KINDS.decode({"kind": "old_part", "text": "a"})
    assert KINDS.encode(record)["kind"] == "part"


def test_what_is_made_has_its_written_members() -> None:
    """A member that is always written is, but where a record was read without it."""
    assert Part(text="a").encode() == {"text": "a", "size": None}
    assert Part.decode({"text": "a"}).encode() == {"text": "a"}
    assert Whole.decode({}).encode() == {}


def test_new_members_go_behind() -> None:
    """A member set after reading is written behind those that were there."""
    record = attrs.evolve(Part.decode({"x": 1, "text": "a"}), sure=True)
    assert list(record.encode()) == ["x", "text", "sure"]


@given(json_values, st.integers(1, 12))
def test_large_texts_come_back(value: Any, size_min: int) -> None:
    """
    Taken out and put in, a value is what it was; no text that is left in has
    *size_min* bytes or more.
    """
    kept: dict[bytes, bytes] = {}

    def put(data: bytes) -> bytes:
        assert len(data) >= size_min
        kept[len(kept).to_bytes(32, "big")] = data
        return (len(kept) - 1).to_bytes(32, "big")

    out = take_out(value, size_min, put)
    assert put_in(out, kept.__getitem__) == value
    assert all(len(text.encode()) < size_min for text in texts(out))


def texts(value: Any) -> list[str]:
    """Return all texts in *value* that are no names of members."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


def test_bytes_and_lone_surrogates_are_refused() -> None:
    """A record's own bytes would be taken for a name."""
    with pytest.raises(FormatError, match="no bytes"):
        take_out({"a": [b"x"]}, 1, lambda data: data)
    with pytest.raises(FormatError, match="surrogate"):
        take_out("\ud800", 1, lambda data: data)
    with pytest.raises(FormatError, match="not UTF-8"):
        put_in(b"n" * 32, lambda name: b"\xff")
