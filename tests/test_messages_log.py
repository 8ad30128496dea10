"""
Message sessions in a store: what is shown is what is stored, at every moment.

Spec: spec/messages.md.
"""

from __future__ import annotations

import tempfile

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import MEMORY
from hypothesis import given, settings
from hypothesis import strategies as st

import castore

from castore.errors import ConflictError, FormatError, LimitError, NotFoundError
from castore.messages import Clock, MessageFormatError, Transcript
from castore.messages.compacting import PREAMBLE, estimate_tokens
from castore.messages.entries import NAMESPACE, REPLACED
from castore.records.messages import (
    ConversationMessage,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolUseBlock,
)
from castore.verify import verify


SCRATCH = MEMORY if MEMORY.is_dir() else None
USAGE = TokenUsage(
    input_tokens=10,
    output_tokens=4,
    cache_creation_input_tokens=1,
    cache_read_input_tokens=2,
)


def ticking(*times: int) -> Clock:
    """Return a clock that tells *times*, and then the last one."""
    left = list(times)
    return Clock(lambda: left.pop(0) if len(left) > 1 else left[0])


def user(text: str) -> ConversationMessage:
    """Return a message of the user's."""
    return ConversationMessage.user_text(text)


def call(name: str) -> ConversationMessage:
    """Return a model's call of a tool."""
    return ConversationMessage.assistant(
        [
            TextBlock(text="I look"),
            ToolUseBlock(id=name, name=name, input="{}"),
        ],
        USAGE,
    )


def result(name: str, output: str = "found") -> ConversationMessage:
    """Return what the tool returned."""
    return ConversationMessage.tool_result(name, name, output, is_error=False)


def texts(messages: Sequence[ConversationMessage]) -> list[str]:
    """Return the first text of each of *messages*."""
    return [str(message.blocks[0].encode().get("text")) for message in messages]


def kinds(transcript: Transcript) -> list[str]:
    """Return the kinds of the entries of a stored session."""
    assert transcript.segment is not None
    return [entry.kind for entry in transcript.segment.entries()]


def stored(store: castore.Store, transcript: Transcript) -> Transcript:
    """Return what *store* holds of the session of *transcript*."""
    return Transcript.open(store, transcript.session_id)


# --- messages ----------------------------------------------------------------


def test_three_messages_come_back(store: castore.Store) -> None:
    """
    A text, an answer with a call and its usage, a result: stored, read, equal.

    Statements: D1.
    """
    made = Transcript.new()
    for message in (user("look"), call("grep"), result("grep")):
        made.push_message(message)
    made.store_in(store)

    found = stored(store, made)
    assert found == made
    assert found.session_id == made.session_id
    assert [message.role for message in found.messages] == ["user", "assistant", "tool"]
    assert found.usage().total == 17
    assert Transcript.parse(found.to_jsonl()) == made


def test_a_push_is_a_commit(store: castore.Store) -> None:
    """
    Each push is one entry in one commit, in order, durable at once, none twice.

    Statements: D3, D11.
    """
    made = Transcript.create(store)
    assert made.segment is not None
    before = made.segment.revision
    for text in ("one", "two"):
        made.push_user_text(text)
        assert stored(store, made) == made

    assert texts(stored(store, made).messages) == ["one", "two"]
    assert made.segment.revision == before + 2
    assert kinds(made) == ["start", "session_meta", "message", "message"]


def test_a_session_is_stored_with_what_it_has(store: castore.Store) -> None:
    """
    What was pushed before is stored once, in one commit, and not again later.

    Statements: D11.
    """
    made = Transcript.new()
    made.push_user_text("one")
    made.push_prompt_entry("one")
    made.store_in(store)
    made.push_user_text("two")

    assert kinds(made).count("message") == 2
    assert stored(store, made) == made
    assert made.prompt_history[0].text == "one"
    with pytest.raises(ValueError, match="stored already"):
        made.store_in(store)


def test_what_changed_last_is_told(store: castore.Store) -> None:
    """
    A push says when the session changed, in the store too: nothing goes stale.

    Statements: D10.
    """
    made = Transcript.create(store, clock=ticking(100, 200, 300, 400))
    created = made.updated_at_ms
    made.push_user_text("one")

    assert created < made.updated_at_ms == stored(store, made).updated_at_ms
    assert made.created_at_ms == stored(store, made).created_at_ms == created


