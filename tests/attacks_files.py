"""
Attacks on journals: headers, chain, mark.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from attackkit import Found, at, attack, line, said, started
from framemaker import FileMaker
from storemaker import Maker
from stores import make_full, make_small

from castore.formats import file as file_format
from castore.formats import storelog


# --- headers and chain ---------------------------------------------------------


def _second_journal(root: Path, **facts: object) -> Maker:
    """Return a store whose second journal has other facts in its header."""
    maker, log = started(root)
    maker.journal.footer()
    maker.open_journal(**facts)
    maker.append(log, [line(b"three")])
    return maker


def _other_header(folder: Path, **facts: object) -> Maker:
    """Return a store whose only journal was made with other facts in its header."""
    maker, _ = started(folder)
    journal = maker.journal
    changed = attrs.evolve(journal.header, **facts)  # type: ignore[arg-type]
    copy = FileMaker(folder, changed)
    copy.rewrite(journal.records())
    copy.path.replace(journal.path)
    maker.mark(frame=copy.last)
    return maker


def _without_a_journal(maker: Maker) -> Found:
    return {("missing pack", "files"), ("wrong head", f"segment:{maker.store.hex()}")}


def _refused_header(folder: Path, verdict: str, **facts: object) -> Found:
    maker = _other_header(folder, **facts)
    return {(verdict, at(maker.journal, 0)), *_without_a_journal(maker)}


@attack
def header_of_another_store(root: Path) -> Found:
    """A file of another store under a name of this one."""
    return _refused_header(root, "foreign record", store=bytes(16))


@attack
def header_of_another_file(root: Path) -> Found:
    """A file under the name of another."""
    return _refused_header(root, "foreign record", id=b"other file id 16")


@attack
def header_without_a_number(root: Path) -> Found:
    """Numbers order journals; which they are does not matter."""
    _other_header(root, number=0)
    return set()


@attack
def header_with_a_carried_end(root: Path) -> Found:
    """A carried end inside the header."""
    return _refused_header(root, "malformed record", carried_end=187)


@attack
def header_of_no_kind(root: Path) -> Found:
    """A kind that no page knows."""
    return _refused_header(root, "malformed record", kind=4)


@attack
def header_with_another_genesis(root: Path) -> Found:
    """The first commit names the genesis, whatever the header says."""
    _other_header(root, commit=bytes(32))
    return set()


@attack
def header_cut(root: Path) -> Found:
    """A file shorter than a header, which nothing wants but the mark."""
    maker, _ = started(root)
    maker.mark()
    with maker.journal.path.open("rb+") as file:
        file.truncate(100)
    return {("corrupt frame", at(maker.journal, 0)), *_without_a_journal(maker)}


@attack
def header_of_garbage_cut(root: Path) -> Found:
    """A file that nothing wants may be as broken as it likes."""
    maker, _ = started(root)
    garbage = maker.make_file(file_format.PACK)
    garbage.path.write_bytes(garbage.data[:100])
    maker.mark()
    return {("not covered", at(garbage))}


@attack
def predecessor_gone(root: Path) -> Found:
    """The closed journal removed."""
    maker = make_full(root)
    journal = maker.journals[1]
    journal.path.unlink()
    return said(root, ("missing pack", at(journal)))


@attack
def predecessor_of_a_higher_number(root: Path) -> Found:
    """A journal whose predecessor was made after it: the chain closes."""
    maker = _second_journal(root, number=5)
    before = maker.journals[0]
    changed = attrs.evolve(before.header, number=7, pred=maker.journal.header.id)
    copy = FileMaker(root, changed)
    copy.rewrite(before.records())
    maker.mark()
    return said(root, ("truncated log", at(before, len(before.data))))


@attack
def predecessor_is_a_pack(root: Path) -> Found:
    """A journal that names a pack as its predecessor leaves out what was before."""
    maker, log = started(root)
    pack = maker.pack([log, maker.store_log])
    maker.list_files([pack])
    end = len(pack.data)
    maker.open_journal(pred=pack.header.id, pred_end=end, pred_frame=pack.last)
    maker.note("instance", storelog.instance(bytes(16)))
    maker.mark()
    return said(root, ("not covered", at(maker.journals[0])), ("broken link", "seq:4"))


@attack
def two_journals_of_one_number(root: Path) -> Found:
    """Two journals in effect with one number."""
    maker = _second_journal(root)
    rival = maker.make_file(
        file_format.JOURNAL,
        number=2,
        pred=maker.journals[0].header.id,
        pred_end=maker.journal.header.pred_end,
        pred_frame=maker.journal.header.pred_frame,
        seq=maker.journal.header.seq,
        commit=maker.journal.header.commit,
    )
    maker.mark()
    higher = max(rival, maker.journal, key=lambda file: file.header.id)
    return said(root, ("fork evidence", at(higher)))


@attack
def half_a_recovery(root: Path) -> Found:
    """A journal that carries more than was written of it is not in effect."""
    maker, _log = started(root)
    maker.mark()
    newest = maker.journal
    rival = maker.make_file(
        file_format.JOURNAL,
        number=2,
        pred=newest.header.id,
        pred_end=188,
        pred_frame=newest.hash,
        carried_end=5000,
        commit=newest.header.commit,
    )
    rival.frame(newest.records()[0])
    return {("not covered", at(rival))}


@attack
def predecessor_end_inside_a_frame(root: Path) -> Found:
    """A successor that cuts its predecessor inside of a frame."""
    maker, log = started(root)
    end = len(maker.journal.data)
    maker.open_journal(pred_end=end - 10)
    maker.append(log, [line(b"three")])
    maker.mark()
    first = maker.journals[0]
    return said(root, ("truncated log", at(first, first.offsets[-1])))


@attack
def predecessor_with_another_last_frame(root: Path) -> Found:
    """A successor that names another last frame."""
    maker, log = started(root)
    end = len(maker.journal.data)
    maker.open_journal(pred_frame=bytes(32))
    maker.append(log, [line(b"three")])
    maker.mark()
    return {("truncated log", at(maker.journals[0], end))}


@attack
def predecessor_end_in_the_header(root: Path) -> Found:
    """A successor that leaves nothing of its predecessor."""
    maker, log = started(root)
    maker.open_journal(pred_end=100)
    maker.append(log, [line(b"three")])
    maker.mark()
    return said(root, ("truncated log", at(maker.journals[0], 188)))


# --- the mark ------------------------------------------------------------------


@attack
def mark_lost(root: Path) -> Found:
    """Without a lock file an older state cannot be told from the newest."""
    make_small(root, marked=False)
    return {("not covered", "lock")}


@attack
def mark_damaged(root: Path) -> Found:
    """A lock file with a wrong checksum says nothing."""
    make_small(root)
    data = bytearray((root / "lock").read_bytes())
    data[60] ^= 1
    (root / "lock").write_bytes(data)
    return {("not covered", "lock")}


def _cut_newest(root: Path, cut: int, **facts: object) -> Maker:
    maker = make_small(root)
    maker.mark(**facts)
    with maker.journal.path.open("rb+") as file:
        file.truncate(cut + maker.journal.offsets[-1])
    return maker


@attack
def newest_cut_between_frames(root: Path) -> Found:
    """The newest journal cut where its exact mark knows more."""
    journal = _cut_newest(root, 0).journal
    return said(root, ("truncated log", at(journal, journal.offsets[-1])))


@attack
def newest_cut_in_a_frame(root: Path) -> Found:
    """The newest journal cut inside of a frame before its mark."""
    journal = _cut_newest(root, 20).journal
    return said(root, ("corrupt frame", at(journal, journal.offsets[-1])))


@attack
def newest_cut_before_a_lower_bound(root: Path) -> Found:
    """As with an exact mark: what it covers was durable."""
    journal = _cut_newest(root, 20, boot=bytes(16)).journal
    return said(root, ("corrupt frame", at(journal, journal.offsets[-1])))


@attack
def newest_cut_of_a_copy(root: Path) -> Found:
    """In a copy the mark says nothing, and a torn end is legal."""
    journal = _cut_newest(root, 20, inode=1).journal
    return {("torn tail", at(journal, journal.offsets[-1]))}


@attack
def newest_damaged_before_a_later_group(root: Path) -> Found:
    """A frame that is not whole before one that was written after a sync."""
    maker = make_small(root)
    maker.mark(inode=1)
    journal = maker.journal
    data = bytearray(journal.data)
    data[journal.offsets[-3] + 40] ^= 1
    journal.path.write_bytes(data)
    return said(root, ("corrupt frame", at(journal, journal.offsets[-3])))


@attack
def newest_torn_within_its_last_group(root: Path) -> Found:
    """Behind a torn frame the same group's frames count for nothing."""
    maker, log = started(root)
    group = len(maker.journal.data)
    for number in range(3):
        maker.append(log, [line(b"%d" % number)], group_start=group)
    journal = maker.journal
    maker.mark(inode=1)
    data = bytearray(journal.data)
    data[journal.offsets[-2] + 40] ^= 1
    journal.path.write_bytes(data)
    return {("torn tail", at(journal, journal.offsets[-2]))}


@attack
def bytes_behind_an_exact_mark(root: Path) -> Found:
    """What stands behind an exact mark was not acknowledged and is not judged."""
    maker = make_small(root)
    with maker.journal.path.open("ab") as file:
        file.write(b"csF1 and so on")
    return set()


@attack
def mark_of_an_older_journal(root: Path) -> Found:
    """A recovery that was finished but for its mark."""
    maker, log = started(root)
    maker.mark()
    lock = (root / "lock").read_bytes()
    maker.open_journal()
    maker.append(log, [line(b"three")])
    (root / "lock").write_bytes(lock)
    return set()


@attack
def mark_behind_the_successor(root: Path) -> Found:
    """A successor that leaves out what its predecessor's mark covers."""
    maker, _log = started(root)
    maker.mark()
    lock = (root / "lock").read_bytes()
    journal = maker.journal
    end = journal.offsets[-1]
    facts = {"pred_end": end, "pred_frame": bytes(journal.data[end - 32 : end])}
    maker.open_journal(**facts, seq=0, commit=journal.header.commit)
    (root / "lock").write_bytes(lock)
    return said(root, ("truncated log", at(journal, end)))


@attack
def mark_beside_the_chain(root: Path) -> Found:
    """A newer journal that does not come from the one that the mark is in."""
    maker, _log = started(root)
    maker.mark()
    lock = (root / "lock").read_bytes()
    journal = maker.journal
    facts = {"pred": b"another journal.", "pred_end": len(journal.data)}
    maker.open_journal(**facts)
    (root / "lock").write_bytes(lock)
    return said(root, ("truncated log", at(journal, 188)))


@attack
def mark_of_a_missing_journal(root: Path) -> Found:
    """The newest journal removed, its mark there."""
    maker, _log = started(root)
    maker.journal.footer()
    maker.open_journal()
    maker.mark()
    maker.journal.path.unlink()
    return {("missing pack", at(maker.journal))}


@attack
def only_journal_removed(root: Path) -> Found:
    """No journal at all, and a mark that cannot be from here."""
    maker, _ = started(root)
    maker.mark(device=1)
    maker.journal.path.unlink()
    return _without_a_journal(maker)


@attack
def mark_with_another_hash(root: Path) -> Found:
    """A mark that names another frame."""
    maker, _ = started(root)
    maker.mark(frame=bytes(32))
    return {("truncated log", at(maker.journal, len(maker.journal.data)))}
