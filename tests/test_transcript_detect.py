"""
Which format a file has, and what it says of itself.
"""

from __future__ import annotations

import io
import json

from pathlib import Path

import pytest

from hypothesis import given
from hypothesis import strategies as st

from castore.transcript import (
    DOCUMENT_FORMATS,
    LINE_FORMATS,
    Description,
    describe,
    detect,
    spans,
)


MIB = 1 << 20
UUID = "0cf3db51-0000-4000-8000-000000000001"
OTHER = "0cf3db51-0000-4000-8000-000000000002"
TIME = "2025-12-09T00:53:29.825Z"
TIME_MS = 1765241609825


def lines(*records: object) -> bytes:
    """Return a line file of *records*."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


CLAUDE = {"type": "user", "sessionId": UUID, "uuid": OTHER, "timestamp": TIME}
SNAPSHOT = {"type": "file-history-snapshot", "messageId": OTHER}
META = {"type": "session_meta", "session_id": "session-1-0", "created_at_ms": 7}
TURN = {"type": "message", "message": {"role": "user", "blocks": []}}
PI = {"type": "session", "id": UUID, "timestamp": TIME, "cwd": "/x"}
PI_TURN = {"type": "message", "timestamp": TIME, "message": {"content": []}}
LEGACY = {"version": 1, "messages": [{"role": "user", "blocks": []}]}
PORT = {"session_id": "p", "messages": ["a"], "input_tokens": 1}
CHAT = {"messages": [{"role": "user", "content": "c"}], "version": 1}


@pytest.mark.parametrize(
    ("data", "path", "expected"),
    [
        (lines(CLAUDE), "a.jsonl", "claude-code"),
        (lines(SNAPSHOT, CLAUDE), "a.jsonl", "claude-code"),
        (lines({"type": "summary", "leafUuid": "u"}), "a.jsonl", "claude-code"),
        (b"\xef\xbb\xbf" + lines(CLAUDE), "a.jsonl", "claude-code"),
        (b"\n{torn\n" + lines(CLAUDE), "a.jsonl", "claude-code"),
        (lines({**CLAUDE, "x": "a" * MIB}), "a.jsonl", "claude-code"),
        (lines(CLAUDE)[:-20], "a.jsonl", "claude-code"),
        (lines(META), "a.jsonl", "claw-code"),
        (lines(TURN), "a.jsonl", "claw-code"),
        (lines({"type": "prompt_history", "timestamp_ms": 1}), "a", "claw-code"),
        (lines({"type": "compaction", "removed_message_count": 1}), "a", "claw-code"),
        (lines({"ts": TIME, "event": "e", "message": "m"}), "a", "claw-code"),
        (lines(PI), "a.jsonl", "pi"),
        (lines(PI_TURN), "a.jsonl", "pi"),
        (lines(LEGACY), "a.json", "claw-legacy"),
        (json.dumps(LEGACY, indent=1).encode(), "a.json", "claw-legacy"),
        (json.dumps(LEGACY).encode()[:-8], "a.json", "claw-legacy"),
        (
            lines({"messages": [{"role": "u", "blocks": ["a" * MIB]}]}),
            "a",
            "claw-legacy",
        ),
        (lines(PORT), "a.json", "claw-port"),
        (lines({**PORT, "messages": ["a" * MIB]}), "a.json", "claw-port"),
        (lines({"trajectory": [], "info": {}}), "a.json", "swe-agent"),
        (lines({"x": "a" * MIB, "trajectory": []}), "a.traj", "swe-agent"),
        (lines(CHAT, CHAT), "a.jsonl", "jsonl"),
        (lines({"messages": ["a"]}), "a.json", "jsonl"),
        (lines({"type": "message", "message": {}}), "a.jsonl", "jsonl"),
        (lines({"a": 1}), "a.json", "jsonl"),
        (lines({"session_id": "s", "append_nodes": []}), "a.jsonl", "jsonl"),
        (lines([1], 2, None), "a.traj", "jsonl"),
        (b"", "a.jsonl", "jsonl"),
        (b"", "a.traj", "jsonl"),
        (b"\0" * 2 * MIB, "a.jsonl", "jsonl"),
        (b"x\n" * MIB, "a.jsonl", "jsonl"),
    ],
)
def test_formats(data: bytes, path: str, expected: str) -> None:
    """A format is told by what it alone writes; all else is a line file."""
    assert expected == detect(io.BytesIO(data), path)


class Watched(io.BytesIO):
    """A file that knows how far it was read."""

    reached = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and remember where that ended."""
        data = super().read(size)
        self.reached = max(self.reached, self.tell())
        return data


