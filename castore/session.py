"""
Sessions: the trees of segments that forks make.

Spec: spec/entry.md, "Start record".
"""

from __future__ import annotations

from castore.catalog.rows import SessionRow
from castore.engine import Engine
from castore.segment import Segment


class Session:
    """
    A session: the tree of segments that forks make.

    Attributes:
        id: Session id, 16 bytes.

        key: ``(namespace, text)`` or None.
    """

    def __init__(self, engine: Engine, row: SessionRow) -> None:
        self._engine = engine
        self.id = row.id
        self.key = row.key

    def segments(self) -> list[Segment]:
        """Return its living segments, oldest id first."""
        known = self._engine.refresh().known
        return [
            Segment(self._engine, row.id)
            for row in known.segments_of(self.id)
            if known.find_deleted(row.id) is None
        ]

    @property
    def latest(self) -> Segment:
        """
        Its segment with the newest commit.

        Raises:
            LookupError: All were deleted.
        """
        segments = self.segments()
        if not segments:
            raise LookupError("the session has no living segment")
        return max(segments, key=lambda segment: segment.head.seq)

    def __repr__(self) -> str:
        return f"<castore.Session {self.id.hex()} key {self.key}>"
