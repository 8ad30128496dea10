"""
What came before, in bounded memory.
"""

from __future__ import annotations

from itertools import islice


COUNT_MAX = 1_390_000  # a dict of so many is 131 MB, of some more 174 MB
_KEY_BITS = 60  # what an int of 32 bytes holds
_LOOK_EVERY = 16  # sizes looked at to find the middle one


class Seen:
    """
    The contents that came before, by hash.

    As long as there are no more than *count_max* different ones the answers are
    exact. Then only a sample is kept: of contents below `step` bytes those whose
    hash, as a number from 0 to 1, is below size / step; and each of them speaks
    for `step` bytes. So sums stay right on average, large contents stay exact,
    and what is in the sample now was in it from its first time on.

    Attributes:
        step: Bytes from which contents are all in the sample; 1 if it is no sample.
    """

    def __init__(self, count_max: int = COUNT_MAX) -> None:
        self.step = 1
        self._count_max = count_max
        self._sizes: dict[int, int] = {}

    @property
    def is_sample(self) -> bool:
        """Whether answers are estimates."""
        return self.step > 1

    def add(self, digest: bytes, size: int) -> int | None:
        """
        Take in a content of *size* bytes, at least 1.

        Returns:
            How many repeated bytes it stands for: 0 if it is new; None if it is
            not in the sample.
        """
        key = int.from_bytes(digest[:8]) >> (64 - _KEY_BITS)
        if not _is_in(key, size, self.step):
            return None
        if key in self._sizes:
            return max(size, self.step)
        self._sizes[key] = size
        if len(self._sizes) > self._count_max:
            self._thin()
        return 0

    def _thin(self) -> None:
        """Keep about half."""
        some = islice(self._sizes.items(), 0, None, _LOOK_EVERY)
        limits = sorted((size << _KEY_BITS) // (key + 1) for key, size in some)
        self.step = max(self.step + 1, limits[len(limits) // 2])
        self._sizes = {
            key: size
            for key, size in self._sizes.items()
            if _is_in(key, size, self.step)
        }


def _is_in(key: int, size: int, step: int) -> bool:
    return key * step < size << _KEY_BITS