@pytest.mark.parametrize("data", [lines(CLAUDE) * 9999, b"1" * 2 * MIB])
def test_only_the_head_is_read(data: bytes) -> None:
    """Both look at the first MiB at most, and leave the position where it was."""
    file = Watched(data)
    file.seek(17)
    name = detect(file, "a.jsonl")
    describe(file, name, "a.jsonl")

    assert (17, MIB) == (file.tell(), file.reached)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from([*CLAUDE, *META, *PORT, "trajectory", "message", "blocks"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=9,
)
FILES = st.binary() | st.lists(VALUES).map(lambda values: lines(*values))
PATHS = st.text(max_size=9) | st.just("s/subagents/agent-1.traj")


@given(FILES, PATHS)
def test_nothing_is_fatal(data: bytes, path: str) -> None:
    """Any file has a format, a description and spans that are the file."""
    file = io.BytesIO(data)
    name = detect(file, path)
    found = describe(file, name, path)

    assert name in LINE_FORMATS or name in DOCUMENT_FORMATS
    assert (found.relation is None) or found.session_id or found.parent
    assert len(data) == sum(span.stop - span.start for span in spans(file, name))
    for other in (*LINE_FORMATS, *DOCUMENT_FORMATS):
        describe(file, other, path)


def told(data: bytes, path: str) -> Description:
    """Return what a file of the format that it has says."""
    file = io.BytesIO(data)
    return describe(file, detect(file, path), path)


SIDE = {**CLAUDE, "isSidechain": True, "agentId": "a7"}
FORKED = {**CLAUDE, "forkedFrom": {"sessionId": OTHER, "messageUuid": UUID}}


@pytest.mark.parametrize(
    ("data", "path", "session_id", "parent", "relation"),
    [
        (lines(SNAPSHOT, CLAUDE), "00.jsonl", UUID, None, None),
        (lines(CLAUDE), f"x/{OTHER}.jsonl", OTHER, None, None),
        (lines(FORKED), f"{UUID}.jsonl", UUID, OTHER, "fork"),
        (lines(SIDE), f"{UUID}/subagents/agent-a7.jsonl", "agent-a7", UUID, "subagent"),
        (lines(SIDE), "renamed.jsonl", "agent-a7", UUID, "subagent"),
        (
            lines(SNAPSHOT),
            f"{UUID}/subagents/workflows/w/agent-a7.jsonl",
            "agent-a7",
            UUID,
            "subagent",
        ),
        (lines(META, TURN), "a.jsonl", "session-1-0", None, None),
        (
            lines({**META, "fork": {"parent_session_id": "s"}}),
            "a.jsonl",
            "session-1-0",
            "s",
            "fork",
        ),
        (lines(TURN), "session-1765241609825-0.jsonl", None, None, None),
        (lines(LEGACY), "session-1765241609825.json", None, None, None),
        (lines(LEGACY), "notes.json", None, None, None),
        (lines(PORT), "a.json", "p", None, None),
        (lines(PI), "a.jsonl", UUID, None, None),
        (lines({**PI, "branchedFrom": "/b.jsonl"}), "a", UUID, "/b.jsonl", "fork"),
        (lines({**PI, "parentSession": "/c.jsonl"}), "a", UUID, "/c.jsonl", "fork"),
        (lines({"trajectory": []}), "d/repo__1.traj", "repo__1", None, None),
        (lines({"a": 1}, {"session_id": "s"}), "a.jsonl", "s", None, None),
        (lines({"sessionId": "s", "kind": "main"}), "a.jsonl", "s", None, None),
        (b"", "a.jsonl", None, None, None),
    ],
)
def test_descriptions(
    data: bytes,
    path: str,
    session_id: str | None,
    parent: str | None,
    relation: str | None,
) -> None:
    """A file's session, and what it came from, are told as the file tells them."""
    found = told(data, path)
    if path.startswith("session-"):
        session_id = Path(path).stem
        assert TIME_MS == found.started_ms

    assert (session_id, parent, relation) == (
        found.session_id,
        found.parent,
        found.relation,
    )


def test_start_is_the_first_time_told() -> None:
    """The start is the first time in the head, not the least and not a clock's."""
    later = {**CLAUDE, "timestamp": "2020-01-01T00:00:00Z"}

    assert TIME_MS == told(lines(SNAPSHOT, CLAUDE, later), "a").started_ms
    assert 7 == told(lines(META), "a").started_ms
    assert told(lines(SNAPSHOT), "a").started_ms is None


@pytest.mark.parametrize(
    ("pattern", "expected", "relation"),
    [
        ("claude-code/*/*.jsonl", "claude-code", None),
        ("claw-code/ledger.jsonl", "claw-code", None),
        ("claw-code/session-*.json", "claw-legacy", None),
        ("claw-code/b*.json", "claw-port", None),
        ("pi/*.jsonl", "pi", "fork"),
        ("swe-agent/*.traj", "swe-agent", None),
        ("runtime/*.jsonl", "jsonl", None),
    ],
)
def test_real_files(
    data: Path, pattern: str, expected: str, relation: str | None
) -> None:
    """Real files are known for what they are, and by whatever name they have."""
    paths = sorted(data.glob(pattern))

    assert paths
    for path in paths:
        with path.open("rb") as file:
            found = describe(file, expected, str(path))

            assert {expected} == {detect(file, str(path)), detect(file, "x")}
        assert found.relation == relation
        assert (found.session_id is None) == (path.name == "ledger.jsonl")
