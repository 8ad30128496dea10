"""
Writing packs: frames in order, a footer, a new file when one is full.

Spec: spec/file.md, "Pack"; spec/ordering.md, "Packing and deleting".
"""

from __future__ import annotations

import os

from collections.abc import Sequence
from typing import Any

from castore import limits
from castore.catalog.columns import SortedPlaces
from castore.catalog.rows import Place, Run
from castore.engine.journal import footer_frame
from castore.engine.state import State
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.file import FileHeader, encode_header, file_name
from castore.formats.frame import Part, finish, seal_part
from castore.formats.storelog import Listing


Descriptor = list[Any]


class PackWriter:
    """
    Writes packs until `finish`; nothing counts before the store log lists them.

    Attributes:
        listings: The packs that are finished.
    """

    def __init__(self, state: State, level: int) -> None:
        self._state = state
        self._files = state.files
        self._store = state.store
        self._level = level
        self._fd = -1
        self._header = b""
        self._id = b""
        self._end = 0
        self._last = b""
        self._offsets: list[int] = []
        self.listings: list[Listing] = []

    def write(
        self, table: Sequence[Descriptor], payloads: Sequence[bytes | memoryview]
    ) -> tuple[bytes, int]:
        """Append one frame; return file id and offset. Durable after `finish`."""
        part = seal_part(b"".join(payloads), self._level, long=True)
        return self.write_part(part, table)

    def write_part(self, part: Part, table: Sequence[Descriptor]) -> tuple[bytes, int]:
        """Append one frame whose payloads are compressed already; as `write`."""
        if self._fd < 0:
            self._begin()
        offset = self._end
        data = finish(
            part,
            table,
            offset=offset,
            group_start=file_format.SIZE,
            file_hash=self._header[-32:],
            prev=self._last,
        )
        self._files.write(self._fd, data, offset)
        self._offsets.append(offset)
        self._end += len(data)
        self._last = data[-32:]
        return self._id, offset

    def may_roll(self) -> None:
        """Begin a new pack if this one is full; frames that belong together are in."""
        if self._fd >= 0 and self._end >= limits.PACK_SIZE:
            self._close()

    def _begin(self) -> None:
        self._id = os.urandom(16)
        header = FileHeader(file_format.PACK, self._store, self._id)
        self._header = encode_header(header)
        self._fd = self._files.create(file_name(self._id))
        self._files.write(self._fd, self._header, 0)
        self._end, self._last = file_format.SIZE, self._header[-32:]
        self._offsets = []

    def _close(self) -> None:
        data = footer_frame(
            self._offsets,
            offset=self._end,
            file_hash=self._header[-32:],
            prev=self._last,
        )
        self._files.write(self._fd, data, self._end)
        with self._state.poisoned_by_failing():
            self._files.sync(self._fd)
        size = self._end + len(data)
        self.listings.append(Listing(self._id, file_format.PACK, size, data[-32:]))
        self._files.close(self._fd)
        self._fd = -1

    def finish(self) -> list[Listing]:
        """Make all packs durable, their folder too, and return what to list."""
        if self._fd >= 0:
            self._close()
        with self._state.poisoned_by_failing():
            self._files.sync_folder("files")
        return self.listings

    def abandon(self) -> None:
        """Remove what was written; nothing lists it."""
        if self._fd >= 0:
            self._files.close(self._fd)
            self._files.unlink(file_name(self._id))
            self._fd = -1
        for listing in self.listings:
            self._files.unlink(file_name(listing.file))
        self.listings = []


class Block:
    """
    Entries and the bodies that go with them: one frame of entries, one of bodies.
    """

    def __init__(self, writer: PackWriter) -> None:
        self._writer = writer
        self._runs: list[tuple[Descriptor, bytes]] = []
        self._table: list[Descriptor] = []
        self._payloads: list[memoryview] = []
        self._names: list[tuple[bytes, int]] = []
        self._numbers: dict[bytes, int] = {}
        self._size = 0
        self._run_size = 0
        self._whole_count = 0
        self.places = SortedPlaces()
        self.runs: list[Run] = []

    @property
    def is_full(self) -> bool:
        """Whether the bodies or the entries have reached the size of a block."""
        return (
            max(self._size, self._run_size) >= limits.BLOCK_SIZE
            or len(self._runs) >= _RUNS_MAX
            or len(self._table) >= limits.BLOCK_COUNT
        )

    def add_body(
        self, digest: bytes, size: int, descriptor: Descriptor, payload: memoryview
    ) -> None:
        """Add the record of a body, or of a payload."""
        many = len(self._table) >= limits.FRAME_RECORD_COUNT_MAX
        if many or self._size + len(payload) > limits.FRAME_RAW_SIZE_MAX:
            self.flush()
        if descriptor[0] == frame_format.BLOB:
            self._numbers[digest] = self._whole_count
            self._whole_count += 1
        self._table.append(descriptor)
        self._payloads.append(payload)
        self._names.append((digest, size))
        self._size += len(payload)

    @property
    def has_runs(self) -> bool:
        """Whether entries wait for this block's bodies."""
        return bool(self._runs)

    def number_of(self, digest: bytes) -> int | None:
        """Return the body number of *digest* in this block's frame of bodies."""
        return self._numbers.get(digest)

    def add_run(self, descriptor: Descriptor, payload: bytes) -> None:
        """Add an entries record whose bodies were added before it."""
        self._runs.append((descriptor, payload))
        self._run_size += len(payload)

    def flush(self) -> None:
        """Write both frames; afterwards the block is empty."""
        has_bodies = bool(self._table)
        if self._runs:
            for descriptor, _ in self._runs:
                descriptor[6] = int(has_bodies)
            file, offset = self._writer.write(
                [descriptor for descriptor, _ in self._runs],
                [payload for _, payload in self._runs],
            )
            for number, (item, _) in enumerate(self._runs):
                segment, first, count = item[2], item[3], item[5]
                run = Run(segment, first, count, file, offset, number)
                self.runs.append(run)
        if has_bodies:
            file, offset = self._writer.write(self._table, self._payloads)
            for number, (digest, size) in enumerate(self._names):
                self.places.add(Place(digest, file, offset, number, size))
        self._runs, self._table, self._payloads, self._names = [], [], [], []
        self._numbers, self._size, self._run_size, self._whole_count = {}, 0, 0, 0
        self._writer.may_roll()


_RUNS_MAX = 4096  # entries records in one frame
