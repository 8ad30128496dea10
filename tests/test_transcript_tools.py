"""
Codex and Gemini CLI: their files are known, cut and named for what they are.
"""

from __future__ import annotations

import io
import json

from pathlib import Path

import pytest

from agents import (
    CODEX_KINDS,
    CODEX_START_MS,
    codex,
    codex_flat,
    gemini,
    gemini_document,
    lines,
    name_of,
    rollout_name,
)

import castore

from castore.importer import facts_of, find_native, find_segment, import_file, restore
from castore.transcript import Description, describe, detect, spans


OTHER = name_of(99)


@pytest.mark.parametrize(
    ("data", "path", "expected"),
    [
        (codex(1), "x", "codex"),
        (codex(1)[:700], "x", "codex"),
        (codex(1).split(b"\n", 1)[1], "x", "codex"),
        (codex_flat(1), "x", "codex"),
        (codex_flat(1).split(b"\n", 1)[1], "x", "codex"),
        (codex_flat(1).split(b"\n", 2)[2], rollout_name(1), "codex"),
        (b"", rollout_name(1), "codex"),
        (b"\0" * 99, f"{rollout_name(1)}.zst", "codex"),
        (lines([{"id": "a", "timestamp": "b"}]), "x", "jsonl"),
        (lines([{"type": "response_item"}]), "x", "jsonl"),
        (lines([{"type": ["session_meta"], "payload": {}}]), "x", "jsonl"),
        (gemini(1), "x", "gemini"),
        (gemini(1).split(b"\n", 1)[1], "x", "gemini"),
        (lines([{"$set": {"summary": "s"}}]), "x", "gemini"),
        (b"", "p/chats/session-2026-01-01T00-00-aa.jsonl", "gemini"),
        (gemini_document(1), "x", "gemini-json"),
        (gemini_document(1, indent=None), "x", "gemini-json"),
        (gemini_document(1)[:-40], "x", "gemini-json"),
        (lines([{"sessionId": "s", "projectHash": "p"}]), "x.json", "gemini"),
    ],
)
def test_formats(data: bytes, path: str, expected: str) -> None:
    """Content tells the format; the name speaks only where content does not."""
    assert expected == detect(io.BytesIO(data), path)


def told(data: bytes, path: str) -> Description:
    """Return what a file of the format that it has says."""
    file = io.BytesIO(data)
    return describe(file, detect(file, path), path)


SPAWNED = {"source": {"subagent": {"thread_spawn": {"parent_thread_id": OTHER}}}}


@pytest.mark.parametrize(
    ("data", "path", "parent", "relation"),
    [
        (codex(1), "x", None, None),
        (codex_flat(1), "x", None, None),
        (b"", rollout_name(1), None, None),
        (codex(1, header={"forked_from_id": OTHER}), "x", OTHER, "fork"),
        (codex(1, header=SPAWNED), "x", OTHER, "subagent"),
        (codex(1, header=SPAWNED) + codex(99), "x", OTHER, "subagent"),
        (codex(1, header={"parent_thread_id": OTHER}), "x", OTHER, "subagent"),
        (codex(1, header={"source": {"subagent": "review"}}), "x", None, None),
        (gemini(1), "x", None, None),
        (gemini_document(1), "x", None, None),
        (gemini(1, kind="subagent"), f"chats/{OTHER}/a.jsonl", OTHER, "subagent"),
    ],
)
def test_descriptions(
    data: bytes, path: str, parent: str | None, relation: str | None
) -> None:
    """The session's name, its start and what it came from are those of the file."""
    found = told(data, path)

    assert name_of(1) == found.session_id
    assert (parent, relation) == (found.parent, found.relation)
    assert found.started_ms == (CODEX_START_MS if data else None)


def test_codex_kinds() -> None:
    """Every record of Codex has a kind of its own, unknown ones theirs."""
    some = list(spans(io.BytesIO(codex(1)), "codex"))

    assert {span.kind for span in some} == CODEX_KINDS
    assert {span.time_ms for span in some} == {CODEX_START_MS}
    assert not any(span.bad for span in some)


def test_gemini_kinds() -> None:
    """Messages are called by who speaks, updates by what they do."""
    kinds = {span.kind for span in spans(io.BytesIO(gemini(1)), "gemini")}
    older = [span.kind for span in spans(io.BytesIO(gemini_document(1)), "gemini-json")]
    speakers = {"user", "gemini", "info", "error", "warning"}

    assert {"line", "set", "rewind-to", *speakers} == kinds
    assert ["before", "user", "gemini", "info", "user"] == older[:5]
    assert speakers == set(older[1:-1])


def test_large_records_say_the_same() -> None:
    """What a record is called does not depend on how large it is."""
    small = list(spans(io.BytesIO(codex(1, 1)), "codex"))
    large = list(spans(io.BytesIO(codex(1, 1, text_size=3 << 20)), "codex"))

    assert [(s.kind, s.time_ms, s.native_id) for s in small] == [
        (s.kind, s.time_ms, s.native_id) for s in large
    ]


@pytest.fixture
def store(tmp_path: Path) -> castore.Store:
    """Return a new store."""
    return castore.open(tmp_path / "store", create=True)


FILES = {
    "codex": (rollout_name(1), codex(1)),
    "flat": (rollout_name(1), codex_flat(1)),
    "gemini": ("session-1.jsonl", gemini(1)),
    "document": ("session-1.json", gemini_document(1)),
}


@pytest.mark.parametrize("what", FILES)
def test_they_come_back(store: castore.Store, tmp_path: Path, what: str) -> None:
    """Byte for byte; found by the session's own name and those of its records."""
    name, data = FILES[what]
    path = tmp_path / name
    path.write_bytes(data)
    done = import_file(store, path, now_ms=1)
    segment = find_segment(store, f"{done.format.partition('-')[0]}:{name_of(1)}")
    out = io.BytesIO()
    restore(store, segment, out)
    native = {"codex": "call_1_0", "flat": "call_1_0"}.get(what, "g1")
    found = find_native(store, segment, native)

    assert data == out.getvalue()
    assert 0 == done.bad_lines
    assert found
    assert native in json.dumps(json.loads(store.get(found.body).lstrip(b", \n")))


def test_one_session_in_both_forms(store: castore.Store, tmp_path: Path) -> None:
    """A chat that Gemini CLI rewrote in its newer form stays one session."""
    done = []
    for name, data in (("s.json", gemini_document(1)), ("s.jsonl", gemini(1))):
        (tmp_path / name).write_bytes(data)
        done.append(import_file(store, tmp_path / name, now_ms=1))

    assert 1 == len({file.session_id for file in done})


def test_a_subagent_of_codex(store: castore.Store, tmp_path: Path) -> None:
    """A subagent's rollout, which repeats its parent's, is in its session, shared."""
    parent = codex(99, 8)
    (tmp_path / "a.jsonl").write_bytes(parent)
    (tmp_path / "b.jsonl").write_bytes(codex(1, 0, header=SPAWNED) + parent)
    first, second = (
        import_file(store, tmp_path / name, now_ms=1) for name in ("a.jsonl", "b.jsonl")
    )
    facts = facts_of(store, store.segment(second.segment_id))

    assert first.session_id == second.session_id
    assert facts
    assert (name_of(1), OTHER) == (facts.native_session, facts.parent)
