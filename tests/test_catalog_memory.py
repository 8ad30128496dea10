"""
The catalog in memory, and that its tests see what is wrong with one.
"""

from __future__ import annotations

import inspect
import types

from typing import Any

import pytest

from conformance.catalog import CatalogTests, broken_promises

from castore.catalog import Catalog, MemoryCatalog, memory


class TestMemoryCatalog(CatalogTests):
    """What every catalog promises."""

    @pytest.fixture
    def catalog(self) -> Catalog:
        """Return an empty one."""
        return MemoryCatalog()


# Name of the bug: what to replace by what, and a promise that it breaks.
PLANTED = {
    "forgets the position": (
        "            self._position = position\n",
        "",
        "the_position_is_that_of_the_last_facts",
    ),
    "takes facts in as they come": (
        "batch = list(facts)",
        "batch = facts",
        "facts_are_taken_in_whole_or_not_at_all",
    ),
    "takes facts in from the last": (
        "batch = list(facts)",
        "batch = list(facts)[::-1]",
        "later_facts_win",
    ),
    "changes the caller's facts": (
        "self._remove(each)",
        "self._remove(each); each.places.clear()",
        "facts_stay_the_callers",
    ),
    "keeps the first place": (
        "self._places[place.digest] = place",
        "self._places.setdefault(place.digest, place)",
        "places",
    ),
    "yields places as they came": (
        "sorted(self._places.values(), key=lambda row: row.digest)",
        "list(self._places.values())",
        "places_come_in_order",
    ),
    "keeps gone places": (
        "self._places.pop(digest, None)",
        "pass",
        "gone_places",
    ),
    "refuses to remove what is not there": (
        "self._places.pop(digest, None)",
        "self._places.pop(digest)",
        "gone_places",
    ),
    "a run covers one entry more": (
        "if run.first + run.count > start]",
        "if run.first + run.count >= start]",
        "a_run_covers_its_entries",
    ),
    "a range has one run more": (
        "bisect.bisect_left(self._firsts, stop)",
        "bisect.bisect_right(self._firsts, stop)",
        "runs_that_touch_a_range",
    ),
    "an empty range has runs": (
        "if runs and start < stop else",
        "if runs else",
        "runs_that_touch_a_range",
    ),
    "believes that runs are short": (
        "max(self._count_max, run.count)",
        "2",
        "a_run_covers_its_entries",
    ),
    "keeps places of dropped files": (
        "del self._places[place.digest]",
        "pass",
        "dropped_files",
    ),
    "keeps runs of dropped files": (
        "runs.drop_files(files)",
        "pass",
        "dropped_files",
    ),
    "drops files after rows": (
        """self._drop_files(set(each.drop_files))
                self._add(each)""",
        """self._add(each)
                self._drop_files(set(each.drop_files))""",
        "a_drop_comes_before_rows",
    ),
    "removes before it adds": (
        """self._add(each)
                self._remove(each)""",
        """self._remove(each)
                self._add(each)""",
        "removals_come_after_rows",
    ),
    "yields the oldest segment first": (
        "(-row.seq, row.id)",
        "(row.seq, row.id)",
        "segments_come_newest_first",
    ),
    "forgets ids among segments of a commit": (
        "(-row.seq, row.id)",
        "-row.seq",
        "segments_come_newest_first",
    ),
    "leaves a segment in its old session": (
        "self._segments_of[old.session].remove(segment)",
        "pass",
        "segments_of_a_session",
    ),
    "leaves a segment with its old parent": (
        "self._children[old.parent].remove(segment)",
        "pass",
        "children",
    ),
    "lists children as they came": (
        """ids = self._children.get(segment, ())
            return [self._segments[each] for each in sorted(ids)]""",
        """ids = self._children.get(segment, ())
            return [r for r in self._segments.values() if r.id in ids]""",
        "children",
    ),
    "keeps the runs of gone segments": (
        "self._runs.pop(segment, None)",
        "pass",
        "gone_segments",
    ),
    "keeps the nodes of gone segments": (
        "self._nodes.pop(segment, None)",
        "pass",
        "a_segment_that_comes_again_is_new",
    ),
    "keeps the keys of gone segments": (
        "self._keys.pop(segment, None)",
        "pass",
        "gone_segments",
    ),
    "forgets how gone segments were deleted": (
        "self._keys.pop(segment, None)",
        "self._keys.pop(segment, None); self._deleted.pop(segment, None)",
        "deleted",
    ),
    "mixes the levels of nodes": (
        "hashes[node.level, node.index] = node.hash",
        "hashes[8, node.index] = node.hash",
        "nodes",
    ),
    "answers the nodes that there are": (
        "for segment, level, index in wanted",
        "for segment, level, index in wanted if segment in self._nodes",
        "an_empty_catalog_knows_nothing",
    ),
    "keeps the first key": (
        "setdefault(key.segment, {})[key.text] = key",
        "setdefault(key.segment, {}).setdefault(key.text, key)",
        "keys",
    ),
    "leaves a session under its old key": (
        "del self._session_by_key[old.namespace, old.text]",
        "pass",
        "sessions",
    ),
    "lets two sessions have one key": (
        "self._remove_session(self._session_by_key[key])",
        "pass",
        "a_key_has_one_session",
    ),
    "yields sessions as they came": (
        "sorted(self._sessions.values(), key=lambda row: row.id)",
        "list(self._sessions.values())",
        "sessions_come_in_order",
    ),
    "keeps tags": ("self._tags.pop(name, None)", "pass", "tags"),
    "lists tags as they came": (
        "sorted(self._tags.values(), key=lambda row: row.name)",
        "list(self._tags.values())",
        "tags",
    ),
    "knows one segment per label": (
        "self._labels.setdefault(label.digest, set()).add(label.segment)",
        "self._labels[label.digest] = {label.segment}",
        "labels",
    ),
    "keeps the first reason": (
        "self._absences.update({row.digest: row for row in facts.absences})",
        "self._absences = {r.digest: r for r in facts.absences} | self._absences",
        "absences",
    ),
    "counts inherited entries": (
        "row.count - row.fork_index for row",
        "row.count for row",
        "counts",
    ),
    "dumps no labels": (
        "labels=[",
        "labels=[] and [",
        "a_dump_is_everything_in_order",
    ),
    "dumps in the order of arrival": (
        "return sorted_facts(facts)",
        "return facts",
        "a_dump_is_everything_in_order",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bugs_are_seen(name: str) -> None:
    """A catalog with a bug breaks the promise that the bug is about."""
    right, wrong, promise = PLANTED[name]
    source = inspect.getsource(memory)
    assert right in source
    planted: Any = types.ModuleType("planted")
    exec(source.replace(right, wrong), planted.__dict__)  # noqa: S102 - our own

    assert f"test_{promise}" in broken_promises(planted.MemoryCatalog)


def test_no_bug_is_seen_in_none() -> None:
    """The same machinery finds the catalog as it is right."""
    assert set() == broken_promises(MemoryCatalog)
