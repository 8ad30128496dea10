"""
Whatever happens to the bytes of a store: found, at its place, never passed on.
"""

from __future__ import annotations

import random
import shutil
import struct

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corruption import (
    Answers,
    Bed,
    Equal,
    flip,
    is_error,
    make_larger,
    make_store,
    ours,
    read_all,
    rehash,
    said,
)

import castore

from castore.errors import CorruptionError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.reading import blobs, contents, frames
from castore.reading.files import OpenFile
from castore.reading.findings import Findings
from castore.reading.mark import MarkWorth
from castore.reading.survey import survey
from castore.storage import Files


SHARES = 4  # of the flips, for as many processes
ALL = 10  # budget from which every bit and every length is tried


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bed:
    """A small store with everything in it; who damages it takes that back."""
    root = tmp_path_factory.mktemp("corruption") / "store"
    make_store(root)
    return Bed(root)


@pytest.fixture
def bed(made: Bed) -> Iterator[Bed]:
    """The small store, as it was before."""
    yield made
    made.restore(*made.files)


def test_the_store_has_everything(bed: Bed) -> None:
    """Every kind of file and of record is there to be damaged."""
    kinds = {data[10] for name, data in bed.files.items() if name in bed.parts}
    found = survey(Files(bed.root))
    records = set()
    for file, stop in found.members.items():
        opened = found.reader.files[file]
        for frame in frames.walk(opened, 188, stop):
            assert isinstance(frame, frames.Frame)
            records |= {item[0] for item in frame.table}

    assert {1, 2, 3} == kinds
    assert {1, 2, 3, 4, 5, 6, 7, 8, 64} == records
    assert (set(), found.seq) == bed.said
    assert {"kept"} == set(found.log.tags)
    assert found.log.deleted
    assert found.log.listed
    assert sum(map(len, bed.files.values())) < 24 << 10


# --- bits --------------------------------------------------------------------


