"""
Files read once, line by line, and what was found.
"""

from __future__ import annotations

import os

from collections.abc import Callable, Iterable, Iterator

import attrs

from castore.chunker import chunks
from castore.digest import blob_digest
from castore.errors import CastoreError
from castore.importer import Choice, Failed, Source, find_files, open_source
from castore.importer.matching import COMMON_COUNT_MIN
from castore.importer.strings import (
    AGAIN_SIZE,
    ALONE_SIZE,
    TEXT_AVERAGE,
    TEXT_SIZE,
)
from castore.limits import MIB
from castore.scanning.blocks import Blocks, Share
from castore.scanning.seen import Seen
from castore.scanning.strings import large_strings, part_end, plain_runs


PART_SIZE = 8 * MIB  # bytes of a line that are looked at together
TELL_SIZE = MIB  # bytes between two words about how far it is
# What a store takes beside the bytes, as packs of real transcripts show it.
_FILE_SIZE = 1000  # bytes: its segment's head, commits, what is known of the file
_ENTRY_SIZE = 7  # bytes of an entry that is not inherited
_REFERENCE_SIZE = 40  # bytes where a string is kept apart

#: Told how many of how many bytes were read.
Progress = Callable[[int, int], None]


@attrs.frozen(kw_only=True)
class ScannedFile:
    """
    What was found in a file.

    Attributes:
        path: Absolute path.

        format: As from `castore.transcript.detect`.

        size: Bytes of its content; a packed file's is what was packed.

        lines: Lines, or messages of a document and what stands around them.

        line_repeats: Bytes of lines that came before, in this file or another.

        string_repeats: Bytes of large strings that came before, in other lines
            than those.

        estimate: Bytes that it would add to a store; an estimate.
    """

    path: str
    format: str
    size: int
    lines: int
    line_repeats: int
    string_repeats: int
    estimate: int


@attrs.frozen
class Scan:
    """
    What was found in all files, which were taken in the order of their names.

    Attributes:
        files: The files, the largest first.

        sampled: Whether there were too many different lines to remember them
            all: then what repeats is an estimate too.

        compressed_in_part: Whether the estimates come from some blocks for all.
    """

    files: tuple[ScannedFile, ...]
    sampled: bool
    compressed_in_part: bool

    def total(self, name: str) -> int:
        """Return the sum of one attribute of all files."""
        return sum(getattr(file, name) for file in self.files)


def scan(
    paths: Iterable[str | os.PathLike[str]],
    *,
    choice: Choice | None = None,
    progress: Progress | None = None,
    failed: Failed,
) -> Scan:
    """
    Read the files that an import of *paths* would take in, once each.

    Changes nothing; packed files are unpacked into a file without a name. Memory
    stays below some 250 MB, whatever the files hold.

    Args:
        paths: As of `castore.importer.import_paths`.

        choice: As there.

        progress: Told after each MiB.

        failed: Called for each file or folder that could not be read; such a file
            is in no number.
    """
    found = list(find_files(paths, choice or Choice(), failed))
    scanner = _Scanner(progress, sum(map(_size_of, found)) if progress else 0)
    for path in found:
        try:
            with open_source(path, None) as source:
                scanner.read(source)
        except CastoreError as error:
            failed(path, error)
    return scanner.result()


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - one of very many
    except OSError:
        return 0  # whoever reads it says what is wrong


@attrs.define
class _Tally:
    """Counts of one file on the way."""

    path: str
    format: str
    size: int = 0
    lines: int = 0
    inherited: int = 0
    is_shared: bool = True  # up to here all lines were there before
    line_repeats: int = 0
    string_repeats: int = 0
    cut: int = 0
    cut_count: int = 0
    share: Share = attrs.Factory(Share)

    def result(self) -> ScannedFile:
        """Return what is known once all blocks are full."""
        own = max(0, self.size - self.line_repeats - self.cut)
        rate = self.share.stored_size / max(1, self.share.raw_size)
        inherited = self.inherited if self.inherited >= COMMON_COUNT_MIN else 0
        beside = _FILE_SIZE + _ENTRY_SIZE * (self.lines - inherited)
        return ScannedFile(
            path=self.path,
            format=self.format,
            size=self.size,
            lines=self.lines,
            line_repeats=min(self.size, self.line_repeats),
            string_repeats=min(self.size, self.string_repeats),
            estimate=round(own * rate) + beside + _REFERENCE_SIZE * self.cut_count,
        )


