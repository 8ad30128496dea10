"""
Items of a conversation: messages, tool calls, tool results, reasoning.

An *item* is what a model is given and gives (tag ``type``). A *logged item* is
the form that stays the same while providers' forms change (tag ``kind``): the
same members without ``id`` and ``status``.

Spec: spec/conversations.md, "Items".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from castore.records.fields import (
    BOOLEAN,
    TEXT,
    Record,
    Tagged,
    Type,
    Unknown,
    Value,
    choice,
    many,
    one,
    optional,
    required,
    unknown_in,
)


ROLE = choice("user", "assistant", "system")
STATUS = choice("inprogress", "completed", "incomplete")


@attrs.frozen(kw_only=True, repr=False)
class TextPart(Record):
    """Text of a message."""

    text: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class RefusalPart(Record):
    """What a model says instead of an answer."""

    refusal: str = required(TEXT)


#: The parts of an item's content, and of a logged item's.
PARTS = Tagged("type", {"text": TextPart, "refusal": RefusalPart})
LOGGED_PARTS = Tagged("kind", {"text": TextPart, "refusal": RefusalPart})


@attrs.frozen(kw_only=True, repr=False)
class Attachment(Record):
    """Bytes that a tool returned, in base64."""

    kind: str = required(TEXT)
    mime_type: str | None = optional(TEXT)
    data: str | None = optional(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class _Message(Record):
    role: str = required(ROLE)


@attrs.frozen(kw_only=True, repr=False)
class LoggedMessage(_Message):
    """A message as it is logged."""

    content: tuple[Record, ...] = required(many(LOGGED_PARTS.type))


@attrs.frozen(kw_only=True, repr=False)
class Message(_Message):
    """A message of a user, the assistant, or the system."""

    content: tuple[Record, ...] = required(many(PARTS.type))
    id: str | None = optional(TEXT)
    status: str | None = optional(STATUS)


@attrs.frozen(kw_only=True, repr=False)
class LoggedToolCall(Record):
    """A tool call as it is logged; *arguments* are JSON in a text."""

    call_id: str = required(TEXT)
    name: str = required(TEXT)
    arguments: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class ToolCall(LoggedToolCall):
    """A call of a tool; *arguments* are JSON in a text."""

    id: str | None = optional(TEXT)
    status: str | None = optional(STATUS)


@attrs.frozen(kw_only=True, repr=False)
class LoggedToolResult(Record):
    """
    A tool result as it is logged.

    Attributes:
        call_id: Of the call that it answers.

        summary: What stays when the content is pruned.

        content: The prunable detail.

        is_error: Whether the tool failed.

        attachments: What it returned besides text.
    """

    call_id: str = required(TEXT)
    summary: str = required(TEXT)
    content: str | None = optional(TEXT)
    is_error: bool = optional(BOOLEAN, False)
    attachments: tuple[Attachment, ...] = optional(many(one(Attachment)), ())


@attrs.frozen(kw_only=True, repr=False)
class ToolResult(LoggedToolResult):
    """What a tool returned; see `LoggedToolResult`."""

    id: str | None = optional(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class LoggedReasoning(Record):
    """Reasoning as it is logged."""

    text: str = required(TEXT)
    summary: tuple[str, ...] = optional(many(TEXT), ())
    encrypted_content: str | None = optional(TEXT)
    signature: str | None = optional(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class Reasoning(LoggedReasoning):
    """What a model thought before it answered."""

    id: str | None = optional(TEXT)
    status: str | None = optional(STATUS)


#: Items, told apart by ``type``.
ITEMS = Tagged(
    "type",
    {
        "message": Message,
        "tool_call": ToolCall,
        "tool_result": ToolResult,
        "reasoning": Reasoning,
    },
)

#: Logged items, told apart by ``kind``.
LOGGED_ITEMS = Tagged(
    "kind",
    {
        "message": LoggedMessage,
        "tool_call": LoggedToolCall,
        "tool_result": LoggedToolResult,
        "reasoning": LoggedReasoning,
    },
)


_LOGGED: Mapping[type[Record], type[Record]] = {
    Message: LoggedMessage,
    ToolCall: LoggedToolCall,
    ToolResult: LoggedToolResult,
    Reasoning: LoggedReasoning,
    TextPart: TextPart,
    RefusalPart: RefusalPart,
}
_ITEM: Mapping[type[Record], type[Record]] = {
    logged: item for item, logged in _LOGGED.items()
}
_NAMES = {  # of the members that both forms have
    kind: tuple(field.name for field in attrs.fields(logged)[2:])
    for item, logged in _LOGGED.items()
    for kind in (item, logged)
}
_TAGS = {"type", "kind"}


def to_logged(items: Iterable[Record]) -> tuple[Record, ...]:
    """Return *items* as they are logged: without ``id`` and ``status``."""
    return tuple([_converted(item, _LOGGED, "type", "kind") for item in items])


def from_logged(items: Iterable[Record]) -> tuple[Record, ...]:
    """Return the items that were logged; ``id`` and ``status`` are None."""
    return tuple([_converted(item, _ITEM, "kind", "type") for item in items])


def _converted(
    item: Record, classes: Mapping[type[Record], type[Record]], old: str, new: str
) -> Record:
    """Return *item* as the other form of it; one that is that already, as it is."""
    if isinstance(item, Unknown):
        if old not in item.rest:
            return item
        told = {new if name == old else name: one for name, one in item.rest.items()}
        return Unknown(rest=told, order=tuple(told))
    target = classes.get(type(item))
    if target is None:
        return item
    members: dict[str, Any] = {name: getattr(item, name) for name in _NAMES[type(item)]}
    if "content" in members and isinstance(item, _Message):
        members["content"] = tuple(
            [_converted(part, classes, old, new) for part in members["content"]]
        )
    rest = {name: one for name, one in item.rest.items() if name not in _TAGS}
    return target(rest=rest, **members)


def _decode_either(value: Value, where: str) -> Record:
    if type(value) is dict and "kind" in value:
        known = value.get("type")
        if type(known) is not str or known not in ITEMS.classes:
            return LOGGED_ITEMS.decode(value, where)
    return ITEMS.decode(value, where)


def _encode_either(item: Record) -> Value:
    logged = type(item) in _ITEM or (isinstance(item, Unknown) and "kind" in item.rest)
    return (LOGGED_ITEMS if logged else ITEMS).encode(item)


#: Items in either form, told apart by their tag.
EITHER = Type(_decode_either, _encode_either, unknown_in)


# --- what items are ----------------------------------------------------------


def text_message(role: str, text: str) -> Message:
    """Return the message of *role* that is *text*."""
    return Message(role=role, content=(TextPart(text=text),))


def role_of(item: Record) -> str | None:
    """Return the role of a message in either form; of others None."""
    return item.role if isinstance(item, _Message) else None


def is_tool_result(item: Record) -> bool:
    """Return whether *item*, in either form, is a tool result."""
    return isinstance(item, LoggedToolResult)


def is_of_assistant(item: Record) -> bool:
    """Return whether *item*, in either form, comes from the model."""
    made = isinstance(item, LoggedToolCall | LoggedReasoning)
    return made or role_of(item) == "assistant"
