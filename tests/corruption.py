"""
Small stores with everything in them, and what a damaged one may do.

A damaged store is judged twice: both checkers must find the damage at its place,
and whoever reads the store gets what was written or a typed error.
"""

from __future__ import annotations

import importlib.util
import random
import sys

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import attrs
import pytest

import castore

from castore import limits
from castore import verify as verify_module
from castore.digest import in_context
from castore.errors import CastoreError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.mark import decode_lock
from castore.packing import pack
from castore.packing.rewrite import close_journal
from castore.reading.survey import survey
from castore.storage import Files


#: Verdict and place of everything that a checker says, and the last seq.
Said = tuple[set[tuple[str, str]], int]

#: What was read, by name; an error that was raised stands for what it is.
Answers = dict[str, object]

ROOMS = 3  # sessions of the small store


# --- making ------------------------------------------------------------------


def make_store(root: Path) -> None:
    """
    Make a store with every record type in every kind of file, by the engine.

    A pack, a closed journal, the newest journal with an exact mark, a side pack;
    below 24 KiB.
    """
    dice = random.Random(3)
    with castore.open(root, create=True) as store:
        first = store.create_session(key=("tool", "one"), body=b"{}")
        line = castore.NewEntry("line", dice.randbytes(40), time_ms=17)
        first.append([line, castore.NewEntry("line", b"short")], key="once")
        base = dice.randbytes(300)
        kept = store.put(base, tag="kept")
        changed = store.put(base[:200] + b"changed" + base[200:], like=kept)
        first.append([_refer(b"versions", kept, changed)])
        gone = store.create_session(then=[line, line])
        gone.fork(2, then=[castore.NewEntry("line", b"after the fork")])
        gone.delete()
        list(_large(store, dice, first))
        store.put(b"let go of", tag="untagged")
        store.untag("untagged")
    add_unknown(root)
    with castore.open(root) as store:
        pack(store.engine)
        first = store.session(("tool", "one")).segments()[0]
        first.append([_refer(b"many", *[kept] * 257), line])
        close_journal(store.engine)
    add_unknown(root)
    with castore.open(root) as store:
        first = store.session(("tool", "one")).segments()[0]
        like = store.put(base + b"newest", like=kept)
        first.append([_refer(b"newest", like), line])
        list(_large(store, dice, first))
        first.fork(3, then=[castore.NewEntry("line", b"last")])


def make_larger(root: Path) -> None:
    """Make a store of 128 KiB, a part of it packed."""
    dice = random.Random(5)
    with castore.open(root, create=True) as store:
        segment = store.create_session(key=("tool", "one"))
        for number in range(90):
            ref = store.put(dice.randbytes(1000))
            line = castore.NewEntry("line", dice.randbytes(400))
            segment.append([_refer(b"%d" % number, ref), line])
            if number == 60:
                pack(store.engine)


def _refer(body: bytes, *refs: castore.BlobRef) -> castore.NewEntry:
    named = [castore.Reference("tool.out", ref) for ref in refs]
    return castore.NewEntry("line", body, refs=named)


def _large(
    store: castore.Store, dice: random.Random, segment: castore.Segment
) -> Iterator[castore.BlobRef]:
    """Put a blob as chunks into the side pack, as only larger ones are."""
    parts = [dice.randbytes(90), b"chunk" * 9, dice.randbytes(30)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "SIDE_SIZE_MIN", 8)
        ref = store.engine.pool.put_parts(parts)
    segment.append([_refer(b"large", ref)])
    yield ref


def add_unknown(root: Path) -> None:
    """
    Let the newest journal of a store at rest end with a record of kind 64.

    The mark goes: what the next writer finds, it copies to a new journal.
    """
    lock = decode_lock((root / "lock").read_bytes())
    assert lock
    path = root / file_format.file_name(lock.journal)
    data = path.read_bytes()
    frame = frame_format.finish(
        frame_format.seal_part(b"odd", 0),
        [[64, 3, "odd"]],
        offset=len(data),
        group_start=len(data),
        file_hash=data[156:188],
        prev=data[-32:],
    )
    path.write_bytes(data + frame)
    (root / "lock").unlink()


# --- judging -----------------------------------------------------------------