def test_what_fails_changes_nothing(store: castore.Store, folder: Path) -> None:
    """
    A push that the store refuses is not in memory either, and can be made again.
    """
    made = Transcript.create(store)
    made.push_user_text("one")
    before = made.updated_at_ms
    with castore.open(folder / "store", max_bytes=1) as full:
        other = stored(full, made)
        with pytest.raises(LimitError):
            other.push_user_text("x" * 100_000)
        assert other == made
    with pytest.raises(FormatError):
        made.push_user_text("\ud800")
    with pytest.raises(MessageFormatError, match="unsupported message role"):
        made.push_message(ConversationMessage(role="robot", blocks=()))

    assert (len(made), made.updated_at_ms) == (1, before)
    made.push_user_text("two")
    assert stored(store, made) == made


def test_two_writers_do_not_mix(store: castore.Store) -> None:
    """A push behind somebody else's is a conflict; a refresh shows theirs."""
    made = Transcript.create(store)
    other = stored(store, made)
    other.push_user_text("theirs")
    with pytest.raises(ConflictError):
        made.push_user_text("mine")
    assert len(made) == 0

    made.refresh()
    made.push_user_text("mine")

    assert texts(stored(store, made).messages) == ["theirs", "mine"]


def test_writers_in_threads_lose_nothing(store: castore.Store) -> None:
    """Who reads again and pushes again gets through; all is there, once, in order."""
    made = Transcript.create(store)

    def write(name: str) -> None:
        own = stored(store, made)
        for number in range(10):
            while True:
                try:
                    own.push_user_text(f"{name}{number}")
                    break
                except ConflictError:
                    own.refresh()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, "abc"))
    found = texts(stored(store, made).messages)

    for name in "abc":
        own = [text for text in found if text.startswith(name)]
        assert own == [f"{name}{number}" for number in range(10)]
    assert len(found) == 30


def test_a_push_with_a_key_is_made_once(store: castore.Store) -> None:
    """The same push again, by anybody, adds nothing, and shows what is there."""
    made = Transcript.create(store)
    other = stored(store, made)
    made.push_user_text("one", key="k")
    made.push_user_text("one", key="k")
    other.push_user_text("one", key="k")

    assert len(made) == 1
    assert other == made == stored(store, made)


def test_a_name_is_taken_once(store: castore.Store) -> None:
    """A second session of a name is refused; new names pass over taken ones."""
    made = Transcript.new(session_id="a")
    made.store_in(store)
    with pytest.raises(ConflictError):
        Transcript.new(session_id="a").store_in(store)
    with pytest.raises(NotFoundError):
        Transcript.open(store, "b")

    still = Transcript.create(store, clock=ticking(500))
    again = Transcript.create(store, clock=ticking(500))
    assert still.session_id == "session-500-0"
    assert again.session_id == "session-502-1"
    assert still.fork().session_id == "session-504-2"
    with pytest.raises(ConflictError):
        still.fork(session_id="a")


def test_times_strictly_increase() -> None:
    """
    Neither a clock that stands still nor one that goes back repeats a time.

    Statements: D15.
    """
    clock = ticking(100, 100, 50, 300, 300)
    told = [clock.now() for _ in range(5)]
    process = [Transcript.new().created_at_ms for _ in range(100)]

    assert told == [100, 101, 102, 300, 301]
    assert process == sorted(set(process))


@settings(max_examples=10)
@given(
    st.lists(
        st.sampled_from(
            ["user", "long", "tool", "prompt", "record", "compact", "fork"]
        ),
        max_size=8,
    )
)
def test_memory_and_store_never_differ(steps: list[str]) -> None:
    """
    Whatever is done, a session in memory, the same in a store, and what the store
    holds of it are equal, and so is its file read again.

    Statements: D3, D4, D5, D13.
    """
    changes: dict[str, Callable[[Transcript], object]] = {
        "user": lambda one: one.push_user_text("x" * 12_000),
        "long": lambda one: one.push_user_text("é" * 40_000),
        "tool": lambda one: one.push_message(result("t")),
        "prompt": lambda one: one.push_prompt_entry("typed"),
        "record": lambda one: one.record_compaction("so far", 2),
        "compact": lambda one: one.compact(),
    }
    with (
        tempfile.TemporaryDirectory(dir=SCRATCH) as path,
        castore.open(Path(path) / "store", create=True) as store,
    ):
        plain = Transcript.new(clock=ticking(1))
        kept = Transcript.create(store, clock=ticking(1))
        for step in steps:
            if step == "fork":
                plain, kept = plain.fork("b"), kept.fork("b")
            else:
                for one in (plain, kept):
                    changes[step](one)
            assert plain == kept == stored(store, kept)
        assert Transcript.parse(kept.to_jsonl()) == kept
        assert Transcript.parse(kept.to_json()) == kept


