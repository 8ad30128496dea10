"""
Hostile bytes for each format, made by who knows it, and what reads them.

``python fuzz_formats.py TARGET FIRST STOP`` runs the cases of these numbers in a
process of their own, under limits, and prints what went wrong with which.
"""

from __future__ import annotations

import functools
import json
import random
import resource
import sys
import tempfile
import tracemalloc

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import cbor2
import proofkit

from framemaker import Stored, chunked
from fuzz_stores import Grower
from fuzzing import (
    FRONT,
    NUMBERS,
    changed,
    encoded,
    frame_of,
    loaded,
    noisy,
    rehashed,
    with_fields,
)

from castore import codec, compress
from castore.digest import in_context
from castore.errors import CastoreError
from castore.formats import (
    chunked as chunk_format,
)
from castore.formats import (
    commit as commit_format,
)
from castore.formats import (
    entry as entry_format,
)
from castore.formats import (
    file as file_format,
)
from castore.formats import (
    frame as frame_format,
)
from castore.formats import (
    head as head_format,
)
from castore.formats import (
    mark as mark_format,
)
from castore.formats import (
    marker as marker_format,
)
from castore.formats import (
    seal as seal_format,
)
from castore.formats import (
    stored as stored_format,
)
from castore.formats import (
    storelog,
)
from castore.proofs import decoding, notes
from castore.reading import image
from castore.reading.frames import Frame


MIB = 1 << 20
SPACE = 4 << 30  # bytes of address space of a process
SEEDS = 12  # stores that good bytes are taken from
UNPACKED = 60 * MIB  # bytes of the largest bomb, when it is unpacked
BASE = b"a base of many bytes, that a difference refers to. " * 9


@attrs.frozen
class Target:
    """
    A format under attack.

    Attributes:
        make: Gives hostile bytes; some are good by chance.

        read: Reads them as castore does; only `CastoreError` may come out.

        size: Bytes that reading may take, beside 80 for each that is given.
    """

    make: Callable[[random.Random], bytes]
    read: Callable[[bytes], object]
    size: int = MIB


# --- good bytes to begin with ------------------------------------------------


@functools.cache
def stores() -> list[tuple[bytes, list[tuple[bytes, list[Stored]]]]]:
    """Return store ids with headers and records of the frames of some stores."""
    found = []
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory() as folder:
            maker = Grower(Path(folder) / "store", seed).maker
            files = [*maker.journals, *maker.packs, *maker.sides]
            frames = [
                (bytes(file.data[:188]), records)
                for file in files
                for records in file.records()
            ]
            found.append((maker.store, frames))
    return found


@functools.cache
def records(kind: int) -> list[Stored]:
    """Return all records of a kind in these stores."""
    return [
        record
        for _, frames in stores()
        for _, frame in frames
        for record in frame
        if record[0][0] == kind
    ]


@functools.cache
def pool() -> list[Any]:
    """Return hashes, ids and numbers that stand somewhere in these stores."""
    found: list[Any] = []
    for kind in (frame_format.HEAD, frame_format.COMMIT, frame_format.ENTRIES):
        for descriptor, _ in records(kind)[:40]:
            found += descriptor[2] if type(descriptor[2]) is list else descriptor[2:]
    return found


@functools.cache
def bodies() -> list[tuple[str, bytes]]:
    """Return kinds and bodies of entries of store logs."""
    return [
        (kind, payload)
        for _, payload in records(frame_format.BLOB)
        for kind, (keys, _) in storelog._FOLDS.items()
        if payload[:1] and tuple(_object(payload)) == keys
    ]


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = codec.decode_object(data)
    except CastoreError:
        return {}
    return value if isinstance(value, dict) else {}


# --- making ------------------------------------------------------------------


def of_cbor(choose: Callable[[random.Random], bytes]) -> Callable[..., bytes]:
    """Return what changes the CBOR that *choose* gives."""

    def make(dice: random.Random) -> bytes:
        data = choose(dice)
        return encoded(changed(loaded(data), dice, pool()), dice)

    return make


def of_record(kind: int) -> Callable[[random.Random], bytes]:
    """Return what chooses a good payload of a record of *kind*."""
    return lambda dice: dice.choice(records(kind))[1]


def of_row(kind: int) -> Callable[[random.Random], bytes]:
    """Return what chooses a good head or commit."""
    return lambda dice: cbor2.dumps(dice.choice(records(kind))[0][2])


