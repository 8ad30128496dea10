"""
The same API as awaitables: under asyncio and trio, belonging to neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
import trio.testing

import castore

from castore import aio
from castore.aio.wrapping import BATCH_COUNT, Batches, Wrapped
from castore.engine import Engine
from castore.engine.change import Outcome
from castore.errors import ClosedError, ConflictError, NotFoundError
from castore.messages import Transcript
from castore.messages.view import SessionView
from castore.records.items import text_message
from castore.runtime.leasing import Leases
from castore.session import Session
from castore.store import Store


R = TypeVar("R")
Run = Callable[[Callable[[], Awaitable[R]]], R]

PATIENCE_S = 60  # for what comes, or the test fails


def under_asyncio(main: Callable[[], Any]) -> Any:
    """Run *main* under asyncio."""
    return asyncio.run(main())


def under_trio(main: Callable[[], Any]) -> Any:
    """Run *main* under trio."""
    return trio.run(main)


@pytest.fixture(params=[under_asyncio, under_trio], ids=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    """Return what runs a coroutine function."""
    found: Callable[[Callable[[], Any]], Any] = request.param
    return found


async def together(*calls: Callable[[], Awaitable[Any]]) -> None:
    """Run all of *calls* at once, under whichever framework runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(call)
    else:
        await asyncio.gather(*(call() for call in calls))


# --- the same API ------------------------------------------------------------

PAIRS: list[tuple[type, type, set[str]]] = [
    (Store, aio.AsyncStore, {"engine"}),
    (Session, aio.AsyncSession, set()),
    (castore.Segment, aio.AsyncSegment, set()),
    # In memory: by `view`, or before there is anything to wrap.
    (
        Transcript,
        aio.AsyncTranscript,
        {name for name in vars(SessionView) if name[0] != "_"} | {"new", "parse"},
    ),
    (castore.ManagedSessions, aio.AsyncManagedSessions, set()),
    (castore.SegmentWriter, aio.AsyncSegmentWriter, set()),
    (castore.RuntimeStore, aio.AsyncRuntimeStore, set()),
    (Leases, aio.AsyncLeases, {"check"}),  # done by each commit
]


@pytest.mark.parametrize(("blocking", "awaited", "apart"), PAIRS)
def test_nothing_is_missing(blocking: type, awaited: type, apart: set[str]) -> None:
    """Every public name is there under the same name, with the same arguments."""
    names = {name for name in dir(blocking) if not name.startswith("_")} - apart
    own = {name for name in dir(awaited) if not name.startswith("_")}

    assert names - own == set()
    for name in names:
        theirs, ours = getattr(blocking, name), getattr(awaited, name)
        if inspect.isfunction(theirs):
            wanted = [*inspect.signature(theirs).parameters]
            assert wanted == [*inspect.signature(ours).parameters]


def test_a_conversation(run: Callable[[Any], Any], folder: Path) -> None:
    """A turn is one commit; one that fails within leaves nothing; forks and states."""

    async def main() -> None:
        async with await aio.open(folder, create=True) as store:
            writer = await aio.AsyncSegmentWriter.create(store)
            async with writer.turn(key="1"):
                await writer.save_delta([text_message("assistant", "hi")])
                await writer.save_turn_end(1)
            assert (await writer.segment.head()).revision == 2
            with contextlib.suppress(ZeroDivisionError):
                async with writer.turn():
                    await writer.save_turn_end(2)
                    raise ZeroDivisionError
            assert (await writer.segment.head()).revision == 2
            fork = await writer.fork_at(turn=1)
            again, state = await aio.AsyncSegmentWriter.restore_by_segment(
                store, fork.segment_id
            )
            assert (again.session_id, len(state.history)) == (writer.session_id, 1)
            assert (await writer.state()).turn_count == 1
            assert [trace async for trace in writer.traces()] == []

    run(main)


def test_a_runtime(run: Callable[[Any], Any], folder: Path) -> None:
    """A session is bound, and read, and nothing was committed; its lease is claimed."""

    async def main() -> None:
        async with await aio.open(folder, create=True) as store:
            runtime = await aio.AsyncRuntimeStore.bind(store, "session-1")
            assert await runtime.load_session() is None
            assert await runtime.leases.current() is None
            assert runtime.durability == "power cut"

    run(main)


def test_it_opens_as_the_blocking_one_does() -> None:
    """The arguments are those of `castore.open`."""
    assert inspect.signature(aio.open).parameters == (
        inspect.signature(castore.open).parameters
    )
    assert aio.AsyncStore.put.__doc__ == Store.put.__doc__


