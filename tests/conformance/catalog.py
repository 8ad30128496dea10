"""
What every `castore.catalog.Catalog` promises, one method per promise.

A catalog's own test file subclasses `CatalogTests` and gives the fixture
`catalog`, an empty one. `broken_promises` is for catalogs that are wrong on
purpose.
"""

from __future__ import annotations

import inspect
import itertools
import random
import sys
import threading

from collections.abc import Callable

from conformance.catalog_logs import LogTests
from conformance.catalog_rows import (
    FILE,
    MANY,
    OTHER,
    Failing,
    apply,
    full,
    place,
    position_at,
    run,
    segment,
)

from castore.catalog.rows import (
    AbsenceRow,
    Catalog,
    Counts,
    Facts,
    KeyRow,
    Listed,
    Node,
    Place,
    Position,
    Run,
    SegmentRow,
    SessionRow,
    TagRow,
)


class CatalogTests(LogTests):
    """All promises; those about logs are inherited."""

    # --- taking in -----------------------------------------------------------

    def test_an_empty_catalog_knows_nothing(self, catalog: Catalog) -> None:
        """Whatever is asked of an empty catalog, there is nothing."""
        assert catalog.position() is None
        assert catalog.find_place(b"a") is None
        assert catalog.find_run(b"s", 0) is None
        assert [] == catalog.runs(b"s", 0, 9)
        assert catalog.find_segment(b"s") is None
        assert [] == list(catalog.segments())
        assert [] == list(catalog.listing())
        assert [] == catalog.children(b"s")
        assert [] == catalog.segments_of(b"x")
        assert catalog.find_session(b"x") is None
        assert catalog.find_session_by_key("a", "1") is None
        assert [] == list(catalog.sessions())
        assert [None] == catalog.find_nodes([(b"s", 8, 0)])
        assert [] == catalog.find_nodes([])
        assert catalog.find_key(b"s", "k") is None
        assert catalog.find_tag("t") is None
        assert [] == catalog.tags()
        assert catalog.find_deleted(b"v") is None
        assert [] == catalog.labelled(b"a")
        assert catalog.find_absence(b"c") is None
        assert [] == list(catalog.places())
        assert Counts(0, 0, 0, 0, 0) == catalog.counts()
        assert Facts() == catalog.dump()

    def test_the_position_is_that_of_the_last_facts(self, catalog: Catalog) -> None:
        """Facts move the position, no facts at all do too."""
        assert apply(catalog, full(), Facts()) == catalog.position()
        assert apply(catalog) == catalog.position()
        assert apply(catalog, Facts()) == catalog.position()
        assert full() == catalog.dump()

    def test_a_dump_is_everything_in_order(self, catalog: Catalog) -> None:
        """A dump has every row once, in order, however they came."""
        facts = full()
        for name in ("places", "runs", "segments", "nodes", "sessions", "keys", "tags"):
            getattr(facts, name).reverse()
        facts.labels.reverse()
        apply(catalog, facts)

        assert full() == catalog.dump()

    def test_a_dump_applied_again_changes_nothing(self, catalog: Catalog) -> None:
        """Facts may be taken in twice."""
        apply(catalog, full())
        apply(catalog, catalog.dump(), full())

        assert full() == catalog.dump()

    def test_facts_are_taken_in_whole_or_not_at_all(self, catalog: Catalog) -> None:
        """If facts fail to come, none of them is there and the position stays."""
        before = apply(catalog, Facts(places=[place(b"z")]))
        try:
            catalog.apply(Failing(), position_at(10**6))
        except OSError:
            pass
        else:
            raise AssertionError

        assert Facts(places=[place(b"z")]) == catalog.dump()
        assert before == catalog.position()

    def test_later_facts_win(self, catalog: Catalog) -> None:
        """Of rows with one key the last one counts, in and between facts."""
        early = Facts(places=[place(b"a", offset=1)], tags=[TagRow("t", b"a", 1, None)])
        apply(catalog, early, Facts(untags=["t"], places=[place(b"a", offset=2)]))
        apply(catalog, Facts(places=[place(b"a", offset=3), place(b"a", offset=4)]))

        assert [place(b"a", offset=4)] == catalog.dump().places
        assert [] == catalog.tags()

    def test_facts_stay_the_callers(self, catalog: Catalog) -> None:
        """Facts that were taken in are not changed."""
        facts = [full(), Facts(places=[place(b"z")]), Facts(drop_files=[FILE])]
        apply(catalog, *facts)

        assert [full(), Facts(places=[place(b"z")]), Facts(drop_files=[FILE])] == facts

    # --- places --------------------------------------------------------------

    def test_places(self, catalog: Catalog) -> None:
        """A place is found by its digest and replaced by it."""
        apply(catalog, Facts(places=[place(b"a"), place(b"b")]))
        apply(catalog, Facts(places=[place(b"a", OTHER, offset=9)]))

        assert place(b"a", OTHER, offset=9) == catalog.find_place(b"a")
        assert place(b"b") == catalog.find_place(b"b")
        assert catalog.find_place(b"") is None

    def test_places_come_in_order(self, catalog: Catalog) -> None:
        """All places come, by digest, more than are read at once."""
        rows = [place(index.to_bytes(2, "big")) for index in range(MANY)]
        rows.insert(0, place(b""))
        apply(catalog, Facts(places=random.Random(1).sample(rows, len(rows))))

        assert rows == list(catalog.places())

    def test_a_place_that_moves_comes_once(self, catalog: Catalog) -> None:
        """Whoever goes over the places meets each one, wherever it moves."""
        ids = [index.to_bytes(2, "big") for index in range(MANY)]
        apply(catalog, Facts(places=[place(each) for each in ids]))
        apply(catalog, Facts(places=[place(ids[0])]))
        met = catalog.places()
        seen = [next(met).digest]
        apply(catalog, Facts(places=[place(each, OTHER) for each in ids]))
        apply(catalog, Facts(drop_files=[FILE]))
        seen += [row.digest for row in met]

        assert ids == seen

    def test_names_in_a_range(self, catalog: Catalog) -> None:
        """The digests of places come from start to before stop, or to the end."""
        apply(catalog, Facts(places=[place(each) for each in (b"a", b"b", b"c")]))
        apply(catalog, Facts(places=[place(b"ab")], gone_places=[b"b"]))

        assert {b"a", b"ab"} == catalog.names(b"a", b"c")
        assert {b"ab", b"c"} == catalog.names(b"ab", None)
        assert set() == catalog.names(b"d", None)

        apply(catalog, Facts(places=[place(b"c", OTHER)], drop_files=[FILE]))
        assert {b"c"} == catalog.names(b"", None)

    def test_last_offsets(self, catalog: Catalog) -> None:
        """Each file with a place has the highest offset at which one stands."""
        rows = [place(b"a", offset=9), place(b"b", offset=5), place(b"c", OTHER)]
        apply(catalog, Facts(places=rows))
        assert {FILE: 9, OTHER: rows[2].offset} == catalog.last_offsets()

        apply(catalog, Facts(places=[place(b"d", OTHER, offset=70)], drop_files=[FILE]))
        assert {OTHER: 70} == catalog.last_offsets()

    def test_gone_places(self, catalog: Catalog) -> None:
        """A place that goes is gone, and may come again."""
        apply(catalog, Facts(places=[place(b"a"), place(b"b")]))
        apply(catalog, Facts(places=[place(b"c")], gone_places=[b"a", b"c", b"-"]))
        assert [place(b"b")] == list(catalog.places())
        assert catalog.find_place(b"a") is None

        apply(catalog, Facts(places=[place(b"a")]))
        assert place(b"a") == catalog.find_place(b"a")

    def test_absences(self, catalog: Catalog) -> None:
        """The last reason why a digest went is known, whether it is back or not."""
        first = [AbsenceRow(b"a", "collected", 3), AbsenceRow(b"b", "lost", 0)]
        second = AbsenceRow(b"a", "erased", 4)
        apply(catalog, Facts(absences=first))
        apply(catalog, Facts(absences=[second], places=[place(b"a")]))

        found = [catalog.find_absence(digest) for digest in (b"a", b"b", b"c")]
        assert [second, first[1], None] == found

    # --- runs ----------------------------------------------------------------

    def test_a_run_covers_its_entries(self, catalog: Catalog) -> None:
        """A run is found for each entry of it and for no other."""
        runs = [run(2, 3), run(5, 1, OTHER), run(8, 40)]
        apply(catalog, Facts(runs=[*runs, run(0, 100, segment=b"t")]))

        for index in range(60):
            covering = [r for r in runs if r.first <= index < r.first + r.count]
            found = catalog.find_run(b"s", index)
            assert covering == ([found] if found else [])
            assert run(0, 100, segment=b"t") == catalog.find_run(b"t", index)

    def test_runs_that_touch_a_range(self, catalog: Catalog) -> None:
        """The runs of a range are those that share an entry with it, in order."""
        runs = [run(0, 2), run(2, 3), run(3, 1, OTHER), run(4, 8), run(9, 1)]
        apply(catalog, Facts(runs=[*reversed(runs), run(1, 9, segment=b"t")]))

        for start, stop in itertools.product(range(14), repeat=2):
            touching = [
                row
                for row in runs
                if max(row.first, start) < min(row.first + row.count, stop)
            ]
            assert touching == catalog.runs(b"s", start, stop)

    def test_runs_are_replaced_by_their_first_entry(self, catalog: Catalog) -> None:
        """A run that begins where another began takes its place, shorter or not."""
        apply(catalog, Facts(runs=[run(0, 1), run(1, 1), run(2, 1)]))
        apply(catalog, Facts(runs=[run(0, 9, OTHER)]))
        assert [run(0, 9, OTHER), run(2, 1)] == catalog.runs(b"s", 2, 9)
        assert run(0, 9, OTHER) == catalog.find_run(b"s", 8)

        apply(catalog, Facts(runs=[run(0, 2)]))
        assert catalog.find_run(b"s", 8) is None
        assert 3 == len(catalog.dump().runs)

    def test_a_long_run_is_found_behind_later_ones(self, catalog: Catalog) -> None:
        """How long a run may be is not guessed from those that came last."""
        apply(catalog, Facts(runs=[run(0, 50)]))
        apply(catalog, Facts(runs=[run(60, 2), run(70, 1)]))
        apply(catalog, Facts(runs=[run(80, 1)]))

        assert run(0, 50) == catalog.find_run(b"s", 49)
        assert [run(0, 50), run(60, 2)] == catalog.runs(b"s", 49, 70)

    # --- dropped files -------------------------------------------------------

    def test_dropped_files(self, catalog: Catalog) -> None:
        """With a file go its places and runs, and nothing else."""
        apply(catalog, full())
        apply(catalog, Facts(drop_files=[FILE, b"unknown"]))

        left = full()
        del left.places[0], left.runs[0]
        assert left == catalog.dump()
        assert catalog.find_place(b"a") is None
        assert left.places == list(catalog.places())
        assert [run(2, 3, OTHER)] == catalog.runs(b"s", 0, 9)

    def test_many_dropped_files(self, catalog: Catalog) -> None:
        """Several files go at once."""
        apply(catalog, full(), Facts(drop_files=[FILE, OTHER]))

        assert ([], []) == (catalog.dump().places, catalog.dump().runs)

    def test_a_drop_comes_before_rows(self, catalog: Catalog) -> None:
        """What facts put elsewhere survives their drop, and what they put there."""
        apply(catalog, full())
        moved = [place(b"a", b"file 3"), place(b"c", FILE)]
        runs = [run(0, 2, b"file 3"), run(7, 1, FILE)]
        apply(catalog, Facts(drop_files=[FILE], places=moved, runs=runs))

        assert [moved[0], place(b"b", OTHER), moved[1]] == list(catalog.places())
        assert [runs[0], run(2, 3, OTHER), runs[1]] == catalog.runs(b"s", 0, 9)

    def test_a_drop_takes_what_came_just_before(self, catalog: Catalog) -> None:
        """Facts applied together are still one after the other."""
        apply(catalog, Facts(places=[place(b"a", OTHER)], runs=[run(0, 1, OTHER)]))
        apply(
            catalog,
            Facts(places=[place(b"a", FILE)], runs=[run(0, 1, FILE)]),
            Facts(drop_files=[FILE]),
        )

        assert catalog.find_place(b"a") is None
        assert catalog.find_run(b"s", 0) is None
        assert Facts() == catalog.dump()

    # --- all together --------------------------------------------------------

    def test_counts(self, catalog: Catalog) -> None:
        """Entries count where they are owned, blobs once, sizes raw."""
        apply(catalog, full())
        assert Counts(2, 2, 6, 2, 10) == catalog.counts()

        apply(catalog, Facts(segments=[segment(b"s", count=7)], places=[place(b"a")]))
        assert Counts(2, 2, 9, 2, 10) == catalog.counts()

        apply(catalog, Facts(sessions=[SessionRow(b"z", "a", "1")], drop_files=[FILE]))
        apply(catalog, Facts(gone_segments=[b"t"]))
        assert Counts(2, 1, 7, 1, 5) == catalog.counts()

    def test_values_are_kept_to_the_bit(self, catalog: Catalog) -> None:
        """Any text, any bytes and any number below 2^63 come back."""
        top = 2**63 - 1
        texts = ("", "\0", "a\0b", "é", "e\u0301", "\U0001f600", "x" * 1024, "'\"%;")
        facts = Facts(
            places=[Place(bytes(range(256)), b"", top, top, 0)],
            runs=[Run(b"", top - 1, 1, b"", top, top)],
            segments=[
                SegmentRow(b"", b"", b"", 0, top, top, top, top, top, b"", b"\0" * 2048)
            ],
            nodes=[Node(b"", top, top, b"")],
            sessions=[
                SessionRow(text.encode(), text, text)
                for text in sorted(texts, key=str.encode)
            ],
            keys=[KeyRow(b"", text, b"", 0, top, top, top) for text in sorted(texts)],
            tags=[TagRow(text, b"", top, b"") for text in sorted(texts)],
        )
        position = Position(b"", top, b"", top, b"", top)
        catalog.apply([facts], position)

        assert facts == catalog.dump()
        assert position == catalog.position()
        assert [Listed(*facts.segments[0][:9], "", "")] == list(catalog.listing())
        assert facts.runs == [catalog.find_run(b"", top - 1)]
        for text in texts:
            session = catalog.find_session_by_key(text, text)
            assert session == SessionRow(text.encode(), text, text)
            assert catalog.find_key(b"", text) in facts.keys
            assert catalog.find_tag(text) in facts.tags

    def test_readers_see_facts_whole(self, catalog: Catalog) -> None:
        """What facts drop and put elsewhere is never missing for another thread."""
        ids = [index.to_bytes(1, "big") for index in range(20)]
        files = [FILE, OTHER]
        apply(catalog, Facts(places=[place(each, OTHER) for each in ids]))
        done = threading.Event()

        def write() -> None:
            try:
                for _ in range(40):
                    moved = [place(each, files[0]) for each in ids]
                    apply(catalog, Facts(drop_files=[files[1]], places=moved))
                    files.reverse()
            finally:
                done.set()

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)  # seconds; let threads meet where they can
        writer = threading.Thread(target=write)
        writer.start()
        missing = []
        while not done.is_set():
            missing += [each for each in ids if catalog.find_place(each) is None]
            missing += [b"count"] * (catalog.counts().blob_count != len(ids))
        writer.join()
        sys.setswitchinterval(interval)

        assert [] == missing


def broken_promises(make: Callable[[], Catalog]) -> set[str]:
    """Return the names of the promises that a catalog made by *make* breaks."""
    broken = set()
    for name, method in inspect.getmembers(CatalogTests, inspect.isfunction):
        if name.startswith("test_"):
            try:
                method(CatalogTests(), make())
            except (AssertionError, LookupError, StopIteration, TypeError, ValueError):
                broken.add(name)
    return broken