def make_marker(dice: random.Random) -> bytes:
    """Return a ``castore.json``."""
    facts = json.loads(marker_format.encode_marker(bytes(range(16))))
    facts["features"][dice.choice([*facts["features"]])] += ["a.b-c"]
    if dice.random() < 0.02:
        return b"[" * 60_000 + b"]" * dice.choice((0, 5000))
    try:
        text = json.dumps(changed(facts, dice), sort_keys=True)
    except (TypeError, ValueError):
        text = '{"castore": NaN}'
    data = (text + "\n").encode(errors="surrogatepass")
    return noisy(data, dice) if dice.random() < 0.2 else data


def make_lock(dice: random.Random) -> bytes:
    """Return a lock file."""
    facts: list[Any] = [bytes(16), 1, 2, bytes(16), 188, bytes(32), 3]
    data = mark_format.encode_lock(mark_format.LockFile(*facts))[:240]
    widths = (8, 16, 8, 8, 16, 8, 32, 8, 8, 8, 4, 8, 108)
    data = with_fields(data, widths, dice)
    data += in_context["mark"](data)[:16]
    return noisy(data, dice) if dice.random() < 0.2 else data


def make_header(dice: random.Random) -> bytes:
    """Return the header of a file."""
    _, frames = dice.choice(stores())
    data = dice.choice(frames)[0][:156]
    widths = (8, 1, 1, 1, 1, 16, 16, 8, 16, 8, 32, 8, 32, 8)
    data = with_fields(data, widths, dice)
    data += in_context["file"](data)
    return noisy(data, dice) if dice.random() < 0.2 else data


@functools.cache
def bombs() -> list[bytes]:
    """Return frames of zstd that say little and are much, or the other way round."""
    wide = compress._make_compressor(3, long=True)
    zeros = bytes(UNPACKED)
    cut = compress.compress(zeros[: 20 * MIB], 3)
    return [
        compress.compress(zeros, 3),
        cut[:-1],
        wide.compress(zeros[: 17 * MIB]) * 2,
        compress.compress(b"x", 3),
        bytes.fromhex("28b52ffde0ffffffffffffff7f010000"),  # states 2^63 bytes
        bytes.fromhex("28b52ffd00f8ff") + bytes(20),  # a window of terabytes
    ]


def make_frame(dice: random.Random) -> bytes:
    """Return the header of a file and a frame behind it."""
    _, frames = dice.choice(stores())
    header, good = dice.choice(frames)
    if dice.random() < 0.05:
        return header + _with_bomb(header, dice)
    made = [(descriptor, payload) for descriptor, payload in good]
    at = dice.randrange(len(made))
    descriptor, payload = made[at]
    if dice.random() < 0.5:
        descriptor = changed(descriptor, dice, pool())
    elif payload:
        payload = noisy(payload, dice)
    made[at] = descriptor, payload
    data = frame_of(made, header, dice)
    if dice.random() < 0.4:
        data = _other_front(data, header, dice)
    return header + (noisy(data, dice) if dice.random() < 0.05 else data)


def _with_bomb(header: bytes, dice: random.Random) -> bytes:
    raw = dice.choice((1, MIB, 16 * MIB))
    table, part = cbor2.dumps([[65, raw]]), dice.choice(bombs())
    front = FRONT.pack(b"csF1", 1, 0, 1, len(table), raw, len(part), len(header))
    return rehashed(front + table, part, header)


def _other_front(data: bytes, header: bytes, dice: random.Random) -> bytes:
    """Change what stands before a frame's table, or its stored part; hash it again."""
    _, codec_id, flags, count, table, raw, stored, group = FRONT.unpack(data[:28])
    part = data[28 + table : -32]
    if dice.random() < 0.3:
        part = dice.choice(bombs()) if dice.random() < 0.5 else noisy(part, dice)
        codec_id, stored = dice.choice((0, 1, 1)), len(part)
        raw = dice.choice((raw, stored, 16 * MIB, UNPACKED, 17 * MIB))
    fields = [codec_id, flags, count, table, raw, stored, group]
    widths = (255, 255, 65_535, *[(1 << 32) - 1] * 3, (1 << 64) - 1)
    if dice.random() < 0.7:
        at = dice.randrange(7)
        near = fields[at] + dice.choice((-1, 1)), dice.choice(NUMBERS)
        fields[at] = dice.choice(near) & widths[at]
    front = FRONT.pack(b"csF1", *fields)
    return rehashed(front + data[28 : 28 + table], part, header)


