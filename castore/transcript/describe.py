"""
What a file as a whole says of itself.
"""

from __future__ import annotations

import re

from pathlib import PurePath
from typing import BinaryIO

import attrs

from castore.transcript.detect import ROLLOUT_NAME
from castore.transcript.head import first_records, first_value
from castore.transcript.reading import read_head
from castore.transcript.records import Record, inner, name_of, time_of


@attrs.frozen(kw_only=True)
class Description:
    """
    What a transcript says of itself.

    Attributes:
        session_id: The session's own name, told in the file, or by the file's
            name where the format names files so. None if neither.

        started_ms: The first time told, in ms since 1970 UTC, or None.

        parent: What it came from, as it stands there: a session's name, or a
            path (pi); or the name of the folder (Gemini). None if nothing is told.

        relation: ``subagent`` or ``fork``: what it is to its parent, else None.
    """

    session_id: str | None = None
    started_ms: int | None = None
    parent: str | None = None
    relation: str | None = None


def describe(file: BinaryIO, format: str, path: str) -> Description:  # noqa: A002
    """
    Return what *file* says of itself in its first MiB.

    The position of *file* stays where it is.

    Args:
        file: Seekable and binary.

        format: As from `detect`.

        path: Its path; folders count (``<session>/subagents/agent-*.jsonl``).
    """
    where = PurePath(path)
    if format == "swe-agent":
        return Description(session_id=where.stem)
    head = read_head(file)
    if format in ("claw-legacy", "claw-port"):
        return _claw(first_value(head)[0], where)
    if format == "gemini-json":
        record = first_value(head)[0]
        return attrs.evolve(_gemini(record, where), started_ms=time_of(record))
    records = list(first_records(head))
    match format:
        case "claude-code":
            found = _claude_code(_first(records, "sessionId"), where)
        case "claw-code":
            found = _claw(_first(records, "session_id"), where)
        case "codex":
            found = _codex(records, where)
        case "gemini":
            found = _gemini(_first(records, "projectHash"), where)
        case "pi":
            found = _pi(_first(records, "cwd"))
        case "session-log" | "segment-log" | "trace-log":
            found = _conversation(records, where)
        case _:
            record = _first(records, "session_id") or _first(records, "sessionId")
            found = _any(record)
    told = next((time for time in map(time_of, records) if time is not None), None)
    return found if told is None else attrs.evolve(found, started_ms=told)


def _claude_code(record: Record, where: PurePath) -> Description:
    """Subagents name their parent's session in every line, and their folder does."""
    session = name_of(record, "sessionId")
    agent = name_of(record, "agentId") if record.get("isSidechain") is True else None
    if where.stem.startswith("agent-") or agent:
        own = where.stem if where.stem.startswith("agent-") else f"agent-{agent}"
        folders = where.parent.parts
        if session is None and "subagents" in folders[1:]:
            session = folders[folders.index("subagents", 1) - 1]
        return Description(session_id=own, parent=session, relation="subagent")
    parent = name_of(inner(record, "forkedFrom"), "sessionId")
    return Description(
        session_id=where.stem if _UUID.fullmatch(where.stem) else session,
        parent=parent,
        relation="fork" if parent else None,
    )


def _claw(record: Record, where: PurePath) -> Description:
    """Older files tell the session and its start by their name only."""
    parent = name_of(inner(record, "fork"), "parent_session_id")
    by_name = _CLAW_NAME.match(where.stem)
    return Description(
        session_id=name_of(record, "session_id") or (where.stem if by_name else None),
        started_ms=int(by_name[1]) if by_name else None,
        parent=parent,
        relation="fork" if parent else None,
    )


def _codex(records: list[Record], where: PurePath) -> Description:
    """The first header is the file's own; behind it may stand that of its parent."""
    meta = next((r for r in records if r.get("type") == "session_meta"), {})
    header = inner(meta, "payload") or next((r for r in records if "id" in r), {})
    named = ROLLOUT_NAME.fullmatch(where.name)
    spawn = inner(inner(header, "source"), "subagent")
    above = inner(spawn, "thread_spawn")
    parent = name_of(above, "parent_thread_id") or name_of(header, "parent_thread_id")
    forked = name_of(header, "forked_from_id")
    relation = "subagent" if parent else "fork" if forked else None
    return Description(
        session_id=name_of(header, "id") or (named[1] if named else None),
        parent=parent or forked,
        relation=relation,
    )


def _gemini(record: Record, where: PurePath) -> Description:
    """A subagent's file lies in a folder named for the session that it works for."""
    parent = where.parent.name if record.get("kind") == "subagent" else None
    return Description(
        session_id=name_of(record, "sessionId"),
        parent=parent or None,
        relation="subagent" if parent else None,
    )


def _pi(record: Record) -> Description:
    parent = name_of(record, "branchedFrom") or name_of(record, "parentSession")
    return Description(
        session_id=name_of(record, "id"),
        parent=parent,
        relation="fork" if parent else None,
    )


def _conversation(records: list[Record], where: PurePath) -> Description:
    """A hash-chained log is named by its file, a segment's session by its folder."""
    start = next((record for record in records if record.get("kind") in _STARTS), {})
    forked = inner(start, "forked_from")
    origin = forked or inner(start, "compacted_from")
    parent = name_of(origin, "segment_id") or name_of(origin, "session_id")
    stem = where.name.partition(".")[0]
    named = (where.parent.name, stem)
    by_name = next((name for name in named if _UUID.fullmatch(name)), None)
    return Description(
        session_id=name_of(start, "session_id") or by_name,
        parent=parent,
        relation="fork" if forked else None,
    )


def _any(record: Record) -> Description:
    return Description(
        session_id=name_of(record, "session_id") or name_of(record, "sessionId")
    )


def _first(records: list[Record], name: str) -> Record:
    """Return the first record with field *name*, an empty one if there is none."""
    return next((record for record in records if name in record), {})


_STARTS = ("session_start", "segment_start")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CLAW_NAME = re.compile(r"session-([0-9]{13})(?![0-9])")
