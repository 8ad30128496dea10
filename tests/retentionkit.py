"""
Random histories of a store with policies and pins, beside a model of what stays.

The model knows logs as lists and applies spec/storelog.md, "What is kept", to each
entry of each log by itself: no pass, no order, nothing of the package.
"""

from __future__ import annotations

import random

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import attrs
import pytest

import castore

from castore import NewEntry, Reference
from castore.digest import blob_digest
from castore.errors import GoneError, NotFoundError
from castore.explaining import explain
from castore.formats.entry import encode_ref_list
from castore.formats.storelog import ALL
from castore.gc import Report, RoleCount, collect
from castore.packing import pack


DAY_MS = 24 * 3600 * 1000
NOW_MS = 1_790_000_000_000
ROLES = ("checkpoint", "checkpoint.state", "tool.out", "tool", "", "other.x")
GROUPS = ("checkpoint", "tool", "", None)
# What only a run can tell, of files.
FILES = (
    "files_dropped",
    "files_kept",
    "files_rewritten",
    "files_written",
    "freed_bytes",
    "rewritten_bytes",
    "stored_bytes",
)
MANY = 260  # references: more than an entry names without a list

Rules = dict[tuple[bytes | None, str | None], tuple[int | None, int | None]]


@attrs.frozen(eq=False)
class Item:
    """An entry: name of its body, its references, and its time."""

    body: bytes
    refs: tuple[Reference, ...]
    time_ms: int | None

    @property
    def lists(self) -> set[bytes]:
        """Names of its ref lists."""
        return {encode_ref_list(self.refs)[0]} if len(self.refs) >= MANY else set()

    def names(self) -> Iterator[tuple[str | None, bytes]]:
        """Yield what it leads to: the body, in no group; payloads in theirs."""
        yield None, self.body
        for ref in self.refs:
            yield ref.role.split(".")[0], ref.blob.digest


@attrs.define(eq=False)
class Log:
    """A segment; *time_ms* is that of its newest commit."""

    segment: castore.Segment
    parent: Log | None
    fork_index: int
    own: list[Item]
    time_ms: int
    is_deleted: bool = False

    def entries(self) -> list[tuple[Log, int, Item]]:
        """Return all entries with their owner and index."""
        above = self.parent.entries()[: self.fork_index] if self.parent else []
        own = [(self, self.fork_index + at, item) for at, item in enumerate(self.own)]
        return above + own


class Step(NamedTuple):
    """What happens: *a* and *b* choose where, *seed* what exactly."""

    what: str
    a: int
    b: int
    seed: int


WEIGHTS = {
    "begin": 3,
    "append": 12,
    "fork": 6,
    "delete": 2,
    "pin": 4,
    "unpin": 1,
    "policy": 6,
    "tag": 2,
    "untag": 1,
    "wait": 4,
    "pack": 1,
    "collect": 5,
}


def steps_of(seed: int, count: int) -> list[Step]:
    """Return *count* random steps; the last is a collection."""
    rng = random.Random(seed)
    kinds = rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
    made = [
        Step(kind, rng.randrange(64), rng.randrange(64), rng.randrange(1 << 30))
        for kind in [*kinds, "collect"]
    ]
    return [Step("begin", 0, 0, seed), *made]


