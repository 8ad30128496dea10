"""
Records of message sessions: messages, their blocks, and what is said of the session.

What their system writes is typed; all other members are kept (`fields`). A record
of a file is told by its ``type``, which no class here names.

Spec: spec/messages.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import attrs

from castore.records.fields import (
    BOOLEAN,
    TEXT,
    U32,
    Record,
    Tagged,
    choice,
    integer,
    many,
    one,
    optional,
    required,
)


ROLES = ("system", "user", "assistant", "tool")
VERSION = 1  # of files

#: What their numbers are on disk: integers of 64 bits with a sign.
NUMBER_MAX = (1 << 63) - 1
U63 = integer(0, NUMBER_MAX)


@attrs.frozen(kw_only=True, repr=False)
class TokenUsage(Record):
    """What a model's answer cost, in tokens."""

    input_tokens: int = required(U32)
    output_tokens: int = required(U32)
    cache_creation_input_tokens: int = required(U32)
    cache_read_input_tokens: int = required(U32)

    @property
    def total(self) -> int:
        """The sum of all four."""
        return (
            self.input_tokens
            + self.output_tokens
            + self.cache_creation_input_tokens
            + self.cache_read_input_tokens
        )


@attrs.frozen(kw_only=True, repr=False)
class TextBlock(Record):
    """Text."""

    text: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class ThinkingBlock(Record):
    """What a model thought, and its provider's signature of that."""

    thinking: str = required(TEXT)
    signature: str | None = optional(TEXT, loose=True)


@attrs.frozen(kw_only=True, repr=False)
class ToolUseBlock(Record):
    """A tool called; its input is text, JSON mostly."""

    id: str = required(TEXT)
    name: str = required(TEXT)
    input: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class ToolResultBlock(Record):
    """What a tool returned."""

    tool_use_id: str = required(TEXT)
    tool_name: str = required(TEXT)
    output: str = required(TEXT)
    is_error: bool = required(BOOLEAN)


BLOCKS = Tagged(
    "type",
    {
        "text": TextBlock,
        "thinking": ThinkingBlock,
        "tool_use": ToolUseBlock,
        "tool_result": ToolResultBlock,
    },
)


@attrs.frozen(kw_only=True, repr=False)
class ConversationMessage(Record):
    """
    One message.

    Attributes:
        role: One of `ROLES`.

        blocks: `TextBlock` and its like.

        usage: What it cost, None where that is not known.

        incomplete: The answer broke off.

        incomplete_reason: Why.
    """

    role: str = required(choice(*ROLES))
    blocks: tuple[Record, ...] = required(many(BLOCKS.type))
    usage: TokenUsage | None = optional(one(TokenUsage))
    incomplete: bool = optional(BOOLEAN, default=False, loose=True)
    incomplete_reason: str | None = optional(TEXT, loose=True)

    @classmethod
    def user_text(cls, text: str) -> Self:
        """Return a message of the user's."""
        return cls(role="user", blocks=(TextBlock(text=text),))

    @classmethod
    def assistant(
        cls, blocks: Iterable[Record], usage: TokenUsage | None = None
    ) -> Self:
        """Return a model's answer."""
        return cls(role="assistant", blocks=tuple(blocks), usage=usage)

    @classmethod
    def tool_result(
        cls, tool_use_id: str, tool_name: str, output: str, *, is_error: bool
    ) -> Self:
        """Return what the tool returned that was called as *tool_use_id*."""
        block = ToolResultBlock(
            tool_use_id=tool_use_id,
            tool_name=tool_name,
            output=output,
            is_error=is_error,
        )
        return cls(role="tool", blocks=(block,))


@attrs.frozen(kw_only=True, repr=False)
class MessageRecord(Record):
    """The record of a file that holds a message."""

    message: ConversationMessage = required(one(ConversationMessage))


@attrs.frozen(kw_only=True, repr=False)
class SessionCompaction(Record):
    """
    The latest compaction.

    Attributes:
        count: How many there were.

        removed_message_count: Messages that the summary stands for.

        summary: It.
    """

    count: int = required(U32)
    removed_message_count: int = required(U63)
    summary: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class SessionFork(Record):
    """Which session this one was forked from, and what the branch is called."""

    parent_session_id: str = required(TEXT)
    branch_name: str | None = optional(TEXT, loose=True)


@attrs.frozen(kw_only=True, repr=False)
class SessionPromptEntry(Record):
    """What a user typed, for the history of the prompt."""

    timestamp_ms: int = required(U63)
    text: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class SessionMeta(Record):
    """
    What a session says of itself; times in ms since 1970.

    Attributes:
        workspace_root: The folder that it belongs to.
    """

    version: int = required(U32)
    session_id: str = required(TEXT)
    created_at_ms: int = required(U63)
    updated_at_ms: int = required(U63)
    fork: SessionFork | None = optional(one(SessionFork))
    workspace_root: str | None = optional(TEXT, loose=True)
    model: str | None = optional(TEXT, loose=True)


@attrs.frozen(kw_only=True, repr=False)
class MessagesReplaced(Record):
    """
    A compaction's work: *messages*, then the last *kept_count* of those before.
    """

    messages: tuple[ConversationMessage, ...] = required(many(one(ConversationMessage)))
    kept_count: int = required(U63)
