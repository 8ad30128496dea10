"""
How deep a check looks, and at which frames.

Spec: spec/checking.md, "Less than all".
"""

from __future__ import annotations

import enum

import attrs

from castore.digest import blob_digest


class Level(enum.IntEnum):
    """
    What is checked; each level includes those before it.

    ``STRUCTURE``: which files count, commits, heads, the store log, and that frames
    follow each other. ``STORED``: the stored bytes of each frame against its hash.
    ``CONTENTS``: what stands in them. ``CHAINS``: chains, trees and heads of all
    logs. ``ALL``: differences, large blobs, and whether all is there that is needed.
    """

    STRUCTURE = 1
    STORED = 2
    CONTENTS = 3
    CHAINS = 4
    ALL = 5

    @property
    def title(self) -> str:
        """The word for it."""
        return self.name.lower()


_SPACE = 1 << 64


@attrs.frozen
class Share:
    """
    Some of the frames of a store, chosen by their place alone.

    Attributes:
        seed: Others choose others.

        of: Into how many shares a number is dealt; 0 where *below* decides.

        number: Which of these, from 0 on.

        below: A frame is chosen if its number, below 2^64, is below this.
    """

    seed: int = 0
    of: int = 0
    number: int = 0
    below: int = 0

    @classmethod
    def sample(cls, part: float, seed: int) -> Share:
        """Return about *part* (0 to 1) of the frames."""
        return cls(seed=seed, below=round(part * _SPACE))

    @classmethod
    def subset(cls, number: int, of: int) -> Share:
        """Return share *number*, from 1 on, *of* so many whose union is everything."""
        return cls(of=of, number=number - 1)

    def has(self, file: bytes, offset: int) -> bool:
        """Return whether the frame at *offset* of *file* is chosen."""
        place = self.seed.to_bytes(8, "big") + file + offset.to_bytes(8, "big")
        drawn = int.from_bytes(blob_digest(place)[:8], "big")
        return drawn % self.of == self.number if self.of else drawn < self.below

    @property
    def text(self) -> str:
        """What it is, for people."""
        if self.of:
            return f"share {self.number + 1}/{self.of} of the frames"
        part = 100 * self.below / _SPACE
        return f"{part:g}% of the frames, seed {self.seed}"


@attrs.frozen
class Depth:
    """
    How deep each frame is looked into.

    Attributes:
        level: Of what is chosen; the rest is looked at for its structure.

        share: What is chosen; None for everything.
    """

    level: Level = Level.ALL
    share: Share | None = None

    @property
    def is_full(self) -> bool:
        """Whether every frame is decoded."""
        return self.share is None and self.level >= Level.CONTENTS

    def at(self, file: bytes, offset: int) -> Level:
        """Return how deep to look into the frame at *offset* of *file*."""
        chosen = self.share is None or self.share.has(file, offset)
        return self.level if chosen else Level.STRUCTURE


FULL = Depth()
