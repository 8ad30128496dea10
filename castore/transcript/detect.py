"""
Which format a file has.
"""

from __future__ import annotations

import re

from pathlib import PurePath
from typing import BinaryIO

from castore.transcript.head import first_records, first_value
from castore.transcript.reading import read_head
from castore.transcript.records import Record, inner, parse_record


def detect(file: BinaryIO, path: str) -> str:
    """
    Return the format of *file*: a name for `spans`, ``jsonl`` if in doubt.

    Looks at the first MiB and the name, never at more. The position of *file*
    stays where it is.

    Args:
        file: Seekable and binary.

        path: Its path or name, which speaks where the content does not.
    """
    head = read_head(file)
    found = _document_format(head, path)
    if found is None:
        found = next(filter(None, map(_line_format, first_records(head))), None)
    return found or _format_by_name(PurePath(path))


def _document_format(head: bytes, path: str) -> str | None:
    line, _, rest = head.partition(b"\n")
    # Most files are lines, and a whole one is parsed faster than it is cut.
    if rest.strip() and parse_record(line) is not None:
        return None
    record, more = first_value(head)
    if more:
        return None
    messages = record.get("messages")
    if isinstance(record.get("trajectory"), list):
        return "swe-agent"
    if isinstance(messages, list):
        if "projectHash" in record:
            return "gemini-json"
        first = messages[0] if messages else None
        if "session_id" in record and not isinstance(first, dict):
            return "claw-port"
        if "version" in record or (isinstance(first, dict) and "blocks" in first):
            return "claw-legacy"
    named = path.endswith(".traj") and head.lstrip().startswith(b"{")
    return "swe-agent" if named else None


def _line_format(record: Record) -> str | None:
    """Return the format that writes such records, None if many do."""
    kind = record.get("type")
    message = inner(record, "message")
    if "$set" in record or "$rewindTo" in record or kind == "gemini":
        return "gemini"
    if "payload" in record and isinstance(kind, str) and kind in _CODEX_TYPES:
        return "codex"
    match kind:
        case None:
            return _format_without_type(record)
        case "session" if "cwd" in record:
            return "pi"
        case "session_meta" if "session_id" in record:
            return "claw-code"
        case "prompt_history" if "timestamp_ms" in record:
            return "claw-code"
        case "compaction" if "removed_message_count" in record:
            return "claw-code"
        case "message" if "blocks" in message:
            return "claw-code"
        case "message" if "content" in message and "timestamp" in record:
            return "pi"
    if kind == "file-history-snapshot" or not record.keys().isdisjoint(
        {"sessionId", "leafUuid"}
    ):
        return "claude-code"
    return None


def _format_without_type(record: Record) -> str | None:
    names = record.keys()
    if {"hash", "prev_hash", "kind", "ts"} <= names:
        return "session-log"
    if {"ts", "turn"} <= names and not isinstance(record.get("event"), str):
        return "trace-log"
    if "ts" in names and record.get("kind") == "segment_start":
        return "segment-log"
    if {"ts", "event"} <= names:
        return "claw-code"
    if {"sessionId", "projectHash"} <= names:
        return "gemini"
    # How Codex began its files until September 2025.
    if {"id", "timestamp"} <= names and not names.isdisjoint({"instructions", "git"}):
        return "codex"
    return "codex" if "record_type" in names else None


def _format_by_name(where: PurePath) -> str:
    if ROLLOUT_NAME.fullmatch(where.name):
        return "codex"
    if where.parent.name == "chats" and where.name.startswith("session-"):
        return "gemini"
    return "jsonl"


#: How Codex calls its files; the session's name is in it.
ROLLOUT_NAME = re.compile(
    r"rollout-[0-9T-]{19}-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"\.jsonl(?:\.zst)?"
)
_CODEX_TYPES = frozenset(
    {
        "compacted",
        "event_msg",
        "inter_agent_communication",
        "inter_agent_communication_metadata",
        "response_item",
        "session_meta",
        "turn_context",
        "world_state",
    }
)
