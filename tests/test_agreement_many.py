"""
Two checkers that share no code say the same of stores of every shape.

A budget of 13 is the long form: above 1,000 good stores and 10,000 damaged ones.
"""

from __future__ import annotations

import os
import random
import shutil

from pathlib import Path

import pytest

from corruption import ours, theirs
from framemaker import Item, refer
from fuzz_stores import Damager, Grower
from stores import make_small

from castore.digest import blob_digest
from castore.formats import storelog
from castore.verify import verify


SHARES = 4  # for as many processes
GOOD = 20  # stores of a share, at a budget of 1
DAMAGED = 10  # of each of them


@pytest.mark.parametrize("share", range(SHARES))
def test_both_checkers_say_the_same(share: int, folder: Path, budget: float) -> None:
    """Of good stores both find nothing, of damaged ones the same in the same place."""
    for number in range(int(GOOD * budget)):
        seed = SHARES * number + share
        root = folder / "store"
        grower = Grower(root, seed)
        assert verify(root).ok, seed
        assert theirs(root) == ours(root), seed
        damager = Damager(grower.maker, random.Random(seed))
        for _ in range(DAMAGED):
            count = damager.dice.choice((1, 1, 2))
            what = [damager.damage() for _ in range(count)]
            assert theirs(root) == ours(root), (seed, what)
            damager.restore()
        shutil.rmtree(root)


def test_a_pack_that_nothing_lists_says_nothing_of_the_store_log(folder: Path) -> None:
    """
    The newest head of the store log is sought in the journals alone: what follows
    it in a pack that is not listed, be it anybody's, explains nothing.
    """
    maker = make_small(folder / "store", marked=False)
    log = maker.new_session()
    maker.append(log, [Item("line", b"refers", (refer("x", b"nowhere"),))])
    body = storelog.erased("never said", [blob_digest(b"nowhere")])
    maker.note("erased", body)
    maker.pack([maker.store_log])
    data = bytes(maker.journal.data[: maker.journal.offsets[-1]])
    maker.journal.path.write_bytes(data)

    found, _ = ours(maker.root)

    assert ("missing blob", f"blob:{blob_digest(b'nowhere').hex()}") in found
    assert theirs(maker.root) == ours(maker.root)


@pytest.mark.parametrize("odd", ["fifo", "link", "folder"])
def test_what_is_no_plain_file_in_the_place_of_the_marked_journal(
    odd: str, folder: Path
) -> None:
    """No copy of a store makes that: the mark counts, and the journal is damaged."""
    maker = make_small(folder / "store")
    maker.close_journal()
    maker.mark()
    path = maker.journal.path
    path.unlink()
    if odd == "fifo":
        os.mkfifo(path)
    elif odd == "folder":
        path.mkdir()
    else:
        path.symlink_to(maker.journals[0].path)

    found, _ = ours(maker.root)

    place = f"files/{path.name}@0"
    assert ("corrupt frame", place) in found
    assert theirs(maker.root) == ours(maker.root)


def test_the_torn_rule_asks_all_whole_frames(folder: Path) -> None:
    """A group start behind a gap makes the gap damage, wherever its frame stands."""
    maker = make_small(folder / "store", marked=False)
    journal = maker.journal
    frames = journal.records()
    journal.rewrite([])
    journal.frame(frames[0], group_start=1 << 40)
    end = len(journal.data)
    journal.path.write_bytes(journal.data + b"torn")

    found, _ = ours(maker.root)

    assert ("corrupt frame", f"files/{journal.path.name}@{end}") in found
    assert theirs(maker.root) == ours(maker.root)


def test_a_table_holds_what_a_record_may_hold(folder: Path) -> None:
    """A map in the descriptor of any kind, known or not, is malformed."""
    for kind in (9, 64):
        root = folder / f"store {kind}"
        maker = make_small(root, marked=False)
        maker.journal.frame([([kind, 0, {"a": 1}], b"")])

        place = f"files/{maker.journal.path.name}@{maker.journal.offsets[-1]}"
        assert ("malformed record", place) in theirs(root)[0]
        assert theirs(root) == ours(root)


def test_a_head_of_another_store_is_a_head_first(folder: Path) -> None:
    """What is of another store and in no form of a head is malformed."""
    maker = make_small(folder / "store", marked=False)
    frames = maker.journal.records()
    head = frames[-1][-2][0][2]
    assert isinstance(head, list)
    head[1], head[5] = bytes(16), 7  # its store and its state
    maker.journal.rewrite(frames)

    place = f"files/{maker.journal.path.name}@{maker.journal.offsets[-1]}"
    assert ("malformed record", place) in ours(maker.root)[0]
    assert theirs(maker.root) == ours(maker.root)