def make_body(dice: random.Random) -> bytes:
    """Return kind, a zero, and body of an entry of the store log."""
    kind = dice.choice([*dict.fromkeys(kind for kind, _ in bodies())])
    body = dice.choice([body for each, body in bodies() if each == kind])
    if kind == "deleted" and dice.random() < 0.5:
        value = loaded(body)
        value["head"] = encoded(changed(loaded(value["head"]), dice, pool()), dice)
        return kind.encode() + b"\0" + cbor2.dumps(value)
    return kind.encode() + b"\0" + encoded(changed(loaded(body), dice, pool()), dice)


def make_difference(dice: random.Random) -> bytes:
    """Return a difference against `BASE`."""
    if dice.random() < 0.1:
        return dice.choice(bombs())
    delta = compress.diff(BASE, BASE[:200] + dice.randbytes(20) + BASE[100:], 3)
    return noisy(delta, dice)


@functools.cache
def proofs() -> list[bytes]:
    """Return good proofs of each kind."""
    log = proofkit.made(9)
    fork = log.fork(5, 4)
    made: list[Any] = [
        *(log.inclusion(3), log.consistency(4), fork.origin(log), fork.origin(None)),
        *(proofkit.ranged(), proofkit.seal_proof(), proofkit.contradiction()),
    ]
    return [proof.encode() for proof in made]


def make_proof(dice: random.Random) -> bytes:
    """Return a proof."""
    value = loaded(dice.choice(proofs()))
    if dice.random() < 0.5:  # something encoded inside of it
        inside = [at for at, item in enumerate(value) if _is_array(item)]
        if inside:
            at = dice.choice(inside)
            value[at] = encoded(changed(loaded(value[at]), dice, pool()), dice)
            return cbor2.dumps(value)
    return encoded(changed(value, dice, pool()), dice)


def _is_array(item: Any) -> bool:
    """Whether *item* is an encoded head, point or entry."""
    return type(item) is bytes and item[:1] in (b"\x88", b"\x89", b"\x8c")


def make_note(dice: random.Random) -> bytes:
    """Return a signed note."""
    signer = dice.choice((proofkit.SIGNER, proofkit.OTHER_SIGNER))
    lines = [notes.origin_of(proofkit.STORE), "3", "A" * 43 + "=", "more"]
    lines[dice.randrange(3)] = dice.choice(
        ("", "-1", "00", "9" * 5000, "1e9", "\N{SUPERSCRIPT TWO}", "A" * 44, "x y+z")
    )
    data = notes.sign("\n".join(lines) + "\n", signer)
    data += b"".join(data.splitlines(keepends=True)[-1:]) * dice.choice((0, 1, 99, 100))
    return noisy(data, dice) if dice.random() < 0.5 else data


def make_page(dice: random.Random) -> bytes:
    """Return a payload of a seal."""
    heads = [cbor2.dumps(row[2]) for row, _ in records(frame_format.HEAD)[:20]]
    (page,) = seal_format.encode_pages(dice.sample(heads, 5))
    value = changed(loaded(page), dice, heads)
    return encoded(value, dice)


def make_object(dice: random.Random) -> bytes:
    """Return an object, or what could be taken for one."""
    value: Any = {"a": [1, -1, 1.5, None, True], "b": {"c": b"x", "d": "y"}}
    data = encoded(changed(value, dice, pool()), dice)
    if dice.random() < 0.1:
        fronts = (
            b"\x81",
            b"\x9f",
            b"\xa1\x60",
            b"\xc1",
            b"\x9b" + b"\x7f" * 8,
            b"\xd8\x1c",
        )
        data = dice.choice(fronts) * dice.choice((10, 64, 65, 900)) + data
    return noisy(data, dice) if dice.random() < 0.3 else data


# --- reading -----------------------------------------------------------------


def read_marker(data: bytes) -> None:
    """Read it as who writes does, which is stricter."""
    marker_format.decode_marker(data, writing=True)


def read_header(data: bytes) -> None:
    """Read it as of whatever file it says it is."""
    file_format.decode_header(data, file=data[28:44], store=data[12:28])


def read_frame(data: bytes) -> None:
    """Read a frame and all that is in it."""
    header = frame_format.parse_header(data[188:], room=len(data) - 188)
    whole = memoryview(data)[188 : 188 + header.size]
    place: dict[str, Any] = {"offset": 188, "file_hash": data[156:188]}
    digest = frame_format.check_hash(whole, header, **place, prev=data[156:188])
    frame = Frame(data[28:44], "files/x.cas", 188, header, digest, whole)
    for _ in image.stored_blobs(frame):
        pass
    for run in image.run_headers(frame):
        image.read_run(frame, run, frame.bodies)
    image.heads(frame, data[12:28])
    image.commits(frame)
    image.check_journal_frame(frame, data[12:28])
    for record in frame.records:
        if record.kind == frame_format.CHUNKED:
            chunk_format.decode_chunks(record.payload, record.descriptor[3])


