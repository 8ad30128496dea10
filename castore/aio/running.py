"""
One blocking call from a coroutine, in a worker thread of whichever loop runs.

The frameworks are asked, not imported: what runs the coroutine is there already.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys

from collections.abc import Callable
from typing import TypeVar


R = TypeVar("R")


async def in_thread(call: Callable[[], R], *, shielded: bool = False) -> R:
    """
    Return what *call* returns.

    A call that runs is not left behind: if the caller is cancelled meanwhile, this
    waits for its end, so that no lock is held and no handle in use by a thread
    that nobody waits for. A call that has not begun then never does. So what a
    cancelled caller asked for is done wholly or not at all, and which, only the
    store can tell.

    Args:
        call: Runs with a copy of the caller's context variables.

        shielded: Begin it even if the caller is cancelled already.
    """
    trio = sys.modules.get("trio")
    if trio is None or not _runs(trio.lowlevel.current_task):
        return await _in_asyncio(call)
    with trio.CancelScope(shield=shielded):
        result: R = await trio.to_thread.run_sync(call)
    return result


def _runs(current_task: Callable[[], object]) -> bool:
    try:
        current_task()
    except RuntimeError:
        return False
    return True


class _GivenUpError(Exception):
    """The caller was cancelled before its call began."""


async def _in_asyncio(call: Callable[[], R]) -> R:
    context = contextvars.copy_context()
    is_given_up = False

    def work() -> R:
        if is_given_up:
            raise _GivenUpError
        return context.run(call)

    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(None, work)
    try:
        await asyncio.wait([future])  # unlike the future, this can be cancelled
    except asyncio.CancelledError:
        is_given_up = True
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        future.exception()  # looked at, or it would be logged as forgotten
        raise
    return future.result()
