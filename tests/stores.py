"""
Stores of known shape for tests, made by `storemaker`.
"""

from __future__ import annotations

import random

from pathlib import Path

from framemaker import Item, Stored, blob, chunked, difference, ref_list, refer
from storemaker import Log, Maker

from castore.digest import blob_digest
from castore.formats import storelog
from castore.formats.commit import CommitKey
from castore.formats.entry import BlobRef, Reference


def make_small(root: Path, *, marked: bool = True) -> Maker:
    """Two sessions, a few entries with payloads, one journal."""
    maker = Maker(root)
    first = maker.new_session(("tool", "one"))
    second = maker.new_session()
    for number in range(4):
        text = f"line {number} ".encode() * 20
        payload = f"payload {number}".encode()
        item = Item("line", text, (refer("tool.out", payload),))
        log = (first, second)[number % 2]
        maker.append(log, [item, Item("line", b"short")], records=[blob(payload)])
    if marked:
        maker.mark()
    return maker


def make_full(root: Path, *, marked: bool = True, seed: int = 7) -> Maker:
    """Every record type, two packs, a side pack, three journals, a fork, a deletion."""
    maker = Maker(root, seed=seed)
    dice = random.Random(seed)
    first = maker.new_session(("tool", "one"))
    second = maker.new_session(("tool", "two"))
    gone = maker.new_session()
    kept = _add_versions(maker, first, dice)
    maker.append(gone, [Item("line", f"gone {n}".encode()) for n in range(5)])
    heir = maker.fork(gone, 4)
    maker.append(heir, [Item("line", b"after the fork", time_ms=None)])
    assert gone.head
    maker.note("deleted", storelog.deleted(gone.head, None))
    kept += _add_large(maker, second, dice)
    _add_absent(maker, second)
    maker.close_journal()
    packed = maker.pack([maker.store_log, first], [([64, 3, "odd"], b"odd")])
    # What only the journal held: versions, ref list, chunks, the other logs.
    rest = maker.pack([second, gone, heir], kept)
    maker.list_files([packed, rest, *maker.sides], [maker.journals[0]])
    maker.journals[0].path.unlink()
    maker.append(second, [Item("line", f"more {n}".encode()) for n in range(3)])
    maker.append(
        heir,
        [Item("line", b"x", (refer("path", b"/some/path"),))],
        records=[blob(b"/some/path")],
    )
    maker.close_journal()
    third = maker.fork(heir, 6)
    side = maker.open_side()
    large = dice.randbytes(3000)
    side.frame([blob(large)])
    maker.append(third, [Item("line", b"", (refer("tool.out", large),))], sides=[side])
    side.frame([blob(b"void: no commit names it")])
    maker.note("instance", storelog.instance(bytes(16)))
    maker.note("untagged", storelog.named("kept"))
    if marked:
        maker.mark()
    return maker


def _add_versions(maker: Maker, log: Log, dice: random.Random) -> list[Stored]:
    """Three versions of a payload, two of them differences, and a ref list."""
    base = dice.randbytes(4000)
    middle = base[:2000] + b"changed" + base[2000:]
    newest = middle + b"and more"
    many = [f"of a list {n}".encode() for n in range(5)]
    listed, reference = ref_list([refer("attachment", data) for data in many])
    records = [blob(base), difference(base, middle), difference(middle, newest)]
    records += [*map(blob, many), listed, ([64, 3, "odd", [1]], b"odd")]
    refs = tuple(refer("checkpoint", data) for data in (base, middle, newest))
    key = CommitKey(log.segment, "once", bytes(32), len(log.all_hashes), 1)
    maker.append(
        log, [Item("line", b"versions", (*refs, reference))], records=records, key=key
    )
    keep = Reference("tag", BlobRef(blob_digest(newest), len(newest)))
    maker.note("tagged", storelog.named("kept"), (keep,))
    return [record for record in records if record[0][0] != 64]


def _add_large(maker: Maker, log: Log, dice: random.Random) -> list[Stored]:
    """A chunk list above 8 MiB whose chunks are in a side pack, and a small one."""
    side = maker.open_side()
    piece = dice.randbytes(1 << 16)
    parts = [bytes([n]) * 10 + piece * 40 for n in range(4)]
    for part in parts:
        side.frame([blob(part)])
    record, large = chunked(parts)
    side.frame([record])
    small, few = chunked([b"one", b"two"])
    refs = (Reference("tool.out", large), Reference("tool.out", few))
    records = [small, blob(b"one"), blob(b"two")]
    maker.append(log, [Item("line", few, refs)], records=records, sides=[side])
    return records


def _add_absent(maker: Maker, log: Log) -> None:
    """Payloads that went, each in its way; and what gc is told to keep."""
    for kind in ("collected", "erased", "lost"):
        gone = f"{kind} and gone".encode()
        maker.append(log, [Item("line", kind.encode(), (refer("scratch", gone),))])
        blobs = [blob_digest(gone)]
        body = storelog.erased("asked for", blobs)
        maker.note(kind, storelog.collected(3, blobs) if kind == "collected" else body)
    rule = storelog.Rule(None, "scratch", 1, None)
    maker.note("policy", storelog.policy(rule))
    for kind in ("pinned", "unpinned"):
        maker.note(kind, storelog.pinned(log.segment, 0))