# --- nothing is lost ---------------------------------------------------------


def test_what_a_tool_returned_stays(store: castore.Store) -> None:
    """
    Long texts and what looks like a secret are stored and exported as they are.

    Statements: D17.
    """
    secret = "Authorization: " + "Bearer abc"
    output = secret + "x" * 20_000
    huge = "é" * 100_000
    made = Transcript.create(store)
    made.push_message(result("a", output))
    made.push_message(result("b", huge))
    found = stored(store, made)

    assert [m.blocks[0].encode()["output"] for m in found.messages] == [output, huge]
    assert Transcript.parse(found.to_jsonl()) == made
    assert made.segment is not None
    newest = made.segment.entry(-1)
    assert [ref.role for ref in newest.refs] == ["text"]
    assert newest.body.size < 1000


def test_no_copies_are_made(store: castore.Store) -> None:
    """
    A session beyond the size at which files rotate takes each message once,
    however often it is stored, forked or compacted.

    Statements: D9.
    """
    made = Transcript.create(store)
    for number in range(40):
        made.push_user_text(f"{number} " * 4000)
    size = sum(len(one.to_jsonl()) for one in (made,))
    raw = store.stats().raw_bytes
    for name in range(20):
        made.fork(f"branch {name}")
    made.compact()

    assert size > 262_144
    assert store.stats().raw_bytes - raw < 20_000


# --- compaction --------------------------------------------------------------


def test_a_compaction_is_recorded(store: castore.Store) -> None:
    """
    The first counts 1, keeps its summary, and is durable when it returns.

    Statements: D4, D13.
    """
    made = Transcript.create(store)
    made.push_user_text("one")
    made.record_compaction("so far", 4)
    found = stored(store, made)

    for one in (found, Transcript.parse(found.to_jsonl())):
        assert one.compaction is not None
        assert one.compaction.encode() == {
            "count": 1,
            "removed_message_count": 4,
            "summary": "so far",
        }
    assert texts(found.messages) == ["one"]
    found.record_compaction("further", 1)
    assert found.compaction is not None
    assert found.compaction.count == 2


def test_a_compaction_keeps_the_last_messages(store: castore.Store) -> None:
    """From 10,000 tokens on, a summary takes the place of all but four messages."""
    made = Transcript.create(store)
    for number in range(10):
        made.push_user_text(f"{number} " + "x" * 5000)
    everything = made.messages
    assert made.estimate_tokens() >= 10_000

    removed = made.compact(summarize=lambda found, _: f"{len(found)} before")

    assert removed == 6
    assert texts(made.messages[:1]) == [PREAMBLE + "6 before"]
    assert made.messages[0].role == "system"
    assert made.messages[1:] == everything[-4:]
    assert stored(store, made) == made
    assert list(made.history()) == everything
    assert kinds(made)[-2:] == ["compaction", REPLACED]
    assert made.compact() == 0  # four are left beside the summary


def test_an_earlier_summary_goes_into_the_next() -> None:
    """It is neither a message nor removed; the count goes up."""
    made = Transcript.new()
    for _ in range(2):
        for number in range(6):
            made.push_user_text(f"{number} " + "x" * 8000)
        removed = made.compact()

    assert removed == 6
    assert made.compaction is not None
    assert (made.compaction.count, made.compaction.removed_message_count) == (2, 6)
    assert made.compaction.summary.count("Compacted:") == 2
    assert len(made) == 5


def test_a_summary_of_the_system_is_known() -> None:
    """What its own notes say behind a summary is not part of that."""
    made = Transcript.new()
    text = f"{PREAMBLE}Summary:\nold\n\nRecent messages are preserved verbatim.\nGo on."
    made.push_message(
        ConversationMessage(role="system", blocks=(TextBlock(text=text),))
    )
    for _ in range(5):
        made.push_user_text("x" * 9000)
    made.compact(summarize=lambda _, earlier: f"after {earlier!r}")

    assert made.compaction is not None
    assert made.compaction.summary == "after 'Summary:\\nold'"


