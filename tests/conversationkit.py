"""
Conversations for tests: items, and the files of both logs as their systems write
them.
"""

from __future__ import annotations

import hashlib
import json

from collections.abc import Iterable
from typing import Any

from castore.records.config import RequestConfig
from castore.records.entries import ENTRIES
from castore.records.fields import Record
from castore.records.items import Reasoning, ToolCall, ToolResult, text_message
from castore.records.state import StartState


Json = dict[str, Any]
TIME = 1_795_000_000_000
CONFIG: Json = {
    "max_tokens": 100,
    "temperature": 0.5,
    "top_p": None,
    "top_k": None,
    "stop_sequences": [],
}
SESSION = "0190a1b2-c3d4-7e5f-8001-020304050607"
SEGMENT = "0190a1b2-c3d5-7e5f-8008-090a0b0c0d0e"

USER = text_message("user", "hello")
ANSWER = text_message("assistant", "hi")
SYSTEM = text_message("system", "mind the gap")
CALL = ToolCall(call_id="c1", name="ls", arguments="{}", id="i1", status="completed")
RESULT = ToolResult(call_id="c1", summary="2 files", content="a b")
THOUGHT = Reasoning(
    text="hm", summary=("s",), encrypted_content="e", signature="g", id="r1"
)


SEED = StartState(
    system_prompt="be brief",
    config=RequestConfig(max_tokens=9),
    history=(text_message("user", "before"),),
)


class Clock:
    """A time that passes by one millisecond whenever it is asked for."""

    def __init__(self) -> None:
        self.now = TIME

    def __call__(self) -> int:
        """Return the time."""
        self.now += 1
        return self.now


def entry(kind: str, ts: int = TIME, **members: Any) -> Record:
    """Return the entry of *kind* with *members*, as decoded from its object."""
    return ENTRIES.decode({"kind": kind, "ts": ts, **members})


def message(role: str, text: str, tag: str = "type") -> Json:
    """Return the object of a message."""
    part = {tag: "text", "text": text}
    return {tag: "message", "role": role, "content": [part]}


def start(kind: str = "segment_start", **members: Any) -> Json:
    """Return the object of a start entry with one message of history."""
    told: Json = {"kind": kind, "ts": TIME}
    if kind == "segment_start":
        told["session_id"] = SESSION
    told |= {"system_prompt": "be brief", "config": CONFIG}
    tag = "type" if kind == "session_start" else "kind"
    return told | {"history": [message("user", "before", tag)]} | members


def segment_file(objects: Iterable[Json]) -> bytes:
    """Return a segment's file."""
    return b"".join(dumps(one).encode() + b"\n" for one in objects)


def chained_file(objects: Iterable[Json]) -> bytes:
    """Return a hash-chained log's file, as its serializer writes it."""
    lines = []
    before: str | None = None
    for one in objects:
        text = dumps(one)
        seed = bytes.fromhex(before) if before else bytes(32)
        own = hashlib.sha256(seed + text.encode()).hexdigest()
        front = dumps({"hash": own, "prev_hash": before})
        lines.append(f"{front[:-1]},{text[1:]}\n")
        before = own
    return "".join(lines).encode()


def dumps(value: object) -> str:
    """Return *value* as compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


#: A life that both logs can tell, without its start.
LIFE: list[Json] = [
    {"kind": "user_input", "ts": TIME + 1, "item": message("user", "list")},
    {
        "kind": "assistant_items",
        "ts": TIME + 2,
        "items": [
            {"type": "tool_call", "call_id": "c", "name": "ls", "arguments": "{}"}
        ],
    },
    {
        "kind": "tool_results",
        "ts": TIME + 3,
        "items": [{"type": "tool_result", "call_id": "c", "summary": "empty"}],
    },
    {
        "kind": "assistant_items",
        "ts": TIME + 4,
        "items": [message("assistant", "nothing é")],
    },
    {"kind": "turn_end", "ts": TIME + 5, "turn_count": 1},
    {"kind": "cache_locked", "ts": TIME + 6, "locked_prefix_len": 2},
    {
        "kind": "llm_usage",
        "ts": TIME + 7,
        "history_len": 4,
        "input_total_tokens": 40,
        "cache_read_tokens": 30,
        "cache_write_tokens": 10,
        "output_tokens": 7,
    },
    {
        "kind": "run_outcome",
        "ts": TIME + 8,
        "outcome": "finished",
        "interrupted": False,
    },
]
