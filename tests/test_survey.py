"""
What a survey knows of a store: members, places, chain, logs with their trees.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from framemaker import Item, blob
from storemaker import Log, Maker, root_of
from stores import make_full, make_small

from castore import merkle
from castore.digest import blob_digest
from castore.errors import CorruptionError, NotFoundError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.entry import BlobRef, Reference
from castore.formats.trees import tree_of
from castore.reading.mark import MarkWorth, judge_mark, read_lock
from castore.reading.survey import Survey, survey
from castore.storage import Files


def look(maker: Maker) -> Survey:
    """Return the survey of a store."""
    return survey(Files(maker.root))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """A store with every record type that is good."""
    return make_full(tmp_path_factory.mktemp("full") / "store")


def test_members_and_extents(full: Maker) -> None:
    """The members are the chain, what is listed and what commits name."""
    found = look(full)
    named = full.sides[-1]
    files = (*full.packs, full.sides[0], *full.journals[1:])
    expected = {file.header.id: len(file.data) for file in files}
    expected[named.header.id] = named.offsets[1]  # what follows is void

    assert expected == found.members
    assert [] == found.garbage
    found.raise_faults()


def test_chain_is_newest_first(full: Maker) -> None:
    """The chain ends at the first dropped journal; ends are those of frames."""
    found = look(full)
    expected = [
        (journal.header.id, len(journal.data), journal.last)
        for journal in reversed(full.journals[1:])
    ]

    assert expected == [(link.file.id, link.end, link.frame) for link in found.chain]


def test_heads_and_commits(full: Maker) -> None:
    """Heads are the newest of each living segment; all commits are there."""
    found = look(full)
    deleted = set(found.log.deleted)
    expected = {
        segment: log.head
        for segment, log in full.logs.items()
        if segment not in deleted
    }

    assert len(deleted) == 1
    assert expected == found.heads
    assert list(enumerate(full.commits, 1)) == sorted(found.commits.items())
    assert found.seq == len(full.commits)


def test_logs_are_walked(full: Maker) -> None:
    """Each log has its entries, and its peaks give the root of its head."""
    found = look(full)
    for segment, log in found.logs.items():
        wanted = full.logs[segment]
        tree = tree_of(segment, full.store)
        read = [entry.hash for entry in found.entries(segment)]

        assert wanted.hashes[: log.count] == read
        if log.head:
            assert log.good == log.head.count
            assert log.head.root == merkle.root(tree, log.peaks)


def test_inherited_entries_of_a_deleted_segment(full: Maker) -> None:
    """Of a deleted segment only what living ones inherit is walked."""
    found = look(full)
    (deleted,) = found.log.deleted
    log = found.logs[deleted]

    assert (None, 4) == (log.head, log.count)


def test_owner_of_a_fork_of_a_fork(tmp_path: Path) -> None:
    """The owner is who has the entry before the fork."""
    maker = Maker(tmp_path / "store")
    first = maker.new_session()
    maker.append(first, [Item("line", b"%d" % number) for number in range(6)])
    second = maker.fork(first, 5)
    third = maker.fork(first, 3)
    last = maker.fork(second, 6)
    found = look(maker)
    found.raise_faults()

    assert first.segment == found.logs[second.segment].owner
    assert first.segment == found.logs[third.segment].owner
    assert second.segment == found.logs[last.segment].owner


def test_a_lost_lineage_is_a_fault(tmp_path: Path) -> None:
    """
    A fork that does not name the owner of the entry before it, but a fork that has
    inherited that entry: nothing keeps such a lineage.
    """
    maker = Maker(tmp_path / "store")
    first = maker.new_session()
    maker.append(first, [Item("line", b"%d" % number) for number in range(6)])
    second = maker.fork(first, 5)
    look(maker).raise_faults()
    third = maker.fork(second, 3)
    with pytest.raises(CorruptionError) as caught:
        look(maker).raise_faults()

    where = f"segment:{third.segment.hex()}[3]"
    assert ("broken link", where) == (caught.value.verdict, caught.value.where)


def test_nodes_of_large_trees(tmp_path: Path) -> None:
    """Each complete subtree of 16 leaves or more is given by who owns its end."""
    maker = Maker(tmp_path / "store")
    log = maker.new_session()
    maker.append(log, [Item("line", b"%d" % number) for number in range(44)])
    child = maker.fork(log, 37)
    maker.append(child, [Item("line", b"%d" % number) for number in range(28)])
    found = look(maker)
    found.raise_faults()

    assert [(4, 0), (4, 1), (5, 0)] == _positions(found, log)
    assert [(4, 2), (4, 3), (5, 1), (6, 0)] == _positions(found, child)
    tree = tree_of(child.segment, maker.store)
    for level, index, digest in found.logs[child.segment].nodes:
        hashes = child.all_hashes[index << level : (index + 1) << level]
        assert root_of(hashes, tree) == digest


def _positions(found: Survey, log: Log) -> list[tuple[int, int]]:
    return [(level, index) for level, index, _ in found.logs[log.segment].nodes]


def test_the_last_copy_counts(tmp_path: Path) -> None:
    """Of several copies that in the newest journal counts, then the later one."""
    maker = Maker(tmp_path / "store")
    log = maker.new_session()
    maker.append(log, [Item("line", b"same")])
    maker.list_files([maker.pack([log])])
    maker.append(log, [Item("line", b"same")])
    found = look(maker)
    digest = blob_digest(b"same")
    files = [place.file for place in found.places.places_of(digest)]

    assert maker.journal.header.id == found.places[digest].file
    assert maker.journal.offsets[-1] == found.places[digest].offset
    assert 3 == len(files)
    assert maker.packs[0].header.id == files[-1]


def test_places_lead_to_their_blobs(full: Maker) -> None:
    """A record that a place names has that size and, if whole, that name."""
    found = look(full)
    for digest, place in found.places.items():
        record = found.reader.record(place)
        assert place.kind == record.kind
        if place.kind == frame_format.BLOB:
            assert digest == blob_digest(record.payload)
            assert place.size == len(record.payload)


def test_wants_name_what_is_elsewhere(tmp_path: Path) -> None:
    """References, and bodies that do not stand beside their entry, are wanted."""
    maker = Maker(tmp_path / "store")
    log = maker.new_session()
    far = BlobRef(blob_digest(b"far"), 3)
    reference = Reference("tool.out", far)
    items = [Item("line", b"near"), Item("line", far, (reference,))]
    maker.append(log, items, records=[blob(b"far")])
    walked = look(maker).logs[log.segment]

    assert [(2, None), (2, "tool.out")] == [(w.entry, w.role) for w in walked.wants()]
    bodies = [b"{}", b"near", b"far"]
    assert [blob_digest(body) for body in bodies] == list(walked.bodies())


def test_runs_cover_each_entry_once(full: Maker) -> None:
    """The runs of a log hold each own index, without overlap."""
    found = look(full)
    for log in found.logs.values():
        pieces = log.pieces
        ends = [log.fork_index, *(piece.stop for piece in pieces)]
        assert ends[:-1] == [piece.start for piece in pieces]
        assert ends[-1] == log.stop
        assert len(log.runs()) <= len(pieces)


def test_faults_are_raised(tmp_path: Path) -> None:
    """Who cannot go on with damage gets the first fault, with its place."""
    maker = make_small(tmp_path / "store")
    maker.journal.path.write_bytes(maker.journal.data[:-1])
    with pytest.raises(CorruptionError) as caught:
        look(maker).raise_faults()

    where = f"files/{maker.journal.header.id.hex()}.cas@{maker.journal.offsets[-1]}"
    assert ("corrupt frame", where) == (caught.value.verdict, caught.value.where)


def test_torn_end(tmp_path: Path) -> None:
    """Without a mark a torn end is known, and the chain ends before it."""
    maker = make_small(tmp_path / "store", marked=False)
    maker.journal.path.write_bytes(maker.journal.data[:-1])
    found = look(maker)
    offset = maker.journal.offsets[-1]
    found.raise_faults()

    assert (maker.journal.header.id, offset) == found.torn
    assert [(offset, offset)] == [(link.stop, link.end) for link in found.chain]


def test_garbage(tmp_path: Path) -> None:
    """Files that nothing wants are garbage, with a good header or a bad one."""
    maker = make_small(tmp_path / "store")
    good = maker.make_file(file_format.PACK)
    bad = maker.make_file(file_format.PACK)
    bad.path.write_bytes(b"")
    found = look(maker)
    found.raise_faults()

    assert {good.header.id, bad.header.id} == set(found.garbage)


def test_store_and_lock_may_be_given(tmp_path: Path) -> None:
    """Who holds the lock says what is in it; castore.json is not read then."""
    maker = make_small(tmp_path / "store")
    files = Files(maker.root)
    lock = read_lock(files)
    (maker.root / "castore.json").unlink()
    (maker.root / "lock").unlink()

    assert MarkWorth.EXACT is survey(files, store=maker.store, lock=lock).worth
    assert MarkWorth.NONE is survey(files, store=maker.store, lock=None).worth
    with pytest.raises(NotFoundError):
        survey(files)


def test_worth_of_a_mark(tmp_path: Path) -> None:
    """Exact, a lower bound, or nothing, as the folder page says."""
    maker = make_small(tmp_path / "store")
    files = Files(maker.root)
    facts: list[tuple[dict[str, object], MarkWorth]] = [
        ({}, MarkWorth.EXACT),
        ({"boot": bytes(16)}, MarkWorth.LOWER_BOUND),
        ({"inode": 1}, MarkWorth.NONE),
        ({"device": 1}, MarkWorth.NONE),
        ({"journal": bytes(16)}, MarkWorth.LOWER_BOUND),
        ({"journal": bytes(16), "device": 1}, MarkWorth.NONE),
    ]
    for changed, worth in facts:
        maker.mark(**changed)
        assert worth is judge_mark(files, read_lock(files))
    assert MarkWorth.NONE is judge_mark(files, None)


class WithoutBoot(Files):
    """A machine whose boot id cannot be read."""

    def boot_id(self) -> bytes:
        """Fail as a machine without one does."""
        raise FileNotFoundError


def test_worth_without_a_boot_id(tmp_path: Path) -> None:
    """Where the boot id cannot be read it differs."""
    maker = make_small(tmp_path / "store")
    files = WithoutBoot(maker.root)

    assert MarkWorth.LOWER_BOUND is judge_mark(files, read_lock(files))


def test_a_dropped_journal_has_no_mark(tmp_path: Path) -> None:
    """A mark in a journal that the store log has dropped says nothing."""
    maker = Maker(tmp_path / "store")
    log = maker.new_session()
    maker.mark()
    maker.close_journal()
    lock = (maker.root / "lock").read_bytes()
    maker.list_files([maker.pack([log, maker.store_log])], [maker.journals[0]])
    (maker.root / "lock").write_bytes(lock)
    found = look(maker)
    found.raise_faults()

    assert MarkWorth.NONE is found.worth
    assert [maker.journals[0].header.id] == found.garbage
