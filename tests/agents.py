"""
Files as Codex and Gemini CLI write them, made up from a seed.

Every record type that is documented comes, and one that is not. There are no
real ones among the inputs of this suite.
"""

from __future__ import annotations

import json
import random
import uuid

from collections.abc import Iterable, Iterator
from typing import Any


Json = dict[str, Any]
CODEX_START = "2025-12-09T10:00:00.123Z"
CODEX_START_MS = 1765274400123


def lines(records: Iterable[Json]) -> bytes:
    """Return a line file of *records*."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def name_of(seed: int) -> str:
    """Return the native name of the session made from *seed*."""
    return str(uuid.UUID(int=random.Random(seed).getrandbits(128), version=4))


def rollout_name(seed: int) -> str:
    """Return how Codex calls the file of that session."""
    return f"rollout-2025-12-09T10-00-00-{name_of(seed)}.jsonl"


# --- Codex -------------------------------------------------------------------


def codex(
    seed: int, turns: int = 3, *, header: Json | None = None, text_size: int = 40
) -> bytes:
    """
    Return a rollout: a header and *turns* turns, then a compaction that repeats all.

    Args:
        seed: Of everything in it.

        turns: How many.

        header: More for the payload of the first record.

        text_size: About how many bytes a text has.
    """
    rng = random.Random(seed)
    meta: Json = {"id": name_of(seed), "timestamp": CODEX_START, "cwd": "/home/u/p"}
    meta |= {"originator": "codex_cli_rs", "cli_version": "0.99.0", "source": "cli"}
    meta |= {"base_instructions": {"text": "be brief"}, "git": {"branch": "main"}}
    records = [_line("session_meta", meta | (header or {}))]
    items: list[Json] = []
    for turn in range(turns):
        some = list(_codex_turn(rng, f"call_{seed}_{turn}", text_size))
        items += [payload for kind, payload in some if kind == "response_item"]
        records += [_line(kind, payload) for kind, payload in some]
    history = {"message": "", "replacement_history": items, "window_id": turns}
    records.append(_line("compacted", history))
    return lines(records)


def _line(kind: str, payload: Json) -> Json:
    return {"timestamp": CODEX_START, "type": kind, "payload": payload}


def _codex_turn(
    rng: random.Random, call: str, text_size: int
) -> Iterator[tuple[str, Json]]:
    def text() -> str:
        return rng.randbytes(text_size // 2 + 1).hex()

    image = {"type": "input_image", "image_url": f"data:image/png;base64,{text()}"}
    asked = [{"type": "input_text", "text": text()}, image]
    yield "turn_context", {"cwd": "/home/u/p", "approval_policy": "never", "model": "m"}
    yield "event_msg", {"type": "task_started", "turn_id": call}
    yield "response_item", {"type": "message", "role": "user", "content": asked}
    yield "event_msg", {"type": "user_message", "message": text(), "images": []}
    thought = {"type": "reasoning", "id": f"rs_{call}", "encrypted_content": text()}
    yield "response_item", {**thought, "summary": []}
    called = {"call_id": call, "name": "shell", "arguments": '{"command":["ls"]}'}
    yield "response_item", {"type": "function_call", **called}
    yield (
        "response_item",
        {"type": "function_call_output", "call_id": call, "output": text()},
    )
    own = {"call_id": f"{call}x", "name": "apply_patch", "input": text()}
    yield "response_item", {"type": "custom_tool_call", **own}
    yield (
        "response_item",
        {"type": "custom_tool_call_output", "call_id": f"{call}x", "output": "ok"},
    )
    said = [{"type": "output_text", "text": text()}]
    yield "response_item", {"type": "message", "role": "assistant", "content": said}
    yield "event_msg", {"type": "token_count", "info": {"total": rng.randrange(9999)}}
    yield "world_state", {"files": rng.randrange(99)}
    yield "inter_agent_communication", {"to": "other", "text": text()}
    yield "inter_agent_communication_metadata", {"id": f"m_{call}"}
    yield "a_type_of_next_year", {"x": text()}


CODEX_KINDS = {
    "session_meta",
    "turn_context",
    "task_started",
    "user",
    "user_message",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "assistant",
    "token_count",
    "world_state",
    "inter_agent_communication",
    "inter_agent_communication_metadata",
    "a_type_of_next_year",
    "compacted",
}


def codex_flat(seed: int, turns: int = 3) -> bytes:
    """Return a rollout of before September 2025: a bare header, bare items."""
    rng = random.Random(seed)
    header = {"id": name_of(seed), "timestamp": CODEX_START, "instructions": None}
    records: list[Json] = [header, {"record_type": "state"}]
    for turn in range(turns):
        some = _codex_turn(rng, f"call_{seed}_{turn}", 40)
        records += [item for kind, item in some if kind == "response_item"]
    return lines(records)


# --- Gemini CLI --------------------------------------------------------------

PROJECT = "0" * 64


def _gemini_header(seed: int, kind: str | None) -> Json:
    times = {"startTime": CODEX_START, "lastUpdated": CODEX_START}
    header = {"sessionId": name_of(seed), "projectHash": PROJECT, **times}
    return header if kind is None else {**header, "kind": kind}


def _gemini_messages(seed: int, turns: int) -> Iterator[Json]:
    rng = random.Random(seed)
    for turn in range(turns):
        facts = {"timestamp": CODEX_START}
        yield {"id": f"u{turn}", **facts, "type": "user", "content": [{"text": "do"}]}
        call = {"id": f"t{turn}", "name": "read_file", "args": {}, "result": []}
        answer = {
            "content": rng.randbytes(30).hex(),
            "toolCalls": [call],
            "thoughts": [{"subject": "s", "timestamp": CODEX_START}],
            "tokens": {"input": rng.randrange(999), "output": 1},
            "model": "gemini-3-pro",
        }
        yield {"id": f"g{turn}", **facts, "type": "gemini", **answer}
        yield {"id": f"i{turn}", **facts, "type": "info", "content": "saved"}
    yield {"id": "e", "timestamp": CODEX_START, "type": "error", "content": "no"}
    yield {"id": "w", "timestamp": CODEX_START, "type": "warning", "content": "oh"}


def gemini(seed: int, turns: int = 3, *, kind: str = "main") -> bytes:
    """Return a chat in lines, with updates and a turn taken back."""
    messages = list(_gemini_messages(seed, turns))
    records = [_gemini_header(seed, kind), *messages]
    records.insert(4, {"$set": {"lastUpdated": CODEX_START, "summary": "s"}})
    records += [{"$rewindTo": "u1"}, {"$set": {"messages": messages[:3]}}]
    return lines(records)


def gemini_document(seed: int, turns: int = 3, *, indent: int | None = 2) -> bytes:
    """Return a chat of older versions: one document."""
    record = _gemini_header(seed, None)
    record["messages"] = list(_gemini_messages(seed, turns))
    return json.dumps(record, indent=indent).encode()
