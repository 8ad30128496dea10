"""
How a model is asked, what it cost, and where a log began.

Spec: spec/conversations.md, "Entries of conversations".
"""

from __future__ import annotations

from typing import Any

import attrs

from castore.records.fields import (
    ANYTHING,
    NUMBER,
    TEXT,
    U32,
    U64,
    Record,
    many,
    optional,
    required,
)


@attrs.frozen(kw_only=True, repr=False)
class RequestConfig(Record):
    """How a model is asked; unset members are written as null."""

    max_tokens: int | None = optional(U32, written=True)
    temperature: float | None = optional(NUMBER, written=True)
    top_p: float | None = optional(NUMBER, written=True)
    top_k: int | None = optional(U32, written=True)
    stop_sequences: tuple[str, ...] = optional(many(TEXT), (), written=True)
    reasoning: Any = optional(ANYTHING)


@attrs.frozen(kw_only=True, repr=False)
class UsageRecord(Record):
    """
    What one request cost, in tokens.

    Attributes:
        history_len: Items of the history when it was sent.

        input_total_tokens: Size of that whole prefix as the provider measured
            it; no increment.
    """

    history_len: int = required(U64)
    input_total_tokens: int = required(U64)
    cache_read_tokens: int = required(U64)
    cache_write_tokens: int = required(U64)
    output_tokens: int = required(U64)


@attrs.frozen(kw_only=True, repr=False)
class SessionOrigin(Record):
    """Where a hash-chained log comes from."""

    session_id: str = required(TEXT)
    at_hash: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class SegmentOrigin(Record):
    """
    Where a segment's file comes from.

    Attributes:
        segment_id: The segment in the same session.

        at_turn_index: Turns that it had completed; 0 before the first.
    """

    segment_id: str = required(TEXT)
    at_turn_index: int = required(U64)
