"""
What a user typed: text, pastes, names of files, of knowledge, of workflows.

One of these is called a *segment* by the system that had them first; here a
segment is a log, so it is an *input part*.

Spec: spec/conversations.md, "Input parts".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from castore.records.fields import ANYTHING, TEXT, U64, Record, Tagged, required


@attrs.frozen(kw_only=True, repr=False)
class TextInput(Record):
    """Typed text."""

    content: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class Paste(Record):
    """Pasted text; *chars* and *lines* are what was shown of it."""

    id: Any = required(ANYTHING)
    chars: int = required(U64)
    lines: int = required(U64)
    content: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class FileRef(Record):
    """A file, by its path."""

    path: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class KnowledgeRef(Record):
    """A piece of knowledge, by its name."""

    slug: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class WorkflowInvoke(Record):
    """A workflow to begin, by its name."""

    slug: str = required(TEXT)


#: Input parts, told apart by ``kind``.
INPUT_PARTS = Tagged(
    "kind",
    {
        "text": TextInput,
        "paste": Paste,
        "file_ref": FileRef,
        "knowledge_ref": KnowledgeRef,
        "workflow_invoke": WorkflowInvoke,
    },
)


def flatten(parts: Iterable[Record]) -> str:
    """
    Return the text that *parts* are to the model, put together without a gap.

    A part of an unknown kind is a placeholder that names nothing of it.
    """
    return "".join(map(_flat, parts))


def _flat(part: Record) -> str:
    match part:
        case TextInput() | Paste():
            return part.content
        case FileRef():
            return f"@{part.path}"
        case KnowledgeRef():
            return f"#{part.slug}"
        case WorkflowInvoke():
            return f"/{part.slug}"
    return "[input of an unknown kind]"
