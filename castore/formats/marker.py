"""
``castore.json``: what makes a folder a store.

Spec: spec/folder.md, "castore.json".
"""

from __future__ import annotations

import json

from castore.formats.refuse import UNSUPPORTED, need


NAME = "castore.json"
SIZE_MAX = 65_536  # bytes
_CLASSES = ("all_must_know", "reader_may_ignore", "writer_must_know")


def encode_marker(store: bytes) -> bytes:
    """Return the bytes of ``castore.json`` for the store id *store*."""
    features: dict[str, list[str]] = {name: [] for name in _CLASSES}
    ids = {"store": store.hex(), "suite": "blake3-256"}
    return _form({"castore": 1, "features": features} | ids)


def _form(facts: object) -> bytes:
    return (json.dumps(facts, sort_keys=True) + "\n").encode()


def decode_marker(data: bytes, *, writing: bool) -> bytes:
    """
    Return the store id.

    Args:
        data: Content of the file.

        writing: Whether features that only writers must know matter.

    Raises:
        CorruptionError: ``malformed record``, or ``unsupported version`` for a
            version, suite or feature that this reader does not know.
    """
    need(len(data) <= SIZE_MAX, "castore.json: too large")
    try:
        facts = json.loads(data)
        again = _form(facts)
    except (ValueError, RecursionError):
        facts, again = None, b""
    need(again == data, "castore.json: form")
    keys = {"castore", "features", "store", "suite"}
    need(isinstance(facts, dict) and facts.keys() == keys, "castore.json: form")
    version, features, store, suite = (facts[key] for key in sorted(keys))
    need(type(version) is int and _is_plain(suite), "castore.json: form")
    need(
        type(store) is str
        and len(store) == 32
        and set(store) <= set("0123456789abcdef"),
        "castore.json: store id",
    )
    need(
        isinstance(features, dict)
        and features.keys() == set(_CLASSES)
        and all(map(_is_list_of_names, features.values())),
        "castore.json: features",
    )
    need(version == 1, "castore.json: version", UNSUPPORTED)
    need(suite == "blake3-256", "castore.json: suite", UNSUPPORTED)
    unknown = features["all_must_know"] or (writing and features["writer_must_know"])
    need(not unknown, "castore.json: unknown feature", UNSUPPORTED)
    return bytes.fromhex(store)


def _is_list_of_names(values: object) -> bool:
    return (
        isinstance(values, list)
        and all(type(value) is str and _is_name(value) for value in values)
        and values == sorted(set(values))
    )


def _is_plain(text: object) -> bool:
    return type(text) is str and all(
        " " <= letter <= "~" and letter not in '"\\' for letter in text
    )


def _is_name(text: str) -> bool:
    return bool(text) and all(
        letter.isascii() and (letter.isalnum() or letter in "-.") for letter in text
    )