@cache
def reference() -> ModuleType:
    """Return the checker that was written from the pages alone."""
    path = Path(__file__).parents[1] / "spec" / "reference.py"
    spec = importlib.util.spec_from_file_location("castore_reference", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def ours(root: Path) -> Said:
    """Return what the package says."""
    report = verify_module.verify(root)
    found = {(f.verdict, f.where) for f in (*report.findings, *report.explained)}
    return found, report.seq


def theirs(root: Path) -> Said:
    """Return what the reference says."""
    report = reference().check(root)
    found = [*report["findings"], *report.get("explained", [])]
    return {(item["verdict"], item["where"]) for item in found}, report["seq"]


def said(root: Path, what: str) -> Said:
    """Return what both checkers say, which must be the same."""
    mine, other = ours(root), theirs(root)
    assert mine == other, (what, *mine, *other)
    return mine


def questions(
    store: castore.Store, segments: Sequence[bytes], blobs: Sequence[bytes]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield all that can be asked of a store, by name."""
    yield "sessions", lambda: [each.id for each in store.sessions()]
    yield "by key", lambda: store.session(("tool", "one")).id
    yield "tags", store.tags
    for segment in segments:
        yield from _of_segment(store, segment)
    for digest in blobs:
        ref = f"blake3:{digest.hex()}"
        yield ref, partial(store.get, ref)
        yield f"{ref} as a file", partial(_read_file, store, ref)


def _of_segment(
    store: castore.Store, segment: bytes
) -> Iterator[tuple[str, Callable[[], object]]]:
    name = segment.hex()
    yield f"{name} head", lambda: store.segment(segment).head
    yield f"{name} read", lambda: list(store.segment(segment).read())
    yield f"{name} reversed", lambda: list(store.segment(segment).entries(reverse=True))
    yield f"{name} proof", lambda: _proofs(store.segment(segment))


def _proofs(segment: castore.Segment) -> object:
    last = segment.count - 1
    return segment.prove(last), segment.prove(0), segment.prove_consistency(1)


def _read_file(store: castore.Store, ref: str) -> bytes:
    with store.open_blob(ref) as file:
        return file.read()


def names_in(root: Path) -> tuple[list[bytes], list[bytes]]:
    """Return the ids of all living segments and the names of all blobs."""
    with castore.open(root, read_only=True) as store:
        known = store.engine.view.known
        segments = sorted(row.id for row in known.segments() if row.peaks)
        lists = {
            ref.blob.digest
            for segment in segments
            for entry in store.segment(segment).entries()
            for ref in entry.refs
            if ref.flags
        }
        return segments, sorted({row.digest for row in known.places()} - lists)


def read_all(
    root: Path, names: tuple[list[bytes], list[bytes]], *, read_only: bool = True
) -> Answers:
    """
    Ask a store everything about *names*; a typed error is an answer, any other
    one goes to the caller.
    """
    answers: Answers = {}
    try:
        with castore.open(root, read_only=read_only) as store:
            for name, ask in questions(store, *names):
                try:
                    answers[name] = ask()
                except CastoreError as error:
                    answers[name] = error
    except CastoreError as error:
        answers["open"] = error
    return answers


def is_error(answer: object) -> bool:
    """Return whether the answer was an error."""
    return isinstance(answer, CastoreError)


# --- a store to damage -------------------------------------------------------


@attrs.frozen
class Part:
    """Header or frame of a file, or bytes that no checker may look at."""

    start: int
    stop: int
    is_void: bool = False


class Bed:
    """
    A good store, and what it says and answers while it is good.

    Damage is done in place, so that the mark stays exact, and taken back.

    Attributes:
        root: The store.

        names: Segments and blobs in it.

        said: What checkers say of it.

        answers: What it answers.

        files: The bytes of each file, by name.

        parts: Headers and frames of each file of frames.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = names_in(root)
        self.said = said(root, "good")
        self.answers = read_all(root, self.names)
        paths = sorted((root / "files").iterdir())
        names = [path.relative_to(root).as_posix() for path in paths]
        self.files = {
            name: (root / name).read_bytes()
            for name in ("castore.json", "lock", *names)
        }
        stops = survey(Files(root)).members
        self.parts = {
            name: parts_of(self.files[name], stops[bytes.fromhex(name[6:38])])
            for name in names
        }
        assert not any(map(is_error, self.answers.values()))

    def write(self, name: str, data: bytes) -> None:
        """Let *name* be *data*, on the same inode."""
        with (self.root / name).open("r+b") as file:
            file.truncate(len(data))
            file.write(data)

    def restore(self, *names: str) -> None:
        """Take back what was done to *names*."""
        for name in names:
            self.write(name, self.files[name])

    def part_at(self, name: str, offset: int) -> Part:
        """Return the header or frame that has the byte at *offset*."""
        return next(part for part in self.parts[name] if offset < part.stop)

    def offsets(self, name: str) -> list[int]:
        """Return where the frames of a file begin."""
        return [part.start for part in self.parts[name][1:] if not part.is_void]

    def frames(self, name: str) -> list[bytes]:
        """Return the frames of a file."""
        data = self.files[name]
        parts = self.parts[name][1:]
        return [data[part.start : part.stop] for part in parts if not part.is_void]

    def newest(self) -> str:
        """Return the name of the journal that the mark is on."""
        lock = decode_lock(self.files["lock"])
        assert lock
        return file_format.file_name(lock.journal)

    def check_reads(self, what: str, *, read_only: bool = True) -> Answers:
        """Read everything: what was written or typed errors, nothing else."""
        answers = read_all(self.root, self.names, read_only=read_only)
        for name, answer in answers.items():
            good = is_error(answer) or answer == self.answers[name]
            assert good, f"{what}: {name}"
        return answers


def parts_of(data: bytes, stop: int) -> list[Part]:
    """Return header and frames of a good file, and what is void behind *stop*."""
    parts = [Part(0, file_format.SIZE)]
    while (at := parts[-1].stop) < stop:
        header = frame_format.parse_header(data[at:], room=len(data) - at)
        parts.append(Part(at, at + header.size))
    return [*parts, Part(at, len(data), is_void=True)] if at < len(data) else parts


# --- damage ------------------------------------------------------------------


def flip(data: bytes, bit: int) -> bytes:
    """Return *data* with one bit flipped."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def rehash(data: bytes) -> bytes:
    """Return a file whose frames were edited, every frame hash made to fit again."""
    made = bytearray(data[: file_format.SIZE])
    file_hash, at = data[156:188], file_format.SIZE
    while at < len(data):
        header = frame_format.parse_header(data[at:], room=len(data) - at)
        front = data[at : at + frame_format.HEADER_SIZE + header.table_size]
        stop = at + header.size - 32
        stored = in_context["stored"](data[at + len(front) : stop])
        place = at.to_bytes(8, "big")
        prev = bytes(made[-32:])
        made += data[at:stop]
        made += in_context["frame"](front, stored, file_hash, place, prev)
        at = stop + 32
    return bytes(made)


class Equal:
    """Whatever it is compared with is right."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]
