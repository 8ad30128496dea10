"""
Writers of conversations and a model, told the same, come to the same.

The model of a log is the list of entries that it says; forks copy it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from conversationkit import ANSWER, CALL, RESULT, SYSTEM, THOUGHT, TIME, Clock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import castore

from castore import ConflictError
from castore.conversation.classify import group_history_items
from castore.conversation.state import collect_state
from castore.conversation.writer import SegmentWriter
from castore.gc import collect
from castore.limits import KIB
from castore.packing import pack
from castore.records import entries as kinds
from castore.records.config import RequestConfig, UsageRecord
from castore.records.fields import Record
from castore.records.inputs import FileRef, TextInput
from castore.records.items import ToolResult, role_of, text_message, to_logged
from castore.records.state import RestoredState, StartState
from castore.verify import verify


MEMORY = Path("/dev/shm")
LARGE = ToolResult(call_id="c", summary="s", content="x" * (64 * KIB))
USAGE = UsageRecord(
    history_len=1,
    input_total_tokens=2,
    cache_read_tokens=0,
    cache_write_tokens=0,
    output_tokens=1,
)
picks = st.integers(0, 7)
messages = st.builds(
    text_message, st.sampled_from(["user", "assistant", "system"]), st.text(max_size=5)
)
items = messages | st.sampled_from([ANSWER, CALL, RESULT, SYSTEM, THOUGHT, LARGE])
deltas = st.lists(items, max_size=5)
inputs = st.lists(
    st.builds(TextInput, content=st.text(max_size=5))
    | st.builds(FileRef, path=st.text(max_size=3)),
    max_size=3,
)


@attrs.define(eq=False)
class Told:
    """A writer, and all entries that its log says."""

    writer: SegmentWriter
    entries: list[Record]

    @property
    def state(self) -> RestoredState:
        """What the log comes to."""
        return collect_state(self.entries)

    def tell(self, **members: Any) -> None:
        """Add the entry of ``kind`` with *members*."""
        kind = members.pop("kind")
        self.entries.append(kind(ts=TIME, **members))


class ConversationMachine(RuleBasedStateMachine):
    """One store, some writers, and what each has told."""

    def __init__(self) -> None:
        super().__init__()
        room = MEMORY if MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="castore-", dir=room))
        self.store = castore.open(self.folder / "store", create=True)
        self.clock = Clock()
        self.all: list[Told] = []

    def pick(self, number: int) -> Told:
        """Return one of the writers."""
        return self.all[number % len(self.all)]

    def keep(self, writer: SegmentWriter, entries: list[Record]) -> None:
        """Take in a writer; of many, the oldest goes."""
        self.all = [*self.all[-5:], Told(writer, entries)]

    # --- beginning -----------------------------------------------------------

    @initialize(history=deltas)
    def begin(self, history: list[Record]) -> None:
        """Begin the first session."""
        self.create_session(history)

    @rule(history=deltas)
    def create(self, history: list[Record]) -> None:
        """Begin one more."""
        self.create_session(history)

    def create_session(self, history: list[Record]) -> None:
        """Begin a session with *history*."""
        state = StartState(system_prompt="p", history=tuple(history))
        writer = SegmentWriter.create(self.store, state, clock=self.clock)
        self.keep(writer, [started(state)])

    @rule()
    def reopen(self) -> None:
        """Close the store and go on from what the cursors say."""
        self.store.close()
        self.store = castore.open(self.folder / "store")
        for told in self.all:
            told.writer = SegmentWriter(
                self.store, told.writer.cursor, clock=self.clock
            )

    @rule(keep=st.sampled_from([None, 1]), packing=st.booleans())
    def maintain(self, keep: int | None, *, packing: bool) -> None:
        """Pack, and remove what nothing needs."""
        if packing:
            pack(self.store.engine)
        collect(self.store.engine, grace_s=0, keep_checkpoints=keep, yes=True)

    # --- saving --------------------------------------------------------------

    @rule(number=picks, delta=deltas, parts=inputs, grouped=st.booleans())
    def turn(
        self, number: int, delta: list[Record], parts: list[Record], *, grouped: bool
    ) -> None:
        """A turn is one commit."""
        told = self.pick(number)
        seq = told.writer.segment.head.seq
        turn = told.state.turn_count + 1
        with told.writer.turn():
            told.writer.save_invoke("user_send")
            told.writer.save_user_input(parts)
            told.writer.save_delta(delta, grouped=grouped)
            told.writer.save_usage(USAGE)
            told.writer.save_turn_end(turn)
        assert told.writer.segment.head.seq > seq
        told.tell(kind=kinds.Invoke, trigger="user_send")
        told.tell(kind=kinds.UserInput, segments=tuple(parts))
        told.entries += deltas_of(delta, grouped=grouped)
        told.tell(kind=kinds.LlmUsage, **USAGE.encode())
        told.tell(kind=kinds.TurnEnd, turn_count=turn)

    @rule(number=picks, delta=deltas, grouped=st.booleans())
    def delta(self, number: int, delta: list[Record], *, grouped: bool) -> None:
        """A delta is one commit."""
        told = self.pick(number)
        told.writer.save_delta(delta, grouped=grouped)
        told.entries += deltas_of(delta, grouped=grouped)

    @rule(number=picks, top_k=st.integers(0, 3), interrupted=st.booleans())
    def others(self, number: int, top_k: int, *, interrupted: bool) -> None:
        """Everything else that is told in one entry."""
        told = self.pick(number)
        config = RequestConfig(top_k=top_k)
        told.writer.save_config_changed(config)
        told.writer.save_extension("d", top_k)
        told.writer.save_cache_locked(top_k)
        told.writer.save_run_errored("m", interrupted=interrupted)
        told.tell(kind=kinds.ConfigChanged, config=config)
        told.tell(kind=kinds.ExtensionEntry, domain="d", payload=top_k)
        told.tell(kind=kinds.Locked, locked_prefix_len=top_k)
        told.tell(kind=kinds.RunErrored, message="m", interrupted=interrupted)

    @rule(number=picks)
    def snapshot(self, number: int) -> None:
        """A snapshot says nothing new."""
        self.pick(number).writer.save_snapshot()

    # --- forking -------------------------------------------------------------

    @rule(number=picks, more=deltas, known=st.booleans())
    def fork(self, number: int, more: list[Record], *, known: bool) -> None:
        """A fork goes on from what the caller has, saved or not."""
        told = self.pick(number)
        state = told.state
        history = (*state.history, *(more if known else ()))
        state = attrs.evolve(state, history=history)
        self.keep(told.writer.fork(state if known else None), went_on(told, state))

    @rule(number=picks)
    def overtake(self, number: int) -> None:
        """Two writers, one log: the second is told, and forks where it was."""
        told = self.pick(number)
        late = SegmentWriter(self.store, told.writer.cursor, clock=self.clock)
        before = list(told.entries)
        told.writer.save_delta([ANSWER])
        told.entries += deltas_of([ANSWER], grouped=False)
        with contextlib.suppress(ConflictError):
            late.save_delta([SYSTEM])
            raise AssertionError
        state = attrs.evolve(
            collect_state(before),
            history=(*collect_state(before).history, SYSTEM),
        )
        assert late.ensure_head_or_fork(state)
        self.keep(late, went_on(Told(late, before), state))

    @precondition(lambda self: any(ends_of(told) for told in self.all))
    @rule(number=picks, which=picks)
    def fork_at(self, number: int, which: int) -> None:
        """A fork at a turn has all up to its end."""
        ended = [told for told in self.all if ends_of(told)]
        told = ended[number % len(ended)]
        ends = ends_of(told)
        at, turn = ends[which % len(ends)]
        self.keep(told.writer.fork_at(turn=turn), told.entries[: at + 1])

    @rule(number=picks, tail=st.integers(0, 6))
    def compact(self, number: int, tail: int) -> None:
        """A compacted log says a summary and what was kept."""
        told = self.pick(number)
        state = told.state
        history = (SYSTEM, *state.history[len(state.history) - tail :])
        start = StartState(system_prompt="q", history=history)
        entries: list[Record] = [started(start)]
        if state.turn_count:
            entries.append(kinds.TurnEnd(ts=TIME, turn_count=state.turn_count))
        self.keep(told.writer.create_compacted(start), entries)

    # --- checking ------------------------------------------------------------

    @invariant()
    @precondition(lambda self: self.all)
    def the_newest_agrees(self) -> None:
        """The newest writer's log comes to what it has told."""
        self.check(self.all[-1])

    def check(self, told: Told) -> None:
        """Compare what a log comes to."""
        found, expected = told.writer.state(), told.state
        assert to_logged(found.history) == to_logged(expected.history)
        assert found.notes == ()
        for name in ("system_prompt", "config", "turn_count", "usage_history"):
            assert getattr(found, name) == getattr(expected, name)
        for name in ("extensions", "locked_prefix_len", "last_run_interrupted"):
            assert getattr(found, name) == getattr(expected, name)
        assert found.entries_count == told.writer.entries_count
        assert found.own_count == told.writer.own_count
        assert found.head_hash == told.writer.head_hash

    def teardown(self) -> None:
        """All agree, and so do the files."""
        for told in self.all:
            self.check(told)
        self.store.close()
        assert verify(self.folder / "store").ok
        shutil.rmtree(self.folder)


