"""
Retention: what policies, pins and tags keep of random histories, and what goes.
"""

from __future__ import annotations

import contextlib
import os
import time

from collections.abc import Callable, Iterable
from pathlib import Path
from unittest import mock

import attrs
import hypothesis
import pytest

from conftest import new_folder
from corruption import reference
from hypothesis import strategies as st
from retentionkit import DAY_MS, WEIGHTS, Step, World, play, steps_of

import castore

from castore import gc
from castore.catalog.rows import Facts
from castore.errors import (
    CastoreError,
    CorruptionError,
    FormatError,
    GoneError,
    LimitError,
    NotFoundError,
)
from castore.formats.storelog import ALL, Rule
from castore.packing import pack
from castore.retention import Claim, Keeper, Owner, Policy, heirs_first
from castore.verify import verify


numbers = st.integers(0, 63)
steps = st.builds(
    Step, st.sampled_from(list(WEIGHTS)), numbers, numbers, st.integers(0, 1 << 30)
)
COLLECT = Step("collect", 1, 0, 1)


@hypothesis.given(st.lists(steps, min_size=3, max_size=40))
@hypothesis.settings(suppress_health_check=list(hypothesis.HealthCheck))
def test_what_stays_is_what_the_model_says(found: list[Step]) -> None:
    """
    In every history exactly that goes which no log and no tag keeps; a dry run says
    the same, a second run deletes nothing, and both checkers find nothing wrong.
    """
    with new_folder() as root:
        play([Step("begin", 0, 0, 0), *found, COLLECT], root / "store")

        report = verify(root / "store")
        theirs = reference().check(root / "store")
        assert report.ok, report.findings
        assert theirs["ok"], theirs["findings"]


# --- bugs that the histories find --------------------------------------------


def one_less(self: Policy, owner: Owner, group: str | None) -> Claim:
    """Count one entry less than the policy says."""
    claim = CLAIM(self, owner, group)
    return claim._replace(newest=max(0, claim.newest - 1))


def one_more(self: Policy, owner: Owner, group: str | None) -> Claim:
    """Count one entry more."""
    claim = CLAIM(self, owner, group)
    return claim._replace(newest=claim.newest + bool(claim.newest))


def unpinned(self: Keeper, owner: Owner) -> None:
    """Begin as if nothing were pinned."""
    BEGIN(self, owner)
    self._pinned = ()


def startless(self: Keeper, owner: Owner) -> None:
    """Begin as if the first own entry were like any other."""
    BEGIN(self, owner)
    self._owner = attrs.evolve(owner, fork_index=-1)


def forget_heirs(self: Keeper) -> None:
    """Let the parent not know what the logs of its heirs keep."""


def no_clock(self: Policy, rule: Rule) -> int | None:
    """Count days from 1970, on no clock at all."""
    return None if rule.days is None else rule.days * DAY_MS


def later_clock(self: Policy, rule: Rule) -> int | None:
    """Count days back from tomorrow."""
    since = SINCE(self, rule)
    return None if since is None else since + DAY_MS


def no_times(*_: object) -> object:
    """Let every entry be as old as the newest commit of its segment."""
    return lambda index: None


def store_before_session(self: Policy, owner: Owner, group: str | None) -> Rule | None:
    """Let what holds for all sessions go before what holds for one."""
    return self.rules.get((None, group)) or FIND(self, owner, group)


def parents_first(owners: Iterable[Owner]) -> list[Owner]:
    """Walk as if no heir came first."""
    return sorted(owners, key=lambda owner: owner.fork_index)


def whole_role(role: str) -> str:
    """Take a role for its group."""
    return role


CLAIM, FIND, SINCE, BEGIN = Policy.claim, Policy.find, Policy.since_ms, Keeper.begin
BUGS: dict[str, list[tuple[str, object]]] = {
    "one entry less": [("retention.Policy.claim", one_less)],
    "one entry more": [("retention.Policy.claim", one_more)],
    "pins ignored": [("retention.Keeper.begin", unpinned)],
    "start entries released": [("retention.Keeper.begin", startless)],
    "inherited entries released": [("retention.Keeper.end", forget_heirs)],
    "no clock": [("retention.Policy.since_ms", no_clock)],
    "another clock": [("retention.Policy.since_ms", later_clock)],
    "times of commits": [
        ("tracing.times_in", no_times),
        ("agreeing.times_in", no_times),
    ],
    "session after store": [("retention.Policy.find", store_before_session)],
    "parents first": [
        ("tracing.heirs_first", parents_first),
        ("agreeing.heirs_first", parents_first),
    ],
    "whole roles": [
        ("tracing.group_of", whole_role),
        ("agreeing.group_of", whole_role),
    ],
    "bodies kept": [("retention.Policy.groups", frozenset({"checkpoint", "tool", ""}))],
}


