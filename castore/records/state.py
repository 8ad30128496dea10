"""
What a conversation begins with, and what its log comes to.

Spec: spec/conversations.md, "Entries of conversations" and "The fold".
"""

from __future__ import annotations

import attrs

from castore.records.config import RequestConfig, UsageRecord
from castore.records.entries import Extension
from castore.records.fields import (
    BOOLEAN,
    BYTES,
    TEXT,
    U64,
    Record,
    many,
    one,
    optional,
)
from castore.records.inputs import INPUT_PARTS
from castore.records.items import EITHER
from castore.records.system import PodScopeSnapshot


@attrs.frozen(kw_only=True, repr=False)
class StartState(Record):
    """
    What a log begins with.

    Attributes:
        system_prompt: Of all requests.

        config: Of the next one.

        history: Items that were there before.

        turn_count: Turns completed before.

        seed_count: Entries behind the start entry that continue *history*.
    """

    system_prompt: str | None = optional(TEXT, written=True)
    config: RequestConfig = optional(one(RequestConfig), RequestConfig(), written=True)
    history: tuple[Record, ...] = optional(many(EITHER), ())
    turn_count: int = optional(U64, 0)
    seed_count: int = optional(U64, 0)


@attrs.frozen(kw_only=True, repr=False)
class RestoredState(StartState):
    """
    What a log says.

    Attributes:
        history: Items, in their own form (`ITEMS`).

        turn_count: Turns completed.

        locked_prefix_len: Items that the provider holds in its cache.

        last_run_interrupted: Whether a run began and has not ended well.

        session_id: As the newest start entry tells it.

        head_hash: Hash of the last entry folded, if it has one.

        entries_count: Entries folded: inherited ones and own ones.

        inherited_count: How many of them are an ancestor's.

        usage_history: What each request cost, in order.

        extensions: In order.

        pod_scope: The newest that could be read.

        user_segments: Input parts of each user's message that was typed.

        notes: What was not understood or is not right, and where.
    """

    locked_prefix_len: int = optional(U64, 0)
    last_run_interrupted: bool = optional(BOOLEAN, False)
    session_id: str | None = optional(TEXT)
    head_hash: bytes | None = optional(BYTES)
    entries_count: int = optional(U64, 0)
    inherited_count: int = optional(U64, 0)
    usage_history: tuple[UsageRecord, ...] = optional(many(one(UsageRecord)), ())
    extensions: tuple[Extension, ...] = optional(many(one(Extension)), ())
    pod_scope: PodScopeSnapshot | None = optional(one(PodScopeSnapshot))
    user_segments: tuple[tuple[Record, ...], ...] = optional(
        many(many(INPUT_PARTS.type)), ()
    )
    notes: tuple[str, ...] = optional(many(TEXT), ())

    @property
    def own_count(self) -> int:
        """Entries folded that are no ancestor's."""
        return self.entries_count - self.inherited_count
