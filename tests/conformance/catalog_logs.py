"""
What every catalog promises about segments, sessions and tags.
"""

from __future__ import annotations

import random

from collections.abc import Callable, Iterator

from conformance.catalog_rows import MANY, apply, full, key, place, run, segment

from castore.catalog.rows import (
    Catalog,
    DeletedRow,
    Facts,
    Label,
    Listed,
    Node,
    SegmentRow,
    SessionRow,
    TagRow,
    listed,
)


def check_each_is_met_once(
    catalog: Catalog, rows: Callable[[], Iterator[SegmentRow | Listed]]
) -> None:
    """Compare the segments in *rows* with all, of which one moves up meanwhile."""
    ids = [index.to_bytes(2, "big") for index in range(MANY)]
    apply(catalog, Facts(segments=[segment(each, seq=9) for each in ids]))
    met = rows()
    seen = [next(met).id]
    apply(catalog, Facts(segments=[segment(ids[-1], seq=10)]))
    seen += [row.id for row in met]

    assert ids == sorted(seen)


class LogTests:
    """The promises about what makes up logs."""

    # --- segments ------------------------------------------------------------

    def test_segments(self, catalog: Catalog) -> None:
        """A segment is found by id, in its last state."""
        first = segment(b"s", parent=(b"r", 2))
        apply(catalog, Facts(segments=[first, segment(b"t")]))
        assert first == catalog.find_segment(b"s")

        apply(catalog, Facts(segments=[segment(b"s", seq=5, count=9)]))
        assert segment(b"s", seq=5, count=9) == catalog.find_segment(b"s")
        assert catalog.find_segment(b"r") is None

    def test_segments_come_newest_first(self, catalog: Catalog) -> None:
        """All segments come by falling seq, those of one commit by id."""
        ids = [index.to_bytes(2, "big") for index in range(MANY)]
        rows = [segment(each, seq=1 + index // 3) for index, each in enumerate(ids)]
        apply(catalog, Facts(segments=random.Random(1).sample(rows, MANY)))

        expected = sorted(rows, key=lambda row: (-row.seq, row.id))
        assert expected == list(catalog.segments())

    def test_a_segment_that_moves_up_comes_once(self, catalog: Catalog) -> None:
        """Whoever goes over the segments meets each one, whatever is committed."""
        check_each_is_met_once(catalog, catalog.segments)

    def test_a_listing(self, catalog: Catalog) -> None:
        """A listing has all living segments as `segments`, with the session's key."""
        ids = [index.to_bytes(2, "big") for index in range(MANY)]
        rows = [
            segment(each, seq=1 + index // 3, session=each[1:])
            for index, each in enumerate(ids)
        ]
        sessions = [SessionRow(bytes([each]), "n", str(each)) for each in range(99)]
        sessions.append(SessionRow(bytes([99]), None, None))
        gone = segment(b"gone", peaks=b"")  # deleted, and others inherit from it
        apply(catalog, Facts(segments=[*rows, gone], sessions=sessions))
        keys = {row.id: row for row in sessions}

        expected = [
            listed(row, keys.get(row.session))
            for row in sorted(rows, key=lambda row: (-row.seq, row.id))
        ]
        assert expected == list(catalog.listing())
        assert {None, ("n", "7")} < {row.key for row in expected}

    def test_a_listing_has_the_newest_state(self, catalog: Catalog) -> None:
        """What changed since, segment or session, is listed as it is now."""
        sessions = [SessionRow(b"x", "n", "a"), SessionRow(b"y", "n", "b")]
        rows = [segment(b"s"), segment(b"t", session=b"y"), segment(b"u")]
        apply(catalog, Facts(segments=rows, sessions=sessions))
        newer = segment(b"s", seq=7, count=9)
        apply(catalog, Facts(segments=[newer]))
        first, *others = catalog.listing()

        assert listed(newer, sessions[0]) == first
        assert [b"t", b"u"] == [row.id for row in others]

        other = SessionRow(b"z", "n", "b")  # takes the key of another
        apply(catalog, Facts(sessions=[other, SessionRow(b"x", "n", "c")]))
        keys = [("n", "c"), None, ("n", "c")]
        assert keys == [row.key for row in catalog.listing()]

        apply(catalog, Facts(gone_segments=[b"s"], gone_sessions=[b"x"]))
        assert [(b"t", None), (b"u", None)] == [
            (row.id, row.key) for row in catalog.listing()
        ]

    def test_what_moves_up_is_listed_once(self, catalog: Catalog) -> None:
        """Whoever reads a listing meets each segment, whatever is committed."""
        check_each_is_met_once(catalog, catalog.listing)

    def test_segments_of_a_session(self, catalog: Catalog) -> None:
        """The segments of a session come by id; one that changes session moves."""
        rows = [segment(each) for each in (b"c", b"a", b"b")]
        apply(catalog, Facts(segments=[*rows, segment(b"d", session=b"y")]))
        apply(catalog, Facts(segments=[segment(b"b", session=b"y", seq=2)]))

        assert [b"a", b"c"] == [row.id for row in catalog.segments_of(b"x")]
        assert [b"b", b"d"] == [row.id for row in catalog.segments_of(b"y")]

    def test_children(self, catalog: Catalog) -> None:
        """The forks of a segment come by id, known or not as it is itself."""
        rows = [segment(each, parent=(b"p", 1)) for each in (b"c", b"a", b"b")]
        apply(catalog, Facts(segments=[*rows, segment(b"d", parent=(b"a", 1))]))
        apply(catalog, Facts(segments=[segment(b"b", seq=2)]))

        assert [rows[1], rows[0]] == catalog.children(b"p")
        assert [segment(b"d", parent=(b"a", 1))] == catalog.children(b"a")
        assert [] == catalog.children(b"d")

    def test_gone_segments(self, catalog: Catalog) -> None:
        """With a segment go its row, runs, nodes, keys and labels, nothing else."""
        apply(catalog, full())
        apply(catalog, Facts(gone_segments=[b"s", b"unknown"]))

        left = full()
        left.runs, left.nodes, left.keys = [], [], [key(b"t", "k")]
        left.labels = [label for label in left.labels if label.segment != b"s"]
        del left.segments[0]
        assert left == catalog.dump()
        assert catalog.find_segment(b"s") is None
        assert left.segments == list(catalog.segments())
        assert [] == catalog.segments_of(b"x")
        assert [] == catalog.runs(b"s", 0, 9)
        assert [None] == catalog.find_nodes([(b"s", 8, 0)])
        assert catalog.find_key(b"s", "k") is None
        assert left.segments == catalog.children(b"s")

    def test_gone_sessions(self, catalog: Catalog) -> None:
        """With a session go its row and its key, which another may then have."""
        apply(catalog, full())
        session = next(catalog.sessions())
        apply(catalog, Facts(gone_sessions=[session.id, b"unknown"]))

        assert catalog.find_session(session.id) is None
        assert session not in list(catalog.sessions())
        left = full()
        left.sessions = [row for row in left.sessions if row.id != session.id]
        assert left == catalog.dump()

    def test_a_segment_that_comes_again_is_new(self, catalog: Catalog) -> None:
        """Nothing of a gone segment comes back with its id."""
        apply(catalog, full(), Facts(gone_segments=[b"s"]))
        apply(catalog, Facts(segments=[segment(b"s", seq=8)], runs=[run(1, 1)]))

        assert segment(b"s", seq=8) == catalog.find_segment(b"s")
        assert [run(1, 1)] == catalog.runs(b"s", 0, 99)
        assert [None, None] == catalog.find_nodes([(b"s", 8, 0), (b"s", 8, 1)])

    def test_what_was_removed_may_come_in_the_same_step(self, catalog: Catalog) -> None:
        """Removals do not reach the facts behind them, applied together or not."""
        for removal in (
            Facts(untags=["t"]),
            Facts(gone_segments=[b"s"]),
            Facts(gone_places=[b"a"]),
        ):
            apply(catalog, full(), removal, full())
            assert full() == catalog.dump()
            assert TagRow("t", b"a", 5, None) == catalog.find_tag("t")
            assert segment(b"s") == catalog.find_segment(b"s")
            assert place(b"a") == catalog.find_place(b"a")

    def test_removals_come_after_rows(self, catalog: Catalog) -> None:
        """What facts both write and remove is removed."""
        facts = full()
        facts.gone_segments, facts.gone_places, facts.untags = [b"s"], [b"a"], ["t"]
        apply(catalog, facts)

        assert catalog.find_segment(b"s") is None
        assert catalog.find_run(b"s", 0) is None
        assert catalog.find_place(b"a") is None
        assert catalog.find_tag("t") is None
        assert facts.segments[1:] == catalog.dump().segments

    def test_nodes(self, catalog: Catalog) -> None:
        """Nodes are found many at a time, each in its place, the last one put."""
        nodes = [Node(b"s", 8, 0, b"1"), Node(b"s", 9, 0, b"2"), Node(b"t", 8, 0, b"3")]
        apply(catalog, Facts(nodes=nodes))
        apply(catalog, Facts(nodes=[Node(b"t", 8, 0, b"4")]))
        wanted = [(b"t", 8, 0), (b"s", 8, 1), (b"s", 9, 0), (b"s", 8, 0), (b"t", 8, 0)]

        assert [b"4", None, b"2", b"1", b"4"] == catalog.find_nodes(wanted)

    def test_keys(self, catalog: Catalog) -> None:
        """A commit key belongs to its segment and stands for what it last did."""
        apply(catalog, Facts(keys=[key(b"s", "k"), key(b"t", "k"), key(b"s", "")]))
        apply(catalog, Facts(keys=[key(b"s", "k", seq=2)]))

        assert key(b"s", "k", seq=2) == catalog.find_key(b"s", "k")
        assert key(b"t", "k") == catalog.find_key(b"t", "k")
        assert key(b"s", "") == catalog.find_key(b"s", "")
        assert catalog.find_key(b"s", "K") is None
        assert catalog.find_segment(b"s") is None

    def test_deleted(self, catalog: Catalog) -> None:
        """How a segment was deleted stays known when it is gone."""
        apply(catalog, full(), Facts(deleted=[DeletedRow(b"s", 7, b"h")]))
        apply(catalog, Facts(gone_segments=[b"s"]))

        assert DeletedRow(b"s", 7, b"h") == catalog.find_deleted(b"s")
        assert DeletedRow(b"v", 12, b"final head") == catalog.find_deleted(b"v")
        assert catalog.find_deleted(b"t") is None

    def test_labels(self, catalog: Catalog) -> None:
        """The segments of a label come by id, each once."""
        labels = [Label(b"a", each) for each in (b"t", b"s", b"t", b"r")]
        apply(catalog, Facts(labels=labels), Facts(labels=[Label(b"b", b"s"), *labels]))

        assert [b"r", b"s", b"t"] == catalog.labelled(b"a")
        assert [b"s"] == catalog.labelled(b"b")
        assert [] == catalog.labelled(b"s")

    # --- sessions and tags ---------------------------------------------------

    def test_sessions(self, catalog: Catalog) -> None:
        """A session is found by id and by key; one whose key changes loses the old."""
        rows = [SessionRow(b"1", "n", "a"), SessionRow(b"2", None, None)]
        apply(catalog, Facts(sessions=rows))
        assert rows == [catalog.find_session(b"1"), catalog.find_session(b"2")]
        assert rows[0] == catalog.find_session_by_key("n", "a")
        assert catalog.find_session_by_key("a", "n") is None

        changed = SessionRow(b"1", "n", "b")
        apply(catalog, Facts(sessions=[changed]))
        assert catalog.find_session_by_key("n", "a") is None
        assert changed == catalog.find_session_by_key("n", "b")
        assert changed == catalog.find_session(b"1")

    def test_a_key_has_one_session(self, catalog: Catalog) -> None:
        """A session takes the place of another one with its key; none has no key."""
        old, new = SessionRow(b"1", "n", "a"), SessionRow(b"2", "n", "a")
        keyless = [SessionRow(each, None, None) for each in (b"3", b"4")]
        apply(catalog, Facts(sessions=[old, *keyless]))
        apply(catalog, Facts(sessions=[new]))

        assert catalog.find_session(b"1") is None
        assert new == catalog.find_session_by_key("n", "a")
        assert [new, *keyless] == list(catalog.sessions())

        apply(catalog, Facts(sessions=[SessionRow(b"2", None, None)]))
        assert catalog.find_session_by_key("n", "a") is None
        assert catalog.find_session(b"1") is None

    def test_sessions_come_in_order(self, catalog: Catalog) -> None:
        """All sessions come by id, more than are read at once."""
        ids = [index.to_bytes(2, "big") for index in range(MANY)]
        rows = [SessionRow(each, "n", each.hex()) for each in ids]
        apply(catalog, Facts(sessions=random.Random(1).sample(rows, MANY)))

        assert rows == list(catalog.sessions())

    def test_a_session_that_changes_comes_once(self, catalog: Catalog) -> None:
        """Whoever goes over the sessions meets each one, whatever its key."""
        ids = [index.to_bytes(2, "big") for index in range(MANY)]
        apply(
            catalog, Facts(sessions=[SessionRow(each, "n", each.hex()) for each in ids])
        )
        apply(catalog, Facts(sessions=[SessionRow(ids[0], None, None)]))
        met = catalog.sessions()
        seen = [next(met).id]
        apply(catalog, Facts(sessions=[SessionRow(each, None, None) for each in ids]))
        seen += [row.id for row in met]

        assert ids == seen

    def test_tags(self, catalog: Catalog) -> None:
        """A tag is found by name and replaced by it; all come by name."""
        rows = [
            TagRow(name, b"d", 4, None) for name in ("", "Z", "a", "é", "\U0001f600")
        ]
        apply(catalog, Facts(tags=rows[::-1]))
        assert rows == catalog.tags()

        apply(catalog, Facts(tags=[TagRow("a", b"e", 5, b"l")], untags=["Z", "none"]))
        assert TagRow("a", b"e", 5, b"l") == catalog.find_tag("a")
        assert ["", "a", "é", "\U0001f600"] == [row.name for row in catalog.tags()]
