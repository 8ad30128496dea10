"""
Threads that wait for a group's leader: nobody waits for one that left.

Spec: spec/ordering.md, "Commit".
"""

from __future__ import annotations

import threading

from typing import Any, cast

import pytest

from castore.engine.change import Change
from castore.engine.commits import Committer, _Request


class Interrupted:
    """A turn whose waiting thread is interrupted."""

    def acquire(self) -> None:
        """Be interrupted."""
        raise KeyboardInterrupt

    def release(self) -> None:
        """Tell nobody."""


def waiting(turn: object | None = None) -> _Request:
    """Return a request whose thread waits, by default for a turn that is held."""
    if turn is None:
        turn = threading.Lock()
        turn.acquire()
    return _Request(Change(()), turn=cast("Any", turn))


@pytest.fixture
def committer() -> Committer:
    """A committer that somebody leads."""
    nothing = cast("Any", None)
    made = Committer(nothing, nothing, nothing, nothing, nothing)
    made._is_led = True
    return made


def leave(committer: Committer, request: _Request) -> None:
    """Let the thread of *request* be interrupted while it waits."""
    with pytest.raises(KeyboardInterrupt):
        committer._wait(request, cast("Any", request.turn))


def test_the_next_leads_where_the_leader_to_be_leaves(committer: Committer) -> None:
    """A thread that was appointed and is interrupted passes that on."""
    leaving, other = waiting(Interrupted()), waiting()
    committer._queue = [leaving, other]
    committer._pass_on()
    assert committer._heir is leaving

    leave(committer, leaving)
    assert [other] == committer._queue
    assert committer._heir is other
    assert other.turn is not None
    assert not other.turn.locked()


def test_nobody_leads_where_the_only_one_leaves(committer: Committer) -> None:
    """After the last one left, the next commit leads at once."""
    leaving = waiting(Interrupted())
    committer._queue = [leaving]
    committer._pass_on()

    leave(committer, leaving)
    assert [] == committer._queue
    assert committer._heir is None
    assert not committer._is_led


def test_one_who_only_waits_leaves_no_trace(committer: Committer) -> None:
    """A thread that is interrupted behind a leader takes its commit with it."""
    leaving, other = waiting(Interrupted()), waiting()
    committer._queue = [leaving, other]

    leave(committer, leaving)
    assert [other] == committer._queue
    assert committer._is_led
    assert other.turn is not None
    assert other.turn.locked()