class _Scanner:
    """Reads files one after the other."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._seen = Seen()
        self._blocks = Blocks()
        self._last_cut = b""
        self._tallies: list[_Tally] = []
        self._progress = progress
        self._total = total
        self._done = self._told = 0

    def read(self, source: Source) -> None:
        """Take in one file."""
        tally = _Tally(source.path, source.format)
        for piece in source.pieces():
            size = piece.stop - piece.start
            tally.lines += 1
            tally.size += size
            repeated = self._seen.add(piece.digest, size)
            tally.is_shared = tally.is_shared and repeated != 0
            tally.inherited += tally.is_shared
            if repeated:
                tally.line_repeats += repeated
            else:
                self._read_new(source, piece.start, piece.stop, tally)
            self._tell(size)
        self._tallies.append(tally)

    def _read_new(self, source: Source, start: int, stop: int, tally: _Tally) -> None:
        """Take in a line that was not there before, but for strings that were."""
        # A long line's text is cut too, as an import does from the second time on.
        take = self._take_text if stop - start >= TEXT_SIZE else self._take
        at = start
        while at < stop:
            data = source.read(at, min(stop, at + PART_SIZE))
            end = len(data) if at + len(data) == stop else part_end(data)
            kept = 0
            for first, last, repeated in self._repeats(data[:end]):
                tally.string_repeats += repeated
                if self._is_cut(data[first:last]):
                    self._cut(tally, data[first:last], repeated)
                    take(tally, data[kept:first])
                    kept = last
            take(tally, data[kept:end])
            at += end

    def _take(self, tally: _Tally, data: bytes) -> None:
        """Take in what is stored."""
        self._blocks.add(tally.share, data)

    def _take_text(self, tally: _Tally, data: bytes) -> None:
        """Take in text, but for chunks of it that came before."""
        for part in chunks([data], average=TEXT_AVERAGE):
            repeated = self._add(part)
            if repeated:
                self._cut(tally, part, repeated)
            else:
                self._take(tally, part)

    def _cut(self, tally: _Tally, part: bytes, repeated: int) -> None:
        """Take in a reference to *part*, which stands for *repeated* bytes."""
        tally.cut += repeated
        name = blob_digest(part)
        # Names that follow each other as they did before shrink to nothing.
        follows = blob_digest(self._last_cut + name)
        tally.cut_count += not self._seen.add(follows, _REFERENCE_SIZE)
        self._last_cut = name

    def _repeats(self, data: bytes) -> Iterator[tuple[int, int, int]]:
        """Yield what came before, and how many repeated bytes that stands for."""
        for start, stop in large_strings(data):
            repeated = self._add(data[start:stop])
            if repeated:
                yield start, stop, repeated
                continue
            for first, last in plain_runs(data, start, stop):
                repeated = self._add(data[first:last])
                if repeated:
                    yield first, last, repeated

    def _add(self, text: bytes) -> int:
        return self._seen.add(blob_digest(text), len(text)) or 0

    def _is_cut(self, text: bytes) -> bool:
        """
        Whether an import keeps *text*, which came before, apart from its line: as
        `castore.importer.strings`, when it comes again if it is of middle size.
        """
        if len(text) >= ALONE_SIZE:
            return True
        again = blob_digest(text)[::-1]  # another key than that of the first time
        return len(text) > AGAIN_SIZE and bool(self._seen.add(again, len(text)))

    def _tell(self, size: int) -> None:
        self._done += size
        if self._progress and self._done - self._told >= TELL_SIZE:
            self._told = self._done
            self._progress(self._done, self._total)

    def result(self) -> Scan:
        """Return what was found."""
        self._blocks.flush()
        files = [tally.result() for tally in self._tallies]
        files.sort(key=lambda file: (-file.size, file.path))
        return Scan(tuple(files), self._seen.is_sample, self._blocks.is_sample)