def read_entries(data: bytes) -> None:
    """Read stored entries, and put them in their place."""
    count = data[0] & 31 if data else 1
    stored = stored_format.decode_stored(data, count)
    names = [(bytes(32), 5)] * 4
    for _ in stored_format.entries_of(
        stored, first_index=7, prev=bytes(32), bodies=names
    ):
        pass


def read_row(
    parse: Callable[..., Any], store: bytes | None = None
) -> Callable[..., Any]:
    """Return what reads a head or commit."""
    options = () if store is None else (store,)

    def read(data: bytes) -> None:
        value = codec.decode_record(data, size_max=MIB)
        parse(value, *options).encode()

    return read


def read_chunks(data: bytes) -> None:
    """Read a chunk list, as of the size that it adds up to and of another."""
    for size in (331, 9 * MIB):
        try:
            chunk_format.decode_chunks(memoryview(data), size)
        except CastoreError:
            continue


def read_body(data: bytes) -> None:
    """Fold an entry into a store log."""
    kind, _, body = data.partition(b"\0")
    log = storelog.StoreLog(stores()[0][0])
    log.apply(3, kind.decode(), body, ())


def read_difference(data: bytes) -> None:
    """Apply it, as of some sizes."""
    for size in (len(BASE) + 120, MIB, 16 * MIB):
        try:
            compress.patch(BASE, data, raw_size=size)
        except CastoreError:
            continue


def read_note(data: bytes) -> None:
    """Open a checkpoint, and read keys as its lines."""
    keys = [proofkit.SIGNER.public_key, proofkit.OTHER_SIGNER.public_key]
    for line in data.decode(errors="replace").split("\n")[-3:]:
        for parse in (notes.PublicKey.parse, notes.PrivateKey.parse):
            try:
                parse(line)
            except CastoreError:
                continue
    notes.open_checkpoint(data, keys)


TARGETS = {
    "castore.json": Target(make_marker, read_marker, 4 * MIB),
    "lock": Target(make_lock, mark_format.decode_lock),
    "file header": Target(make_header, read_header),
    "frame": Target(make_frame, read_frame, 36 * MIB),
    "entries": Target(of_cbor(of_record(frame_format.ENTRIES)), read_entries),
    "entry": Target(
        of_cbor(lambda dice: dice.choice(proofkit.made(3).hashed)),
        entry_format.decode_entry,
    ),
    "head": Target(
        of_cbor(of_row(frame_format.HEAD)), read_row(head_format.parse_head)
    ),
    "commit": Target(
        of_cbor(of_row(frame_format.COMMIT)), read_row(commit_format.parse_commit)
    ),
    "store log": Target(make_body, read_body),
    "ref list": Target(
        of_cbor(of_record(frame_format.REF_LIST)),
        entry_format.decode_ref_list,
    ),
    "chunk list": Target(
        of_cbor(lambda dice: chunked([b"one", dice.randbytes(328)])[0][1]), read_chunks
    ),
    "difference": Target(make_difference, read_difference, 36 * MIB),
    "proof": Target(make_proof, decoding.check_proof),
    "note": Target(make_note, read_note),
    "seal": Target(make_page, lambda data: seal_format.decode_page(data, bytes(16))),
    "object": Target(make_object, codec.decode_object),
}


# --- running -----------------------------------------------------------------


def faults(name: str, numbers: range) -> Iterator[str]:
    """Run cases of a target; yield what went wrong, with the case's number."""
    target = TARGETS[name]
    target.make(random.Random(0))  # what is made once is not counted
    tracemalloc.start()
    try:
        for number in numbers:
            data = target.make(random.Random(f"{name} {number}"))
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            try:
                target.read(data)
            except CastoreError as error:
                str(error)
            except Exception as error:  # noqa: BLE001 - any other one is the fault
                yield f"{name} {number}: {type(error).__name__}: {error}"[:300]
            _, peak = tracemalloc.get_traced_memory()
            if peak - before > target.size + 80 * len(data):
                yield f"{name} {number}: {peak - before} bytes for {len(data)}"
    finally:
        tracemalloc.stop()


def main(name: str, first: str, stop: str) -> None:
    """Run cases under limits of memory and of time."""
    numbers = range(int(first), int(stop))
    seconds = 60 + len(numbers) // 20  # of CPU
    resource.setrlimit(resource.RLIMIT_AS, (SPACE, SPACE))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    json.dump(list(faults(name, numbers)), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
