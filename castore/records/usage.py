"""
Tokens used: by a prompt, by a turn, and added up by source and model.

Spec: spec/runtime.md, "The ledger".
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from castore.records.fields import I64, TEXT, Record, one, optional, required


_COUNTS = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")


@attrs.frozen(kw_only=True, repr=False)
class TokenUsage(Record):
    """Tokens of one or several answers of a model."""

    input_tokens: int = optional(I64, 0, written=True)
    output_tokens: int = optional(I64, 0, written=True)
    cached_input_tokens: int = optional(I64, 0, written=True)
    reasoning_tokens: int = optional(I64, 0, written=True)

    @property
    def total(self) -> int:
        """Input, output and reasoning; cached input is part of the input."""
        return self.input_tokens + self.output_tokens + self.reasoning_tokens

    @property
    def is_zero(self) -> bool:
        """Whether nothing at all was used, not even from a cache."""
        return not any(getattr(self, name) for name in _COUNTS)

    def plus(self, other: TokenUsage) -> TokenUsage:
        """Return both together."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        return attrs.evolve(self, **sums)

    def since(self, before: TokenUsage) -> TokenUsage:
        """
        Return what was used since *before*, an earlier report of the same meter.

        Raises:
            ValueError: A count went down; a meter never does.
        """
        more = {name: getattr(self, name) - getattr(before, name) for name in _COUNTS}
        if min(more.values()) < 0:
            raise ValueError("a report of usage is smaller than the one before")
        return TokenUsage(**more)


@attrs.frozen(kw_only=True, repr=False)
class PromptUsage(Record):
    """How full the context was when a prompt was sent."""

    prompt_context_tokens: int = optional(I64, 0, written=True)
    input_tokens: int = optional(I64, 0, written=True)
    cached_input_tokens: int = optional(I64, 0, written=True)
    context_budget_tokens: int = optional(I64, 0, written=True)


@attrs.frozen(kw_only=True, repr=False)
class TokenLedgerEntry(Record):
    """
    What one source used of one model.

    Attributes:
        source: ``turn``, ``subagent``, ``compaction``, ``observer`` or another.
    """

    source: str = required(TEXT)
    model: str = required(TEXT)
    usage: TokenUsage = required(one(TokenUsage))


def merge_ledger(entries: Iterable[TokenLedgerEntry]) -> tuple[TokenLedgerEntry, ...]:
    """
    Return *entries* added up by source and model, in the order first seen.

    What used nothing is left out; what used only cached input is not nothing.
    """
    merged: dict[tuple[str, str], TokenLedgerEntry] = {}
    for entry in entries:
        name = (entry.source, entry.model)
        before = merged.get(name)
        if before is not None:
            merged[name] = attrs.evolve(before, usage=before.usage.plus(entry.usage))
        elif not entry.usage.is_zero:
            merged[name] = entry
    return tuple(merged.values())
