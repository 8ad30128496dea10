"""
A message session as it stands: what is folded from records, and rendered as files.

Spec: spec/messages.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from castore.messages import dialect
from castore.records.fields import Record
from castore.records.messages import (
    ConversationMessage,
    MessageRecord,
    MessagesReplaced,
    SessionCompaction,
    SessionMeta,
    SessionPromptEntry,
)


@attrs.define
class State:
    """
    What a session holds.

    Attributes:
        meta: What it says of itself. None only while it is being read.

        derived: Members of *meta* that nobody told. Not compared.

        compaction: The latest one.

        prompts: The history of the prompt.

        records: Its messages now, each with its record.
    """

    meta: SessionMeta | None
    derived: tuple[str, ...] = attrs.field(default=(), eq=False)
    compaction: SessionCompaction | None = None
    prompts: list[SessionPromptEntry] = attrs.field(factory=list)
    records: list[MessageRecord] = attrs.field(factory=list)

    @property
    def about(self) -> SessionMeta:
        """What it says of itself."""
        assert self.meta is not None, "a state is read to its end"  # noqa: S101
        return self.meta

    @property
    def messages(self) -> list[ConversationMessage]:
        """Its messages now."""
        return [record.message for record in self.records]

    def touch(self, time_ms: int) -> None:
        """Say that it changed at *time_ms*."""
        self.meta = attrs.evolve(self.about, updated_at_ms=time_ms)
        if "updated_at_ms" in self.derived:
            self.derived = tuple(
                name for name in self.derived if name != "updated_at_ms"
            )

    def take(self, record: Record) -> None:
        """Take *record* in, the next one."""
        match record:
            case MessageRecord():
                self.records.append(record)
            case SessionMeta():
                self.meta = record
            case SessionCompaction():
                self.compaction = record
            case SessionPromptEntry():
                self.prompts.append(record)
            case MessagesReplaced():
                self._replace(record)

    def _replace(self, replaced: MessagesReplaced) -> None:
        kept = self.records[max(len(self.records) - replaced.kept_count, 0) :]
        new = [MessageRecord(message=message) for message in replaced.messages]
        self.records = new + kept

    def copy(self) -> State:
        """Return another that changes on its own."""
        return attrs.evolve(
            self, prompts=list(self.prompts), records=list(self.records)
        )


def render_lines(state: State) -> bytes:
    """Return *state* as a file of lines, whole."""
    values = [{"type": "session_meta", **state.about.encode()}]
    if state.compaction is not None:
        values.append({"type": "compaction", **state.compaction.encode()})
    values += [{"type": "prompt_history", **one.encode()} for one in state.prompts]
    values += [{"type": "message", **one.encode()} for one in state.records]
    return "".join([f"{dialect.render(value)}\n" for value in values]).encode()


def document_of(state: State, *, leave_out: Sequence[str] = ()) -> dict[str, Any]:
    """
    Return *state* as an older document.

    Args:
        state: It.

        leave_out: Members of what it says of itself that do not stand there.
    """
    members = {
        name: value
        for name, value in state.about.encode().items()
        if name not in leave_out
    }
    members["messages"] = [message.encode() for message in state.messages]
    if state.compaction is not None:
        members["compaction"] = state.compaction.encode()
    if state.prompts:
        members["prompt_history"] = [
            {"type": "prompt_history", **one.encode()} for one in state.prompts
        ]
    return members