@pytest.mark.parametrize(
    ("count", "size", "removed"),
    [(4, 10_000, 0), (5, 7_999, 1), (5, 7_995, 0), (5, 100, 0), (0, 0, 0)],
)
def test_when_it_is_worth_it(count: int, size: int, removed: int) -> None:
    """More than four messages, 10,000 tokens and more; else nothing is done."""
    made = Transcript.new()
    for _ in range(count):
        made.push_user_text("x" * size)
    before = made.to_jsonl()

    assert made.estimate_tokens() == count * (size // 4 + 1)
    assert made.compact() == removed
    assert removed or made.to_jsonl() == before


def test_a_result_stays_with_its_call() -> None:
    """What is kept never begins with a tool's result without the call."""
    made = Transcript.new()
    made.push_user_text("x" * 50_000)
    for message in (call("a"), result("a"), result("a"), call("b"), result("b")):
        made.push_message(message)

    assert made.compact() == 1
    assert [m.role for m in made.messages[:2]] == ["system", "assistant"]


def test_what_only_results_precede_is_left() -> None:
    """Where no call is found nothing is compacted."""
    made = Transcript.new()
    for _ in range(6):
        made.push_message(result("a", "x" * 10_000))

    assert made.compact() == 0


def test_tokens_are_a_quarter_of_bytes() -> None:
    """Of text, thought, name and input, name and output; and one a block."""
    thinking = ThinkingBlock(thinking="x" * 8)
    both = ConversationMessage.assistant([TextBlock(text="é" * 4), thinking])

    assert estimate_tokens(both) == 3 + 3
    assert estimate_tokens(call("grep")) == 2 + 2
    assert estimate_tokens(result("grep", "x" * 7)) == 3


# --- forks -------------------------------------------------------------------


@pytest.mark.parametrize("branch", ["investigation", " investigation ", " ", None])
def test_a_fork_names_its_origin(store: castore.Store, branch: str | None) -> None:
    """
    Another name, the same messages, its origin and branch, all stored.

    Statements: D5, D7.
    """
    made = Transcript.create(store, model="m")
    made.push_user_text("one")
    made.record_compaction("so far", 1)
    forked = made.fork(branch)
    found = stored(store, forked)

    assert forked.session_id != made.session_id
    assert forked.origin is not None
    assert forked.origin.parent_session_id == made.session_id
    named = "investigation" if (branch or "").strip() else None
    assert forked.origin.branch_name == named
    assert forked.messages == made.messages
    assert forked.compaction == made.compaction
    assert forked.meta.model == "m"
    assert found == forked == Transcript.parse(forked.to_jsonl())


def test_a_fork_and_its_origin_go_their_ways(store: castore.Store) -> None:
    """Neither sees what is pushed to the other; the origin may be deleted."""
    made = Transcript.create(store)
    made.push_user_text("both")
    forked = made.fork()
    forked.push_user_text("fork")
    made.push_user_text("origin")
    assert texts(stored(store, made).messages) == ["both", "origin"]
    again = forked.fork("deeper")
    for segment in store.session((NAMESPACE, made.session_id)).segments():
        segment.delete()

    assert texts(stored(store, forked).messages) == ["both", "fork"]
    assert texts(stored(store, again).messages) == ["both", "fork"]
    with pytest.raises(NotFoundError, match="deleted"):
        stored(store, made)
    with pytest.raises(ConflictError):
        forked.fork(session_id=again.session_id)


def test_a_fork_in_memory(store: castore.Store) -> None:
    """What is not stored is forked in memory, and stored on its own."""
    made = Transcript.new()
    made.push_user_text("one")
    forked = made.fork("b")
    forked.push_user_text("two")
    forked.store_in(store)

    assert len(made) == 1
    assert stored(store, forked) == forked


# --- the log -----------------------------------------------------------------


def test_a_log_that_is_none_is_refused(store: castore.Store) -> None:
    """A segment without a meta, or with an entry that is none, is told."""
    bare = store.create_session()
    with pytest.raises(MessageFormatError, match="missing session_meta"):
        Transcript.restore(store, bare)
    made = Transcript.create(store)
    assert made.segment is not None
    made.segment.append([castore.NewEntry("note", b"not ours")])
    assert stored(store, made) == made
    store.segment(made.segment.id).append([castore.NewEntry("message", b"\xa0")])

    with pytest.raises(FormatError, match="entry 3: message: missing"):
        stored(store, made)


def test_a_store_of_sessions_is_right(store: castore.Store, folder: Path) -> None:
    """What is written here is what a checker finds right."""
    made = Transcript.create(store)
    made.push_message(result("a", "x" * 100_000))
    made.record_compaction("x" * 70_000, 1)
    made.fork("b").push_user_text("x")
    store.close()

    assert verify(folder / "store").ok
