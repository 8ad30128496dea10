"""
Hostile stores and files, each small on the medium and meant to be much to read.

``python fuzz_hostile.py FOLDER`` makes them one after the other, reads each under
limits, and prints a line of JSON for each: what was said, and what it took.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import sys

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from framemaker import Item, blob, difference, refer
from fuzz_formats import (
    bombs,
    proofs,
    read_body,
    read_entries,
    read_note,
)
from fuzzing import FRONT, rehashed
from storemaker import Log, Maker, root_of

import castore

from castore import codec
from castore.compress import compress, diff
from castore.digest import blob_digest
from castore.errors import CastoreError
from castore.formats import storelog
from castore.formats.chunked import encode_chunks
from castore.formats.entry import Origin, Reference, Start, decode_ref_list
from castore.formats.file import encode_header, file_name
from castore.formats.marker import decode_marker
from castore.formats.seal import decode_page
from castore.formats.trees import SEGMENT_TREE
from castore.proofs.decoding import check_proof
from castore.verify import verify


MIB = 1 << 20
TOP = 1 << 63
SPACE = 1 << 30  # bytes of address space beside what is taken at the start

#: Writes something hostile to a folder; what it returns is called to read it, or
#: stands for a store there.
Make = Callable[[Path], Callable[[], object] | None]
CASES: dict[str, Make] = {}


def case(make: Make) -> Make:
    """Register a case under its name."""
    CASES[make.__name__] = make
    return make


# --- bytes of one format -----------------------------------------------------


def of_object(data: bytes) -> Callable[[], object]:
    """Return what reads an object."""
    return lambda: codec.decode_object(data)


def of_record(data: bytes) -> Callable[[], object]:
    """Return what reads a record."""
    return lambda: codec.decode_record(data, size_max=16 * MIB)


def of_proof(at: int, value: object) -> Callable[[], object]:
    """Return what reads a proof with another value in the place *at*."""
    fields = codec.decode_record(proofs()[0], size_max=MIB)
    fields[at] = value
    data = codec.encode_known(fields)
    return lambda: check_proof(data)


NOTE = "castore/" + "0" * 32
SIGNATURE = "\n\N{EM DASH} somebody AAAAAAAA\n"
VALUES: dict[str, Callable[[], Callable[[], object]]] = {
    "array_of_2^63": lambda: of_object(b"\x9b" + b"\x7f" + b"\xff" * 7),
    "array_of_2^32": lambda: of_record(b"\x9a" + b"\xff" * 4),
    "bytes_of_2^62": lambda: of_object(b"\x5b\x40" + bytes(7)),
    "bytes_of_2^31": lambda: of_record(b"\x81\x5a\x7f\xff\xff\xff"),
    "text_of_2^63": lambda: of_object(b"\x7b" + b"\x7f" + b"\xff" * 7),
    "map_of_2^60": lambda: of_object(b"\xbb\x10" + bytes(7)),
    "a_million_levels": lambda: of_object(b"\x81" * 1_000_000),
    "levels_of_maps": lambda: of_object(b"\xa1\x61a" * 300_000),
    "levels_of_a_record": lambda: of_record(b"\x81" * 1_000_000),
    "levels_of_tags": lambda: of_object(b"\xc1" * 1_000_000),
    "endless_array": lambda: of_object(b"\x9f" * 100_000),
    "endless_bytes": lambda: of_object(b"\x5f" + b"\x41a" * 100_000),
    "tag_of_a_huge_number": lambda: of_object(
        b"\xc2\x5a\x00\x0f\xff\xff" + b"\xff" * MIB
    ),
    "tag_of_a_cycle": lambda: of_object(bytes.fromhex("d81c81d81d00")),
    "tag_of_a_pattern": lambda: of_object(b"\xd8\x23\x6c" + b"(a+)+(a+)+$!"),
    "tag_of_a_fraction": lambda: of_object(bytes.fromhex("c4821b7fffffffffffffff01")),
    "keys_given_twice": lambda: of_object(b"\xa2\x61a\0\x61a\0"),
    "map_in_a_record": lambda: of_record(b"\x81\xa0"),
    "many_references": lambda: (
        lambda: decode_ref_list(b"\x9a\x00\x01\x00\x01" + bytes(65_537))
    ),
    "entry_of_many": lambda: (
        lambda: read_entries(b"\x81\x84\x00\x61a\x00\x9a\xff\xff\xff\xff")
    ),
    "seal_of_many": lambda: (
        lambda: decode_page(b"\x9a" + b"\xff" * 4 + b"\x58\xff" * 99, bytes(16))
    ),
    "listing_of_a_huge_number": lambda: (
        lambda: read_body(
            b"packs\0"
            + codec.encode_object(
                {"add": [[bytes(16), 2, (1 << 64) - 1, bytes(32)]], "drop": []}
            )
        )
    ),
    "numbers_of_5000_digits": lambda: (
        lambda: decode_marker(b'{"castore": ' + b"1" * 5000 + b"}\n", writing=False)
    ),
    "levels_of_json": lambda: lambda: decode_marker(b"[" * 60_000, writing=False),
    "proof_of_a_long_path": lambda: of_proof(5, [bytes(32)] * 129),
    "proof_of_another_kind": lambda: of_proof(2, "../../etc/passwd"),
    "proof_of_a_later_version": lambda: of_proof(1, TOP),
    "proof_of_an_odd_head": lambda: of_proof(3, b"\x9b" + b"\x7f" * 8),
    "proof_too_large": lambda: lambda: check_proof(bytes(400_000)),
    "proof_of_levels": lambda: lambda: check_proof(b"\x81" * 300_000),
    "note_too_large": lambda: lambda: read_note(b"a\n" * 70_000),
    "note_of_many_signatures": lambda: (
        lambda: read_note(f"{NOTE}\n1\n{'A' * 43}=\n{SIGNATURE * 101}".encode())
    ),
    "note_of_5000_digits": lambda: (
        lambda: read_note(f"{NOTE}\n{'9' * 5000}\n{'A' * 43}=\n{SIGNATURE}".encode())
    ),
    "note_of_blank_lines": lambda: lambda: read_note(b"\n" * 130_000),
    "note_of_a_name_with_controls": lambda: lambda: read_note(b"a\x1b[2J\n\nb\n"),
}

for _name, _make in VALUES.items():
    CASES[_name] = lambda folder, make=_make: make()  # type: ignore[misc]


# --- stores ------------------------------------------------------------------


def store_in(folder: Path) -> tuple[Maker, Log]:
    """Return a store with a session."""
    maker = Maker(folder / "store")
    log = maker.new_session(("tool", "one"))
    return maker, log


def with_records(*records: Any, refs: tuple[Reference, ...] = ()) -> Make:
    """Return what makes a store whose last commit has *records* and *refs*."""

    def make(folder: Path) -> None:
        maker, log = store_in(folder)
        maker.append(log, [Item("line", b"hostile", refs)], records=records)
        maker.mark()

    return make


def with_stored(stored: bytes, raw_size: int, *, table: object = None) -> Make:
    """Return what makes a store whose last frame has *stored* as its zstd."""

    def make(folder: Path) -> None:
        maker, _ = store_in(folder)
        rows = codec.encode_known([[1, raw_size]] if table is None else table)  # type: ignore[arg-type]
        sizes = len(rows), raw_size, len(stored), len(maker.journal.data)
        front = FRONT.pack(b"csF1", 1, 0, 1, *sizes)
        maker.journal.data += rehashed(front + rows, stored, bytes(maker.journal.data))
        maker.journal.save()
        maker.mark()

    return make


def with_front(**facts: int) -> Make:
    """Return what makes a store whose last frame states other facts."""

    def make(folder: Path) -> None:
        maker, _ = store_in(folder)
        rows = codec.encode_known([[1, 1]])
        known = {"codec": 0, "flags": 0, "count": 1, "table": len(rows), "raw": 1}
        known |= {"stored": 1, "group": len(maker.journal.data)}
        front = FRONT.pack(b"csF1", *(known | facts).values())
        maker.journal.data += rehashed(front + rows, b"x", bytes(maker.journal.data))
        maker.journal.save()
        maker.mark()

    return make


def with_row(row: list[Any]) -> Make:
    """Return what makes a store whose last frame has this one descriptor."""

    def make(folder: Path) -> None:
        maker, _ = store_in(folder)
        maker.journal.frame([(row, b"")])
        maker.mark()

    return make


def with_head(**facts: Any) -> Make:
    """Return what makes a store whose newest head says something else."""

    def make(folder: Path) -> None:
        maker, log = store_in(folder)
        seq = len(maker.commits) + 1
        head = attrs.evolve(maker.make_head(log, seq), **facts)
        maker.seal([], [head], maker.make_commit([head]))
        maker.mark()

    return make


LONG = bytes(range(256)) * 40
NAMES = [blob_digest(bytes([n]) * 9) for n in range(3)]
DELTA = diff(LONG, LONG + b"more", 3)


def row_of(name: bytes, size: int, base: bytes, depth: int = 1) -> Any:
    """Return a record of a difference that may be no difference at all."""
    return [2, len(DELTA), name, size, base, depth], DELTA


def list_of(chunks: list[tuple[bytes, int]], size: int, slices: bytes = b"") -> Any:
    """Return the record of a chunk list that may be none."""
    payload = encode_chunks(chunks, slices)
    return [3, len(payload), NAMES[0], size], payload


CASES |= {
    "zstd_bomb": with_stored(bombs()[0], 16 * MIB),
    "zstd_that_states_the_bomb": with_stored(bombs()[0], 60 * MIB),
    "zstd_of_2^63": with_stored(bombs()[4], 16 * MIB),
    "zstd_window_of_terabytes": with_stored(bombs()[5], 16 * MIB),
    "zstd_that_ends_early": with_stored(compress(bytes(8 * MIB), 3)[:-1], 8 * MIB),
    "zstd_twice": with_stored(compress(bytes(100), 3) * 2, 100),
    "zstd_that_is_none": with_stored(b"\x28\xb5\x2f\xfd" * 9, 100),
    "zstd_of_nothing": with_stored(b"", 5),
    "frame_of_a_huge_table": with_front(table=(1 << 32) - 1),
    "frame_of_huge_raw_bytes": with_front(raw=(1 << 32) - 1),
    "frame_of_huge_stored_bytes": with_front(stored=(1 << 32) - 1),
    "frame_that_goes_on_behind_the_file": with_front(stored=17 * MIB),
    "frame_of_65535_records": with_front(count=65_535),
    "frame_of_no_records": with_front(count=0),
    "frame_of_a_codec": with_front(codec=255),
    "frame_of_flags": with_front(flags=128),
    "frame_of_a_far_group": with_front(group=(1 << 64) - 1),
    "record_of_2^63": with_row([1, TOP]),
    "record_of_less_than_nothing": with_row([1, -1]),
    "record_of_a_reserved_kind": with_row([63, 0]),
    "record_of_no_kind": with_row([0, 0]),
    "record_of_a_list": with_row([[], []]),
    "records_that_add_up_beyond": with_row([65, (1 << 64) - 1]),
    "entries_at_the_end_of_numbers": with_row(
        [4, 0, bytes(16), TOP - 1, bytes(32), TOP - 1, 0]
    ),
    "commit_of_many_heads": with_row(
        [7, 0, [1, 4, bytes(32), 0, [bytes(32)] * 1025, None, []]]
    ),
    "commit_of_many_sides": with_row(
        [
            7,
            0,
            [1, 4, bytes(32), 0, [bytes(32)], None, [bytes(16), 1, bytes(32)] * 9000],
        ]
    ),
    "head_of_2^63_entries": with_head(count=TOP - 1),
    "head_that_forks_far": with_head(count=TOP - 1, fork_index=TOP - 2),
    "head_of_a_far_seq": with_head(seq=TOP - 1),
    "difference_to_itself": with_records(
        row_of(NAMES[0], 99, NAMES[0]), refs=(refer("x", bytes(9)),)
    ),
    "differences_in_a_ring": with_records(
        *(row_of(NAMES[n], 99, NAMES[(n + 1) % 3]) for n in range(3)),
        refs=tuple(refer("x", bytes([n]) * 9) for n in range(3)),
    ),
    "difference_without_depth": with_records(row_of(NAMES[0], 99, NAMES[1], 0)),
    "difference_too_deep": with_records(row_of(NAMES[0], 99, NAMES[1], 256)),
    "difference_of_2^62": with_records(row_of(NAMES[0], 1 << 62, NAMES[1])),
    "difference_to_nothing": with_records(
        row_of(NAMES[0], 99, b"n" * 32), refs=(refer("x", bytes(9)),)
    ),
    "difference_that_is_a_bomb": with_records(
        blob(LONG),
        ([2, len(bombs()[0]), NAMES[0], 8 * MIB, blob_digest(LONG), 1], bombs()[0]),
    ),
    "difference_to_too_little": with_records(
        blob(b"tiny"), row_of(NAMES[0], 9, blob_digest(b"tiny"))
    ),
    "chunks_of_themselves": with_records(
        list_of([(NAMES[0], 9)], 9), refs=(refer("x", bytes(9)),)
    ),
    "chunks_of_nothing": with_records(list_of([], 0)),
    "chunks_of_2^62": with_records(list_of([(NAMES[1], 8 * MIB)] * 9, 1 << 62)),
    "chunks_without_slices": with_records(
        list_of([(NAMES[1], 8 * MIB)] * 900, 7200 * MIB)
    ),
    "references_of_nothing": with_records(([5, 1], b"\x80")),
    "references_in_references": with_records(
        ([5, 41], codec.encode_known([["", bytes(32), 1, 2, None]]))
    ),
}


@case
def differences_in_a_long_chain(folder: Path) -> None:
    """More bases behind a difference than a reader follows."""
    versions = [LONG + b"%06d" % n for n in range(300)]
    pairs = itertools.pairwise(versions)
    records = [blob(versions[0]), *(difference(a, b) for a, b in pairs)]
    with_records(*records, refs=(refer("x", versions[-1]),))(folder)


@case
def forks_in_a_ring(folder: Path) -> None:
    """Two segments, each of which inherits from the other."""
    maker, log = store_in(folder)
    ids = maker.make_id(), maker.make_id()
    for one, other in (ids, ids[::-1]):
        own = Log(log.session, one, 1, log.all_hashes[:1])
        maker.logs[one] = own
        root = root_of(own.inherited, SEGMENT_TREE)
        origin = Origin(log.session, other, 1, root, own.inherited[-1])
        start = Start(log.session, one, "fork", origin)
        maker.append(own, [Item("start", b"{}", start=start)])
    maker.mark()


@case
def forks_of_forks_of_forks(folder: Path) -> None:
    """A lineage of 400 segments whose first one is not there."""
    maker, log = store_in(folder)
    log.segment = maker.make_id()
    for _ in range(400):
        log = maker.fork(log, len(log.all_hashes))
    maker.mark()


@case
def journals_in_a_ring(folder: Path) -> None:
    """Two journals, each the predecessor of the other."""
    maker, _ = store_in(folder)
    maker.close_journal()
    first, second = maker.journals
    header = attrs.evolve(first.header, number=3, pred=second.header.id, pred_end=188)
    first.data[:188] = encode_header(header)
    first.save()


def _marked(journal: bytes = b"", **facts: object) -> Make:
    def make(folder: Path) -> None:
        maker, _ = store_in(folder)
        maker.mark(**facts)
        if journal:
            maker.journal.path.write_bytes(journal)

    return make


CASES |= {
    "mark_at_the_end_of_numbers": _marked(end=(1 << 64) - 1),
    "mark_before_the_file": _marked(end=0),
    "mark_of_a_far_seq": _marked(seq=(1 << 64) - 1),
    "journal_of_magic_alone": _marked(b"csF1" * 50_000),
}


def _odd(name: str, make: Callable[[Path], object]) -> Make:
    def odd(folder: Path) -> None:
        maker, _ = store_in(folder)
        maker.mark()
        path = maker.root / (name or file_name(maker.journal.header.id))
        path.unlink()
        make(path)

    return odd


def _sparse(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def _grown(folder: Path) -> None:
    maker, _ = store_in(folder)
    maker.mark(boot=bytes(16))
    os.truncate(maker.journal.path, (1 << 40) - 1)


ODD: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link": lambda path: path.symlink_to("/etc/hostname"),
    "loop": lambda path: path.symlink_to(path),
    "giant": _sparse(1 << 40),
}
for _kind, _odd_make in ODD.items():
    for _what in ("castore.json", "lock", ""):
        CASES[f"{_kind}_as_{_what or 'journal'}"] = _odd(_what, _odd_make)
CASES["journal_with_a_giant_hole"] = _grown


@case
def frames_that_claim_all_that_follows(folder: Path) -> None:
    """Behind the last frame, magic after magic, each of a frame of 17 MiB."""
    maker, _ = store_in(folder)
    group = len(maker.journal.data)
    front = FRONT.pack(b"csF1", 0, 0, 1, 9, 16 * MIB, 16 * MIB, group)
    maker.journal.path.write_bytes(bytes(maker.journal.data) + front * 8)
    os.truncate(maker.journal.path, group + 17 * MIB)


@case
def names_with_separators(folder: Path) -> None:
    """A key, a tag and a kind that would be paths."""
    maker, log = store_in(folder)
    maker.new_session(("../..", "../../../outside"))
    keep = attrs.evolve(refer("tag", b"{}"), role="tag")
    maker.note("tagged", storelog.named("../../outside\0"), (keep,))
    maker.append(log, [Item("../../outside", b"x", (refer("../x", b"nowhere"),))])
    maker.mark()


# --- what the test itself must see -------------------------------------------


def _take_memory() -> None:
    bytearray(b"x") * (64 * MIB)  # every page of it
    raise CastoreError(what="after all")


def _hang() -> None:
    while True:
        pass


def _write() -> None:
    Path("outside").touch()
    raise CastoreError(what="after all")


PLANTED: dict[str, Make] = {
    "takes memory": lambda folder: _take_memory,
    "hangs": lambda folder: _hang,
    "writes": lambda folder: _write,
    "raises another": lambda folder: lambda: next(iter(())),
    "is taken": lambda folder: lambda: None,
}


# --- reading -----------------------------------------------------------------


def read_store(root: Path) -> list[str]:
    """Ask a store everything, as two readers would; return the verdicts."""
    said = set()
    try:
        report = verify(root, jobs=1)
        said = {each.verdict for each in report.findings}
    except CastoreError as error:
        said = {type(error).__name__}
    try:
        with castore.open(root, read_only=True) as store:
            for session in store.sessions():
                for segment in session.segments():
                    _read(segment)
    except CastoreError:
        pass
    return sorted(said)


def _read(segment: castore.Segment) -> None:
    try:
        for entry in segment.read():
            str(entry)
    except CastoreError:
        return


def memory(name: str) -> int:
    """Return what the system says of this process's memory, in bytes."""
    status = Path("/proc/self/status").read_text()
    line = next(each for each in status.splitlines() if each.startswith(name))
    return int(line.split()[1]) << 10


