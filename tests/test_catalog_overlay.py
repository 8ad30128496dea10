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


# --- a base that others brought further -----------------------------------------


def test_a_base_that_is_further_shows_its_runs() -> None:
    """
    Runs above hide none of those that took their place since: what others merged
    below has no gap, and what they dropped does not come back.
    """
    base = MemoryCatalog()
    overlay = Overlay(base)
    apply(overlay, Facts(runs=[run(2, 1), run(3, 1), run(4, 1)]))
    apply(base, Facts(runs=[run(0, 2, OTHER), run(2, 3, b"file 3")]))
    merged = [run(0, 2, OTHER), run(2, 3, b"file 3")]

    assert merged == overlay.runs(b"s", 0, 5)
    assert merged[1] == overlay.find_run(b"s", 4)


def test_a_base_that_is_further_shows_what_came_back() -> None:
    """What went above and was stored again since is where it stands below."""
    base = MemoryCatalog()
    overlay = Overlay(base)
    apply(overlay, Facts(places=[place(b"a"), place(b"b")]))
    apply(overlay, Facts(drop_files=[FILE], gone_places=[b"c"]))
    back = place(b"a", OTHER), place(b"c", OTHER)
    apply(base, Facts(places=list(back)))

    assert [back[0], None, back[1]] == [*map(overlay.find_place, (b"a", b"b", b"c"))]
    found = {row.digest: row for row in back}
    assert found == overlay.find_places([b"a", b"b", b"c", b"d"])


def test_a_base_that_is_further_shows_its_sessions() -> None:
    """A session that came back, or took over a key, since is found by its id."""
    base = MemoryCatalog()
    overlay = Overlay(base)
    apply(overlay, Facts(sessions=[SessionRow(b"y", "a", "1")], gone_sessions=[b"z"]))
    later = [SessionRow(b"x", "a", "1"), SessionRow(b"z", None, None)]
    apply(base, Facts(sessions=later))

    assert later == [overlay.find_session(row.id) for row in later]


def test_a_base_that_is_not_further_shows_nothing_that_is_hidden() -> None:
    """Whatever facts are applied below, what is hidden shows only when all are."""
    base = MemoryCatalog()
    apply(base, Facts(runs=[run(2, 3)], places=[place(b"a")]))
    overlay = Overlay(base)
    apply(overlay, Facts(gone_places=[b"a"]))
    apply(overlay, Facts(runs=[run(2, 1)]))
    for facts, position in overlay.pending():
        assert (None, {}) == (overlay.find_place(b"a"), overlay.find_places([b"a"]))
        assert [run(2, 1)] == overlay.runs(b"s", 2, 9)
        base.apply([facts], position)

    assert (None, [run(2, 1)]) == (overlay.find_place(b"a"), overlay.runs(b"s", 2, 9))
