"""
Blocking methods as awaitables, with the signatures that they have.

A class of awaitables names each method once::

    class AsyncStore(Wrapped[Store]):
        put = awaitable(Store.put)

The type checker and `inspect.signature` see the arguments of `Store.put`.
"""

from __future__ import annotations

import functools
import itertools

from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from castore.aio.running import in_thread


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")

BATCH_COUNT = 128  # items that an iterator takes in one turn of a thread


class Wrapped(Generic[T_co]):
    """
    Something blocking, with awaitables for what it does. Knows of no loop.
    """

    def __init__(self, blocking: T_co) -> None:
        self._blocking = blocking

    @property
    def blocking(self) -> T_co:
        """What is wrapped; to be used from threads, as ever."""
        return self._blocking

    def __repr__(self) -> str:
        return f"<async {self.blocking!r}>"


def awaitable(
    method: Callable[Concatenate[T, P], R],
) -> Callable[Concatenate[Wrapped[T], P], Coroutine[Any, Any, R]]:
    """Return *method* of something blocking as one of what wraps it."""
    return awaitable_as(method, _same)


def awaitable_as(
    method: Callable[Concatenate[T, P], R], wrap: Callable[[R], A]
) -> Callable[Concatenate[Wrapped[T], P], Coroutine[Any, Any, A]]:
    """Return *method* as `awaitable` does; what it returns goes through *wrap*."""

    @functools.wraps(method)
    async def call(self: Wrapped[T], /, *args: P.args, **kwargs: P.kwargs) -> A:
        work = functools.partial(method, self.blocking, *args, **kwargs)
        return wrap(await in_thread(work))

    return call


def function_as(
    function: Callable[P, R], wrap: Callable[[R], A]
) -> Callable[P, Coroutine[Any, Any, A]]:
    """Return *function*, no method, awaited; what it returns goes through *wrap*."""

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> A:
        return wrap(await in_thread(functools.partial(function, *args, **kwargs)))

    return call


class Batches(Generic[A]):
    """
    An async iterator over a blocking one, of which a thread takes many at once.

    For one task at a time. If that is cancelled no item is lost.
    """

    def __init__(
        self, start: Callable[[], Iterator[R]], wrap: Callable[[R], A]
    ) -> None:
        self._start = start
        self._wrap: Callable[[Any], A] = wrap
        self._source: Iterator[Any] | None = None
        self._items: deque[Any] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> A:
        if not self._items:
            await in_thread(self._fill)
        if not self._items:
            raise StopAsyncIteration
        return self._wrap(self._items.popleft())

    def _fill(self) -> None:
        if self._source is None:
            self._source = self._start()
        self._items.extend(itertools.islice(self._source, BATCH_COUNT))


def batches(
    method: Callable[Concatenate[T, P], Iterator[R]],
) -> Callable[Concatenate[Wrapped[T], P], Batches[R]]:
    """Return *method*, which returns an iterator, as one of what wraps it."""
    return batches_as(method, _same)


def batches_as(
    method: Callable[Concatenate[T, P], Iterator[R]], wrap: Callable[[R], A]
) -> Callable[Concatenate[Wrapped[T], P], Batches[A]]:
    """Return *method* as `batches` does; each item goes through *wrap*."""

    @functools.wraps(method)
    def call(self: Wrapped[T], /, *args: P.args, **kwargs: P.kwargs) -> Batches[A]:
        work = functools.partial(method, self.blocking, *args, **kwargs)
        return Batches(work, wrap)

    return call


def _same(value: R) -> R:
    return value
