"""
Proofs about logs, for whoever keeps a head.

Spec: spec/merkle.md, "Proofs".
"""

from __future__ import annotations

import attrs

from castore import merkle
from castore.formats.trees import SEGMENT_TREE


@attrs.frozen
class InclusionProof:
    """
    That an entry stands in a log, for whoever has the head.

    Attributes:
        index: Of the entry.

        count: Entries of the log that *root* covers.

        entry: Entry hash.

        root: Of the head.

        hashes: The path, 32 bytes each, from the leaf upwards.
    """

    index: int
    count: int
    entry: bytes
    root: bytes
    hashes: tuple[bytes, ...]

    def check(self) -> None:
        """
        Check the proof. Trust in it is trust in *root* and *count*, which must
        come from one head. For segments; the store log has another tree.

        Raises:
            CorruptionError: ``bad proof``.
        """
        merkle.check_inclusion(
            SEGMENT_TREE,
            list(self.hashes),
            index=self.index,
            count=self.count,
            leaf_hash=SEGMENT_TREE.leaf(self.entry),
            root=self.root,
        )
