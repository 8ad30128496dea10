"""
Which version of a payload is stored against which: turned around, newest whole.

Versions are what one *slot* of a log held in turn: the payloads that its entries
name in one role. Commits write each version as a difference to the one before;
here all that hang together become one tree, whose root is the newest, whole, and
in which each other one is a difference to its neighbour on the way there.

Nothing becomes whole by that: versions that all are differences, the first of them
to what stays elsewhere, stay as they are until that is rewritten with them.

Spec: spec/ordering.md, "Packing and deleting"; spec/blob.md.
"""

from __future__ import annotations

import collections

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from castore import limits


#: Newer is larger: seq of the segment's newest commit, index of the entry.
Age = tuple[int, int]
OLD: Age = (-1, 0)


class Step(NamedTuple):
    """*digest* is to be stored as a difference to *base*, whole if that is None."""

    digest: bytes
    base: bytes | None


class Slots:
    """
    Versions and what each of them stands beside, kept free of circles.

    Attributes:
        versions: Those that are to be stored, with their age.
    """

    def __init__(self) -> None:
        self.versions: dict[bytes, Age] = {}
        self._beside: dict[bytes, list[bytes]] = {}
        self._groups: dict[bytes, bytes] = {}

    def add(self, digest: bytes, age: Age = OLD) -> None:
        """Take in that *digest* is to be stored and was named at *age*."""
        self.versions[digest] = max(age, self.versions.get(digest, age))

    def join(self, digest: bytes, other: bytes) -> None:
        """Take in that two versions are alike, unless they are joined already."""
        first, second = self._group(digest), self._group(other)
        if first == second:
            return
        self._groups[first] = second
        self._beside.setdefault(digest, []).append(other)
        self._beside.setdefault(other, []).append(digest)

    def _group(self, digest: bytes) -> bytes:
        at = digest
        while (above := self._groups.get(at, at)) != at:
            # Halve the way for who comes next.
            self._groups[at] = self._groups.get(above, above)
            at = above
        return at

    def neighbours(self) -> list[bytes]:
        """Return what stands beside a version and is none that is to be stored."""
        found = dict.fromkeys(
            other for digest in self.versions for other in self._beside.get(digest, ())
        )
        return [digest for digest in found if digest not in self.versions]

    def trees(self) -> Iterator[list[bytes]]:
        """Yield the versions that hang together, each once."""
        done: set[bytes] = set()
        for digest in self.versions:
            if digest not in done:
                members = list(self._reach(digest))
                done.update(members)
                yield members

    def leave(self, digests: Iterable[bytes]) -> None:
        """Let *digests* be none that are to be stored."""
        for digest in digests:
            del self.versions[digest]

    def plan(self, height: Callable[[bytes], int]) -> Iterator[Step]:
        """
        Yield how each version is to be stored, each behind its base.

        Args:
            height: Of a version: how many differences follow each other, at most,
                in what is stored against it elsewhere.
        """
        for members in self.trees():
            newest = max(members, key=lambda item: self.versions[item])
            yield from self._turned(newest, height)

    def _turned(self, newest: bytes, height: Callable[[bytes], int]) -> Iterator[Step]:
        depths: dict[bytes, int] = {}
        for digest, base in self._reach(newest).items():
            depth = 0 if base is None else depths[base] + 1
            if depth + height(digest) >= limits.DIFFERENCE_TURNED_EVERY:
                depth = 0
            depths[digest] = depth
            yield Step(digest, base if depth else None)

    def _reach(self, start: bytes) -> dict[bytes, bytes | None]:
        """
        Return the versions that hang together with *start*, nearest first, each
        with its neighbour on the way there.
        """
        found: dict[bytes, bytes | None] = {start: None}
        todo = collections.deque([start])
        while todo:
            digest = todo.popleft()
            for other in self._beside.get(digest, ()):
                if other in self.versions and other not in found:
                    found[other] = digest
                    todo.append(other)
        return found
