"""
The published vectors: as generated, and what the package makes of each.
"""

from __future__ import annotations

import functools
import itertools
import json
import re

from typing import Any

import pytest

from make_vectors import FOLDER, FORMATS, differing, main
from vectors.blobs import difference, whole
from vectors.decoders import DECODERS, outcome
from vectors.forge import repeat_frame
from vectors.form import EXPECTATIONS, OK, hexed, unhex

from castore.errors import CorruptionError
from castore.formats.frame import Record
from castore.limits import DIFFERENCE_DEPTH_MAX
from castore.reading.blobs import read_record


Case = dict[str, Any]


@functools.cache
def cases_of(name: str) -> list[Case]:
    """Return the cases of one file."""
    cases: list[Case] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))[
        "cases"
    ]
    return cases


ALL = [
    pytest.param(name, case, id=f"{name}-{case['name']}")
    for name in FORMATS
    for case in cases_of(name)
]


def test_files_are_as_generated() -> None:
    """The files are what the generator writes, and there are no others."""
    assert [] == differing()
    assert 0 == main(["--check"])


@pytest.mark.parametrize(("name", "case"), ALL)
def test_the_package_gives_what_a_vector_expects(name: str, case: Case) -> None:
    """Each input gives exactly the verdict, or exactly the values, of its vector."""
    expect, value = outcome(name, case["input"])

    assert (case["expect"], case.get("value")) == (
        expect,
        json.loads(json.dumps(value)),
    )


def test_every_format_is_decoded() -> None:
    """Each file of vectors has its decoder."""
    assert DECODERS.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_cases_are_named_once_and_described(name: str) -> None:
    """A case has a name of its own in its file, and says what it is."""
    cases = cases_of(name)
    keys = ["name", "desc", "input", "expect"]

    assert len({case["name"] for case in cases}) == len(cases)
    for case in cases:
        assert [*keys, *(["value"] if case["expect"] == OK else [])] == list(case)
        assert re.fullmatch(r"[A-Za-z0-9_]+", case["name"])
        assert case["desc"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_accepted_and_refused(name: str) -> None:
    """Each file holds inputs to accept and inputs to refuse."""
    expected = {case["expect"] for case in cases_of(name)}

    assert OK in expected
    assert len(expected) > 1


def test_expectations_are_a_closed_set() -> None:
    """What a vector may expect is ``ok`` or one of a few verdicts, all of them used."""
    used = {case["expect"] for name in FORMATS for case in cases_of(name)}

    assert EXPECTATIONS == used
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert all(f"| `{expect}` |" in readme for expect in EXPECTATIONS)


@pytest.mark.parametrize("name", FORMATS)
def test_no_two_cases_have_the_same_input(name: str) -> None:
    """Each case tries something that no other one does."""
    inputs = [json.dumps(case["input"], sort_keys=True) for case in cases_of(name)]

    assert len(set(inputs)) == len(inputs)


def test_long_runs_come_back() -> None:
    """The short form of a long run in hex gives the same bytes."""
    for data in (b"", b"ab", b"ab" + bytes(255), b"ab" + bytes(70_000) + b"c"):
        assert data == unhex(hexed(data))
    data = b"x" + b"12345" * 9000 + b"123"
    assert ["78", [9000, "3132333435"], "313233"] == hexed(data, b"12345")


@pytest.mark.parametrize("count", [DIFFERENCE_DEPTH_MAX, DIFFERENCE_DEPTH_MAX + 1])
def test_a_chain_of_bases_is_bounded(count: int) -> None:
    """A blob behind 255 differences is read, one behind 256 is not."""
    contents = [bytes([65 + at % 2]) * (10 + at) for at in range(count + 1)]
    records = [whole(contents[0])]
    for before, after in itertools.pairwise(contents):
        delta = repeat_frame(len(after), after[:1])
        records.append(difference(after, delta, before))
    known = {
        item["digest"]: Record(
            item["descriptor"][0], item["descriptor"], memoryview(item["payload"])
        )
        for item in records
    }
    newest = records[-1]["digest"]

    if count <= DIFFERENCE_DEPTH_MAX:
        assert contents[-1] == read_record(newest, known[newest], known.__getitem__)
        return
    with pytest.raises(CorruptionError) as caught:
        read_record(newest, known[newest], known.__getitem__)

    assert "corrupt blob" == caught.value.verdict
