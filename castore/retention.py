"""
What policies keep: which references of which entries some living log still wants.

One pass over all segments tells, heirs before those they inherit from and newest
entries first: what the logs of heirs still want of an owner's entries is two
numbers for each group and a flag, however many heirs there are.

Spec: spec/storelog.md, "What is kept".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import attrs

from castore.formats.storelog import Rule, StoreLog


CHECKPOINT = "checkpoint"
DAY_MS = 86_400_000

#: A group of roles; None: bodies of entries.
Group = str | None


def group_of(role: str) -> str:
    """Return the group that a role belongs to: the part before the first dot."""
    return role.partition(".")[0]


@attrs.frozen
class Terms:
    """
    What one collection is asked for.

    Attributes:
        now_ms: When it looks, ms since 1970 UTC: days are counted back from here.

        keep_checkpoints: As a policy of no session for group ``checkpoint``, for
            this collection: so many of the newest; None for none.

        logs: Ids of the segments that *keep_checkpoints* is about; None for all.
    """

    now_ms: int
    keep_checkpoints: int | None = None
    logs: Collection[bytes] | None = None


@attrs.frozen
class Owner:
    """
    A segment, as far as retention goes.

    Attributes:
        parent: Who owns the entry before its first own one.

        count: Entries of its log; None if it was deleted.

        time_ms: Of its newest commit.
    """

    id: bytes
    session: bytes
    parent: bytes | None
    fork_index: int
    count: int | None
    time_ms: int


class Claim(NamedTuple):
    """
    What logs want of one group in the entries below *stop*: *everything*, what the
    *newest* so many have, and what those since *since_ms* have, if that is not None.
    """

    stop: int
    everything: bool
    newest: int
    since_ms: int | None


@attrs.frozen(eq=False)
class Policy:
    """
    All rules and pins that hold in one collection.

    Attributes:
        rules: Of the store log.

        pins: Likewise.

        terms: Of the collection.
    """

    rules: Mapping[tuple[bytes | None, Group], Rule]
    pins: Collection[tuple[bytes, int]]
    terms: Terms

    @classmethod
    def of(cls, log: StoreLog, terms: Terms) -> Policy:
        """Return what *log* says and *terms* ask for."""
        return cls(log.rules, log.pins, terms)

    @property
    def groups(self) -> frozenset[Group]:
        """Groups that some rule speaks of; of the others everything is kept."""
        found = {group for _, group in self.rules}
        if self.terms.keep_checkpoints is not None:
            found.add(CHECKPOINT)
        return frozenset(found)

    def find(self, owner: Owner, group: Group) -> Rule | None:
        """Return the rule for *group* in the log of *owner*, None for none."""
        own = self.rules.get((owner.session, group))
        if own is not None:
            return own
        count, logs = self.terms.keep_checkpoints, self.terms.logs
        is_asked = count is not None and (logs is None or owner.id in logs)
        if group == CHECKPOINT and is_asked:
            return Rule(None, group, count, None)
        return self.rules.get((None, group))

    def since_ms(self, rule: Rule) -> int | None:
        """Return from when on *rule* keeps entries for their time; None: never."""
        return None if rule.days is None else self.terms.now_ms - rule.days * DAY_MS

    def claim(self, owner: Owner, group: Group) -> Claim:
        """Return what the log of *owner*, which lives, wants of *group*."""
        count = owner.count or 0
        rule = self.find(owner, group)
        if rule is None:
            return Claim(count, True, 0, None)
        return Claim(count, False, rule.newest or 0, self.since_ms(rule))


class _Wanting:
    """What the logs that hold an entry still want of one group, going down."""

    def __init__(self, claims: Iterable[Claim]) -> None:
        self._claims = sorted(claims, key=lambda claim: claim.stop)
        self.everything = False
        self.newest = 0
        self.since_ms: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether no log wants anything more by a rule."""
        nothing = not self.everything and not self.newest and self.since_ms is None
        return nothing and not self._claims

    def reach(self, index: int) -> None:
        """Take in the logs that hold the entry at *index*."""
        while self._claims and self._claims[-1].stop > index:
            claim = self._claims.pop()
            self.everything = self.everything or claim.everything
            # Of several counts the largest is the last to be met.
            self.newest = max(self.newest, claim.newest)
            if claim.since_ms is not None:
                known = claim.since_ms if self.since_ms is None else self.since_ms
                self.since_ms = min(known, claim.since_ms)

    def rest(self, stop: int) -> Claim:
        """Return what is left for the entries below *stop*, which all logs hold."""
        self.reach(stop)
        return Claim(stop, self.everything, self.newest, self.since_ms)