def play_some(count: int, folder: Path) -> list[World]:
    """Play so many histories, the same every time."""
    return [play(steps_of(seed, 40), folder / str(seed)) for seed in range(count)]


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_found(bug: str, folder: Path) -> None:
    """What is counted, inherited or compared wrongly does not pass the histories."""
    with contextlib.ExitStack() as stack:
        for place, planted in BUGS[bug]:
            stack.enter_context(mock.patch(f"castore.{place}", planted))
        with pytest.raises((AssertionError, CastoreError)):
            play_some(20, folder)


def test_histories_pass_without_bugs(folder: Path) -> None:
    """The same histories pass, and much is released in them."""
    assert 100 < sum(world.released_count for world in play_some(6, folder))


# --- what comes while a collection runs --------------------------------------


def checkpoint(store: castore.Store, time_ms: int | None = None) -> castore.NewEntry:
    """Return an entry with a new checkpoint."""
    ref = castore.Reference("checkpoint", store.put(os.urandom(600)))
    return castore.NewEntry("turn", os.urandom(60), [ref], time_ms)


def payload(segment: castore.Segment, index: int) -> castore.BlobRef:
    """Return the checkpoint of an entry."""
    return segment.entry(index).refs[0].blob


def fork_below(store: castore.Store, segment: castore.Segment) -> None:
    """Fork where the newest checkpoint is that of entry 2."""
    segment.fork(3)


def pin_it(store: castore.Store, segment: castore.Segment) -> None:
    """Pin entry 2."""
    store.pin(segment.id, 2)


def keep_all(store: castore.Store, segment: castore.Segment) -> None:
    """Release no more checkpoints."""
    store.set_policy("checkpoint", newest=ALL)


def go_on(store: castore.Store, segment: castore.Segment) -> None:
    """Append: entries without a time are young again."""
    segment.append([castore.NewEntry("turn")])


RACES = {"fork": fork_below, "pin": pin_it, "policy": keep_all, "append": go_on}


