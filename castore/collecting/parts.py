"""
In which parts files are rewritten so that something can go, and in which order.

What goes without writing anything goes first, then what gives most for a byte that
is written. Files between which something that goes has copies, or heirs, go together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import attrs

from castore.catalog.rows import Catalog, Place
from castore.formats import file as file_format
from castore.packing.rewrite import Input


#: The files in which a name stands, or what is stored against it.
FilesOf = Callable[[bytes], Collection[bytes]]


@attrs.frozen(eq=False)
class Part:
    """
    Files that are replaced by one commit.

    Attributes:
        inputs: The files.

        names: What goes with them.

        cost: Bytes that are written anew, about; 0 if nothing in them is alive.

        gain: Bytes of them that go, about.
    """

    inputs: tuple[Input, ...]
    names: frozenset[bytes]
    cost: int
    gain: int

    @property
    def files(self) -> set[bytes]:
        """Ids of the files."""
        return {item.file.id for item in self.inputs}

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(item.file.size() for item in self.inputs)


class Chooser:
    """
    Cuts a rewrite into parts.
    """

    def __init__(
        self,
        known: Catalog,
        inputs: Collection[Input],
        due: Collection[bytes],
        files_of: FilesOf,
    ) -> None:
        """
        Weigh *inputs*. Goes over all places of the catalog once.

        Args:
            known: The catalog.

            inputs: What may be rewritten.

            due: What may go.

            files_of: Tells where each of these stands.
        """
        self._inputs = {item.file.id: item for item in inputs}
        self._homes: dict[frozenset[bytes], set[bytes]] = {}
        for name in due:
            home = frozenset(files_of(name))
            if home <= self._inputs.keys():
                self._homes.setdefault(home, set()).add(name)
        # By file and frame, what stands there: its raw size, never 0.
        self._frames: dict[bytes, dict[int, int]] = {file: {} for file in self._inputs}
        self._due: dict[bytes, Place] = {}
        for place in known.places():
            frames = self._frames.get(place.file)
            if frames is not None:
                frames[place.offset] = frames.get(place.offset, 0) + _weight(place)
                if place.digest in due:
                    self._due[place.digest] = place

    def together(self) -> list[Part]:
        """Return all in as many parts as can be, the best first."""
        groups = _Groups(self._inputs)
        for home in self._homes:
            groups.join(home)
        groups.join(self._journals())
        return self._ordered(groups.all())

    def apart(self, part: Part) -> list[Part]:
        """
        Return *part* file by file, journals together, the best first.

        What stands in several of them then stays.
        """
        journals = part.files & set(self._journals())
        alone = [{file} for file in part.files - journals]
        return self._ordered([*alone, *([journals] if journals else [])])

    def _journals(self) -> list[bytes]:
        # The chain of journals ends at the first that is dropped.
        items = self._inputs.items()
        return [file for file, item in items if item.file.header.number]

    def _ordered(self, groups: Iterable[set[bytes]]) -> list[Part]:
        parts = [self._part(files) for files in groups]
        return sorted((part for part in parts if part.names), key=_worth)

    def _part(self, files: set[bytes]) -> Part:
        inputs = tuple(self._inputs[file] for file in sorted(files))
        found = (names for home, names in self._homes.items() if home <= files)
        names: frozenset[bytes] = frozenset().union(*found)
        dead: dict[tuple[bytes, int], int] = {}
        for name in names:
            place = self._due[name]
            key = (place.file, place.offset)
            dead[key] = dead.get(key, 0) + _weight(place)
        cost = sum(self._cost(item, dead) for item in inputs)
        return Part(inputs, names, cost, sum(map(_size, inputs)) - cost)

    def _cost(self, item: Input, dead: Mapping[tuple[bytes, int], int]) -> int:
        """
        Return about how many bytes of a file are written anew without what is *dead*.

        What stands between frames with blobs is taken for a part of these.
        """
        file = item.file.id
        frames = sorted(self._frames[file].items())
        ends = [*(offset for offset, _ in frames), item.stop]
        cost = ends[0] - file_format.SIZE
        for (offset, weight), end in zip(frames, ends[1:], strict=True):
            alive = weight - dead.get((file, offset), 0)
            cost += -(-(end - offset) * alive // weight)
        return cost


def _weight(place: Place) -> int:
    return place.size + 1


def _worth(part: Part) -> tuple[bool, float, list[bytes]]:
    ratio = part.gain / part.cost if part.cost else part.gain
    return part.cost > 0, -ratio, sorted(part.files)


def _size(item: Input) -> int:
    return item.file.size()


class _Groups:
    """Sets of files that go together."""

    def __init__(self, files: Iterable[bytes]) -> None:
        self._of = {file: {file} for file in files}

    def join(self, files: Iterable[bytes]) -> None:
        """Let *files*, and what goes with them, go together."""
        groups = {id(self._of[file]): self._of[file] for file in files}
        largest = max(groups.values(), key=len, default=set())
        for group in groups.values():
            if group is not largest:
                largest |= group
                for file in group:
                    self._of[file] = largest

    def all(self) -> list[set[bytes]]:
        """Return the sets."""
        return list({id(group): group for group in self._of.values()}.values())