@attrs.define(eq=False)
class World:
    """
    A store, and what must be in it.

    Attributes:
        now_ms: What every clock says.

        stored: Names of what sessions and tags brought and no collection took.

        gone: Names that a ``collected`` entry names.
    """

    store: castore.Store
    now_ms: int = NOW_MS
    logs: list[Log] = attrs.Factory(list)
    rules: Rules = attrs.Factory(dict)
    pins: set[tuple[bytes, int]] = attrs.Factory(set)
    tags: dict[str, bytes] = attrs.Factory(dict)
    tagged: set[bytes] = attrs.Factory(set)  # ever: the tags' entries stay
    refs: dict[bytes, castore.BlobRef] = attrs.Factory(dict)
    stored: set[bytes] = attrs.Factory(set)
    gone: set[bytes] = attrs.Factory(set)
    released_count: int = 0

    # --- the model -----------------------------------------------------------

    def living(self) -> list[Log]:
        """Return the segments that were not deleted."""
        return [log for log in self.logs if not log.is_deleted]

    def rule(
        self, log: Log, group: str | None, keep: int | None, only: set[bytes] | None
    ) -> tuple[int | None, int | None] | None:
        """Return newest and days for *group* in *log*, None where all stays."""
        own = self.rules.get((log.segment.session_id, group))
        is_asked = keep is not None and (only is None or log.segment.id in only)
        if own is None and group == "checkpoint" and is_asked:
            own = (keep, None)
        return own or self.rules.get((None, group))

    def wanted(self, keep: int | None, only: set[bytes] | None) -> set[bytes]:
        """Return every name that a log or a tag keeps."""
        found = set(self.tags.values())
        for log in self.living():
            entries = log.entries()
            for at, (_, _, item) in enumerate(entries):
                found |= item.lists
                for group, name in item.names():
                    if self.keeps(log, entries, at, group, keep, only):
                        found.add(name)
        return found

    def keeps(
        self,
        log: Log,
        entries: list[tuple[Log, int, Item]],
        at: int,
        group: str | None,
        keep: int | None,
        only: set[bytes] | None,
    ) -> bool:
        """Whether *log* keeps what its entry number *at* has of *group*."""
        rule = self.rule(log, group, keep, only)
        owner, index, item = entries[at]
        is_start = index == owner.fork_index
        if rule is None or is_start or (owner.segment.id, index) in self.pins:
            return True
        newest, days = rule
        newer = sum(
            any(group == other for other, _ in later.names())
            for _, _, later in entries[at + 1 :]
        )
        if newest is not None and newer < newest:
            return True
        time_ms = owner.time_ms if item.time_ms is None else item.time_ms
        return days is not None and self.now_ms - time_ms <= days * DAY_MS

    def named(self) -> dict[str | None, set[bytes]]:
        """Return what living entries name, by group, kept or not."""
        found: dict[str | None, set[bytes]] = {}
        for log in self.living():
            for _, _, item in log.entries():
                for group, name in item.names():
                    found.setdefault(group, set()).add(name)
        return found

    # --- steps ---------------------------------------------------------------

    def take(self, step: Step) -> None:
        """Do *step*; steps that nothing can be done with are passed over."""
        getattr(self, f"do_{step.what}")(step, random.Random(step.seed))

    def pick(self, number: int) -> Log | None:
        """Return one of the living logs, more often a newer one."""
        living = self.living()
        return living[-1 - number % min(len(living), 7)] if living else None

    def make(self, rng: random.Random) -> tuple[NewEntry, Item]:
        """Return a new entry, and the same for the model."""
        body = rng.choice([b"", b"same", b"turn %d" % rng.randrange(1 << 30)])
        time_ms = rng.choice(
            [None, self.now_ms, self.now_ms - rng.randrange(30) * DAY_MS]
        )
        roles = rng.choices(ROLES, k=rng.randrange(4))
        if rng.random() < 0.03:
            roles = rng.choices(["tool.out", "checkpoint"], k=MANY)
        refs = tuple(Reference(role, self.put(rng)) for role in roles)
        return (
            NewEntry("turn", body, refs, time_ms),
            Item(blob_digest(body), refs, time_ms),
        )

    def put(self, rng: random.Random) -> castore.BlobRef:
        """Put a payload: a new one, one like another, or one that was there."""
        old = list(self.refs.values())
        number = rng.random()
        if old and number < 0.2:
            known = rng.choice(old)
            if known.digest in self.stored:
                return known
        data = rng.randbytes(4) + bytes(range(250))
        ref = self.store.put(
            data, like=rng.choice(old) if old and number < 0.6 else None
        )
        self.refs[ref.digest] = ref
        return ref

    def committed(self, items: list[Item]) -> None:
        """Take note of what the store has with a commit of *items*."""
        for item in items:
            self.stored |= {name for _, name in item.names()} | item.lists

    def several(
        self, rng: random.Random, least: int = 1
    ) -> list[tuple[NewEntry, Item]]:
        """Return some new entries, all of which must be committed."""
        return [self.make(rng) for _ in range(rng.randrange(least, 5))]

    def add_log(
        self, segment: castore.Segment, parent: Log | None, own: list[Item]
    ) -> None:
        """Take note of a new segment, whose start entry is not in *own*."""
        items = [Item(blob_digest(b"begun"), (), None), *own]
        self.committed(items)
        log = Log(segment, parent, segment.fork_index, items, self.now_ms)
        self.logs.append(log)

    def do_begin(self, _: Step, rng: random.Random) -> None:
        """Begin a session."""
        made = self.several(rng)
        segment = self.store.create_session(
            body=b"begun", then=[new for new, _ in made]
        )
        self.add_log(segment, None, [item for _, item in made])

    def do_append(self, step: Step, rng: random.Random) -> None:
        """Append to a log."""
        log = self.pick(step.a)
        if log is not None:
            made = self.several(rng)
            log.segment.append([new for new, _ in made])
            log.own += [item for _, item in made]
            log.time_ms = self.now_ms
            self.committed([item for _, item in made])

    def do_fork(self, step: Step, rng: random.Random) -> None:
        """Fork a log, in its session or another."""
        log = self.pick(step.a)
        if log is None:
            return
        at = 1 + step.b % len(log.entries())
        session = rng.choice([None, *(each.segment.session_id for each in self.logs)])
        made = self.several(rng, 0)
        then = [new for new, _ in made]
        fork = log.segment.fork(at, session=session, body=b"begun", then=then)
        owner = log.entries()[at - 1][0]
        self.add_log(fork, owner, [item for _, item in made])

    def do_delete(self, step: Step, _: random.Random) -> None:
        """Delete a log."""
        log = self.pick(step.a)
        if log is not None:
            log.segment.delete()
            log.is_deleted = True

    def do_pin(self, step: Step, _: random.Random) -> None:
        """Pin an entry, of a log that may only inherit it."""
        log = self.pick(step.a)
        if log is not None:
            entries = log.entries()
            at = step.b % len(entries)
            owner, index = entries[at][:2]
            pin = self.store.pin(log.segment.id, at)
            assert (owner.segment.id, index) == pin
            self.pins.add(pin)

    def do_unpin(self, step: Step, _: random.Random) -> None:
        """Let go of a pin."""
        if self.pins:
            pin = sorted(self.pins)[step.a % len(self.pins)]
            assert pin == self.store.unpin(*pin)
            self.pins.discard(pin)

    def do_policy(self, step: Step, rng: random.Random) -> None:
        """Set a policy, or take it away."""
        log = self.pick(step.a)
        session = log.segment.session_id if log and step.b % 3 == 0 else None
        group = rng.choice(GROUPS)
        rule = rng.choice([None, 0, 1, 2, 3, ALL]), rng.choice([None, None, 0, 1, 10])
        if rule != (None, None):
            self.rules[session, group] = rule
        elif self.rules.pop((session, group), None) is None:
            return
        newest, days = rule
        self.store.set_policy(group, session=session, newest=newest, days=days)
        assert self.rules == {
            (each.session, each.group): (each.newest, each.days)
            for each in self.store.policies()
        }

    def do_tag(self, step: Step, _: random.Random) -> None:
        """Tag a payload."""
        there = sorted(self.refs.keys() & self.stored)
        if there:
            name = there[step.a % len(there)]
            self.store.tag(f"tag {step.b % 5}", self.refs[name])
            self.tags[f"tag {step.b % 5}"] = name
            self.tagged.add(name)

    def do_untag(self, step: Step, _: random.Random) -> None:
        """Let go of a tag."""
        if self.tags:
            name = sorted(self.tags)[step.a % len(self.tags)]
            self.store.untag(name)
            del self.tags[name]

    def do_wait(self, step: Step, _: random.Random) -> None:
        """Let hours to weeks go by."""
        self.now_ms += step.a * DAY_MS // 4

    def do_pack(self, _: Step, __: random.Random) -> None:
        """Pack; nothing that can be asked changes."""
        pack(self.store.engine)

    # --- collecting ----------------------------------------------------------

    def do_collect(self, step: Step, rng: random.Random) -> None:
        """Collect: exactly what no log and no tag keeps goes."""
        keep = rng.choice([None, None, 0, 1, 2])
        only = None
        if step.a % 3 == 0:
            ids = [log.segment.id for log in self.logs]
            only = set(rng.sample(ids, rng.randrange(len(ids) + 1)))
        wanted, named = self.wanted(keep, only), self.named()
        dead = self.stored - wanted
        reports = [
            collect(
                self.store.engine,
                grace_s=0,
                keep_checkpoints=keep,
                logs=only,
                dry_run=dry_run,
                yes=True,
            )
            for dry_run in (True, False, False)
        ]
        self.compare(reports, wanted, dead, named)
        released = dead & self.tagged.union(*named.values())
        self.released_count += len(released)
        self.gone |= released
        self.stored -= dead
        places = {place.digest for place in self.store.engine.view.known.places()}
        notes = {name for name in places - self.stored if name not in self.refs}
        assert self.stored <= places
        assert places - self.stored == notes - dead

    def compare(
        self,
        reports: list[Report],
        wanted: set[bytes],
        dead: set[bytes],
        named: dict[str | None, set[bytes]],
    ) -> None:
        """Compare what a dry run, a run and another run said with the model."""
        dry, run, again = reports
        facts = {name: getattr(run, name) for name in FILES}
        assert attrs.evolve(dry, dry_run=False, **facts) == run
        assert (run.deleted_blob_count, again.deleted_blob_count) == (len(dead), 0)
        assert run.missing_blob_count == len(wanted - self.stored)
        assert run.root_count == len(self.living()) + len(self.tags) + 1
        live = wanted & self.stored
        expected = {
            group: RoleCount(len(names & live), len(names & dead))
            for group, names in named.items()
            if group is not None
        }
        found = dict(run.by_role)
        found.pop("tag", None)
        assert found == expected

    def explain_all(self) -> None:
        """Ask why each name is kept, or not: the answer is the model's."""
        keeping: dict[bytes, set[tuple[bytes, int, str | None]]] = {}
        for log in self.living():
            entries = log.entries()
            for at, (owner, index, item) in enumerate(entries):
                for group, name in item.names():
                    if self.keeps(log, entries, at, group, None, None):
                        naming = owner.segment.id, index, group
                        keeping.setdefault(name, set()).add(naming)
        names = sorted({name for some in self.named().values() for name in some})
        for found in explain(self.store.engine, names, limit=1000):
            name = found.digest
            kept = [
                (each.segment, each.index, each.role and each.role.split(".")[0])
                for each in found.kept
                if each.segment != self.store.id
            ]
            assert set(kept) == keeping.get(name, set())
            assert all(each.hold is not None for each in found.kept)
            assert bool(found.tags) == (name in self.tags.values())
            is_there = name in self.stored
            states = {"kept"} if found.is_needed else {"unneeded", "condemned"}
            assert found.state in (states if is_there else {"absent"})

    def read_all(self) -> None:
        """Read what must be there, and be told why of what is not."""
        for digest, ref in self.refs.items():
            if digest in self.stored:
                assert len(self.store.get(ref)) == ref.size
            else:
                with pytest.raises(GoneError if digest in self.gone else NotFoundError):
                    self.store.get(ref)
        for log in self.living():
            for entry, (_, _, item) in zip(
                log.segment.entries(), log.entries(), strict=True
            ):
                assert entry.body.digest == item.body
                assert log.segment.prove(entry.index).index == entry.index


def play(steps: list[Step], root: Path) -> World:
    """Live *steps* in a new store at *root* and return what came of it; closed."""
    with castore.open(root, create=True) as store:
        world = World(store)

        def clock() -> int:
            return world.now_ms * 1_000_000

        with mock.patch("time.time_ns", clock):
            for step in steps:
                world.take(step)
            world.explain_all()
            world.read_all()
    return world
