"""
Attacks on entries, heads and commits.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from attackkit import Found, at, attack, blob_at, entry_at, line, started
from framemaker import Item, Stored, blob, entries, refer
from storemaker import Log, Maker

from castore.digest import blob_digest
from castore.formats import frame as frame_format
from castore.formats import storelog
from castore.formats.entry import BlobRef, Start


# --- entries and heads ---------------------------------------------------------


@attack
def entry_edited(root: Path) -> Found:
    """An entry edited, its frame hash made anew, nothing else."""
    maker, log = started(root)
    maker.append(log, [line(b"three")])
    frames = maker.journal.records()
    frames[2][0] = blob(b"ONE")
    maker.journal.rewrite(frames)
    maker.mark()
    # Index 1 is edited; its record goes on from it, the next record does not.
    return {("broken link", entry_at(log, 3))}


@attack
def last_entry_edited(root: Path) -> Found:
    """The last entry edited: nothing follows that names it but the head."""
    maker, log = started(root)
    frames = maker.journal.records()
    frames[2][1] = blob(b"TWO")
    maker.journal.rewrite(frames)
    maker.mark()
    return {("root mismatch", entry_at(log)), ("wrong head", entry_at(log))}


@attack
def payload_edited(root: Path) -> Found:
    """A payload edited: its name is another then."""
    maker, log = started(root)
    maker.append(log, [line(b"x", refer("tool", b"right"))], records=[blob(b"wrong")])
    maker.mark()
    return {("missing blob", blob_at(b"right"))}


@attack
def entry_at_another_index(root: Path) -> Found:
    """A record of entries moved one up: a gap, and links that do not fit."""
    maker, log = started(root)
    maker.append(log, [line(b"three")])
    frames = maker.journal.records()
    frames[3][1][0][3] = 4
    maker.journal.rewrite(frames)
    maker.mark()
    return {("truncated log", entry_at(log, 3))}


@attack
def two_entries_at_one_index(root: Path) -> Found:
    """A commit that holds another entry for an index: nothing names it, it is void."""
    maker, log = started(root)
    rival = Item("line", BlobRef(blob_digest(b"one"), 3))
    run, _, _ = entries(log.segment, 3, log.prev, [rival], bodies=0)
    maker.append(log, [line(b"three")])
    frames = maker.journal.records()
    frames[3].insert(1, run)
    maker.journal.rewrite(frames)
    maker.mark()
    return set()


@attack
def two_entries_and_the_named_one_gone(root: Path) -> Found:
    """What stands beside an entry does not stand in for it."""
    maker, log = started(root)
    rival = Item("line", BlobRef(blob_digest(b"one"), 3))
    run, _, _ = entries(log.segment, 3, log.prev, [rival], bodies=0)
    maker.append(log, [line(b"three")])
    maker.append(log, [line(b"four")])
    frames = maker.journal.records()
    frames[3][1] = run
    maker.journal.rewrite(frames)
    maker.mark()
    return {("broken link", entry_at(log, 4))}


def _forge_head(folder: Path, /, **facts: object) -> tuple[Maker, Log]:
    maker, log = started(folder)
    seq = len(maker.commits) + 1
    run, hashes, bodies = entries(log.segment, 3, log.prev, [line(b"x")], bodies=0)
    log.hashes += hashes
    head = attrs.evolve(maker.make_head(log, seq), **facts)  # type: ignore[arg-type]
    log.head = head
    records = [*map(blob, bodies), run]
    maker.seal(records, [head], maker.make_commit([head]))
    maker.mark()
    return maker, log


@attack
def head_with_another_root(root: Path) -> Found:
    """Chain and commit made anew, the tree not."""
    _, log = _forge_head(root, root=bytes(32))
    return {("root mismatch", entry_at(log))}


@attack
def head_with_another_last(root: Path) -> Found:
    """A head that names another last entry."""
    _, log = _forge_head(root, last=bytes(32))
    return {("wrong head", entry_at(log))}


@attack
def head_that_counts_too_much(root: Path) -> Found:
    """A head that counts entries that are nowhere."""
    _, log = _forge_head(root, count=9)
    return {("truncated log", entry_at(log, 4))}


@attack
def head_that_goes_back(root: Path) -> Found:
    """A later revision with a lower count."""
    _, log = _forge_head(root, count=1)
    return {("wrong head", entry_at(log)), ("root mismatch", entry_at(log))}


@attack
def head_with_a_known_revision(root: Path) -> Found:
    """Two heads of one revision, each listed by its commit."""
    _, log = _forge_head(root, revision=2)
    return {("fork evidence", entry_at(log))}


@attack
def head_of_another_session(root: Path) -> Found:
    """A head that names another session than the start entry."""
    _, log = _forge_head(root, session=bytes(16))
    return {("malformed record", entry_at(log, 0)), ("broken link", entry_at(log, 0))}


@attack
def head_with_a_fork_index(root: Path) -> Found:
    """A head that says that it inherits, over a start entry that does not."""
    _, log = _forge_head(root, fork_index=1)
    return {("malformed record", entry_at(log, 1)), ("broken link", entry_at(log, 1))}


@attack
def head_of_another_store(root: Path) -> Found:
    """A head of another store in a commit of this one."""
    maker, _log = _forge_head(root, store=bytes(16))
    where = at(maker.journal, maker.journal.offsets[-1])
    return {("foreign record", where)}


@attack
def head_with_a_state(root: Path) -> Found:
    """A head record that is no array of this version."""
    maker, log = started(root)
    maker.append(log, [line(b"x")])
    frames = maker.journal.records()
    frames[3][2][0][2][5] = 1  # type: ignore[index]
    maker.journal.rewrite(frames)
    maker.mark()
    return {("malformed record", at(maker.journal, maker.journal.offsets[3]))}


@attack
def head_that_no_commit_lists(root: Path) -> Found:
    """A newer head in a pack, with no commit that lists it."""
    maker, log = started(root)
    assert log.head
    head = attrs.evolve(log.head, revision=9, seq=3)
    commit = maker.commits[-1][0]
    assert commit.seq == 3
    extra: Stored = ([frame_format.HEAD, 0, head.record()], b"")
    maker.list_files([maker.pack([], [extra])])
    maker.mark()
    return {("wrong head", entry_at(log))}


@attack
def entries_without_a_head(root: Path) -> Found:
    """Entries of a segment of which there is no head, nor a deletion."""
    maker, _log = started(root)
    lost = Log(bytes(16), b"lost" * 4, 0, [])
    start = Start(lost.session, lost.segment, "new")
    lost.items = [Item("start", b"{}", start=start)]
    maker.list_files([maker.pack([lost])])
    maker.mark()
    return {("unproven absence", entry_at(lost))}


# --- commits -------------------------------------------------------------------


@attack
def commit_left_out(root: Path) -> Found:
    """A commit frame taken out, all hashes of the file made anew."""
    maker, log = started(root)
    maker.append(log, [line(b"three")])
    frames = maker.journal.records()
    maker.journal.rewrite([*frames[:2], frames[3]])
    maker.mark()
    return {("broken link", "seq:3"), ("truncated log", entry_at(log, 1))}


@attack
def commit_repeated(root: Path) -> Found:
    """A commit frame written a second time says nothing new."""
    maker, _log = started(root)
    frames = maker.journal.records()
    maker.journal.rewrite([*frames, frames[2]])
    maker.mark()
    return set()


@attack
def commits_swapped(root: Path) -> Found:
    """Order in the file does not matter; seq does."""
    maker, _log = started(root)
    frames = maker.journal.records()
    maker.journal.rewrite([frames[0], frames[2], frames[1]])
    maker.mark()
    return set()


@attack
def commit_with_a_known_seq(root: Path) -> Found:
    """Two commit records of one seq."""
    maker, _log = started(root)
    other = maker.logs[maker.store]
    maker.commits.pop()
    maker.append(other, [Item("instance", storelog.instance(bytes(16)))])
    maker.mark()
    return {("fork evidence", "seq:3")}


@attack
def commit_with_another_prev(root: Path) -> Found:
    """A commit that names another one before it."""
    maker, log = started(root)
    commit, _ = maker.commits[-1]
    maker.commits[-1] = (commit, bytes(32))
    maker.append(log, [line(b"three")])
    maker.mark()
    return {("broken link", "seq:4")}


@attack
def mark_with_another_seq(root: Path) -> Found:
    """The end and the hash of a mark say how far it is; its seq is for people."""
    maker, _ = started(root)
    maker.mark(seq=9)
    return set()


@attack
def journal_that_states_another_commit(root: Path) -> Found:
    """The commit before a journal is named by the first one in it."""
    maker, log = started(root)
    maker.journal.footer()
    maker.open_journal(commit=bytes(32))
    maker.append(log, [line(b"three")])
    maker.mark()
    return set()
