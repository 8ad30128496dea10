"""
What bytes would take in packs, by compressing blocks of them.
"""

from __future__ import annotations

import attrs

from castore import limits
from castore.compress import compress
from castore.packing.rewrite import LEVEL


WHOLE_COUNT = 64  # blocks that are all compressed, 256 MiB
LATER_COUNT = 32  # of each power of two of further blocks this many are


@attrs.define
class Share:
    """
    Whose bytes stand in blocks.

    Attributes:
        raw_size: Bytes of theirs that were taken in.

        stored_size: What these take, as far as their blocks are full.
    """

    raw_size: int = 0
    stored_size: float = 0.0


class Blocks:
    """
    Bytes in blocks as packs have them, one after the other.

    The first `WHOLE_COUNT` blocks are compressed, later ones the more rarely the
    more there are; each stands for those up to the next one that is.

    Attributes:
        is_sample: Whether some were not compressed.
    """

    def __init__(self, level: int = LEVEL) -> None:
        self.is_sample = False
        self._level = level
        self._count = 0
        self._rate = 0.0
        self._parts: list[bytes] = []
        self._size = 0
        self._shares: list[tuple[Share, int]] = []

    def add(self, share: Share, data: bytes) -> None:
        """Take in *data*, which belongs to *share*."""
        self._parts.append(data)
        self._size += len(data)
        share.raw_size += len(data)
        if self._shares and self._shares[-1][0] is share:
            self._shares[-1] = (share, self._shares[-1][1] + len(data))
        else:
            self._shares.append((share, len(data)))
        if self._size >= limits.BLOCK_SIZE:
            self.flush()

    def flush(self) -> None:
        """End the block that is begun; afterwards all shares are complete."""
        if not self._size:
            return
        if _is_chosen(self._count):
            stored = compress(b"".join(self._parts), self._level, long=True)
            self._rate = min(1.0, len(stored) / self._size)
        else:
            self.is_sample = True
        for share, size in self._shares:
            share.stored_size += size * self._rate
        self._count += 1
        self._parts, self._size, self._shares = [], 0, []


def _is_chosen(number: int) -> bool:
    if number < WHOLE_COUNT:
        return True
    return number % ((1 << (number.bit_length() - 1)) // LATER_COUNT) == 0
