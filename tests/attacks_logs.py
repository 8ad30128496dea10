"""
Attacks on lineages, start records, session keys and the store log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from attackkit import Found, at, attack, entry_at, line, said, started
from framemaker import Item
from storemaker import Log, Maker, root_of

from castore.codec import encode_object
from castore.digest import blob_digest
from castore.formats import frame as frame_format
from castore.formats import storelog
from castore.formats.entry import BlobRef, Origin, Reference, Start
from castore.formats.seal import Recovery, Seal
from castore.formats.storelog import Listing
from castore.formats.trees import SEGMENT_TREE


def _forked(folder: Path, /, **facts: Any) -> tuple[Maker, Log, Log]:
    """Return a store with a fork behind two entries whose origin is changed."""
    maker, parent = started(folder)
    hashes = parent.all_hashes[:2]
    log = Log(parent.session, maker.make_id(), 2, hashes)
    maker.logs[log.segment] = log
    root = root_of(hashes, SEGMENT_TREE)
    origin = Origin(parent.session, parent.segment, 2, root, hashes[-1])
    cause = facts.pop("cause", "fork")
    start = Start(log.session, log.segment, cause, attrs.evolve(origin, **facts))
    maker.append(log, [Item("start", b"{}", start=start)])
    maker.append(log, [line(b"behind the fork")])
    maker.mark()
    return maker, parent, log


@attack
def fork_as_it_should_be(root: Path) -> Found:
    """A fork of two entries is no finding."""
    _forked(root)
    return set()


@attack
def fork_with_another_root(root: Path) -> Found:
    """An origin whose root is not that of the first entries."""
    _, _, log = _forked(root, root=bytes(32))
    return {("root mismatch", entry_at(log, 2))}


@attack
def fork_with_another_last(root: Path) -> Found:
    """An origin whose last entry is another."""
    _, _, log = _forked(root, last=bytes(32))
    return {("malformed record", entry_at(log, 2))}


@attack
def fork_with_another_count(root: Path) -> Found:
    """An origin that counts other entries than are inherited."""
    _, _, log = _forked(root, count=3)
    return {("malformed record", entry_at(log, 2))}


@attack
def fork_with_another_cause(root: Path) -> Found:
    """Only a fork inherits."""
    _, _, log = _forked(root, cause="compaction")
    return {("malformed record", entry_at(log, 2))}


@attack
def fork_of_nothing(root: Path) -> Found:
    """A parent of which nothing is there."""
    _, _, _log = _forked(root, segment=b"nowhere at all.."[:16])
    where = f"segment:{b'nowhere at all..'[:16].hex()}[0]"
    return {("truncated log", where)}


@attack
def fork_of_the_store_log(root: Path) -> Found:
    """The store log has another tree: no fork of it has the right root."""
    maker, _ = started(root)
    maker.append(maker.store_log, [Item("instance", storelog.instance(bytes(16)))])
    log = maker.fork(maker.store_log, 2)
    maker.mark()
    return {("root mismatch", entry_at(log, 2))}


@attack
def fork_of_itself(root: Path) -> Found:
    """A lineage that comes back."""
    maker, parent = started(root)
    log = Log(parent.session, maker.make_id(), 2, parent.all_hashes[:2])
    maker.logs[log.segment] = log
    origin = Origin(log.session, log.segment, 2, bytes(32), log.inherited[-1])
    start = Start(log.session, log.segment, "fork", origin)
    maker.append(log, [Item("start", b"{}", start=start)])
    maker.mark()
    return {("broken link", entry_at(log, 2))}


@attack
def fork_that_names_no_owner(root: Path) -> Found:
    """An origin that names a fork for entries which that has inherited itself."""
    maker, parent = started(root)
    child = maker.fork(parent, 3)
    log = maker.fork(child, 2)
    maker.mark()
    return {("broken link", entry_at(log, 2))}


@attack
def fork_beyond_its_parent(root: Path) -> Found:
    """More is inherited than the parent has."""
    maker, parent = started(root)
    rest = [bytes([n]) * 32 for n in range(2)]
    log = Log(parent.session, maker.make_id(), 5, [*parent.all_hashes, *rest])
    maker.logs[log.segment] = log
    origin = Origin(parent.session, parent.segment, 5, bytes(32), rest[-1])
    start = Start(log.session, log.segment, "fork", origin)
    maker.append(log, [Item("start", b"{}", start=start)])
    maker.mark()
    return {("truncated log", entry_at(parent, 3))}


@attack
def second_start_entry(root: Path) -> Found:
    """A start entry among other entries."""
    maker, log = started(root)
    start = Start(log.session, log.segment, "new")
    maker.append(log, [Item("start", b"{}", start=start)])
    maker.mark()
    return {("malformed record", entry_at(log, 3))}


@attack
def no_start_entry(root: Path) -> Found:
    """A segment that begins with something else."""
    maker = Maker(root)
    log = maker.begin(maker.make_id(), maker.make_id())
    maker.append(log, [line(b"one")])
    maker.mark()
    return {("malformed record", entry_at(log, 0))}


@attack
def start_of_another_segment(root: Path) -> Found:
    """A start entry that names another segment."""
    maker = Maker(root)
    log = maker.begin(maker.make_id(), maker.make_id())
    start = Start(log.session, bytes(16), "new")
    maker.append(log, [Item("start", b"{}", start=start)])
    maker.mark()
    return {("malformed record", entry_at(log, 0))}


@attack
def one_key_for_two_sessions(root: Path) -> Found:
    """The higher session id must not have the key."""
    maker = Maker(root)
    logs = [maker.new_session(("tool", "one")) for _ in range(3)]
    maker.fork(logs[0], 1)
    maker.mark()
    lowest = min(logs, key=lambda log: log.session)
    return {("fork evidence", entry_at(log)) for log in logs if log is not lowest}


# --- the store log -------------------------------------------------------------


def _noted(root: Path, kind: str, body: bytes) -> Found:
    maker, _ = started(root)
    maker.note(kind, body)
    maker.mark()
    return {("malformed record", entry_at(maker.store_log, 1))}


@attack
def note_that_is_no_object(root: Path) -> Found:
    """A body that does not decode."""
    return _noted(root, "packs", b"\xff")


@attack
def note_with_other_keys(root: Path) -> Found:
    """A body with keys of another kind."""
    return _noted(root, "packs", storelog.named("x"))


@attack
def note_that_lists_a_journal(root: Path) -> Found:
    """Journals are never listed."""
    return _noted(
        root, "packs", storelog.packs([Listing(bytes(16), 1, 9, bytes(32))], [])
    )


@attack
def note_that_deletes_no_head(root: Path) -> Found:
    """A deletion whose head is no head record."""
    body = encode_object(
        {
            "segment": bytes(16),
            "session": bytes(16),
            "head": b"",
            "key": None,
        }
    )
    return _noted(root, "deleted", body)


@attack
def note_of_an_erasure_without_a_reason(root: Path) -> Found:
    """An erasure wants a reason, a text, even if that is empty."""
    body = encode_object({"reason": None, "blobs": []})
    return _noted(root, "erased", body)


@attack
def note_of_a_seal_without_a_root(root: Path) -> Found:
    """A seal has a root of 32 bytes."""
    return _noted(root, "sealed", encode_object({"heads": b"", "count": 0}))


@attack
def note_of_a_seal_of_something_else(root: Path) -> Found:
    """What a seal names are heads, by their role."""
    maker, _ = started(root)
    ref = Reference("tag", BlobRef(blob_digest(b"two"), 3))
    maker.note("sealed", Seal(bytes(32), 1).encode(), (ref,))
    maker.mark()
    return {("malformed record", entry_at(maker.store_log, 1))}


@attack
def note_of_a_recovery_from_nothing(root: Path) -> Found:
    """A recovery names the note that is not extended."""
    return _noted(root, "recovered", encode_object({"count": 1, "root": None}))


@attack
def seals_and_recoveries_as_they_should_be(root: Path) -> Found:
    """Both kinds are no finding; the heads are looked at with a note only."""
    maker, _ = started(root)
    ref = Reference("heads", BlobRef(blob_digest(b"two"), 3))
    maker.note("sealed", Seal(bytes(32), 1).encode(), (ref,))
    maker.note("sealed", Seal(bytes(32), 0).encode())
    maker.note("recovered", Recovery(1, bytes(32)).encode())
    maker.mark()
    return set()


@attack
def note_of_a_loss_with_a_short_name(root: Path) -> Found:
    """A name has 32 bytes."""
    return _noted(root, "lost", storelog.erased("", [bytes(31)]))


@attack
def note_of_a_policy_below_zero(root: Path) -> Found:
    """Nobody can keep the newest minus one."""
    rule = storelog.Rule(None, None, -1, None)
    return _noted(root, "policy", storelog.policy(rule))


@attack
def note_of_a_pin_on_nothing(root: Path) -> Found:
    """What is pinned is an entry of a segment."""
    return _noted(root, "pinned", storelog.pinned(b"", 0))


@attack
def note_of_an_unknown_kind(root: Path) -> Found:
    """What this version does not know is data."""
    maker, _ = started(root)
    maker.note("lease", b"whatever")
    maker.mark()
    return set()


@attack
def note_that_drops_the_newest_journal(root: Path) -> Found:
    """The newest journal counts whatever is said of it."""
    maker, _ = started(root)
    maker.list_files([], [maker.journal])
    maker.mark()
    return set()


@attack
def note_that_lists_a_dropped_file(root: Path) -> Found:
    """A file, once dropped, is never read again."""
    maker, log = started(root)
    pack = maker.pack([log])
    maker.list_files([pack])
    maker.list_files([], [pack])
    maker.list_files([pack])
    maker.mark()
    return {("not covered", at(pack))}


@attack
def note_whose_body_is_gone(root: Path) -> Found:
    """A listing that cannot be read."""
    maker, _log = started(root)
    body = BlobRef(blob_digest(b"nowhere"), 7)
    maker.append(maker.store_log, [Item("packs", body)])
    maker.mark()
    return {("missing blob", f"blob:{body.digest.hex()}")}


@attack
def deleted_segment_goes_on(root: Path) -> Found:
    """Commits to a segment behind its deletion."""
    maker, log = started(root)
    assert log.head
    maker.note("deleted", storelog.deleted(log.head, None))
    maker.append(log, [line(b"three")])
    maker.mark()
    return {("fork evidence", entry_at(log))}


@attack
def deleted_segment_with_another_final_head(root: Path) -> Found:
    """A deletion that names another head of the last revision."""
    maker, log = started(root)
    assert log.head
    other = attrs.evolve(log.head, root=bytes(32))
    maker.note("deleted", storelog.deleted(other, None))
    maker.mark()
    return said(root, ("fork evidence", entry_at(log)))


@attack
def deleted_parent_lost(root: Path) -> Found:
    """Entries that a living segment inherits from a deleted one."""
    maker, parent, _log = _forked(root)
    assert parent.head
    maker.note("deleted", storelog.deleted(parent.head, None))
    frames = maker.journal.records()
    frames[2] = [record for record in frames[2] if record[0][0] != frame_format.ENTRIES]
    maker.journal.rewrite(frames)
    maker.mark()
    return {("truncated log", entry_at(parent, 1))}


@attack
def store_log_without_a_head(root: Path) -> Found:
    """The journals with its heads gone, and a new first one that knows nothing."""
    maker, log = started(root)
    maker.list_files([maker.pack([log])])
    first = maker.journal
    nothing = {"pred": bytes(16), "pred_end": 0, "pred_frame": bytes(32)}
    maker.open_journal(number=1, **nothing, seq=0, commit=first.header.commit)
    first.path.unlink()
    maker.mark()
    return said(root, ("wrong head", entry_at(maker.store_log)))
