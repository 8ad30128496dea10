"""
Which format a file has.
"""

from __future__ import annotations

from typing import BinaryIO

from castore.transcript.head import first_records, first_value
from castore.transcript.reading import read_head
from castore.transcript.records import Record, inner


def detect(file: BinaryIO, path: str) -> str:
    """
    Return the format of *file*: a name for `spans`, ``jsonl`` if in doubt.

    Looks at the first MiB and the name, never at more. The position of *file*
    stays where it is.

    Args:
        file: Seekable and binary.

        path: Its path or name; ``.traj`` speaks for SWE-agent.
    """
    head = read_head(file)
    found = _document_format(head, path)
    if found is None:
        found = next(filter(None, map(_line_format, first_records(head))), "jsonl")
    return found


def _document_format(head: bytes, path: str) -> str | None:
    record, more = first_value(head)
    if more:
        return None
    messages = record.get("messages")
    if isinstance(record.get("trajectory"), list):
        return "swe-agent"
    if isinstance(messages, list):
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
    match kind:
        case None:
            return "claw-code" if {"ts", "event"} <= record.keys() else None
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
