"""
A session of messages, in memory and in a store's segment alike.

Spec: spec/messages.md.
"""

from __future__ import annotations

import functools
import itertools
import os

from collections.abc import Callable, Iterator, Sequence
from typing import Self, TypeVar

import attrs

from castore.errors import ConflictError
from castore.messages import checking, compacting, dialect
from castore.messages.checking import MessageFormatError
from castore.messages.clock import CLOCK, Clock
from castore.messages.exporting import files_of, write_file
from castore.messages.loading import load
from castore.messages.log import SessionLog
from castore.messages.state import State
from castore.messages.view import SessionView
from castore.records.fields import Record
from castore.records.messages import (
    VERSION,
    ConversationMessage,
    MessageRecord,
    MessagesReplaced,
    SessionCompaction,
    SessionFork,
    SessionMeta,
    SessionPromptEntry,
)
from castore.segment import Segment
from castore.store import Store


R = TypeVar("R")
T = TypeVar("T", bound="Transcript")

_NAMES_TRIED = 100  # session names that another process may have taken


class Transcript(SessionView):
    """
    One conversation: its messages, and what is said of it.

    Until it is stored (`store_in`) it lives in memory. From then on each change is
    a commit first and in memory after that, so what a transcript shows is what its
    segment holds; nothing is cut short, left out or copied. Compaction and forks
    cost an entry or two, and the log keeps what a compaction removed.

    Two transcripts are equal if their sessions are, wherever these are kept. Not
    for several threads at once.

    Attributes:
        skipped: What was left out of the file that it was loaded from.
    """

    def __init__(
        self,
        state: State,
        *,
        log: SessionLog | None = None,
        skipped: Sequence[MessageFormatError] = (),
        cause: str = "new",
        clock: Clock = CLOCK,
    ) -> None:
        super().__init__(state)
        self._log = log
        self._cause = cause
        self._clock = clock
        self.skipped = tuple(skipped)

    # --- coming to be ----------------------------------------------------------

    @classmethod
    def new(
        cls,
        *,
        session_id: str | None = None,
        workspace_root: str | None = None,
        model: str | None = None,
        clock: Clock = CLOCK,
    ) -> Self:
        """Return an empty session; its name is new, if none is given."""
        name = clock.session_id() if session_id is None else session_id
        now = clock.now()
        meta = SessionMeta(
            version=VERSION,
            session_id=name,
            created_at_ms=now,
            updated_at_ms=now,
            workspace_root=workspace_root,
            model=model,
        )
        return cls(State(meta), clock=clock)

    @classmethod
    def parse(
        cls, data: bytes, name: str = "", *, lenient: bool = False, clock: Clock = CLOCK
    ) -> Self:
        """
        Return the session that a file holds: lines of records, or one document.

        Args:
            data: The file.

            name: Its name. What it does not tell of itself comes from that and
                from its bytes, the same each time.

            lenient: Leave out what is wrong, and tell it in `skipped`.

            clock: Gives the times of what comes.

        Raises:
            MessageFormatError: What is wrong first, and in which line.
        """
        found = load(data, name, lenient=lenient)
        return cls(found.state, skipped=found.skipped, cause="import", clock=clock)

    @classmethod
    def load_from_path(
        cls,
        path: str | os.PathLike[str],
        *,
        lenient: bool = False,
        clock: Clock = CLOCK,
    ) -> Self:
        """
        Return the session in the file *path*; as `parse`.

        Raises:
            NotFoundError: There is no such file.

            StorageError: It cannot be read.
        """
        with files_of(path) as where:
            data = where.read_bytes()
        return cls.parse(data, where.name, lenient=lenient, clock=clock)

    @classmethod
    def open(
        cls, store: Store, session_id: str, *, scope: str = "", clock: Clock = CLOCK
    ) -> Self:
        """
        Return the session of that name as *store* has it.

        Raises:
            NotFoundError: It has none.
        """
        log = SessionLog.find(store, session_id, scope=scope)
        return cls(log.read(State(meta=None)), log=log, clock=clock)

    @classmethod
    def restore(
        cls,
        store: Store,
        segment: Segment,
        *,
        scope: str = "",
        clock: Clock = CLOCK,
    ) -> Self:
        """
        Return the session that *segment* holds; reads all of it.

        Raises:
            FormatError: It holds none, or an entry is not as documented.
        """
        log = SessionLog(store, segment, scope, 0)
        return cls(log.read(State(meta=None)), log=log, clock=clock)

    # --- what it holds ---------------------------------------------------------

    @property
    def segment(self) -> Segment | None:
        """Where it is stored, None if it is not."""
        return None if self._log is None else self._log.segment

    def history(self) -> Iterator[ConversationMessage]:
        """Yield every message that was pushed, those that were compacted too."""
        return iter(self.messages) if self._log is None else self._log.messages()

    # --- changes ---------------------------------------------------------------

    def push_message(
        self, message: ConversationMessage, *, key: str | None = None
    ) -> None:
        """
        Add *message*: durable when this returns, if the session is stored.

        Args:
            message: It.

            key: Makes the push recognisable, as in `Segment.append`: the same
                again adds nothing.

        Raises:
            MessageFormatError: It is none that a file could hold.

            ConflictError: Somebody else wrote. `refresh`, and push again or not.
        """
        checking.check_message(message.encode())
        self._write([MessageRecord(message=message)], self._clock.now(), key)

    def push_user_text(self, text: str, *, key: str | None = None) -> None:
        """Add a message of the user's; as `push_message`."""
        self.push_message(ConversationMessage.user_text(text), key=key)

    def push_prompt_entry(self, text: str) -> None:
        """Add what the user typed to the history of the prompt."""
        entry = SessionPromptEntry(timestamp_ms=self._clock.now(), text=text)
        self._write([entry], entry.timestamp_ms, None)

    def record_compaction(self, summary: str, removed_message_count: int) -> None:
        """Say that *summary* stands for so many messages; these stay as they are."""
        self._write([self._compacted(summary, removed_message_count)])

    def compact(
        self,
        *,
        keep_count: int = compacting.KEPT_COUNT,
        token_count: int = compacting.TOKEN_COUNT,
        summarize: compacting.Summarize | None = None,
    ) -> int:
        """
        Let a summary take the place of all but the last messages, if it is worth it.

        One commit. The messages stay in the log, `history` yields them.

        Args:
            keep_count: How many messages stay, and before them what they answer.

            token_count: Estimated tokens of messages from which on it is.

            summarize: Returns the summary of messages and of an earlier summary;
                by default a brief one made without a model.

        Returns:
            How many messages were removed; 0 if nothing was done.
        """
        plan = compacting.plan(
            self._state.messages,
            keep_count=keep_count,
            token_count=token_count,
            summarize=summarize,
        )
        if plan is None:
            return 0
        replaced = MessagesReplaced(
            messages=(plan.message,), kept_count=plan.kept_count
        )
        self._write([self._compacted(plan.summary, plan.removed_count), replaced])
        return plan.removed_count

    def _compacted(self, summary: str, removed_count: int) -> SessionCompaction:
        before = self._state.compaction
        made = SessionCompaction(
            count=1 if before is None else before.count + 1,
            removed_message_count=removed_count,
            summary=summary,
        )
        checking.check_compaction(made.encode())
        return made

    def fork(
        self, branch_name: str | None = None, *, session_id: str | None = None
    ) -> Self:
        """
        Return a new session with the messages of this one, which it names.

        If this one is stored, so is the fork: one commit that copies nothing.

        Args:
            branch_name: What it is called; blank is nothing.

            session_id: Its name; a new one by default.

        Raises:
            ConflictError: The name is taken.
        """
        branch = (branch_name or "").strip() or None
        if session_id is not None:
            return self._fork_as(session_id, branch)
        return _named(self._clock, lambda name: self._fork_as(name, branch))

    def _fork_as(self, name: str, branch_name: str | None) -> Self:
        now = self._clock.now()
        origin = SessionFork(parent_session_id=self.session_id, branch_name=branch_name)
        meta = attrs.evolve(
            self.meta,
            session_id=name,
            created_at_ms=now,
            updated_at_ms=now,
            fork=origin,
        )
        dialect.check(meta.encode())
        log = None if self._log is None else self._log.fork(meta)
        state = attrs.evolve(self._state.copy(), meta=meta, derived=())
        return type(self)(state, log=log, clock=self._clock)

    # --- the store -------------------------------------------------------------

    def store_in(self, store: Store, *, scope: str = "") -> None:
        """
        Store the session, as one commit, and every change to come.

        Args:
            store: Where.

            scope: Apart from sessions of the same name in other scopes.

        Raises:
            ConflictError: The store has a session of that name.

            LimitError: Its name has no bytes, or more than 1,024.

            ValueError: It is stored already.
        """
        if self._log is not None:
            raise ValueError("the session is stored already")
        self._log = SessionLog.create(
            store, self._state, cause=self._cause, scope=scope
        )

    @classmethod
    def create(
        cls,
        store: Store,
        *,
        scope: str = "",
        workspace_root: str | None = None,
        model: str | None = None,
        clock: Clock = CLOCK,
    ) -> Self:
        """Return a new session in *store*, of a name that it does not have."""
        made = functools.partial(
            cls.new, workspace_root=workspace_root, model=model, clock=clock
        )
        return _named(clock, lambda name: _stored(made(session_id=name), store, scope))

    def refresh(self) -> None:
        """Take in what others wrote to the session's segment since."""
        if self._log is not None:
            self._state = self._log.read(self._state)

    def _write(
        self,
        records: Sequence[Record],
        time_ms: int | None = None,
        key: str | None = None,
    ) -> None:
        """Append *records* to the log, and then take them in."""
        for record in records:
            dialect.check(record.encode())  # no file could hold it
        now = self._clock.now() if time_ms is None else time_ms
        if self._log is not None and not self._log.append(records, now, key=key):
            self.refresh()
            return
        for record in records:
            self._state.take(record)
            if isinstance(record, MessageRecord | SessionCompaction):
                self._state.touch(now)

    # --- files -----------------------------------------------------------------

    def save_to_path(self, path: str | os.PathLike[str]) -> None:
        """
        Write the session to a file of lines, whole, keeping a large old one.

        Raises:
            StorageError: The medium failed; the old file is there, or the new one.
        """
        write_file(path, self.to_jsonl(), clock=self._clock)


def _named(clock: Clock, make: Callable[[str], R]) -> R:
    """Return what *make* makes of a new name, another if somebody has that one."""
    tries = itertools.count(1)
    while True:
        try:
            return make(clock.session_id())
        except ConflictError:
            if next(tries) == _NAMES_TRIED:
                raise


def _stored(made: T, store: Store, scope: str) -> T:
    made.store_in(store, scope=scope)
    return made
