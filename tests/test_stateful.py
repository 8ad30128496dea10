"""
A store and its model, told the same, hold and answer the same.
"""

from __future__ import annotations

import pytest

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from machine import StoreMachine, picks
from merkle_reference import Reference as ReferenceTree
from model import Log

import castore

from castore import Segment, Store
from castore.digest import format_digest
from castore.formats.trees import SEGMENT_TREE
from castore.reading.survey import survey
from castore.storage import Files
from castore.verify import verify


class CheckedMachine(StoreMachine):
    """What a store says is compared with what the model says, all the time."""

    @invariant()
    def counts_agree(self) -> None:
        """Totals are those of the model, through every handle."""
        for handle in self.handles:
            stats = handle.store.stats()
            found = {name: getattr(stats, name) for name in self.model.counts()}
            assert self.model.counts() == found

    @rule(h=st.none() | picks)
    def look(self, h: int | None) -> None:
        """All that is there reads back, nothing else is there; readers see it too."""
        if h is not None:
            self.check_all(self.handle(h).store)
            return
        with castore.open(self.path, read_only=True) as store:
            self.check_all(store)

    @precondition(lambda self: self.model.living())
    @rule(h=picks, pick=picks, start=st.floats(0, 1), stop=st.floats(0, 1))
    def read(self, h: int, pick: int, start: float, stop: float) -> None:
        """A range of a log is that range, forwards and backwards; proofs hold."""
        log = self.log(pick)
        segment = self.handle(h).grip(log.id)
        self.prove(segment, log, start, stop)
        first, last = int(start * log.count), int(stop * (log.count + 1))
        wanted = log.items()[first:last]
        found = list(segment.entries(first, last))
        assert len(wanted) == len(found)
        assert (
            all(map(type(wanted[0]).agrees, wanted, found, range(first, last)))
            if wanted
            else True
        )
        assert found[::-1] == list(segment.entries(first, last, reverse=True))
        assert found == [entry for entry, _ in segment.read(first, last)]

    def prove(self, segment: Segment, log: Log, start: float, stop: float) -> None:
        """What a log proves holds for the tree of its entries, computed anew."""
        hashes = [entry.hash for entry in segment.entries()]
        tree = SEGMENT_TREE
        plain = ReferenceTree(tree, [tree.leaf(each) for each in hashes])
        index = min(int(start * log.count), log.count - 1)
        proof = segment.prove(index)
        roots = proof.entry.hash, proof.root
        assert (hashes[index], plain.root(0, log.count)) == roots
        assert segment.head.root == proof.root
        proof.check()
        second = int(stop * log.count)
        first = min(index, second)
        if first:
            growth = segment.prove_consistency(first, second)
            ends = growth.first.root, growth.second.root
            assert (plain.root(0, first), plain.root(0, second)) == ends
            growth.check()

    def finish(self) -> None:
        """Whatever was done: all is there, and checkers find no fault."""
        for handle in self.handles:
            self.check_all(handle.store)
        self.look(None)
        assert survey(Files(self.path)).first_fault() is None
        report = verify(self.path)
        assert report.ok, report.findings
        count = len(self.model.stored.keys() - self.model.lists)
        assert count == report.covered["blobs"]

    # --- all of it -----------------------------------------------------------

    def check_all(self, store: Store) -> None:
        """Compare all that *store* shows."""
        for log in self.model.living():
            self.check_log(store, log)
        for segment in self.model.deleted:
            with pytest.raises(castore.GoneError):
                store.segment(segment)
        self.check_sessions(store)
        assert self.model.tags == store.tags()
        for name, data in self.model.readable():
            assert data == store.get(format_digest(name))
        missing = self.model.contents.keys() - self.model.stored.keys()
        for name in missing:
            if not store.engine.pool.has(name):
                is_known = name in self.model.collected
                error = castore.GoneError if is_known else castore.NotFoundError
                with pytest.raises(error):
                    store.get(format_digest(name))

    def check_log(self, store: Store, log: Log) -> None:
        """Compare one log, entry by entry."""
        segment = store.segment(log.id)
        items = log.items()
        assert (len(items), log.revision) == (segment.count, segment.revision)
        assert (log.fork_index, log.session) == (segment.fork_index, segment.session_id)
        for index, (item, (entry, body)) in enumerate(
            zip(items, segment.read(), strict=True)
        ):
            assert item.agrees(entry, index)
            assert self.model.contents[item.body] == body
            if item.lists:
                assert item.refs == segment.references(entry)
        assert entry == segment.entry(-1)
        with pytest.raises(IndexError):
            segment.entry(len(items))

    def check_sessions(self, store: Store) -> None:
        """Compare sessions, their keys and their segments."""
        found = {session.id: session for session in store.sessions()}
        keys = {session.id: session.key for session in found.values()}
        assert self.model.sessions == keys
        for each, session in found.items():
            segments = {log.id for log in self.model.living() if log.session == each}
            assert segments == {segment.id for segment in session.segments()}
            if session.key:
                assert session.id == store.session(session.key).id


_count = settings.default.max_examples if settings.default else 100

DEEP = 5000  # examples of the profile by which a run takes 100,000 steps

TestStore = CheckedMachine.TestCase
TestStore.settings = settings(
    max_examples=max(10, _count // 8),
    stateful_step_count=60 if _count < DEEP else 160,
    deadline=None,
)
