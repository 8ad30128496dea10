"""
When a session is compacted, and what stays of it.

Tokens are estimated from bytes. A summary, which a message of the system's holds,
takes the place of all but the last messages; one that is there already counts
neither as a message nor as removed.

Spec: spec/messages.md, "Compaction".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import attrs

from castore.records.fields import Record
from castore.records.messages import (
    ConversationMessage,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)


KEPT_COUNT = 4  # messages
TOKEN_COUNT = 10_000  # estimated, from which on it is worth it

#: How a message begins that stands for what was compacted; so does their system's.
PREAMBLE = (
    "This session is being continued from a previous conversation that ran out of "
    "context. The summary below covers the earlier portion of the conversation.\n\n"
)
# What their system writes behind a summary.
_BEHIND = "\n\nRecent messages are preserved verbatim."
_LINE_SIZE = 160  # characters of a request in a summary

#: Returns a summary of messages and of an earlier summary, empty if there is none.
Summarize = Callable[[Sequence[ConversationMessage], str], str]


@attrs.frozen
class Plan:
    """
    What a compaction does.

    Attributes:
        message: It takes the place of what is removed, an earlier summary included.

        summary: Its text without the preamble.

        removed_count: Messages, an earlier summary not counted.

        kept_count: Messages that stay, the last ones.
    """

    message: ConversationMessage
    summary: str
    removed_count: int
    kept_count: int


def estimate_tokens(message: ConversationMessage) -> int:
    """Return some number of tokens: a quarter of the bytes of each block, and one."""
    return sum(len(_text_of(block).encode()) // 4 + 1 for block in message.blocks)


def _text_of(block: Record) -> str:
    match block:
        case TextBlock():
            return block.text
        case ThinkingBlock():
            return block.thinking
        case ToolUseBlock():
            return block.name + block.input
        case ToolResultBlock():
            return block.tool_name + block.output
        case _:
            return ""


def earlier_summary(messages: Sequence[ConversationMessage]) -> str | None:
    """Return the summary that *messages* begin with, if they do."""
    if not messages or messages[0].role != "system":
        return None
    text = _first_text(messages[0])
    if not text.startswith(PREAMBLE):
        return None
    return text.removeprefix(PREAMBLE).partition(_BEHIND)[0].strip()


def _first_text(message: ConversationMessage) -> str:
    texts = (block.text for block in message.blocks if isinstance(block, TextBlock))
    return next(filter(str.strip, texts), "")


def plan(
    messages: Sequence[ConversationMessage],
    *,
    keep_count: int = KEPT_COUNT,
    token_count: int = TOKEN_COUNT,
    summarize: Summarize | None = None,
) -> Plan | None:
    """
    Return what to do about *messages*, or None if there is no need.

    There is if more than *keep_count* of them, without an earlier summary, have
    *token_count* or more tokens. *keep_count* stay, and before them what they
    answer: a tool's result never stands first without the call.
    """
    earlier = earlier_summary(messages)
    first = int(earlier is not None)
    rest = messages[first:]
    if len(rest) <= keep_count or sum(map(estimate_tokens, rest)) < token_count:
        return None
    at = _boundary(rest, len(rest) - keep_count)
    if not at:
        return None
    summary = (summarize or brief)(rest[:at], earlier or "")
    message = ConversationMessage(
        role="system", blocks=(TextBlock(text=PREAMBLE + summary),)
    )
    return Plan(message, summary, at, len(rest) - at)


def _boundary(messages: Sequence[ConversationMessage], at: int) -> int:
    """Return *at*, or where the call stands that the message there answers."""
    while 0 < at < len(messages) and _begins_with(messages[at], ToolResultBlock):
        at -= 1
    return at


def _begins_with(message: ConversationMessage, kind: type[Record]) -> bool:
    return bool(message.blocks) and isinstance(message.blocks[0], kind)


def brief(messages: Sequence[ConversationMessage], earlier: str) -> str:
    """Return a summary that needs no model: what was there, and what users asked."""
    roles = Counter(message.role for message in messages)
    told = ", ".join(f"{count} {role}" for role, count in sorted(roles.items()))
    lines = [f"Compacted: {len(messages)} messages ({told})."]
    tools = sorted(
        {
            block.name
            for message in messages
            for block in message.blocks
            if isinstance(block, ToolUseBlock)
        }
    )
    if tools:
        lines.append(f"Tools used: {', '.join(tools)}.")
    asked = [_first_text(message) for message in messages if message.role == "user"]
    lines += [f"The user said: {_shortened(text)}" for text in asked if text]
    return "\n".join([earlier, *lines] if earlier else lines)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LINE_SIZE else f"{line[:_LINE_SIZE]}…"
