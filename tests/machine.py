"""
Everything that can be done to a store, done to a store and to its model.
"""

from __future__ import annotations

import contextlib
import io

from collections.abc import Sequence
from typing import Any
from unittest import mock

import attrs
import pytest

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from model import Item, Log, SessionKey, content, content_of
from twin import Handle, Twin

import castore

from castore import NewEntry, Store, limits
from castore.catalog.comparing import read_facts
from castore.engine import Engine
from castore.engine.view import listed_frames, places_of
from castore.formats.frame import DIFFERENCE
from castore.gc import Report, RoleCount, collect
from castore.packing import pack
from castore.reading.survey import survey
from castore.writing import new_id


SMALL = {
    "JOURNAL_SIZE": 20_000,
    "OVERLAY_COMMIT_COUNT": 3,
    "APPLY_ROW_COUNT": 5,
    "PENDING_SIZE_MAX": 20_000,
    "SIDE_SIZE_MIN": 3000,
    "RUN_COUNT": 3,
    "BLOCK_SIZE": 10_000,
    "PACK_SIZE": 50_000,
    "DIFFERENCE_WHOLE_EVERY": 4,
}
LARGE = (limits.MIB + 1, 3 * limits.MIB, 8 * limits.MIB, 9_000_001)
SIZES = [0, 1, 2, 7, 8, 9, 100, 2999, 5000, 30_000, 70_000]
HOUR_S = 3600.0

picks = st.integers(0, 7)  # of what there is, by number
sizes = st.sampled_from([*SIZES * 8, *LARGE])
contents = st.tuples(st.integers(0, 3), sizes, st.integers(0, 3))
bodies = st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 40, 3100])).map(
    lambda spec: content(*spec, 0)
)
roles = st.sampled_from(["tool.out", "checkpoint", "checkpoint.full", "path"])
edits = st.none() | st.integers(0, 3)
refs = st.lists(st.tuples(roles, picks, edits), max_size=3)
times = st.none() | st.integers(0, 2**41)
specs = st.tuples(st.sampled_from(["user", "é"]), bodies, refs, times)
batches = st.lists(specs, min_size=1, max_size=4)
session_keys = st.none() | st.tuples(st.just("n"), st.sampled_from(["a", "b"]))


#: What only a run can tell, not a dry one.
ONLY_RUN = (
    *("dry_run", "next_ms", "files_kept", "files_rewritten", "files_dropped"),
    *("files_written", "rewritten_bytes", "stored_bytes", "freed_bytes"),
)


