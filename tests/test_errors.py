"""
Errors: facts in fields, text made from them, and one base to catch.
"""

from __future__ import annotations

import copy
import inspect
import pickle

from typing import Any

import attrs
import pytest

from castore import errors
from castore.errors import CastoreError, ClosedError, ForkedStoreError


WHAT = "the disk is full; make room"

# Class: its facts beside `what`, and its text.
CLASSES: dict[type[CastoreError], tuple[dict[str, Any], str]] = {
    CastoreError: ({}, WHAT),
    errors.NotFoundError: ({}, WHAT),
    errors.GoneError: ({"how": "collected", "entry": 7}, WHAT),
    errors.CorruptionError: (
        {"verdict": "corrupt frame", "where": "files/9f.cas@188"},
        f"corrupt frame: files/9f.cas@188: {WHAT}",
    ),
    errors.LostError: ({"names": ("blake3:00",)}, WHAT),
    errors.NeededError: ({"by": ("tag:kept",)}, WHAT),
    errors.ConflictError: (
        {"subject": "head", "expected": 2, "actual": 3},
        f"{WHAT} (head: expected 2, found 3)",
    ),
    errors.LockedError: ({"holder": "pid 7 (host castore)"}, WHAT),
    errors.FormatError: ({}, WHAT),
    errors.UnsupportedError: ({}, WHAT),
    errors.LimitError: ({"limit": 65_535}, WHAT),
    errors.StorageError: ({"errno": 28, "transient": True}, WHAT),
    errors.ClosedError: ({}, WHAT),
    errors.ForkedStoreError: ({}, WHAT),
}
EACH = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def make(kind: type[CastoreError]) -> CastoreError:
    """Return an error of *kind* with its facts."""
    return kind(what=WHAT, **CLASSES[kind][0])


def test_every_class_is_tested() -> None:
    """A new class of error is added to the table above by who adds it."""
    found = {
        item
        for _, item in inspect.getmembers(errors, inspect.isclass)
        if item.__module__ == errors.__name__
    }

    assert CLASSES.keys() == found


@EACH
def test_facts_stand_in_fields(kind: type[CastoreError]) -> None:
    """What went wrong can be read from fields, all given by name."""
    facts, _ = CLASSES[kind]
    error = make(kind)

    assert {"what": WHAT} | facts == attrs.asdict(error)
    assert ["what", *facts] == [field.name for field in attrs.fields(kind)]


@EACH
def test_text_is_made_from_facts(kind: type[CastoreError]) -> None:
    """The text says what is wrong, and where that is known."""
    assert CLASSES[kind][1] == str(make(kind))


@EACH
def test_one_base_catches_all(kind: type[CastoreError]) -> None:
    """Whatever castore raises on purpose is caught as `CastoreError`."""
    with pytest.raises(CastoreError) as caught:
        raise make(kind)

    assert kind is type(caught.value)


@EACH
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_cross_processes(kind: type[CastoreError], protocol: int) -> None:
    """An error comes out of a pool of processes as it went in."""
    error = make(kind)
    for found in (
        pickle.loads(pickle.dumps(error, protocol)),  # noqa: S301 - our own
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert kind is type(found)
        assert attrs.asdict(error) == attrs.asdict(found)
        assert str(error) == str(found)


@EACH
def test_facts_have_no_defaults(kind: type[CastoreError]) -> None:
    """Who raises an error states all of its facts."""
    names = ["what", *CLASSES[kind][0]]
    facts = {"what": WHAT} | CLASSES[kind][0]
    for name in names:
        with pytest.raises(TypeError):
            kind(**{key: facts[key] for key in names if key != name})


def test_a_place_can_be_filled_in() -> None:
    """The place of a refusal is known by the caller of a format, who states it."""
    error = errors.CorruptionError(what=WHAT, verdict="corrupt frame", where="")
    error.where = "lock"

    assert str(error).startswith("corrupt frame: lock: ")


def test_an_inherited_store_is_closed() -> None:
    """A store that is used in a child process is treated as one that was closed."""
    with pytest.raises(ClosedError):
        raise ForkedStoreError(what=WHAT)


def test_errors_are_told_apart_by_class() -> None:
    """No error is caught as another one, but for the child's."""
    for kind in CLASSES:
        bases = [
            base for base in CLASSES if base is not kind and issubclass(kind, base)
        ]
        expected = [CastoreError] if kind is not CastoreError else []
        if kind is ForkedStoreError:
            expected.append(ClosedError)
        assert expected == bases


def test_a_cause_stays() -> None:
    """The error of the system can be seen behind the typed one."""
    cause = OSError(28, "x")
    with pytest.raises(errors.StorageError) as caught:
        raise errors.StorageError(what=WHAT, errno=28, transient=True) from cause

    assert cause is caught.value.__cause__
