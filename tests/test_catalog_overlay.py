"""
The catalog over another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from conformance.catalog import CatalogTests
from conformance.catalog_rows import FILE, OTHER, apply, full, place, position_at, run

from castore.catalog import Catalog, Facts, MemoryCatalog, Overlay, Position
from castore.catalog.rows import SessionRow


class Draining(Overlay):
    """An overlay of which all but the newest facts go down after each `apply`."""

    def __init__(self) -> None:
        self.below = MemoryCatalog()
        super().__init__(self.below)

    def apply(self, facts: Sequence[Facts], position: Position) -> None:
        """Take in *facts* and write older ones down."""
        super().apply(facts, position)
        older = self.pending()[:-1]
        for each, end in older:
            self.below.apply([each], end)
        self.drop(len(older))


class TestOverlay(CatalogTests):
    """What every catalog promises, of an overlay over nothing."""

    @pytest.fixture
    def catalog(self) -> Catalog:
        """Return an empty one."""
        return Overlay()


class TestDrainingOverlay(CatalogTests):
    """The same where all but the newest facts are below."""

    @pytest.fixture
    def catalog(self) -> Catalog:
        """Return an empty one."""
        return Draining()


@pytest.fixture
def base() -> MemoryCatalog:
    """Return a catalog with a row or two of each kind."""
    base = MemoryCatalog()
    apply(base, full())
    return base


def test_an_overlay_changes_nothing_below(base: MemoryCatalog) -> None:
    """What is applied to an overlay stays there."""
    before = base.position()
    overlay = Overlay(base)
    after = apply(overlay, Facts(drop_files=[FILE], places=[place(b"z")]))

    assert (full(), before) == (base.dump(), base.position())
    assert after == overlay.position()


def test_an_overlay_without_facts_is_its_base(base: MemoryCatalog) -> None:
    """An overlay that was reset, or never had facts, answers as its base."""
    overlay = Overlay(base)
    assert (base.position(), full()) == (overlay.position(), overlay.dump())

    apply(overlay, Facts(drop_files=[FILE, OTHER], gone_segments=[b"s"], untags=["t"]))
    overlay.reset()
    assert (base.position(), full()) == (overlay.position(), overlay.dump())
    assert place(b"a") == overlay.find_place(b"a")
    assert [] == overlay.pending()


def test_pending_facts_come_in_order() -> None:
    """Pending facts are those applied, each with the position that it led to."""
    overlay = Overlay()
    facts = [Facts(places=[place(bytes([index]))]) for index in range(4)]
    positions = [apply(overlay, each) for each in facts]
    assert list(zip(facts, positions, strict=True)) == overlay.pending()

    overlay.drop(3)
    assert [(facts[3], positions[3])] == overlay.pending()
    assert [place(b"\3")] == list(overlay.places())


def test_part_of_a_step_leads_nowhere_new() -> None:
    """
    Of facts applied together only the last leads to their position: whoever
    writes down a part of them has not got further than before.
    """
    overlay = Overlay()
    overlay.apply([Facts(), Facts()], position_at(1))
    overlay.apply([Facts(), Facts()], position_at(2))
    nowhere = Position(b"", 0, b"", 0, b"", 0)

    assert [nowhere, position_at(1), position_at(1), position_at(2)] == [
        position for _, position in overlay.pending()
    ]


def test_draining_changes_no_answer(base: MemoryCatalog) -> None:
    """Between writing facts down and dropping them, and after, answers stay."""
    overlay = Overlay(base)
    apply(overlay, Facts(drop_files=[FILE], places=[place(b"z", OTHER)]))
    apply(overlay, Facts(gone_segments=[b"s"], runs=[run(0, 1, segment=b"t")]))
    apply(overlay, Facts(gone_places=[b"z"], sessions=[SessionRow(b"0", "a", "1")]))
    expected = (overlay.dump(), overlay.counts(), overlay.position())

    while pending := overlay.pending():
        base.apply([pending[0][0]], pending[0][1])
        assert expected == (overlay.dump(), overlay.counts(), overlay.position())
        overlay.drop(1)
        assert expected == (overlay.dump(), overlay.counts(), overlay.position())
    assert expected == (base.dump(), base.counts(), base.position())


def test_an_iterator_survives_draining(base: MemoryCatalog) -> None:
    """Whoever goes over an overlay meets each row once while it is drained."""
    overlay = Overlay(base)
    apply(overlay, Facts(places=[place(b"a", OTHER), place(b"aa"), place(b"c")]))
    met = overlay.places()
    seen = [next(met)]
    for facts, position in overlay.pending():
        base.apply([facts], position)
    overlay.reset()
    apply(overlay, Facts(places=[place(b"b", offset=99)]))
    seen += met

    assert [b"a", b"aa", b"b", b"c"] == [row.digest for row in seen]


def test_a_run_that_is_replaced_below_does_not_show(base: MemoryCatalog) -> None:
    """A run above hides the longer one below that began at the same entry."""
    overlay = Overlay(base)
    apply(overlay, Facts(runs=[run(2, 1)]))

    assert run(2, 1) == overlay.find_run(b"s", 2)
    assert overlay.find_run(b"s", 4) is None
    assert run(2, 3, OTHER) == base.find_run(b"s", 4)


def test_rows_of_a_dropped_file_do_not_come_back(base: MemoryCatalog) -> None:
    """A place that moved into a file and was dropped with it is gone below too."""
    overlay = Overlay(base)
    apply(overlay, Facts(places=[place(b"b", b"file 3")]))
    apply(overlay, Facts(drop_files=[b"file 3"]))

    assert OTHER == getattr(base.find_place(b"b"), "file", None)
    assert overlay.find_place(b"b") is None
    assert [place(b"a")] == list(overlay.places())


def test_a_session_whose_key_was_taken_does_not_show(base: MemoryCatalog) -> None:
    """A session above hides the one below with its key, under id and in listings."""
    overlay = Overlay(base)
    apply(overlay, Facts(sessions=[SessionRow(b"0", "a", "1")]))
    assert overlay.find_session(b"y") is None
    assert [b"0", b"x"] == [row.id for row in overlay.sessions()]

    apply(overlay, Facts(sessions=[SessionRow(b"0", "a", "2")]))
    assert overlay.find_session_by_key("a", "1") is None
    assert overlay.find_session(b"y") is None
    assert 2 == overlay.counts().session_count