def test_all_of_it(run: Callable[[Any], Any], folder: Path) -> None:
    """Payloads, tags, sessions, entries, forks, proofs: as ever, awaited."""

    async def main() -> None:
        async with await aio.open(folder / "s", create=True) as store:
            ref = await store.put(b"payload", tag="t")
            assert await store.get(ref) == b"payload"
            assert await store.has(ref)
            assert await store.tags() == {"t": ref}
            assert await store.get_object(await store.put_object([1], tag="o")) == [1]
            segment = await store.create_session(key=("a", "b"))
            assert (store.id, segment.id) == (store.blocking.id, segment.blocking.id)
            outcome = await segment.append([castore.NewEntry("note", b"x")], key="k")
            assert (outcome.first_index, await segment.count()) == (1, 2)
            assert (await segment.head()).root == (await segment.prove(1)).root
            fork = await segment.fork()
            assert (fork.fork_index, fork.session_id) == (2, segment.session_id)
            session = await store.session(("a", "b"))
            assert (session.key, session.id) == (("a", "b"), segment.session_id)
            assert segment.revision == segment.blocking.revision
            assert {one.id for one in await session.segments()} == {segment.id, fork.id}
            assert (await session.latest()).id == fork.id
            assert [one.id async for one in store.sessions()] == [session.id]
            assert [body async for _, body in segment.read()] == [b"", b"x"]
            await fork.delete()
            assert (await store.stats()).segments == 1
            blob = await store.open_blob(ref)
            assert blob.seek(3) == blob.tell() == 3
            assert await blob.read(2) == b"lo"
            assert await blob.readall() == b"ad"
        with pytest.raises(ClosedError):
            await store.get(ref)

    run(main)


def test_errors_are_the_same(run: Callable[[Any], Any], folder: Path) -> None:
    """What the blocking call raises is raised where it is awaited."""

    async def main() -> None:
        with pytest.raises(NotFoundError):
            await aio.open(folder / "none")
        async with await aio.open(folder / "s", create=True) as store:
            await store.create_session(key=("a", "b"))
            with pytest.raises(ConflictError):
                await store.create_session(key=("a", "b"))

    run(main)


def test_a_transcript(run: Callable[[Any], Any], folder: Path) -> None:
    """Message sessions are awaited, too; what they hold is read as it is."""

    async def main() -> None:
        async with await aio.open(folder / "s", create=True) as store:
            made = await aio.AsyncTranscript.create(store, model="m")
            await made.push_user_text("one", key="k")
            await made.record_compaction("so far", 0)
            found = await aio.AsyncTranscript.open(store, made.view.session_id)
            assert found.view == made.view
            forked = await made.fork("b")
            assert [message.role async for message in forked.history()] == ["user"]
            loaded = aio.AsyncTranscript(Transcript.parse(made.view.to_jsonl()))
            assert loaded.segment is None
            with pytest.raises(ConflictError):
                await loaded.store_in(store)
            await loaded.store_in(store, scope="other")
            segment = loaded.segment
            assert segment is not None
            again = await aio.AsyncTranscript.restore(store, segment, scope="other")
            assert again.view == loaded.view
            await again.save_to_path(folder / "file")
            load = aio.AsyncTranscript.load_from_path
            assert (await load(folder / "file", lenient=True)).view == loaded.view

    run(main)


def test_managed_sessions(run: Callable[[Any], Any], folder: Path) -> None:
    """So are the sessions of a workspace."""

    async def main() -> None:
        async with await aio.open(folder / "s", create=True) as store:
            blocking = castore.ManagedSessions(store.blocking, folder)
            managed = aio.AsyncManagedSessions(blocking)
            made = await managed.create()
            await made.push_user_text("one")
            assert (await managed.open("latest")).view == made.view
            name = made.view.session_id
            await managed.add(aio.AsyncTranscript(Transcript.new(session_id="s")))
            assert [one.session_id for one in await managed.sessions()] == ["s", name]
            await managed.delete("s")
            assert not await managed.exists("s")
            assert await managed.resolve("last") == (await managed.latest()).session_id

    run(main)


# --- no loop -----------------------------------------------------------------


def test_a_store_belongs_to_no_loop(folder: Path) -> None:
    """Opened under one framework it is used under the other, and by threads."""

    async def opened() -> tuple[aio.AsyncStore, aio.AsyncSegment]:
        store = await aio.open(folder / "s", create=True)
        return store, await store.create_session()

    store, segment = under_asyncio(opened)
    half = segment.entries()

    async def more() -> None:
        await segment.append([castore.NewEntry("note")])

    for each in (under_trio, under_asyncio, under_trio):
        each(more)
    segment.blocking.append([castore.NewEntry("note")])

    async def read() -> list[str]:
        return [entry.kind async for entry in half]

    assert under_trio(read) == ["start", *["note"] * 4]
    under_asyncio(store.close)


def test_the_loop_goes_on(run: Callable[[Any], Any]) -> None:
    """A call that waits lets other tasks run, one that ends it among them."""
    event = threading.Event()

    async def main() -> None:
        waited = []

        async def wait() -> None:
            waited.append(await aio.in_thread(lambda: event.wait(PATIENCE_S)))

        async def end() -> None:
            event.set()

        await together(wait, end)
        assert waited == [True]

    run(main)


def test_many_tasks_commit_at_once(run: Callable[[Any], Any], folder: Path) -> None:
    """Each with its own segment; all are there, in the order of each."""

    async def main() -> None:
        async with await aio.open(folder / "s", create=True) as store:

            async def work() -> None:
                segment = await store.create_session()
                for number in range(5):
                    await segment.append([castore.NewEntry("n", b"%d" % number)])
                bodies = [body async for _, body in segment.read(1)]
                assert bodies == [b"%d" % number for number in range(5)]

            await together(*[work] * 20)
            assert (await store.stats()).sessions == 20

    run(main)


