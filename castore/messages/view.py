"""
What a message session shows: of itself, its messages, and as files.

Spec: spec/messages.md.
"""

from __future__ import annotations

from castore.messages import compacting, dialect
from castore.messages.state import State, document_of, render_lines
from castore.records.messages import (
    ConversationMessage,
    SessionCompaction,
    SessionFork,
    SessionMeta,
    SessionPromptEntry,
    TokenUsage,
)


class SessionView:
    """
    A message session, to be read. Equal to another if their sessions are.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def meta(self) -> SessionMeta:
        """What the session says of itself."""
        return self._state.about

    @property
    def session_id(self) -> str:
        """Its name."""
        return self.meta.session_id

    @property
    def created_at_ms(self) -> int:
        """When it began, ms since 1970."""
        return self.meta.created_at_ms

    @property
    def updated_at_ms(self) -> int:
        """When it changed last, ms since 1970."""
        return self.meta.updated_at_ms

    @property
    def derived(self) -> tuple[str, ...]:
        """Which of these no file told, so that they were made up from it."""
        return self._state.derived

    @property
    def origin(self) -> SessionFork | None:
        """Which session it was forked from, None if it was not."""
        return self.meta.fork

    @property
    def messages(self) -> list[ConversationMessage]:
        """Its messages now, in a list of their own."""
        return self._state.messages

    @property
    def compaction(self) -> SessionCompaction | None:
        """The latest compaction, None if there was none."""
        return self._state.compaction

    @property
    def prompt_history(self) -> list[SessionPromptEntry]:
        """What its user typed, where that is kept, in a list of its own."""
        return list(self._state.prompts)

    def usage(self) -> TokenUsage:
        """Return what its messages cost together."""
        told = [one.usage for one in self._state.messages if one.usage is not None]
        return TokenUsage(
            input_tokens=sum(one.input_tokens for one in told),
            output_tokens=sum(one.output_tokens for one in told),
            cache_creation_input_tokens=sum(
                one.cache_creation_input_tokens for one in told
            ),
            cache_read_input_tokens=sum(one.cache_read_input_tokens for one in told),
        )

    def estimate_tokens(self) -> int:
        """Return some number of tokens that its messages have."""
        return sum(map(compacting.estimate_tokens, self._state.messages))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SessionView) and self._state == other._state

    def __len__(self) -> int:
        return len(self._state.records)

    def to_jsonl(self) -> bytes:
        """
        Return the session as a file of lines, as its system writes it.

        Raises:
            FormatError: A number is too large for such a file.
        """
        return render_lines(self._state)

    def to_json(self, *, derived: bool = True) -> bytes:
        """
        Return the session as one document, which is how files were before lines.

        Args:
            derived: Also what no file told; without it a document that was loaded
                and not changed comes out as it was.
        """
        leave_out = () if derived else self.derived
        return dialect.render(document_of(self._state, leave_out=leave_out)).encode()

    def __repr__(self) -> str:
        return f"<castore.Transcript of {len(self)} messages>"