class Keeper:
    """
    Says what is released, segment by segment.

    Attributes:
        policy: What is kept.

        groups: That some rule speaks of.

        aged: Segments with an entry without a time that was released for its age:
            they count as new again with their next commit.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.groups = policy.groups
        self.aged: set[bytes] = set()
        self._claims: dict[bytes, dict[Group, list[Claim]]] = {}
        self._pins: dict[bytes, set[int]] = {}
        for segment, index in policy.pins:
            self._pins.setdefault(segment, set()).add(index)
        self._owner: Owner | None = None
        self._pinned: Collection[int] = ()
        self._wanting: dict[Group, _Wanting] = {}

    @property
    def is_done(self) -> bool:
        """Whether no rule keeps anything of the segment's older entries."""
        return all(wanting.is_done for wanting in self._wanting.values())

    def begin(self, owner: Owner) -> None:
        """Begin with the own entries of *owner*; its heirs are done."""
        claims = self._claims.pop(owner.id, {})
        self._owner = owner
        self._pinned = self._pins.get(owner.id, ())
        self._wanting = {}
        for group in self.groups:
            found = claims.get(group, [])
            if owner.count is not None:
                found.append(self.policy.claim(owner, group))
            self._wanting[group] = _Wanting(found)

    def released(
        self,
        named: Mapping[int, Collection[Group]],
        time_of: Callable[[int], int | None],
    ) -> set[tuple[int, Group]]:
        """
        Return index and group of what no log keeps.

        Args:
            named: For own entries, all of them behind those asked for later: which
                of `groups` they have.

            time_of: Gives the time of an entry.
        """
        owner = self._owner
        gone: set[tuple[int, Group]] = set()
        if owner is None:
            return gone
        for index in sorted(named, reverse=True):
            stays = index == owner.fork_index or index in self._pinned
            for group in named[index]:
                if not self._is_wanted(owner, index, group, time_of) and not stays:
                    gone.add((index, group))
        return gone

    def _is_wanted(
        self,
        owner: Owner,
        index: int,
        group: Group,
        time_of: Callable[[int], int | None],
    ) -> bool:
        wanting = self._wanting[group]
        wanting.reach(index)
        if wanting.newest:
            wanting.newest -= 1
            return True
        if wanting.everything or wanting.since_ms is None:
            return wanting.everything
        time_ms = time_of(index)
        wanted = (owner.time_ms if time_ms is None else time_ms) >= wanting.since_ms
        if time_ms is None and not wanted:
            self.aged.add(owner.id)
        return wanted

    def end(self) -> None:
        """Be done with the segment; what its logs want further, its parent has."""
        owner = self._owner
        if owner is None or owner.parent is None:
            return
        claims = self._claims.setdefault(owner.parent, {})
        for group, wanting in self._wanting.items():
            claims.setdefault(group, []).append(wanting.rest(owner.fork_index))


def heirs_first(owners: Iterable[Owner]) -> Iterator[Owner]:
    """
    Yield *owners* in their order, but whoever inherits from one before it.
    """
    todo = list(owners)
    heirs: dict[bytes, list[Owner]] = {}
    for owner in todo:
        if owner.parent is not None:
            heirs.setdefault(owner.parent, []).append(owner)
    todo.reverse()
    done: set[bytes] = set()
    while todo:
        owner = todo[-1]
        # Who inherits comes on top of it, once.
        todo += reversed(heirs.pop(owner.id, ()))
        if todo[-1] is not owner:
            continue
        todo.pop()
        if owner.id not in done:
            done.add(owner.id)
            yield owner