def test_context_goes_along(run: Callable[[Any], Any]) -> None:
    """The call sees the context variables of the task."""
    variable = contextvars.ContextVar("variable", default="none")

    async def main() -> None:
        variable.set("told")
        assert await aio.in_thread(variable.get) == "told"

    run(main)


# --- iterators ---------------------------------------------------------------


def test_items_come_in_batches(run: Callable[[Any], Any]) -> None:
    """All, in order, and no more taken than a batch at a time."""
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(3 * BATCH_COUNT + 1):
            taken.append(number)
            yield number

    async def main() -> None:
        items: Batches[str] = Batches(numbers, str)
        assert taken == []
        assert await anext(items) == "0"
        assert len(taken) == BATCH_COUNT
        rest = [item async for item in items]
        assert rest == [str(number) for number in taken[1:]]
        with pytest.raises(StopAsyncIteration):
            await anext(items)

    run(main)


class Gate:
    """A call that says that it began, and waits until it may end."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> None:
        """Begin, wait, end."""
        self.began.set()
        assert self.go.wait(PATIENCE_S)


async def cancel_in(gate: Gate, call: Callable[[], Awaitable[Any]]) -> None:
    """Run *call*, cancel it twice while it is in *gate*, and let it go on."""

    def began() -> bool:
        return gate.began.wait(PATIENCE_S)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            assert await aio.in_thread(began)
            nursery.cancel_scope.cancel()
            gate.go.set()
        return
    task = asyncio.ensure_future(call())
    assert await aio.in_thread(began)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()  # it is waited for
    gate.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_cancelled_iterator_loses_nothing(run: Callable[[Any], Any]) -> None:
    """What a thread took for a cancelled task is there for the next."""
    gate = Gate()

    def numbers() -> Iterator[int]:
        yield 0
        gate()
        yield 1

    async def main() -> None:
        items = Batches(numbers, str)
        got = []

        async def take() -> None:
            got.append(await anext(items))

        await cancel_in(gate, take)
        got += [item async for item in items]
        assert got == ["0", "1"]

    run(main)


# --- cancelled ---------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cancelled_commit_is_answered_by_its_key(
    run: Callable[[Any], Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    """
    It is waited for and whole; the same again adds nothing; nothing stays locked.
    """
    gate = Gate()
    commit = Engine.commit

    def slow(self: Engine, change: Any) -> Any:
        if when == "before":
            gate()
        done = commit(self, change)
        if when == "after":
            gate()
        return done

    async def main() -> None:
        async with await aio.open(folder / "s", create=True, timeout_s=1) as store:
            segment = await store.create_session()

            async def append() -> Outcome:
                return await segment.append([castore.NewEntry("note", b"x")], key="k")

            with monkeypatch.context() as patch:
                patch.setattr(Engine, "commit", slow)
                await cancel_in(gate, append)
            assert await segment.count() == 2
            assert (await append()).replayed
            other = await store.segment(segment.id)
            await other.append([castore.NewEntry("more")])
            assert await segment.count() == 3

    run(main)


def test_a_call_that_waits_for_a_thread_never_begins(
    run: Callable[[Any], Any],
) -> None:
    """Cancelled before it has one, it is not made at all."""
    gate = Gate()
    made = []

    async def call() -> None:
        await aio.in_thread(lambda: made.append(1))

    async def main() -> None:
        if run is under_trio:
            trio.to_thread.current_default_thread_limiter().total_tokens = 1
            async with trio.open_nursery() as nursery:
                nursery.start_soon(aio.in_thread, gate)
                await trio.testing.wait_all_tasks_blocked()
                with trio.move_on_after(0):
                    await call()
                gate.go.set()
            return
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            loop.set_default_executor(pool)
            first = asyncio.ensure_future(aio.in_thread(gate))
            second = asyncio.ensure_future(call())
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.sleep(0)
            gate.go.set()
            with pytest.raises(asyncio.CancelledError):
                await second
            await first

    run(main)
    assert made == []


def test_a_store_is_closed_by_who_is_cancelled(folder: Path) -> None:
    """Leaving the block closes the store, whatever ended it."""

    async def main() -> aio.AsyncStore:
        with trio.CancelScope() as scope:
            async with await aio.open(folder / "s", create=True) as store:
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        return store

    store = under_trio(main)
    with pytest.raises(ClosedError):
        store.blocking.stats()


def test_what_fails_for_a_cancelled_caller_is_looked_at() -> None:
    """An error of a call that nobody waits for is not logged as forgotten."""
    gate = Gate()
    logged: list[Any] = []

    def fail() -> None:
        gate()
        raise ValueError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: logged.append(context))
        await cancel_in(gate, lambda: aio.in_thread(fail))

    under_asyncio(main)
    assert logged == []


def test_what_is_wrapped_is_shown() -> None:
    """The text of a wrapper names what it wraps."""
    assert repr(Wrapped(5)) == "<async 5>"