class StoreMachine(Twin):
    """One store, used through some handles, by every call that there is."""

    @initialize(small=st.booleans())
    def begin_store(self, *, small: bool) -> None:
        """Make the store; with small limits everything happens often."""
        if small:
            for name, value in SMALL.items():
                self.patches.enter_context(mock.patch.object(limits, name, value))
        self.handles.append(Handle(castore.open(self.path, create=True)))
        self.model.seq = 1
        self.sync(self.handles[0])
        self.put(0, (0, 5000, 0), None, None)
        self.begin(
            0, "new", 0, 0, None, [("start", b"", [("tool.out", 0, None)], None)]
        )

    # --- payloads ------------------------------------------------------------

    @rule(
        h=picks,
        spec=contents,
        step=st.none() | st.integers(1, 1 << 20),
        like=st.none() | picks,
    )
    def put(
        self, h: int, spec: tuple[int, int, int], step: int | None, like: int | None
    ) -> None:
        """Put bytes, perhaps like others, or a stream that gives them in parts."""
        handle = self.handle(h)
        if like is not None:
            self.reference(handle, like, spec[2])
            return
        stream = None
        if step is not None:
            parts = io.BytesIO(content(*spec))
            least = len(parts.getvalue()) // 20
            stream = mock.Mock(spec=io.RawIOBase)
            stream.read = lambda size: parts.read(min(size, max(step, least)))
        self.take(handle, spec, stream)

    @rule(h=picks, name=st.sampled_from(["t", "ü"]), pick=st.none() | picks)
    def tag(self, h: int, name: str, pick: int | None) -> None:
        """Tag something, let a tag move, or let go of one."""
        handle, model = self.handle(h), self.model
        if pick is None:
            self._untag(handle.store, name)
            self.sync(handle)
            return
        ref = self.reference(handle, pick, None)
        if model.closure([ref.digest], handle.waiting) is not None:
            self.note("tagged")
            model.tags[name] = ref
        with self.committing(handle, [Item("tagged", ref.digest)]):
            handle.store.tag(name, ref)

    def _untag(self, store: Store, name: str) -> None:
        if self.model.tags.pop(name, None) is None:
            with pytest.raises(castore.NotFoundError):
                store.untag(name)
            return
        self.note("untagged")
        store.untag(name)

    # --- logs ----------------------------------------------------------------

    @rule(
        h=picks,
        how=st.sampled_from(["new", "more", "fork", "fork to new", "fork to other"]),
        pick=picks,
        at=st.floats(0, 1),
        key=session_keys,
        batch=batches,
    )
    def begin(
        self,
        h: int,
        how: str,
        pick: int,
        at: float,
        key: SessionKey | None,
        batch: Sequence[Any],
    ) -> None:
        """Begin a segment: of a new session, of one that is there, or a fork."""
        handle, model = self.handle(h), self.model
        living = model.living()
        how = how if living else "new"
        parent = self.log(pick) if how.startswith("fork") else None
        count = 1 + int(at * (parent.count - 1)) if parent else 0
        key = key if how.endswith("new") else None
        items, entries = self.built(handle, [("start", *batch[0][1:]), *batch[1:]])
        is_taken = key is not None and key in model.sessions.values()
        others = list(model.sessions)
        session = {
            "more": others[pick % len(others)] if others else None,
            "fork": parent.session if parent else None,
            "fork to new": new_id(),
            "fork to other": others[pick % len(others)] if others else None,
        }.get(how)
        facts: dict[str, Any] = {
            "body": entries[0].body,
            "refs": entries[0].refs,
            "time_ms": entries[0].time_ms,
            "then": entries[1:],
        }
        grip = handle.grip(parent.id) if parent else None
        with self.committing(
            handle, items, castore.ConflictError if is_taken else None
        ):
            if grip is not None:
                found = grip.fork(
                    count, session=None if how == "fork" else session, key=key, **facts
                )
            elif session is not None:
                found = handle.store.new_segment(session, **facts)
            else:
                found = handle.store.create_session(key=key, **facts)
            handle.grips[found.id] = found
            owner = parent.owner(count - 1) if parent else None
            model.begin(Log(found.id, found.session_id, owner, count, items), key)
            assert session in {None, found.session_id}

    @precondition(lambda self: self.model.living())
    @rule(
        h=picks,
        pick=picks,
        batch=batches,
        expect=st.sampled_from(["seen", "seen", "any", "now", "stale"]),
        key=st.none() | st.sampled_from(["k", "l"]),
    )
    def append(
        self, h: int, pick: int, batch: Sequence[Any], expect: str, key: str | None
    ) -> None:
        """Append, expecting this or that."""
        handle, log = self.handle(h), self.log(pick)
        self.extend(handle, log, self.built(handle, batch), expect, key)

    @precondition(lambda self: self.model.living())
    @rule(
        h=picks,
        pick=picks,
        count=st.sampled_from([256, 257, 300]),
        listed=st.booleans(),
    )
    def append_much(self, h: int, pick: int, count: int, *, listed: bool) -> None:
        """
        Append so much that whole subtrees close, or one entry with more references
        than an entry can hold.
        """
        handle, log = self.handle(h), self.log(pick)
        batch: list[Any] = [("line", b"%d" % n, [], None) for n in range(count)]
        if listed:
            batch = [("list", b"", [("tool.out", n, None) for n in range(count)], None)]
        self.extend(handle, log, self.built(handle, batch), "any", None)

    def extend(
        self,
        handle: Handle,
        log: Log,
        built: tuple[list[Item], list[NewEntry]],
        expect: str,
        key: str | None,
    ) -> None:
        """Append *built* to *log*, in the store and in the model."""
        items, entries = built
        segment = handle.grip(log.id)
        wanted: Any = {
            "seen": None,
            "any": castore.ANY,
            "now": log.revision,
            "stale": log.revision - 1,
        }[expect]
        revision = segment.revision if wanted is None else wanted
        known = self.model.keys.get((log.id, key)) if key is not None else None
        error = None
        if known is not None:
            error = None if known[0] == content_of(items) else castore.ConflictError
        elif revision not in {castore.ANY, log.revision}:
            error = castore.ConflictError
        first = log.count
        with self.committing(handle, items, error, is_replay=known is not None) as goes:
            if goes and known is None:
                self.model.append(log, items, key)
            outcome = segment.append(entries, expect=wanted, key=key)
            where = (outcome.first_index, outcome.count, outcome.replayed)
            assert where == (
                (first, len(items), False) if not known else (*known[1:], True)
            )
            assert known or outcome.seq == self.model.seq
            assert segment.revision == log.revision

    @precondition(lambda self: self.model.living())
    @rule(h=picks, pick=picks)
    def delete(self, h: int, pick: int) -> None:
        """Delete a segment; who inherits from it keeps what it inherits."""
        handle, log = self.handle(h), self.log(pick)
        segment = handle.grip(log.id)
        if segment.revision != log.revision:
            with pytest.raises(castore.ConflictError):
                segment.delete()
            del handle.grips[log.id]
            return
        self.model.delete(log)
        self.kinds.append("deleted")
        segment.delete()
        self.sync(handle)
        for other in self.handles:
            grip = other.grips.pop(log.id, None)
            if grip is not None:
                with pytest.raises(castore.GoneError):
                    grip.append([NewEntry("late")])
                other.waiting |= self.model.put(b"")

    # --- handles -------------------------------------------------------------

    @rule(h=st.none() | picks)
    def reopen(self, h: int | None) -> None:
        """
        Open the store once more, or close one that is open: what that was given
        and never told to commit is lost.
        """
        if h is not None:
            handle = self.handle(h)
            handle.store.close()
            with pytest.raises(castore.ClosedError):
                handle.store.stats()
            self.handles.remove(handle)
        if not self.handles or (h is None and len(self.handles) < 3):
            self.handles.append(Handle(castore.open(self.path)))

    # --- maintenance ---------------------------------------------------------

    @rule(
        h=picks,
        what=st.sampled_from(["pack", "rebuild", "lose", "collect", "collect"]),
        keep=st.none() | st.integers(0, 2),
        when=st.sampled_from(["at once", "at once", "now", "late"]),
        how=st.sampled_from(["yes", "yes", "ask", "dry"]),
    )
    def maintain(
        self, h: int, what: str, keep: int | None, when: str, how: str
    ) -> None:
        """Pack, collect, rebuild."""
        handle = self.handle(h)
        if what == "pack":
            self.pack(handle)
        elif what == "collect":
            self.collect(handle, keep, when, how)
        else:
            self.rebuild(handle if what == "rebuild" else None)

    def pack(self, handle: Handle) -> None:
        """Pack: nothing that can be asked changes."""
        if pack(handle.store.engine).seq is not None:
            self.note("packs")
        self.sync(handle)

    def wait_long(self, engine: Engine) -> None:
        """Let the grace of all that is condemned run out."""
        engine.refresh()
        found = engine.upkeep.condemned()
        assert found.keys() == self.model.condemned.keys()
        past = {name: at - int(2000 * HOUR_S) for name, at in found.items()}
        engine.upkeep.condemn(past)
        self.model.condemned = dict.fromkeys(found, True)

    def in_live_sides(self, engine: Engine) -> set[bytes]:
        """
        Return what stands in the side packs that live handles hold, and what
        differences there are stored against: they cannot be stored anew.

        Even if a pack has it too: from there it would come back, as long as a
        commit says that it counts.
        """
        busy = {each.store.engine._side.id for each in self.handles}
        opened = engine.state.opened
        extents = survey(engine.files).members
        names: set[bytes] = set()
        differences: set[tuple[bytes, bytes]] = set()
        for file, stop in extents.items():
            for frame in listed_frames(opened.get(file), stop):
                if file in busy:
                    names |= {place.digest for place in places_of(frame)}
                differences |= {
                    (item[2], item[4]) for item in frame.table if item[0] == DIFFERENCE
                }
        return names | {base for heir, base in differences if heir in names}

    def collect(self, handle: Handle, keep: int | None, when: str, how: str) -> None:
        """Collect: exactly what nothing leads to goes."""
        model, engine = self.model, handle.store.engine
        if when == "late":
            self.wait_long(engine)
        found = model.collect(keep)
        dead = model.stored.keys() - found.live
        held = dead & self.in_live_sides(engine)
        due = model.due(dead, held, at_once=when == "at once")
        sizes = dict(model.stored)
        going = sum(sizes[name] for name in due)
        is_refused = 2 * going > sum(sizes.values()) and how == "ask"
        grace_s = 0 if when == "at once" else HOUR_S
        wanted: dict[str, Any] = {"grace_s": grace_s, "keep_checkpoints": keep}
        dry = collect(engine, **wanted, dry_run=True)
        if not is_refused and how != "dry":
            self._collected(due, dead, due & found.released)
        with (
            pytest.raises(castore.LimitError)
            if is_refused
            else contextlib.nullcontext()
        ):
            report = collect(engine, **wanted, yes=how == "yes", dry_run=how == "dry")
        self.sync(handle)
        if is_refused:
            return
        self._collected_as_told(engine, dry, report, wanted)
        assert {
            "root_count": found.root_count,
            "retained_blob_count": len(found.live),
            "retained_raw_bytes": sum(sizes[name] for name in found.live),
            "deleted_blob_count": len(due),
            "deleted_raw_bytes": going,
            "condemned_blob_count": len(dead - due - held),
            "held_blob_count": len(held),
            "missing_blob_count": len(found.explained),
            "by_role": {
                group: RoleCount(len(names & found.live), len(names & due))
                for group, names in found.by_group.items()
            },
            "dry_run": how == "dry",
        }.items() <= attrs.asdict(report, recurse=False).items()

    def _collected_as_told(
        self, engine: Engine, dry: Report, report: Report, wanted: dict[str, Any]
    ) -> None:
        """What a dry run says is what happens, and then there is nothing to do."""
        only_run = {name: getattr(report, name) for name in ONLY_RUN}
        assert report == attrs.evolve(dry, **only_run)
        assert (report.next_ms is None) == (not report.condemned_blob_count)
        if not report.dry_run:
            again = collect(engine, **wanted)
            assert (0, 0) == (again.deleted_blob_count, again.freed_bytes)
            assert report.next_ms == again.next_ms

    def _collected(self, due: set[bytes], dead: set[bytes], named: set[bytes]) -> None:
        if due:
            self.note(*["packs", "collected"][: 1 + bool(named)])
        self.model.collected |= named
        self.model.collected_now(due, dead)

    def rebuild(self, handle: Handle | None) -> None:
        """Make the index anew, or lose it while all is closed: it is what it was."""
        before = rows_of(self.handles[0].store)
        if handle is not None:
            handle.store.engine.rebuild()
        else:
            for each in self.handles:
                each.store.close()
            for path in self.path.glob("catalog-*"):
                path.unlink()
            self.handles = [Handle(castore.open(self.path))]
        after = rows_of(self.handles[0].store)
        assert before == after, {k: before[k] ^ after[k] for k in after}
        self.model.condemned = {}


def rows_of(store: Store) -> dict[str, set[Any]]:
    """
    Return the index of *store*: of a blob that is stored twice any copy will do,
    and of a deleted log only what others inherit is ever read.
    """
    known = read_facts(store.engine.refresh().known.dump())
    rows = attrs.asdict(known, recurse=False)
    rows["places"] = [(place.digest, place.size) for place in rows["places"]]
    return {kind: set(some) for kind, some in rows.items()}