@pytest.mark.parametrize("race", RACES)
@pytest.mark.parametrize(
    ("when", "guarded"),
    [("looking again, in the files", True), ("rewriting", True), ("rewriting", False)],
)
def test_what_comes_while_it_is_deleted(
    race: str, when: str, guarded: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What a fork, pin, policy or entry keeps that comes behind one mark or both stays;
    and without the guard it would not.
    """
    if not guarded:
        monkeypatch.setattr(gc, "kept_since", lambda *_: iter(()))
    now = 1_790_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: now * 1_000_000)
    with castore.open(folder / "store", create=True) as store:
        segment = store.create_session(then=[checkpoint(store) for _ in range(5)])
        newest, days = (None, 1) if race == "append" else (1, None)
        store.set_policy("checkpoint", newest=newest, days=days)
        now += 10 * DAY_MS
        ref = payload(segment, 2)
        acted: list[str] = []

        def act(what: str, done: int, total: int) -> None:
            if what == when and not acted:
                acted.append(what)
                with castore.open(folder / "store") as other:
                    RACES[race](other, other.segment(segment.id))

        gc.collect(store.engine, grace_s=0, yes=True, progress=act)

        assert acted
        assert guarded == store.has(ref)
    assert verify(folder / "store").ok


def test_a_fork_that_the_catalog_forgot(store: castore.Store) -> None:
    """The second mark works out from the files what each log keeps."""
    segment = store.create_session(then=[checkpoint(store) for _ in range(5)])
    fork = segment.fork(3)
    store.set_policy("checkpoint", newest=1)
    ref = payload(fork, 2)
    view = store.engine.view
    view.known.apply([Facts(gone_segments=[fork.id])], view.position)

    with pytest.raises(CorruptionError, match="catalog differs"):
        gc.collect(store.engine, grace_s=0, yes=True)

    assert store.has(ref)


# --- what is released --------------------------------------------------------


def test_bodies_go_and_proofs_stay(store: castore.Store) -> None:
    """
    Bodies of old entries go by policy: entries, proofs and forks stay, reading one
    says which run took it, and packing and a new catalog change nothing.
    """
    segment = store.create_session(body=b"start", then=[])
    for number in range(9):
        body = b"body %d" % number * 100
        segment.append([castore.NewEntry("turn", body)], key=f"{number}")
    before = list(segment.entries())
    store.set_policy(None, newest=2)
    pin = store.pin(segment.id, 3)

    report = gc.collect(store.engine, grace_s=0, yes=True)
    pack(store.engine)
    store.engine.rebuild()

    kept = [entry.index for entry in before if store.has(entry.body)]
    assert (6, [0, 3, 8, 9]) == (report.deleted_blob_count, kept)
    assert before == list(segment.entries())
    assert [pin] == store.pins()
    for entry in before:
        segment.prove(entry.index).check()
    with pytest.raises(GoneError, match="collected by run"):
        list(segment.read(1))
    assert [b"body 7" * 100] == [body for _, body in segment.read(8, 9)]
    fork = segment.fork(6)
    assert segment.append([castore.NewEntry("turn", b"body 8" * 100)], key="8").replayed
    found = verify(Path(store.engine.files.root))
    assert found.ok
    assert {"collected by run"} == {
        item.verdict.rpartition(" ")[0] for item in found.explained
    }
    assert [True] * 2 == [store.has(fork.entry(at).body) for at in (0, 3)]


def test_what_was_asked_goes_between_session_and_store(store: castore.Store) -> None:
    """
    The number that a collection is given goes before a policy of all sessions, and
    behind one of a session.
    """
    logs = [
        store.create_session(then=[checkpoint(store) for _ in range(6)])
        for _ in range(2)
    ]
    store.set_policy("checkpoint", newest=4)
    store.set_policy("checkpoint", session=logs[1].session_id, newest=3)

    gc.collect(store.engine, grace_s=0, yes=True, keep_checkpoints=2)

    counts = [sum(store.has(payload(log, at)) for at in range(1, 7)) for log in logs]
    assert [2, 3] == counts


def test_what_waits_comes_alive_with_its_policy_gone(store: castore.Store) -> None:
    """What a policy released is condemned like any garbage, and kept again without."""
    segment = store.create_session(then=[checkpoint(store) for _ in range(5)])
    store.set_policy("checkpoint", newest=1)
    first = gc.collect(store.engine, grace_s=3600, yes=True)
    store.set_policy("checkpoint")
    second = gc.collect(store.engine, grace_s=0, yes=True)

    assert (4, 0) == (first.condemned_blob_count, second.deleted_blob_count)
    assert {} == store.engine.upkeep.condemned()
    assert all(store.has(payload(segment, at)) for at in range(1, 6))


def test_policies_are_checked_before_they_are_written(store: castore.Store) -> None:
    """What no collection could obey is refused, and nothing is written."""
    segment = store.create_session()
    gone = store.create_session()
    gone.delete()
    count = store.stats().entries
    calls: list[tuple[type[Exception], Callable[[], object]]] = [
        (NotFoundError, lambda: store.set_policy("a", session=bytes(16), newest=1)),
        (NotFoundError, lambda: store.set_policy("a")),
        (FormatError, lambda: store.set_policy("a.b", newest=1)),
        (FormatError, lambda: store.set_policy("\ud800", newest=1)),
        (LimitError, lambda: store.set_policy("a" * 65, newest=1)),
        (LimitError, lambda: store.set_policy("a", newest=-1)),
        (LimitError, lambda: store.set_policy("a", days=1 << 63)),
        (NotFoundError, lambda: store.pin(bytes(16), 0)),
        (NotFoundError, lambda: store.pin(segment.id, 1)),
        (NotFoundError, lambda: store.pin(segment.id, -2)),
        (GoneError, lambda: store.pin(gone.id, 0)),
        (FormatError, lambda: store.pin(store.id, 0)),
        (FormatError, lambda: store.pin(b"short", 0)),
        (NotFoundError, lambda: store.unpin(segment.id, 0)),
    ]
    for error, call in calls:
        with pytest.raises(error):
            call()

    assert count == store.stats().entries
    assert ([], []) == (store.policies(), store.pins())


def test_a_pin_outlives_the_log_it_was_said_of(store: castore.Store) -> None:
    """A pin is of an entry, whichever log it was reached through, until unpinned."""
    segment = store.create_session(then=[checkpoint(store) for _ in range(3)])
    fork = segment.fork(3)
    store.set_policy("checkpoint", newest=1)
    pin = store.pin(fork.id, 1)
    fork.delete()
    ref = payload(segment, 1)
    gc.collect(store.engine, grace_s=0, yes=True)

    assert (segment.id, 1) == pin
    assert store.has(ref)
    assert pin == store.unpin(segment.id.hex(), -3)
    gc.collect(store.engine, grace_s=0, yes=True)
    assert not store.has(ref)


@hypothesis.given(st.lists(st.integers(0, 20), max_size=20))
def test_heirs_come_first(parents: list[int]) -> None:
    """Whatever the order, each segment comes once, and behind all its heirs."""
    owners = [
        Owner(bytes([at]), b"", bytes([parent]) if parent > at else None, 0, 1, 0)
        for at, parent in enumerate(parents)
    ]
    found = [owner.id for owner in heirs_first(owners)]

    assert sorted(owner.id for owner in owners) == sorted(found)
    places = {each: at for at, each in enumerate(found)}
    assert all(
        places[owner.id] < places[owner.parent]
        for owner in owners
        if owner.parent in places
    )