class HangError(BaseException):
    """More processor time was taken than a case may take."""


def hang(*_: object) -> None:
    """Stop a case."""
    raise HangError


def run(make: Make, folder: Path) -> dict[str, Any]:
    """
    Make a case and read it; return what was said, the memory above the start, and
    whether anything was written.
    """
    read = make(folder)
    there = tree(Path())
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds + 2, -1))  # 1 s is sure
    said: object
    try:
        said = read_store(folder / "store") if read is None else [_said(read)]
    except HangError:
        said = "hang"
    except Exception as error:  # noqa: BLE001 - any other one is the fault
        said = f"{type(error).__name__}: {error}"[:200]
    resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))
    above = memory("VmHWM") - before
    return {"said": said, "memory": above, "wrote": tree(Path()) != there}


def tree(folder: Path) -> list[tuple[str, int]]:
    """Return names and sizes of all that is in *folder*."""
    found = folder.rglob("*")
    return sorted((str(path), path.lstat().st_size) for path in found)


def _said(read: Callable[[], object]) -> str:
    try:
        read()
    except CastoreError as error:
        return type(error).__name__
    return "nothing"


def tell(facts: dict[str, Any]) -> None:
    """Write a line, at once: the next case may end the process."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main(room: str) -> None:
    """Run all cases, one after the other, each in a folder of its own."""
    signal.signal(signal.SIGXCPU, hang)
    space = memory("VmSize") + SPACE
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    os.chdir(room)
    with_records(blob(b"warm"))(Path(room) / "warm")
    read_store(Path(room) / "warm" / "store")
    for name, make in (CASES | PLANTED).items():
        folder = Path(room) / "case"
        folder.mkdir()
        tell({"case": name, "said": "died"})
        tell({"case": name, **run(make, folder)})
        folder.rename(Path(room) / name)


if __name__ == "__main__":
    main(sys.argv[1])
