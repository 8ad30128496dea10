"""
All catalogs give the same answers to the same facts.
"""

from __future__ import annotations

import itertools
import tempfile

from pathlib import Path
from typing import Any

import attrs

from conformance.catalog_rows import position_at
from hypothesis import given
from hypothesis import strategies as st

from castore.catalog import Catalog, Facts, MemoryCatalog, Overlay, SqliteCatalog
from castore.catalog.rows import (
    AbsenceRow,
    DeletedRow,
    KeyRow,
    Label,
    Node,
    Place,
    Run,
    SegmentRow,
    SessionRow,
    TagRow,
)


# Few of each, so that facts meet.
DIGESTS = [b"", b"a", b"ab", b"b"]
FILES = [b"f", b"g", b"h"]
SEGMENTS = [b"s", b"t", b"u"]
SESSIONS = [b"x", b"y", b"z"]
TEXTS = ["", "k", "é"]
ENTRY_COUNT = 8

digests, files = st.sampled_from(DIGESTS), st.sampled_from(FILES)
segments, sessions = st.sampled_from(SEGMENTS), st.sampled_from(SESSIONS)
texts, small = st.sampled_from(TEXTS), st.integers(0, 3)
entries, counts = st.integers(0, ENTRY_COUNT - 1), st.integers(1, ENTRY_COUNT)
keyed = st.builds(SessionRow, sessions, st.just("n"), texts)
keyless = st.builds(SessionRow, sessions, st.none(), st.none())

ROWS: dict[str, st.SearchStrategy[Any]] = {
    "places": st.builds(Place, digests, files, small, small, small),
    "runs": st.builds(Run, segments, entries, counts, files, small, small),
    "segments": st.builds(
        SegmentRow,
        segments,
        sessions,
        st.none() | segments,
        small,
        st.integers(3, 9),
        small,
        small,
        small,
        small,
        digests,
        digests,
    ),
    "nodes": st.builds(Node, segments, st.just(8), small, digests),
    "sessions": keyed | keyless,
    "keys": st.builds(KeyRow, segments, texts, digests, small, small, small, small),
    "tags": st.builds(TagRow, texts, digests, small, st.none() | digests),
    "deleted": st.builds(DeletedRow, segments, small, digests),
    "labels": st.builds(Label, digests, segments),
    "absences": st.builds(
        AbsenceRow, digests, st.sampled_from(["collected", "erased"]), small
    ),
    "drop_files": files,
    "untags": texts,
    "gone_segments": segments,
    "gone_sessions": segments,
    "gone_places": digests,
}
facts_of_all_kinds = st.lists(
    st.sampled_from(sorted(ROWS)).flatmap(
        lambda name: st.tuples(st.just(name), ROWS[name])
    ),
    max_size=8,
).map(
    lambda rows: Facts(
        **{name: [row for kind, row in rows if kind == name] for name in ROWS}
    )
)
steps = st.lists(
    st.lists(facts_of_all_kinds, max_size=3)  # apply them
    | st.integers(0, 4)  # write down so many of the pending ones
    | st.just("reopen"),
    max_size=12,
)


def answers(catalog: Catalog) -> dict[str, Any]:
    """Return what the catalog says to everything that can be asked of it."""
    ranges = list(itertools.product(range(ENTRY_COUNT * 2), repeat=2))
    wanted = [(s, 8, index) for s in SEGMENTS for index in range(4)]
    return {
        "position": catalog.position(),
        "places": [catalog.find_place(each) for each in DIGESTS],
        "run": [
            catalog.find_run(s, i) for s in SEGMENTS for i in range(ENTRY_COUNT * 2)
        ],
        "runs": [catalog.runs(s, *each) for s in SEGMENTS for each in ranges[::7]],
        "segment": [catalog.find_segment(each) for each in SEGMENTS],
        "segments": list(catalog.segments()),
        "listing": list(catalog.listing()),
        "children": [catalog.children(each) for each in SEGMENTS],
        "segments of": [catalog.segments_of(each) for each in SESSIONS],
        "session": [catalog.find_session(each) for each in SESSIONS],
        "by key": [catalog.find_session_by_key("n", each) for each in TEXTS],
        "sessions": list(catalog.sessions()),
        "nodes": catalog.find_nodes(wanted),
        "keys": [catalog.find_key(s, text) for s in SEGMENTS for text in TEXTS],
        "tag": [catalog.find_tag(each) for each in TEXTS],
        "tags": catalog.tags(),
        "deleted": [catalog.find_deleted(each) for each in SEGMENTS],
        "labelled": [catalog.labelled(each) for each in DIGESTS],
        "absences": [catalog.find_absence(each) for each in DIGESTS],
        "all places": list(catalog.places()),
        "counts": catalog.counts(),
        "dump": catalog.dump(),
    }


@attrs.define
class World:
    """One catalog of each kind: in memory, in a file, over another file."""

    folder: Path
    memory: MemoryCatalog = attrs.Factory(MemoryCatalog)
    file: SqliteCatalog = attrs.field()
    base: SqliteCatalog = attrs.field()
    overlay: Overlay = attrs.field()

    @file.default
    def _file(self) -> SqliteCatalog:
        return SqliteCatalog.create(self.folder / "file")

    @base.default
    def _base(self) -> SqliteCatalog:
        return SqliteCatalog.create(self.folder / "base")

    @overlay.default
    def _overlay(self) -> Overlay:
        return Overlay(self.base)

    def take(self, step: list[Facts] | int | str, seq: int) -> None:
        """Do one step of all."""
        if isinstance(step, list):
            for each in (self.memory, self.file, self.overlay):
                each.apply(step, position_at(seq))
        elif isinstance(step, int):
            written = self.overlay.pending()[:step]
            for facts, position in written:
                self.base.apply([facts], position)
            self.overlay.drop(len(written))
        else:
            self.file.close()
            self.file = SqliteCatalog.open(self.folder / "file")

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        self.base.close()


@given(steps)
def test_all_catalogs_agree(steps: list[list[Facts] | int | str]) -> None:
    """
    The same facts in the same order give the same answers, from memory, from a
    file that is closed in between, and from a file that follows later.
    """
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            for seq, step in enumerate(steps, 1):
                world.take(step, seq)
                expected = answers(world.memory)
                assert expected == answers(world.file)
                assert expected == answers(world.overlay)
        finally:
            world.close()


@given(st.lists(facts_of_all_kinds, max_size=6), st.integers(0, 6))
def test_steps_of_any_size_agree(facts: list[Facts], cut: int) -> None:
    """Facts come to the same, one at a time or all at once."""
    one_by_one = MemoryCatalog()
    for each in facts:
        one_by_one.apply([each], position_at(1))
    with (
        tempfile.TemporaryDirectory() as folder,
        SqliteCatalog.create(Path(folder) / "c") as at_once,
    ):
        at_once.apply(facts[:cut], position_at(1))
        at_once.apply(facts[cut:], position_at(1))

        assert one_by_one.dump() == at_once.dump()