def check_flip(bed: Bed, name: str, bit: int) -> None:
    """Flip one bit: both checkers say so at its place; readers are not misled."""
    what = f"bit {bit % 8} of byte {bit // 8} of {name}"
    bed.write(name, flip(bed.files[name], bit))
    found, seq = said(bed.root, what)
    if name == "lock":
        assert ({("not covered", "lock")}, bed.said[1]) == (found, seq), what
    elif name == "castore.json":
        check_marker(bed, found, what)
    else:
        part = bed.part_at(name, bit // 8)
        expected = {("corrupt frame", f"{name}@{part.start}")}
        missed = set() if part.is_void else expected
        assert missed <= found, what
        assert part.is_void or found, what
        assert bool(found) != part.is_void, what
    bed.check_reads(what)
    bed.restore(name)


def check_marker(bed: Bed, found: set[tuple[str, str]], what: str) -> None:
    """A bit of ``castore.json``: refused, or another store's id than the files'."""
    foreign = {("foreign record", f"{name}@0") for name in bed.parts}
    verdicts = {verdict for verdict, where in found if where == "castore.json"}
    assert foreign <= found or verdicts, what
    assert verdicts <= {"malformed record", "unsupported version"}, what


@pytest.mark.parametrize("share", range(SHARES))
def test_flipped_bits(bed: Bed, budget: float, share: int) -> None:
    """A single flipped bit anywhere is found in its frame or small file."""
    dice = random.Random(1)
    flips = []
    for name, data in bed.files.items():
        if budget >= ALL:
            bits = list(range(8 * len(data)))
        else:
            step = max(1, round(12 / budget))
            bits = [
                8 * byte + dice.randrange(8)
                for byte in range(dice.randrange(step), len(data), step)
            ]
        flips += [(name, bit) for bit in bits]
    for name, bit in flips[share::SHARES]:
        check_flip(bed, name, bit)


# --- lengths -----------------------------------------------------------------


def check_cut(bed: Bed, name: str, size: int) -> None:
    """Cut a file: both checkers say so where it ends; readers are not misled."""
    what = f"{name} cut at {size}"
    bed.write(name, bed.files[name][:size])
    found, seq = said(bed.root, what)
    expected = expected_of_cut(bed, name, size)
    assert expected <= found, what
    assert bool(expected) == bool(found), what
    assert seq <= bed.said[1], what
    bed.check_reads(what)
    bed.restore(name)


def expected_of_cut(bed: Bed, name: str, size: int) -> set[tuple[str, str]]:
    """Return what must be said of a file that was cut at *size*."""
    if name == "lock":
        return {("not covered", "lock")}
    if name == "castore.json":
        return {("malformed record", name)}
    part = bed.part_at(name, size)
    if part.is_void:
        return set()
    between = size == part.start and part.start > 0
    verdict = "truncated log" if between else "corrupt frame"
    return {(verdict, f"{name}@{part.start}")}


def lengths(bed: Bed, name: str, step: int, dice: random.Random) -> list[int]:
    """Return all ends of parts with what is beside them, and some between."""
    size = len(bed.files[name])
    ends = {part.stop + more for part in bed.parts.get(name, []) for more in (-1, 0, 1)}
    some = range(dice.randrange(step), size, step)
    return sorted({0, size - 1, *some, *(end for end in ends if 0 <= end < size)})


def test_cut_files(bed: Bed, budget: float) -> None:
    """A file that was cut anywhere is found, at the frame or where it ends."""
    dice = random.Random(2)
    step = 1 if budget >= ALL else max(1, round(40 / budget))
    for name in bed.files:
        for size in lengths(bed, name, step, dice):
            check_cut(bed, name, size)


def test_a_larger_store(tmp_path: Path, budget: float) -> None:
    """The same of a store of 128 KiB, at some bits and lengths."""
    make_larger(tmp_path / "store")
    bed = Bed(tmp_path / "store")
    dice = random.Random(4)
    assert sum(map(len, bed.files.values())) > 128 << 10
    for _ in range(round(60 * budget)):
        name = dice.choice(sorted(bed.files))
        check_flip(bed, name, dice.randrange(8 * len(bed.files[name])))
        check_cut(bed, name, dice.randrange(len(bed.files[name])))


# --- older states ------------------------------------------------------------


def is_older(answer: object, now: object) -> bool:
    """Return whether a log is a beginning of what it is now."""
    assert isinstance(answer, list)
    assert isinstance(now, list)
    return answer == now[: len(answer)]


def check_older(bed: Bed, answers: Answers) -> None:
    """All logs that are there are beginnings of those that there were."""
    logs = [name for name in answers if name.endswith("read")]
    assert any(not is_error(answers[name]) for name in logs)
    for name in logs:
        assert is_error(answers[name]) or is_older(answers[name], bed.answers[name])


def test_cut_between_frames(bed: Bed, tmp_path: Path) -> None:
    """
    The newest journal cut between frames is found by its mark. Without a mark it
    is a state that was: good, with a lower seq, and one may go on from there.
    """
    name = bed.newest()
    for number, offset in enumerate(bed.offsets(name)[1:]):
        bed.write(name, bed.files[name][:offset])
        found, older = said(bed.root, name)
        assert ("truncated log", f"{name}@{offset}") in found
        root = tmp_path / str(number)
        shutil.copytree(bed.root, root)
        (root / "lock").unlink()
        found, seq = said(root, name)
        assert ("not covered", "lock") in found
        assert {"not covered"} == {verdict for verdict, _ in found}
        assert seq == older < bed.said[1]
        for read_only in (True, False):
            check_older(bed, read_all(root, bed.names, read_only=read_only))
        with castore.open(root) as store:
            segment = store.session(("tool", "one")).segments()[0]
            segment.append([castore.NewEntry("line", b"goes on")])
        assert not [item for item in ours(root)[0] if item[0] != "not covered"]


# --- frames and files --------------------------------------------------------


def expected_of(bed: Bed, name: str, data: bytes) -> set[tuple[str, str]]:
    """Return what must be said of frames that stand where they were not written."""
    old = bed.files[name]
    for part in bed.parts[name]:
        changed = data[part.start : part.stop] != old[part.start : part.stop]
        if changed and not part.is_void:
            return {("corrupt frame", f"{name}@{part.start}")}
    is_pack = old[10] == file_format.PACK
    return {("corrupt frame", f"{name}@{len(old)}")} if is_pack else set()


def check_changed(bed: Bed, name: str, data: bytes, what: str) -> None:
    """Let a file hold other frames: found at the first; readers are not misled."""
    expected = expected_of(bed, name, data)
    bed.write(name, data)
    found, _ = said(bed.root, what)
    assert expected <= found, what
    assert bool(expected) == bool(found), what
    bed.check_reads(what)
    bed.restore(name)


def test_shuffled_frames(bed: Bed) -> None:
    """Frames swapped, repeated or left out are found at the first that moved."""
    for name in bed.parts:
        head, kept = bed.files[name][:188], bed.frames(name)
        for one in range(len(kept)):
            twice = [*kept[: one + 1], *kept[one:]]
            check_changed(bed, name, head + b"".join(twice), f"{name} twice {one}")
            check_changed(
                bed, name, head + b"".join([*kept, kept[one]]), f"{name} behind {one}"
            )
            less = [*kept[:one], *kept[one + 1 :]]
            if less[one:]:
                check_changed(bed, name, head + b"".join(less), f"{name} less {one}")
            for two in range(one):
                order = list(kept)
                order[one], order[two] = kept[two], kept[one]
                check_changed(
                    bed, name, head + b"".join(order), f"{name} swapped {one} {two}"
                )


def test_frames_of_other_files(bed: Bed, tmp_path: Path) -> None:
    """A frame in the place of one of another file or store is found there."""
    make_store(tmp_path / "other")
    other = Bed(tmp_path / "other")
    for source in (bed, other):
        for giver in source.parts:
            for taker in bed.parts:
                given, kept = source.frames(giver), bed.frames(taker)
                if giver == taker or not given or not kept:
                    continue
                for data in ([given[0], *kept[1:]], [*kept[:-1], given[-1]]):
                    changed = bed.files[taker][:188] + b"".join(data)
                    check_changed(bed, taker, changed, f"{taker} from {giver}")


def test_files_swapped(bed: Bed) -> None:
    """Two files under each other's name are foreign at both."""
    names = sorted(bed.parts)
    for one in names:
        for two in names[: names.index(one)]:
            bed.write(one, bed.files[two])
            bed.write(two, bed.files[one])
            found, _ = said(bed.root, f"{one} and {two}")
            expected = {("foreign record", f"{name}@0") for name in (one, two)}
            assert expected <= found
            bed.check_reads(f"{one} and {two}")
            bed.restore(one, two)


def test_file_renamed(bed: Bed) -> None:
    """A file under another name is missing under its own and foreign under that."""
    for name in bed.parts:
        other = f"files/{bytes(16).hex()}.cas"
        (bed.root / name).rename(bed.root / other)
        found, _ = said(bed.root, name)
        bed.check_reads(name)
        (bed.root / other).rename(bed.root / name)
        expected = {("missing pack", name), ("foreign record", f"{other}@0")}
        assert expected <= found


def test_file_of_another_store(bed: Bed, tmp_path: Path) -> None:
    """Another store's file is foreign, beside the others and in place of one."""
    make_store(tmp_path / "other")
    other = Bed(tmp_path / "other")
    for name in other.parts:
        shutil.copy(tmp_path / "other" / name, bed.root / name)
        assert ({("foreign record", f"{name}@0")}, bed.said[1]) == said(bed.root, name)
        assert not any(map(is_error, bed.check_reads(name).values()))
        (bed.root / name).unlink()
        for own in bed.parts:
            bed.write(own, other.files[name])
            assert ("foreign record", f"{own}@0") in said(bed.root, own)[0]
            bed.check_reads(own)
            bed.restore(own)


def forgeries(bed: Bed) -> Iterator[tuple[str, int]]:
    """
    Edit a byte of what a frame stores as it is, and let all frame hashes fit.

    Nothing but the mark, a listing or a name shows it then.
    """
    for name in bed.parts:
        data = bed.files[name]
        for offset in bed.offsets(name):
            header = frame_format.parse_header(data[offset:], room=len(data) - offset)
            start = offset + frame_format.HEADER_SIZE + header.table_size
            # What a footer says of a file that was edited is nothing new.
            kind = data[offset + frame_format.HEADER_SIZE + 2]
            if header.codec or kind == frame_format.FOOTER:
                continue
            for at in range(start, start + header.raw_size, 7):
                bed.write(name, rehash(flip(data, 8 * at)))
                yield name, at
        bed.restore(name)


def test_forged_payloads(bed: Bed) -> None:
    """A payload with another content is found; nobody reads it under its name."""
    for name, at in forgeries(bed):
        found, _ = said(bed.root, f"{name} at {at}")
        assert found
        bed.check_reads(f"{name} at {at}")


# --- these tests find what they are for --------------------------------------


def check_some(bed: Bed) -> None:
    """What these tests do, in small."""
    for name in bed.parts:
        for part in bed.parts[name]:
            if not part.is_void:
                check_flip(bed, name, 8 * (part.start + 40) + 1)
                check_flip(bed, name, 8 * (part.stop - 40) + 1)
                check_cut(bed, name, part.start)
    for name, at in forgeries(bed):
        bed.check_reads(f"{name} at {at}")


def test_nothing_is_wrong(bed: Bed) -> None:
    """What the tests below let fail passes without a bug."""
    check_some(bed)


def believe(data: memoryview, *_: object, **__: object) -> bytes:
    """Take the frame hash that stands there."""
    return bytes(data[-32:])


def no_frame_hash(patch: pytest.MonkeyPatch, bed: Bed) -> None:
    """Frame hashes are not compared."""
    patch.setattr(frame_format, "check_hash", believe)


def no_last_entry(patch: pytest.MonkeyPatch, bed: Bed) -> None:
    """Readers do not compare the last entry with the head."""
    patch.setattr("castore.engine.logs.check_last", lambda *_: None)


def no_blob_digest(patch: pytest.MonkeyPatch, bed: Bed) -> None:
    """Readers do not compare payloads with their names."""
    patch.setattr(blobs, "blob_digest", lambda data: Equal())


def no_footer(patch: pytest.MonkeyPatch, bed: Bed) -> None:
    """The checker does not look at the last frame of a file."""
    lasts = {
        f"{name}@{bed.offsets(name)[-1]}" for name in bed.parts if bed.frames(name)
    }
    add = Findings.add

    def forgetful(self: Findings, verdict: str, where: str, *rest: str) -> None:
        if where not in lasts:
            add(self, verdict, where, *rest)

    patch.setattr(Findings, "add", forgetful)


def no_file_hash(patch: pytest.MonkeyPatch, bed: Bed) -> None:
    """The checker does not compare file hashes."""
    patch.setattr(file_format, "_file_hash", lambda body: Equal())


def no_resync(patch: pytest.MonkeyPatch, bed: Bed) -> None:
    """The checker stops at the first gap of a file."""

    def stopping(file: OpenFile, start: int, stop: int) -> Iterator[object]:
        for item in frames.walk(file, start, stop):
            yield item
            if isinstance(item, frames.Gap):
                return

    patch.setattr(contents, "walk", stopping)


def no_mark(patch: pytest.MonkeyPatch, bed: Bed) -> None:
    """The checker does not believe the mark."""
    patch.setattr("castore.reading.survey.judge_mark", lambda *_: MarkWorth.NONE)


@pytest.mark.parametrize(
    "plant",
    [
        no_frame_hash,
        no_last_entry,
        no_blob_digest,
        no_file_hash,
        no_footer,
        no_resync,
        no_mark,
    ],
)
def test_planted_bugs(
    bed: Bed, plant: Callable[[pytest.MonkeyPatch, Bed], None]
) -> None:
    """A reader or checker that leaves out one check is found by these tests."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, bed)
        with pytest.raises(AssertionError):
            check_some(bed)


def test_planted_raw_error(bed: Bed) -> None:
    """A reader that lets an error of another kind through is found, too."""

    def raw(file: OpenFile, offset: int, stop: int) -> frames.Frame:
        try:
            return frames.read_frame(file, offset, stop)
        except CorruptionError:
            raise struct.error from None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("castore.engine.frames.read_frame", raw)
        with pytest.raises(struct.error):
            check_some(bed)
