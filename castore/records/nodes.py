"""
Nodes of a session's graph, and what stands in them: messages and tool calls.

A node's envelope is decoded when it is read; what it holds, when it is asked
for. Undocumented members and events survive.

Spec: spec/runtime.md, "Nodes".
"""

from __future__ import annotations

import hashlib
import json

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from castore.records.fields import (
    ANYTHING,
    BOOLEAN,
    MAPPING,
    TEXT,
    U64,
    Record,
    Value,
    many,
    one,
    optional,
    refuse,
    required,
)


EVENT, PLUGIN = "event", "plugin"


@attrs.frozen(kw_only=True, repr=False)
class Part(Record):
    """
    A part of a message.

    Attributes:
        kind: Text, Image, Code, Output, Error, Prose, ToolCall, ToolResult,
            Reasoning, or another.

        prune_state: ``"Intact"``, ``"Cleared"``, ``{"Deleted": {"breadcrumb",
            "archive_hash"}}`` or ``{"Summarized": {"summary", "archive_hash"}}``.
    """

    id: str = required(TEXT)
    kind: str = required(TEXT)
    content: str = optional(TEXT, "", written=True)
    prune_state: Any = optional(ANYTHING)

    @property
    def archive_hash(self) -> str | None:
        """The name under which the pruned content is kept, None if there is none."""
        state = self.prune_state
        for body in state.values() if type(state) is dict else ():
            if type(body) is dict and type(body.get("archive_hash")) is str:
                return str(body["archive_hash"])
        return None


@attrs.frozen(kw_only=True, repr=False)
class Message(Record):
    """
    A message of a conversation.

    Attributes:
        role: User, Assistant, System, or another.

        origin: Who made it, where no user or model did.
    """

    id: str = required(TEXT)
    role: str = required(TEXT)
    parts: tuple[Part, ...] = optional(many(one(Part)), (), written=True)
    origin: Mapping[str, Any] | None = optional(MAPPING)

    @property
    def is_transient(self) -> bool:
        """Whether it is for the next prompt only, and never stored."""
        return self.origin is not None and self.origin.get("transient") is True

    @property
    def text(self) -> str:
        """The text of its parts."""
        return "\n".join(part.content for part in self.parts if part.kind == "Text")


@attrs.frozen(kw_only=True, repr=False)
class ToolCallRecord(Record):
    """A call of a tool, with what came of it."""

    call_id: str | None = optional(TEXT)
    tool: str = required(TEXT)
    args: Any = optional(ANYTHING)
    result: Any = optional(ANYTHING)
    success: bool | None = optional(BOOLEAN)
    duration_ms: int | None = optional(U64)
    control: Any = optional(ANYTHING)

    @property
    def stable_key(self) -> str:
        """Its call id, or a name made of what was called and what came of it."""
        if self.call_id:
            return self.call_id
        said = [self.tool, self.args, self.result]
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        return f"anon-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@attrs.frozen(kw_only=True, repr=False)
class ToolInvocation(Record):
    """A tool call under the key by which it is recognised."""

    stable_key: str = required(TEXT)
    record: ToolCallRecord = required(one(ToolCallRecord))


@attrs.frozen(kw_only=True, repr=False)
class SessionNodeRecord(Record):
    """
    A node of a session's graph.

    Attributes:
        parent_node_id: None for a root.

        timestamp: RFC 3339, as its writer gave it.

        kind: ``event``, ``plugin``, or another.

        event: Of an event: ``{"Conversation": {...}}``, ``{"Tool": {"Invocation":
            {...}}}``, ``{"Mode": {...}}``, ``{"StateSnapshot": {...}}`` or another.

        plugin_type: Of a plugin's node.

        body: Of a plugin's node: any value.
    """

    node_id: str = required(TEXT)
    parent_node_id: str | None = optional(TEXT)
    timestamp: str = required(TEXT)
    kind: str = required(TEXT)
    event: Mapping[str, Any] | None = optional(MAPPING)
    plugin_type: str | None = optional(TEXT)
    body: Any = optional(ANYTHING)

    def check(self, where: str) -> None:
        """Refuse a node that lacks what its kind has."""
        if self.kind == EVENT and self.event is None:
            raise refuse(where, "an event node without its event")
        if self.kind == PLUGIN and self.plugin_type is None:
            raise refuse(where, "a plugin node without its type")

    @property
    def message(self) -> Message | None:
        """The message that it holds, None if it holds none."""
        said = self._event("Conversation")
        return None if said is None else Message.decode(said, "event.Conversation")

    @property
    def tool_call(self) -> ToolInvocation | None:
        """The tool call that it holds, None if it holds none."""
        said = self._event("Tool")
        if type(said) is not dict or "Invocation" not in said:
            return None
        return ToolInvocation.decode(said["Invocation"], "event.Tool.Invocation")

    def _event(self, name: str) -> Value:
        return self.event.get(name) if self.event is not None else None

    def archives(self) -> Iterator[str]:
        """Yield the names of pruned contents that it refers to."""
        message = self.message
        for part in message.parts if message is not None else ():
            if part.archive_hash is not None:
                yield part.archive_hash


def message_node(
    message: Message, node_id: str, parent: str | None, timestamp: str
) -> SessionNodeRecord:
    """Return the node that holds *message*."""
    event = {"Conversation": message.encode()}
    return SessionNodeRecord(
        node_id=node_id,
        parent_node_id=parent,
        timestamp=timestamp,
        kind=EVENT,
        event=event,
    )


def tool_node(
    record: ToolCallRecord, node_id: str, parent: str | None, timestamp: str
) -> SessionNodeRecord:
    """Return the node that holds the tool call *record*."""
    call = ToolInvocation(stable_key=record.stable_key, record=record)
    return SessionNodeRecord(
        node_id=node_id,
        parent_node_id=parent,
        timestamp=timestamp,
        kind=EVENT,
        event={"Tool": {"Invocation": call.encode()}},
    )
