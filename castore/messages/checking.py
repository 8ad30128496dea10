"""
What is wrong with a record of a message session, in the order of its system.

A value that passes here is one that the classes of `castore.records.messages`
decode. Members that are not documented are not looked at.

Spec: spec/messages.md, "Errors".
"""

from __future__ import annotations

import enum
import re

from collections.abc import Callable
from typing import Any

import attrs

from castore.errors import FormatError
from castore.records.messages import NUMBER_MAX, ROLES


class Problem(enum.StrEnum):
    """What can be wrong with a record."""

    NOT_TEXT = "not UTF-8"
    NOT_JSON = "invalid"
    NOT_AN_OBJECT = "must be an object"
    MISSING = "missing"
    OUT_OF_RANGE = "out of range"
    UNSUPPORTED = "unsupported"


_U32_MAX = (1 << 32) - 1
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")  # what is shown of a file

_BLOCKS = {
    "text": ("text",),
    "thinking": ("thinking",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id", "tool_name", "output"),
}
_USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)


@attrs.define
class MessageFormatError(FormatError):
    """
    A file of a message session is not as its system writes and reads it.

    Attributes:
        problem: What is wrong.

        subject: What has it: ``record``, ``type``, ``message``, a member's name.

        line: Which line of the file, from 1, blank ones counted; None in a
            document.

        message: Which message of a document, from 0; None if it is none of them.
    """

    problem: Problem
    subject: str
    line: int | None = None
    message: int | None = None

    def __str__(self) -> str:
        where = ""
        if self.line is not None:
            where = f"record at line {self.line}: "
        elif self.message is not None:
            where = f"message {self.message}: "
        return where + self.what


def wrong(problem: Problem, subject: str, told: str = "") -> MessageFormatError:
    """Return the error; *told* says more, and is shown."""
    ahead = problem in (Problem.MISSING, Problem.UNSUPPORTED, Problem.NOT_JSON)
    what = f"{problem} {subject}" if ahead else f"{subject} {problem}"
    more = f": {told}" if told else ""
    return MessageFormatError(what=what + more, problem=problem, subject=subject)


def unsupported(subject: str, name: str) -> MessageFormatError:
    """Return the error for a *name* that is not known; a long one is not shown."""
    shown = name if _NAME.fullmatch(name) else f"a text of {len(name)} characters"
    return wrong(Problem.UNSUPPORTED, subject, shown)


def check_object(value: Any, subject: str) -> dict[str, Any]:
    """Return *value* if it is an object."""
    if type(value) is not dict:
        raise wrong(Problem.NOT_AN_OBJECT, subject)
    members: dict[str, Any] = value
    return members


def check_text(members: dict[str, Any], name: str, subject: str = "") -> str:
    """Return the text *name*; *subject* is what an error calls it."""
    value = members.get(name)
    if type(value) is not str:
        raise wrong(Problem.MISSING, subject or name)
    return value


def check_number(members: dict[str, Any], name: str, most: int = NUMBER_MAX) -> int:
    """Return the number *name*, 0 to *most*."""
    value = members.get(name)
    if type(value) is not int:
        raise wrong(Problem.MISSING, name)
    if not 0 <= value <= most:
        raise wrong(Problem.OUT_OF_RANGE, name)
    return value


def check_message(value: Any) -> None:
    """Refuse what is no message."""
    members = check_object(value, "message")
    role = check_text(members, "role")
    if role not in ROLES:
        raise unsupported("message role", role)
    blocks = members.get("blocks")
    if type(blocks) is not list:
        raise wrong(Problem.MISSING, "blocks")
    for block in blocks:
        _check_block(block)
    if "usage" in members:
        usage = check_object(members["usage"], "usage")
        for name in _USAGE:
            check_number(usage, name, _U32_MAX)


def _check_block(value: Any) -> None:
    members = check_object(value, "block")
    kind = check_text(members, "type", "block type")
    if kind not in _BLOCKS:
        raise unsupported("block type", kind)
    for name in _BLOCKS[kind]:
        check_text(members, name)
    if kind == "tool_result" and type(members.get("is_error")) is not bool:
        raise wrong(Problem.MISSING, "is_error")


def check_compaction(value: Any) -> None:
    """Refuse what is no compaction."""
    members = check_object(value, "compaction")
    check_number(members, "count", _U32_MAX)
    check_number(members, "removed_message_count")
    check_text(members, "summary")


def check_fork(members: dict[str, Any]) -> None:
    """Refuse a member ``fork`` that tells no origin; there may be none."""
    if "fork" in members:
        fork = check_object(members["fork"], "fork metadata")
        check_text(fork, "parent_session_id")


def check_version(members: dict[str, Any]) -> None:
    """Refuse a version that is no u32."""
    check_number(members, "version", _U32_MAX)


def is_prompt(value: Any) -> bool:
    """Whether a record of the prompt's history is one; its system skips others."""
    return passes(lambda: _check_prompt(value))


def _check_prompt(value: Any) -> None:
    members = check_object(value, "record")
    check_number(members, "timestamp_ms")
    check_text(members, "text")


def passes(check: Callable[[], object]) -> bool:
    """Whether *check* raises nothing."""
    try:
        check()
    except MessageFormatError:
        return False
    return True
