"""
What every runtime store promises about the lease of a session.
"""

from __future__ import annotations

import subprocess
import sys
import threading

from typing import Any

import attrs
import pytest

from runtimekit import Clock, commit, node, owner

import castore

from castore import ABSENT
from castore.runtime import Process, SessionLease


def expired(runtime: Any, made: Any) -> None:
    """Check that *made* is refused for want of a lease."""
    with pytest.raises(castore.ConflictError) as raised:
        runtime.commit_runtime_state(made)
    assert "lease" == raised.value.subject


class LeaseTests:
    """The promises about leases."""

    def test_a_lease_is_claimed_and_gone_on_with(self, place: Any) -> None:
        """
        Its holder may claim it again: the same token and number, a later end.

        Statements: L1.
        """
        clock = Clock()
        leases = place.open(clock=clock).leases
        first = leases.claim(owner("a"), 1000)
        clock.now_ms += 500
        second = leases.claim(owner("a"), 1000)

        assert (first.token, first.fencing) == (second.token, second.fencing)
        assert first.expires_ms + 500 == second.expires_ms
        assert second == leases.current()
        clock.now_ms += 999
        assert leases.current() is not None

    @pytest.mark.parametrize("who", [owner("a", "2"), owner("b")])
    def test_a_live_lease_is_not_given_to_others(self, place: Any, who: Any) -> None:
        """
        To another start of its owner as little as to another owner.

        Statements: L2, L3.
        """
        place.open().leases.claim(owner("a"))
        with pytest.raises(castore.LockedError) as raised:
            place.open().leases.claim(who)

        assert "a (1)" == raised.value.holder

    def test_renewing_extends(self, place: Any) -> None:
        """
        By the store's clock, for all handles; a lease that is not held any more
        cannot be renewed.

        Statements: L4, L9.
        """
        clock = Clock()
        runtime = place.open(clock=clock)
        first = runtime.leases.claim(owner("a"), 1000)
        clock.now_ms += 900
        renewed = runtime.leases.renew(first, 1000)
        assert clock.now_ms + 1000 == renewed.expires_ms
        clock.now_ms += 900
        current = place.open(clock=clock).leases.current()
        assert current is not None
        assert renewed.expires_ms == current.expires_ms
        clock.now_ms += 100
        with pytest.raises(castore.ConflictError, match="expired"):
            runtime.leases.renew(renewed)
        runtime.leases.claim(owner("b"))
        with pytest.raises(castore.ConflictError, match="expired"):
            runtime.leases.renew(renewed)

    def test_releasing_is_for_its_own_lease(self, place: Any) -> None:
        """
        It may be done again; an old lease does not clear a newer one.

        Statements: L5.
        """
        leases = place.open().leases
        old = leases.claim(owner("a"))
        assert leases.release(old)
        assert not leases.release(old)
        new = leases.claim(owner("b"))
        assert not leases.release(old)
        assert new == leases.current()
        assert leases.release(new)
        assert leases.current() is None

    def test_fencing_numbers_rise(self, place: Any) -> None:
        """
        With every grant, over releases, expiry, and whatever is made anew; a
        lease of no time can be claimed at once.

        Statements: L6.
        """
        numbers = []
        for name in ("a", "b", "a"):
            lease = place.open().leases.claim(owner(name), 0)
            numbers.append(lease.fencing)
            place.reopen()
        held = place.open().leases.claim(owner("c"))
        place.open().leases.release(held)
        place.reopen()
        numbers += [held.fencing, place.open().leases.claim(owner("a")).fencing]

        assert [1, 2, 3, 4, 5] == numbers

    def test_a_commit_wants_the_lease_that_is_held(self, place: Any) -> None:
        """
        Not another, none that expired, and not none while there is one; a replay
        needs none.

        Statements: L7, C15.
        """
        clock = Clock()
        runtime = place.open(clock=clock)
        lease = runtime.leases.claim(owner("a"), 1000)
        made = commit(ABSENT, [node("a")], turn="t", lease=lease)
        runtime.commit_runtime_state(made)
        expired(place.open(clock=clock), commit(1))
        stale = attrs.evolve(lease, token=lease.token[::-1])
        expired(runtime, commit(1, lease=stale))
        clock.now_ms += 1000
        expired(runtime, commit(1, lease=lease))
        assert runtime.commit_runtime_state(made).replayed
        assert runtime.commit_runtime_state(attrs.evolve(made, lease=None)).replayed
        assert 2 == runtime.commit_runtime_state(commit(1)).head_revision

    def test_a_store_may_require_leases(self, place: Any) -> None:
        """
        Then nothing is committed without one, though nobody holds any.

        Statements: L7.
        """
        runtime = place.open(require_lease=True)
        expired(runtime, commit(ABSENT))
        lease = runtime.leases.claim(owner("a"))

        made = commit(ABSENT, lease=lease)
        assert 1 == runtime.commit_runtime_state(made).head_revision

    def test_a_writer_that_lost_its_lease_commits_nothing(self, place: Any) -> None:
        """
        Whoever holds the lease now is not overwritten by who held it before.

        Statements: L6, L7.
        """
        clock = Clock()
        old, new = place.open(clock=clock), place.open(clock=clock)
        first = old.leases.claim(owner("a"), 10)
        clock.now_ms += 10
        second = new.leases.claim(owner("b"))
        expired(old, commit(ABSENT, [node("a")], lease=first))
        new.commit_runtime_state(commit(ABSENT, [node("b")], lease=second))

        assert old.load_node("a") is None
        assert old.load_node("b") is not None

    # --- taking over ---------------------------------------------------------

    def test_a_dead_holder_is_taken_over(self, place: Any) -> None:
        """
        Its process was of this host and boot, and is gone: no need to wait.

        Statements: L8.
        """
        here = Process.this()
        if here is None:
            pytest.skip("this system does not tell enough of its processes")
        runtime = place.open()
        dead = attrs.evolve(here, pid=_gone())
        runtime.leases.claim(owner("a", process=dead))
        observed = runtime.leases.current()
        assert observed is not None
        taken = place.open().leases.take_over(observed, owner("b", process=here))

        assert observed.fencing + 1 == taken.fencing
        assert taken == runtime.leases.current()

    def test_a_process_id_that_came_again_is_another(self, place: Any) -> None:
        """
        The pid lives, and began at another time: the holder is gone.

        Statements: L8.
        """
        here = Process.this()
        if here is None:
            pytest.skip("this system does not tell enough of its processes")
        leases = place.open().leases
        before = attrs.evolve(here, start_time=here.start_time + "1")
        held = leases.claim(owner("a", process=before))

        assert "b" == leases.take_over(held, owner("b", process=here)).owner.owner_id

    @pytest.mark.parametrize("case", ["silent", "live", "host", "boot", "observer"])
    def test_what_is_not_certain_is_not_taken(self, place: Any, case: str) -> None:
        """
        A holder that tells nothing of itself, that lives, or that is of another
        host or boot keeps its lease; who tells nothing of itself takes none.

        Statements: L8.
        """
        here = Process.this()
        if here is None:
            pytest.skip("this system does not tell enough of its processes")
        gone = attrs.evolve(here, pid=_gone())
        holder = {
            "silent": None,
            "live": here,
            "host": attrs.evolve(gone, host_id="other"),
            "boot": attrs.evolve(gone, boot_id="other"),
            "observer": gone,
        }[case]
        leases = place.open().leases
        held = leases.claim(owner("a", process=holder))
        observer = None if case == "observer" else here
        with pytest.raises(castore.LockedError):
            leases.take_over(held, owner("b", process=observer))

        assert held == leases.current()

    def test_a_lease_is_taken_over_once(self, place: Any) -> None:
        """
        Of two that saw the same dead holder, one takes the lease.

        Statements: L8.
        """
        here = Process.this()
        if here is None:
            pytest.skip("this system does not tell enough of its processes")
        dead = attrs.evolve(here, pid=_gone())
        held = place.open().leases.claim(owner("a", process=dead))

        def take(name: str) -> SessionLease:
            took: SessionLease = place.open().leases.take_over(
                held, owner(name, process=here)
            )
            return took

        assert 1 == len(race(take))

    # --- racing --------------------------------------------------------------

    def test_one_of_two_first_claims_wins(self, place: Any) -> None:
        """
        The session has not even begun; the other is told who holds it.

        Statements: L10.
        """
        taken = race(lambda name: place.open().leases.claim(owner(name)))

        assert 1 == len(taken)
        assert taken[0] == place.open().leases.current()
        assert place.open().load_session() is None


def race(attempt: Any) -> list[SessionLease]:
    """Return the leases that two threads got, each by *attempt* of its name."""
    gate = threading.Barrier(2)
    taken: list[SessionLease] = []
    busy: list[castore.LockedError] = []

    def run(name: str) -> None:
        gate.wait(30)
        try:
            taken.append(attempt(name))
        except castore.LockedError as error:
            busy.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("x", "y")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 == len(taken) + len(busy)
    return taken


def _gone() -> int:
    """Return the id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid
