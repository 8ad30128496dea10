"""
Attacks on what stands in the folder, and on listed files.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from attackkit import Found, at, attack, line, said, started
from framemaker import blob
from stores import make_full, make_small

from castore.formats import frame as frame_format
from castore.formats import storelog


# --- small files ---------------------------------------------------------------


@attack
def marker_in_another_form(root: Path) -> Found:
    """Nothing else is looked at."""
    make_small(root)
    path = root / "castore.json"
    path.write_bytes(path.read_bytes().replace(b" ", b""))
    return {("malformed record", "castore.json")}


@attack
def marker_of_a_later_version(root: Path) -> Found:
    """Nothing else is looked at."""
    make_small(root)
    path = root / "castore.json"
    path.write_bytes(path.read_bytes().replace(b'"castore": 1', b'"castore": 2'))
    return {("unsupported version", "castore.json")}


@attack
def marker_with_an_odd_suite(root: Path) -> Found:
    """What is no printable ASCII is no name of a suite, known or not."""
    make_small(root)
    path = root / "castore.json"
    path.write_bytes(path.read_bytes().replace(b"blake3-", b"blake\xc3\xa9-"))
    return {("malformed record", "castore.json")}


@attack
def other_names(root: Path) -> Found:
    """What is no part of a store is said and left alone."""
    maker = make_small(root)
    (root / "notes.txt").write_text("x")
    (root / "catalog-1-7.sqlite").write_text("x")
    (root / "files" / "x.cas").write_text("x")
    (root / "files" / f"{'0' * 32}.cas").symlink_to(maker.journal.path)
    (root / "files" / f"{'1' * 32}.cas").mkdir()
    names = ["notes.txt", "files/x.cas"]
    names += [f"files/{digit * 32}.cas" for digit in "01"]
    return {("not covered", name) for name in names}


# --- listed files --------------------------------------------------------------


@attack
def pack_removed(root: Path) -> Found:
    """A listed pack removed."""
    pack = make_full(root).packs[0]
    pack.path.unlink()
    return said(root, ("missing pack", at(pack)))


@attack
def pack_with_more_behind(root: Path) -> Found:
    """Bytes behind the end of a listed pack."""
    pack = make_full(root).packs[0]
    pack.path.write_bytes(pack.data + b"more")
    return said(root, ("corrupt frame", at(pack, len(pack.data))))


@attack
def pack_without_a_footer(root: Path) -> Found:
    """A footer is a hint: the listing says where a pack ends."""
    maker, log = started(root)
    pack = maker.pack([log])
    frames = pack.records()[:-1]
    pack.rewrite(frames)
    maker.list_files([pack])
    maker.mark()
    return set()


@attack
def pack_with_another_footer(root: Path) -> Found:
    """A hint that is wrong, and a frame behind it, are no damage."""
    maker, log = started(root)
    pack = maker.pack([log])
    frames = pack.records()
    pack.rewrite(frames[:-1])
    del pack.offsets[0]
    pack.footer()
    pack.frame([blob(b"behind")])
    maker.list_files([pack])
    maker.mark()
    return set()


@attack
def pack_listed_as_side_pack(root: Path) -> Found:
    """What kind a file is, its header says."""
    maker, log = started(root)
    pack = maker.pack([log])
    listing = attrs.evolve(pack.listing(), kind=2)
    maker.note("packs", storelog.packs([listing], []))
    maker.mark()
    return set()


@attack
def pack_listed_with_another_hash(root: Path) -> Found:
    """A pack whose last frame is not the one that was listed."""
    maker, log = started(root)
    pack = maker.pack([log])
    listing = attrs.evolve(pack.listing(), frame=bytes(32))
    maker.note("packs", storelog.packs([listing], []))
    maker.mark()
    return {("truncated log", at(pack, len(pack.data)))}


@attack
def side_pack_cut(root: Path) -> Found:
    """A side pack that ends before a commit says."""
    side = make_full(root).sides[-1]
    side.path.write_bytes(side.data[: side.offsets[0]])
    return said(root, ("truncated log", at(side, 188)))


@attack
def side_pack_removed(root: Path) -> Found:
    """A side pack that a commit names removed."""
    side = make_full(root).sides[-1]
    side.path.unlink()
    return said(root, ("missing pack", at(side)))


@attack
def side_pack_with_a_head(root: Path) -> Found:
    """A head says the same wherever it stands."""
    maker, log = started(root)
    side = maker.open_side()
    assert log.head
    side.frame([([frame_format.HEAD, 0, log.head.record()], b"")])
    maker.append(log, [line(b"x")], sides=[side])
    maker.mark()
    return set()


@attack
def side_pack_named_as_pack(root: Path) -> Found:
    """A commit may name any file up to an end."""
    maker, log = started(root)
    pack = maker.pack([])
    maker.append(log, [line(b"x")], sides=[pack])
    maker.mark()
    return set()


@attack
def side_pack_named_with_an_end_that_it_has_not(root: Path) -> Found:
    """Every end that a commit names must be met, not the largest alone."""
    maker, log = started(root)
    side = maker.open_side()
    side.frame([blob(b"large")])
    end = len(side.data)
    del side.data[end - 1 :]  # an end between frames that is none
    maker.append(log, [line(b"x")], sides=[side])
    side.data += side.path.read_bytes()[end - 1 :]
    maker.append(log, [line(b"y")], sides=[side])
    maker.mark()
    return {("truncated log", at(side, end))}