def ends_of(told: Told) -> list[tuple[int, int]]:
    """Return where in *told* turns end, and which."""
    return [
        (at, one.turn_count)
        for at, one in enumerate(told.entries)
        if isinstance(one, kinds.TurnEnd)
    ]


def started(state: StartState) -> Record:
    """Return the entry that says what a log began with."""
    return kinds.SegmentStart(
        ts=TIME,
        system_prompt=state.system_prompt,
        config=state.config,
        history=state.history,
    )


def deltas_of(delta: list[Record], *, grouped: bool) -> Iterator[Record]:
    """Yield the entries that a delta becomes."""
    if grouped:
        yield from group_history_items(delta, TIME)
        return
    for item in delta:
        if role_of(item) != "user":
            yield kinds.AssistantItem(ts=TIME, item=item)


def went_on(told: Told, state: RestoredState) -> list[Record]:
    """Return what a fork of *told* with *state* says."""
    known = len(told.state.history)
    more: list[Record] = [
        kinds.AssistantItem(ts=TIME, item=item) for item in state.history[known:]
    ]
    return [*told.entries, *more]


_count = settings.default.max_examples if settings.default else 100

TestConversations = ConversationMachine.TestCase
TestConversations.settings = settings(
    max_examples=max(5, _count * 2 // 5), stateful_step_count=50, deadline=None
)
