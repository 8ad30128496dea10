"""
Which rows of a catalog facts are about.
"""

from __future__ import annotations

import attrs

from castore.catalog.rows import Facts, Place, Run, SessionRow


@attrs.define
class Touched:
    """
    The keys that facts write or remove.

    For these the facts alone have the answer, whatever stands below.
    """

    places: set[bytes] = attrs.Factory(set)
    runs: set[tuple[bytes, int]] = attrs.Factory(set)
    segments: set[bytes] = attrs.Factory(set)
    nodes: set[tuple[bytes, int, int]] = attrs.Factory(set)
    sessions: set[bytes] = attrs.Factory(set)
    session_keys: set[tuple[str, str]] = attrs.Factory(set)
    keys: set[tuple[bytes, str]] = attrs.Factory(set)
    tags: set[str] = attrs.Factory(set)
    files: set[bytes] = attrs.Factory(set)  # all that stands below in these
    gone: set[bytes] = attrs.Factory(set)  # all that these segments own below

    def add(self, facts: Facts) -> None:
        """Take in what *facts* are about."""
        # Most facts of a commit are empty lists: this runs once for each commit.
        for place in facts.places:
            self.places.add(place.digest)
        for run in facts.runs:
            self.runs.add((run.segment, run.first))
        for segment in facts.segments:
            self.segments.add(segment.id)
        for node in facts.nodes:
            self.nodes.add((node.segment, node.level, node.index))
        for session in facts.sessions:
            self.sessions.add(session.id)
            if session.key is not None:
                self.session_keys.add(session.key)
        for key in facts.keys:
            self.keys.add((key.segment, key.text))
        for tag in facts.tags:
            self.tags.add(tag.name)
        self.files.update(facts.drop_files)
        self.tags.update(facts.untags)
        self.gone.update(facts.gone_segments)
        self.sessions.update(facts.gone_sessions)
        self.places.update(facts.gone_places)

    def place(self, row: Place) -> bool:
        """Return whether facts have the answer about *row*, which stands below."""
        return row.digest in self.places or row.file in self.files

    def run(self, row: Run) -> bool:
        """Return whether facts have the answer about *row*, which stands below."""
        return (
            (row.segment, row.first) in self.runs
            or row.segment in self.gone
            or row.file in self.files
        )

    def segment(self, segment: bytes) -> bool:
        """Return whether facts have the answer about *segment*."""
        return segment in self.segments or segment in self.gone

    def session(self, row: SessionRow) -> bool:
        """Return whether facts have the answer about *row*, which stands below."""
        return row.id in self.sessions or row.key in self.session_keys
