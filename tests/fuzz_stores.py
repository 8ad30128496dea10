"""
Good stores of every shape, grown from a seed, and damage that knows the format.
"""

from __future__ import annotations

import os
import random

from collections.abc import Callable
from pathlib import Path

import attrs

from framemaker import (
    FileMaker,
    Item,
    Stored,
    blob,
    chunked,
    difference,
    ref_list,
    refer,
)
from fuzzing import changed, encoded, flipped, frame_of, loaded, noisy
from storemaker import Log, Maker

from castore.codec import decode_object
from castore.digest import blob_digest, in_context
from castore.errors import FormatError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats import storelog
from castore.formats.commit import CommitKey
from castore.formats.entry import BlobRef, Reference
from castore.formats.mark import decode_lock, encode_lock
from castore.formats.seal import HeadTree, Recovery, Seal, encode_pages


ROLES = ("", "tool.out", "tool.in", "checkpoint", "\N{EURO SIGN}" * 21, "a.b.c")
MIB = 1 << 20


class Grower:
    """
    A store that grows at random; everything in it is as the pages want it.

    Attributes:
        maker: What writes it.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.maker = Maker(root, seed=seed)
        self.dice = random.Random(seed)
        self._living: list[Log] = []
        self._gone: list[Log] = []
        self._parents: set[bytes] = set()
        self._wholes: list[bytes] = []  # raw bytes of blobs that may be bases
        self._refs: list[Reference] = []  # of payloads that are there
        self._kept: list[Stored] = []  # records that a pack must carry on
        self._side: FileMaker | None = None
        self._has_large = False  # a frame has room for one such payload
        self._new_session()
        steps: list[Callable[[], None]] = [
            *(self._append, self._append, self._append, self._append_many),
            *(self._new_session, self._fork, self._fork, self._delete, self._note),
            *(self._note, self._go_absent, self._close, self._pack, self._seal),
        ]
        for _ in range(self.dice.randrange(3, 25)):
            self.dice.choice(steps)()
        self._mark()

    # --- steps ---------------------------------------------------------------

    def _new_session(self) -> None:
        key = (
            ("tool", f"key {len(self.maker.logs)}")
            if self.dice.random() < 0.5
            else None
        )
        self._living.append(self.maker.new_session(key))

    def _append(self) -> None:
        self._commit([self.dice.choice(self._living)])

    def _append_many(self) -> None:
        count = self.dice.randrange(1, len(self._living) + 1)
        self._commit(self.dice.sample(self._living, count))

    def _commit(self, logs: list[Log]) -> None:
        records: list[Stored] = []
        sides: list[FileMaker] = []
        changes = [(log, self._items(records, sides)) for log in logs]
        key = None
        if self.dice.random() < 0.2:
            first = len(logs[0].all_hashes)
            count = len(changes[0][1])
            key = CommitKey(logs[0].segment, f"k{first}", bytes(32), first, count)
        extra: list[Stored] = []
        if self.dice.random() < 0.1:
            extra.append(([64 + self.dice.randrange(190), 3, "odd", [1]], b"odd"))
        offsets = self.maker.journal.offsets
        group = offsets[-1] if offsets and self.dice.random() < 0.3 else None
        self.maker.commit(
            changes, records=[*records, *extra], sides=sides, key=key, group_start=group
        )
        self._kept += records

    def _items(self, records: list[Stored], sides: list[FileMaker]) -> list[Item]:
        items = []
        for _ in range(self.dice.randrange(1, 5)):
            refs = [
                self._payload(records, sides) for _ in range(self.dice.randrange(3))
            ]
            body: bytes | BlobRef = self.dice.randbytes(self.dice.randrange(40))
            plain = [ref.blob for ref in self._refs if not ref.flags]
            if plain and self.dice.random() < 0.1:
                body = self.dice.choice(plain)
            if isinstance(body, BlobRef) and body.size > 8 * MIB:
                body = b"large"
            time = self.dice.choice((None, 0, self.dice.randrange(1 << 41)))
            kind = self.dice.choice(("line", "k" * 64, "packs", "\N{EURO SIGN}"))
            items.append(Item(kind, body, tuple(refs), time_ms=time))
        return items

    def _payload(self, records: list[Stored], sides: list[FileMaker]) -> Reference:
        """Return a reference, to a new payload or to one that is there."""
        if self._refs and self.dice.random() < 0.3:
            return self.dice.choice(self._refs)
        role = self.dice.choice(ROLES)
        data = self.dice.randbytes(self.dice.randrange(60)) * self.dice.choice((1, 30))
        ref = refer(role, data)
        match self.dice.randrange(7):
            case 0 if self._wholes:
                base = self.dice.choice(self._wholes)
                data = base + data + b"more"
                ref = refer(role, data)
                records.append(difference(base, data))
            case 1:
                parts = [self.dice.randbytes(n) for n in (1, 30, 300)]
                if not self._has_large and self.dice.random() < 0.02:
                    self._has_large = True
                    parts = [bytes([n]) * (3 * MIB) for n in range(3)]
                record, whole = chunked(parts)
                records += [record, *map(blob, parts)]
                ref = Reference(role, whole)
            case 2 if len(self._refs) > 1:
                plain = [each for each in self._refs if not each.flags]
                record, ref = ref_list(self.dice.choices(plain, k=4))
                records.append(record)
            case 3:
                self._side = self._side or self.maker.open_side()
                self._side.frame([blob(data)])
                sides[:] = [self._side]
            case _:
                records.append(blob(data))
        if ref.blob == refer("", data).blob and 8 <= len(data) < 5000:
            self._wholes.append(data)
        self._refs.append(ref)
        return ref

    def _fork(self) -> None:
        parent = self.dice.choice([*self._living, *self._gone])
        own = range(parent.fork_index + 1, len(parent.all_hashes) + 1)
        self._living.append(self.maker.fork(parent, self.dice.choice(own)))
        self._parents.add(parent.segment)

    def _delete(self) -> None:
        if len(self._living) < 2:
            return
        log = self._living.pop(self.dice.randrange(len(self._living)))
        assert log.head
        key = self.dice.choice((None, ("tool", "of the session")))
        self.maker.note("deleted", storelog.deleted(log.head, key))
        self._gone.append(log)

    def _note(self) -> None:
        segment = self.dice.choice(self._living).segment
        group = self.dice.choice((None, "tool", ""))
        rule = storelog.Rule(self.dice.choice((None, segment)), group, 1, None)
        notes = [
            ("policy", storelog.policy(rule)),
            ("policy", storelog.policy(attrs.evolve(rule, newest=None))),
            ("pinned", storelog.pinned(segment, self.dice.randrange(3))),
            ("unpinned", storelog.pinned(segment, self.dice.randrange(3))),
            ("instance", storelog.instance(self.dice.randbytes(16))),
            ("untagged", storelog.named("kept")),
            ("recovered", Recovery(self.dice.randrange(99), bytes(32)).encode()),
            ("of a later version", b"anything"),
        ]
        plain = [ref for ref in self._refs if not ref.flags]
        if plain and self.dice.random() < 0.3:
            tagged = attrs.evolve(self.dice.choice(plain), role="tag")
            self.maker.note("tagged", storelog.named("kept"), (tagged,))
        else:
            self.maker.note(*self.dice.choice(notes))

    def _go_absent(self) -> None:
        gone = self.dice.randbytes(20)
        item = Item("line", b"refers", (refer("scratch", gone),))
        self.maker.append(self.dice.choice(self._living), [item])
        kind = self.dice.choice(("collected", "erased", "lost"))
        blobs = [blob_digest(gone)]
        body = storelog.erased("asked for", blobs)
        self.maker.note(
            kind, storelog.collected(3, blobs) if kind == "collected" else body
        )

    def _seal(self) -> None:
        logs = sorted(self.maker.logs.values(), key=lambda log: log.segment)
        heads = [
            log.head.encode()
            for log in logs
            if log.head and log is not self.maker.store_log
        ]
        pages = encode_pages(heads)
        refs = tuple(refer("heads", page) for page in pages)
        seal = Seal(HeadTree(heads).root, len(heads))
        item = Item("sealed", seal.encode(), refs)
        records = [blob(page) for page in pages]
        self.maker.append(self.maker.store_log, [item], records=records)
        self._kept += records

    def _close(self) -> None:
        self.maker.close_journal()
        if self.dice.random() < 0.5:
            self._side = None

    def _pack(self) -> None:
        self.maker.close_journal()
        heirs = [log for log in self._gone if log.segment in self._parents]
        before = [*self.maker.packs, *self.maker.journals[:-1]]
        before = [file for file in before if file.path.exists()]
        odd: Stored = ([64, 3, "odd"], b"odd")
        logs = [self.maker.store_log, *self._living, *heirs]
        pack = self.maker.pack(logs, [*self._kept, odd])
        if self.dice.random() < 0.3:
            self.maker.list_files([pack])
            return
        self.maker.list_files([pack], before)
        self._gone = heirs  # nobody can fork the others any more
        if self.dice.random() < 0.7:
            for file in before:
                file.path.unlink()

    def _mark(self) -> None:
        match self.dice.randrange(4):
            case 0:
                pass  # none
            case 1:
                self.maker.mark(boot=bytes(16))
            case _:
                self.maker.mark()


# --- damage ------------------------------------------------------------------


@attrs.define
class Damager:
    """
    Damages the files of a store and takes it back.

    Attributes:
        root: The store.

        files: What its files hold, by name.

        maker: Who wrote it.

        dice: What decides.
    """

    maker: Maker
    dice: random.Random
    files: dict[str, bytes] = attrs.field(init=False)
    pool: list[object] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Remember what is there, and the hashes and ids in it."""
        root = self.maker.root
        self.files = {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
        self.pool = [log.segment for log in self.maker.logs.values()]
        self.pool += [log.session for log in self.maker.logs.values()]
        self.pool += [digest for _, digest in self.maker.commits]
        for log in self.maker.logs.values():
            self.pool += log.all_hashes
        self.pool += range(len(self.maker.commits) + 2)

    def damage(self) -> str:
        """Do something; return what."""
        ways = [
            *(
                self._flip,
                self._cut,
                self._shuffle,
                self._noise,
                self._gone,
                self._swap,
            ),
            *(self._lock, self._append, self._header, self._front, self._odd_file),
            *[self._edit] * 9,
        ]
        way = self.dice.choices(ways, [1] * len(ways))[0]
        return f"{way.__name__} {way()}"

    def restore(self) -> None:
        """Take everything back, on the same inodes where they are still there."""
        root = self.maker.root
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_dir() and not path.is_symlink():
                if name != "files":
                    path.rmdir()
            elif path.is_symlink() or not path.is_file() or name not in self.files:
                path.unlink()
        for name, data in self.files.items():
            path = root / name
            if not path.exists() or path.read_bytes() != data:
                self._write(name, data)

    def _write(self, name: str, data: bytes) -> None:
        path = self.maker.root / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            return  # something odd stands there since a moment
        with path.open("r+b" if path.exists() else "wb") as file:
            file.truncate(0)
            file.write(data)

    def _some(self) -> tuple[str, FileMaker]:
        """Return a file of frames, the newest journal more often."""
        makers = [*self.maker.packs, *self.maker.sides, *self.maker.journals]
        names = {file_format.file_name(each.header.id): each for each in makers}
        there = [name for name in names if name in self.files]
        newest = file_format.file_name(self.maker.journal.header.id)
        name = self.dice.choice([*there, newest])
        return name, names[name]

    def _flip(self) -> str:
        name, _ = self._some()
        self._write(name, flipped(self.files[name], self.dice))
        return name

    def _header(self) -> str:
        name, _ = self._some()
        data = self.files[name]
        front = flipped(data[:156], self.dice)
        self._write(name, front + in_context["file"](front) + data[188:])
        return name

    def _cut(self) -> str:
        name, file = self._some()
        data = self.files[name]
        at = self.dice.choice([*file.offsets, self.dice.randrange(len(data)), 0])
        self._write(name, data[:at])
        self._remark(name, data[:at])
        return name

    def _noise(self) -> str:
        name, _ = self._some()
        self._write(name, noisy(self.files[name], self.dice))
        return name

    def _append(self) -> str:
        name, file = self._some()
        data = self.files[name]
        at = self.dice.choice([0, *file.offsets])
        more = (b"csF1" + bytes(40), b"\0" * 99, data[at : at + 300], data[at:])
        self._write(name, data + self.dice.choice(more))
        return name

    def _shuffle(self) -> str:
        name, file = self._some()
        if not file.offsets:
            return "nothing"
        data = self.files[name]
        ends = [*file.offsets[1:], len(data)]
        frames = [data[a:b] for a, b in zip(file.offsets, ends, strict=True)]
        one, two = (self.dice.randrange(len(frames)) for _ in "12")
        match self.dice.randrange(3):
            case 0:
                frames[one], frames[two] = frames[two], frames[one]
            case 1:
                frames.insert(one, frames[two])
            case _:
                del frames[one]
        self._write(name, data[:188] + b"".join(frames))
        return name

    def _gone(self) -> str:
        name, _ = self._some()
        path = self.maker.root / name
        if path.is_file():
            path.unlink()
        return name

    def _swap(self) -> str:
        name, _ = self._some()
        other, _ = self._some()
        copy = f"files/{self.dice.randbytes(16).hex()}.cas"
        self._write(self.dice.choice((name, copy)), self.files[other])
        return f"{name} {other}"

    def _odd_file(self) -> str:
        name, _ = self._some()
        path = self.maker.root / name
        if path.is_dir():
            return "nothing"
        path.unlink(missing_ok=True)
        match self.dice.randrange(4):
            case 0:
                os.mkfifo(path)
            case 1:
                path.symlink_to("/dev/zero")
            case 2:
                path.mkdir()
            case _:
                path.touch()
        return f"{name} {path.lstat().st_mode:o}"

    def _lock(self) -> str:
        data = self.files.get("lock")
        if data is None:
            self._write("lock", bytes(256))
            return "made"
        front = flipped(data[:96], self.dice) + data[96:240]
        whole = front + in_context["mark"](front)[:16]
        self._write("lock", self.dice.choice((whole, noisy(data, self.dice), b"")))
        return "lock"

    def _front(self) -> str:
        """Change the fixed part of a frame; its hash fits again."""
        name, file = self._some()
        if not file.offsets:
            return "nothing"
        data = bytearray(self.files[name])
        at = self.dice.choice(file.offsets)
        place = self.dice.choice((4, 5, 7, 11, 13, 14, 15, 20, 24, 27))
        data[at + place] ^= 1 << self.dice.randrange(8)
        end = min([x for x in file.offsets if x > at], default=len(data))
        table = int.from_bytes(data[at + 8 : at + 12])
        stored = in_context["stored"](bytes(data[at + 28 + table : end - 32]))
        front = bytes(data[at : at + 28 + table])
        where = at.to_bytes(8), bytes(data[at - 32 : at])
        data[end - 32 : end] = in_context["frame"](front, stored, file.hash, *where)
        self._write(name, bytes(data))
        self._remark(name, bytes(data))
        return f"{name} {at} {place}"

    def _edit(self) -> str:
        """Change a descriptor or a payload; all hashes of frames fit again."""
        name, file = self._some()
        frames = file.records()
        if not frames:
            return "nothing"
        at = self.dice.randrange(len(frames))
        number = self.dice.randrange(len(frames[at]))
        descriptor, payload = frames[at][number]
        kind = descriptor[0]
        if payload and self.dice.random() < 0.6:
            payload = self._payload(kind, payload)
            descriptor = [kind, len(payload), *descriptor[2:]]
        else:
            descriptor = changed(descriptor, self.dice, self.pool)
            if type(descriptor) is not list or not descriptor:
                descriptor = [kind]
        frames[at][number] = descriptor, payload
        data = self.files[name][:188]
        for records in frames:
            data += frame_of(records, data, self.dice)
        self._write(name, data)
        self._remark(name, data)
        return f"{name} {at} {number}"

    def _payload(self, kind: object, payload: bytes) -> bytes:
        known = (frame_format.ENTRIES, frame_format.REF_LIST, frame_format.CHUNKED)
        if kind not in (*known, frame_format.FOOTER):
            return self._object(payload)
        return encoded(changed(loaded(payload), self.dice, self.pool), self.dice)

    def _object(self, payload: bytes) -> bytes:
        try:
            value = decode_object(payload)
        except FormatError:  # no body of the store log
            return noisy(payload, self.dice)
        return encoded(changed(value, self.dice, self.pool), self.dice)

    def _remark(self, name: str, data: bytes) -> None:
        """Let the mark, if it is in *name*, be right about *data*, half of the time."""
        lock = decode_lock(self.files.get("lock", b""))
        wanted = self.dice.random() < 0.5 and len(data) > 187
        if wanted and lock and file_format.file_name(lock.journal) == name:
            found = attrs.evolve(lock, end=len(data), frame=data[-32:])
            self._write("lock", encode_lock(found))
