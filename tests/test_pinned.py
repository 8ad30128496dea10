"""
A store held against a note: whoever recomputed every hash is found all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest

from attackkit import entry_at, line
from framemaker import Item, blob
from proofkit import OTHER_SIGNER
from storemaker import Log, Maker, root_of

from castore.digest import blob_digest
from castore.formats import storelog
from castore.formats.entry import BlobRef, Reference
from castore.formats.head import Head
from castore.formats.seal import HeadTree, Recovery, Seal, encode_pages
from castore.formats.trees import STORE_LOG_TREE
from castore.proofs.notes import Checkpoint, PrivateKey, origin_of, sign
from castore.reading.pinned import Pinned
from castore.verify import Report, verify


Found = set[tuple[str, str]]
LONG = 40  # entries: some of their subtrees are kept
SEED = bytes(range(32))


@attrs.define
class Sealing:
    """What an honest store sealed, for others to claim."""

    body: bytes
    pages: list[bytes]
    note: bytes
    key: PrivateKey


def write(maker: Maker, changed: Callable[[list[Item]], list[Item]] = list) -> Log:
    """Write two sessions and a fork; *changed* is what becomes of the first."""
    log = maker.new_session()
    items = [line(b"line %d" % number) for number in range(LONG - 1)]
    some = changed(items)
    if some:
        maker.append(log, some)
    return log


def scene(root: Path) -> tuple[Maker, Log, Log]:
    """Return an honest store before it is sealed: a log and a fork of it."""
    maker = Maker(root)
    log = write(maker)
    fork = maker.fork(log, 20)
    maker.append(fork, [line(b"behind the fork")])
    return maker, log, fork


def heads_of(maker: Maker) -> list[Head]:
    """Return the heads that a seal covers now."""
    logs = (log for log in maker.logs.values() if log is not maker.store_log)
    return sorted((log.head for log in logs if log.head), key=lambda x: x.segment)


def tree_of(heads: Sequence[Head]) -> HeadTree:
    """Return the tree over *heads*."""
    return HeadTree(head.encode() for head in heads)


def pages_of(heads: Sequence[Head]) -> list[bytes]:
    """Return the payloads that hold *heads*."""
    return encode_pages([head.encode() for head in heads])


def add_seal(maker: Maker, body: bytes, pages: Sequence[bytes]) -> None:
    """Commit a ``sealed`` entry."""
    refs = [BlobRef(blob_digest(page), len(page)) for page in pages]
    item = Item("sealed", body, tuple(Reference("heads", ref) for ref in refs))
    maker.append(maker.store_log, [item], records=[blob(page) for page in pages])


def sign_now(maker: Maker, key: PrivateKey | None = None) -> bytes:
    """Return a note over the store log as it is."""
    hashes = maker.store_log.all_hashes
    origin = origin_of(maker.store)
    checkpoint = Checkpoint(origin, len(hashes), root_of(hashes, STORE_LOG_TREE))
    return sign(checkpoint.text(), key or PrivateKey(origin, SEED))


def seal(maker: Maker) -> Sealing:
    """Seal an honest store."""
    heads = heads_of(maker)
    body = Seal(tree_of(heads).root, len(heads)).encode()
    pages = pages_of(heads)
    add_seal(maker, body, pages)
    return Sealing(
        body, pages, sign_now(maker), PrivateKey(origin_of(maker.store), SEED)
    )


def held(maker: Maker, sealing: Sealing) -> Report:
    """Return what is said of a store against the note."""
    maker.mark()
    keys = [sealing.key.public_key]
    return verify(maker.root, against=Pinned(sealing.note, keys), jobs=1)


def said(report: Report) -> Found:
    """Return verdicts and places."""
    return {(each.verdict, each.where) for each in report.findings}


@pytest.fixture
def honest(tmp_path: Path) -> Sealing:
    """Return what a store sealed of which forgeries are made."""
    maker, _, _ = scene(tmp_path / "honest")
    return seal(maker)


def forge(
    root: Path, honest: Sealing, change: Callable[[Maker], Log]
) -> tuple[Report, Log]:
    """
    Return what is said of a store with the same store log and another session.

    Every hash in it is right, and without the note nothing is found.
    """
    maker = Maker(root)
    log = change(maker)
    add_seal(maker, honest.body, honest.pages)
    report = held(maker, honest)
    plain = verify(root, jobs=1)
    assert (True, "self-consistent", ()) == (plain.ok, plain.against, plain.findings)
    return report, log


# --- stores that are what was signed -----------------------------------------


def test_the_signed_state_matches(tmp_path: Path) -> None:
    """A store whose store log the note is over matches it."""
    maker, _, _ = scene(tmp_path / "store")
    report = held(maker, seal(maker))

    assert (True, "matches signed head", set()) == (
        report.ok,
        report.against,
        said(report),
    )


def test_a_store_that_goes_on_extends(tmp_path: Path) -> None:
    """Logs and store log that grew since begin with what was signed."""
    maker, log, fork = scene(tmp_path / "store")
    sealing = seal(maker)
    for each in (log, fork):
        maker.append(each, [line(b"more %d" % number) for number in range(3)])
    maker.new_session()
    maker.note("untagged", storelog.named("x"))
    report = held(maker, sealing)

    assert (True, "extends pinned head", set()) == (
        report.ok,
        report.against,
        said(report),
    )


def test_a_log_that_grew_without_the_store_log_matches(tmp_path: Path) -> None:
    """The note is over the store log: a session that goes on needs no entry there."""
    maker, log, _ = scene(tmp_path / "store")
    sealing = seal(maker)
    maker.append(log, [line(b"more")])

    assert "matches signed head" == held(maker, sealing).against


def test_what_was_deleted_is_not_missing(tmp_path: Path) -> None:
    """A segment may go after it was signed if the store log says so."""
    maker, log, fork = scene(tmp_path / "store")
    sealing = seal(maker)
    maker.append(fork, [line(b"one more")])
    for each in (fork, log):
        assert each.head
        maker.note("deleted", storelog.deleted(each.head, None))
    report = held(maker, sealing)

    assert (True, "extends pinned head", set()) == (
        report.ok,
        report.against,
        said(report),
    )


def test_a_deleted_segment_keeps_its_leaf(tmp_path: Path) -> None:
    """A seal covers final heads too."""
    maker, _, fork = scene(tmp_path / "store")
    assert fork.head
    maker.note("deleted", storelog.deleted(fork.head, None))
    report = held(maker, seal(maker))

    assert (True, "matches signed head") == (report.ok, report.against)
    assert 2 == len(heads_of(maker))


# --- forgeries ---------------------------------------------------------------


def edited(items: list[Item]) -> list[Item]:
    """Change one line of the past."""
    return [*items[:5], line(b"it was otherwise"), *items[6:]]


FORGERIES: dict[str, tuple[str, Callable[[list[Item]], list[Item]]]] = {
    "edited": ("fork evidence", edited),
    "edited and longer": ("fork evidence", lambda x: [*edited(x), line(b"more")]),
    "much longer": ("fork evidence", lambda x: [*edited(x), *x]),
    "last line": ("fork evidence", lambda x: [*x[:-1], line(b"the end")]),
    "cut": ("rolled back", lambda x: x[:-1]),
    "cut to its beginning": ("rolled back", lambda x: []),
    "cut and edited": ("rolled back", lambda x: edited(x)[:-3]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_session_made_anew(name: str, honest: Sealing, tmp_path: Path) -> None:
    """Other entries than those that were signed are found, at their segment."""
    verdict, changed = FORGERIES[name]

    report, log = forge(
        tmp_path / "forged", honest, lambda maker: write(maker, changed)
    )

    assert not report.ok
    assert (verdict, entry_at(log)) in said(report)


def test_a_session_that_never_was(honest: Sealing, tmp_path: Path) -> None:
    """Segments that were signed and are nowhere are missed, each of them."""
    report, _ = forge(tmp_path / "forged", honest, lambda maker: maker.store_log)
    segments = {each.segment.hex() for each in heads_of(scene(tmp_path / "x")[0])}

    assert {("unproven absence", f"segment:{each}") for each in segments} == said(
        report
    )


def test_a_shorter_final_head(tmp_path: Path) -> None:
    """A segment that was deleted with fewer entries than were signed is rolled back."""
    maker, log, _ = scene(tmp_path / "store")
    sealing = seal(maker)
    forged = Maker(tmp_path / "forged")
    short = write(forged, lambda items: items[:3])
    assert short.head
    add_seal(forged, sealing.body, sealing.pages)
    forged.note("deleted", storelog.deleted(short.head, None))
    report = held(forged, sealing)

    assert ("rolled back", entry_at(log)) in said(report)


def test_another_final_head(tmp_path: Path) -> None:
    """A segment that was deleted with other entries than were signed is a fork."""
    maker, log, _ = scene(tmp_path / "store")
    sealing = seal(maker)
    forged = Maker(tmp_path / "forged")
    other = write(forged, edited)
    assert other.head
    add_seal(forged, sealing.body, sealing.pages)
    forged.note("deleted", storelog.deleted(other.head, None))
    report = held(forged, sealing)

    assert ("fork evidence", entry_at(log)) in said(report)


def test_a_store_log_that_is_older(tmp_path: Path) -> None:
    """A copy from before is whole, and found to be older."""
    old, _, _ = scene(tmp_path / "old")
    maker, _, _ = scene(tmp_path / "store")
    report = held(old, seal(maker))

    assert not report.ok
    assert {("rolled back", f"segment:{old.store.hex()}")} == said(report)
    assert "self-consistent" == report.against


def test_another_store_log(tmp_path: Path) -> None:
    """A store log made anew, shorter or longer, is another history."""
    maker, _, _ = scene(tmp_path / "store")
    maker.note(
        "tagged", storelog.named("v1"), (Reference("tag", BlobRef(bytes(32), 1)),)
    )
    sealing = seal(maker)
    other, _, _ = scene(tmp_path / "other")
    for name in ("one", "two", "three"):
        other.note("untagged", storelog.named(name))
    report = held(other, sealing)

    assert {("fork evidence", f"segment:{other.store.hex()}")} == said(report)


def test_an_honest_restore_is_named(tmp_path: Path) -> None:
    """What the store log says of a restore stands beside the verdict."""
    maker, _, _ = scene(tmp_path / "store")
    sealing = seal(maker)
    old, _, _ = scene(tmp_path / "old")
    checkpoint = Checkpoint.parse(sealing.note.decode().partition("\n\n")[0] + "\n")
    body = Recovery(checkpoint.count, checkpoint.root).encode()
    old.note("recovered", body)
    report = held(old, sealing)

    (finding,) = report.findings
    assert "fork evidence" == finding.verdict
    assert "entry 1 says that an older state was restored" in finding.detail


# --- notes -------------------------------------------------------------------


def test_a_note_that_counts_for_nothing(tmp_path: Path) -> None:
    """A note of another key, store or form is refused, and the rest is said."""
    maker, _, _ = scene(tmp_path / "store")
    sealing = seal(maker)
    other = Maker(tmp_path / "other", seed=2)
    foreign = sign_now(other, sealing.key)
    wrong = sealing.note.replace(b"\n2\n", b"\n3\n")
    assert wrong != sealing.note
    unknown = sign_now(maker, OTHER_SIGNER)
    for note, verdict in (
        (foreign, "foreign record"),
        (wrong, "bad signature"),
        (unknown, "bad signature"),
        (sealing.note[:-1], "malformed record"),
    ):
        report = held(maker, attrs.evolve(sealing, note=note))
        assert {(verdict, "note")} == said(report)
        assert (False, "self-consistent") == (report.ok, report.against)


def test_a_note_without_a_seal(tmp_path: Path) -> None:
    """A note over a store log that has no seal holds the store log only."""
    maker, _, _ = scene(tmp_path / "store")
    key = PrivateKey(origin_of(maker.store), SEED)
    sealing = Sealing(b"", [], sign_now(maker), key)

    assert "matches signed head" == held(maker, sealing).against


def test_the_newest_seal_that_the_note_covers_counts(tmp_path: Path) -> None:
    """A seal behind the note is not looked at; of several the last one counts."""
    maker, log, _ = scene(tmp_path / "store")
    seal(maker)
    maker.append(log, [line(b"more")])
    sealing = seal(maker)
    lying = Seal(bytes(32), 1).encode()
    add_seal(maker, lying, [pages_of(heads_of(maker))[0]])
    report = held(maker, sealing)

    assert (True, "extends pinned head") == (report.ok, report.against)


LIES: dict[str, tuple[str, Callable[[list[Head]], list[Head]]]] = {
    "one head less": ("bad proof", lambda heads: heads[:-1]),
    "another order": ("bad proof", lambda heads: heads[::-1]),
    "the same twice": ("bad proof", lambda heads: [heads[0], heads[0]]),
    "another root": ("bad proof", lambda heads: [_other(heads[0]), *heads[1:]]),
    "another store": (
        "foreign record",
        lambda heads: [attrs.evolve(heads[0], store=bytes(16)), *heads[1:]],
    ),
}


def _other(head: Head) -> Head:
    return attrs.evolve(head, root=bytes(32))


@pytest.mark.parametrize("name", LIES)
def test_heads_that_are_not_those_of_the_seal(name: str, tmp_path: Path) -> None:
    """A list of heads that is not what the seal covers is refused, at the entry."""
    verdict, change = LIES[name]
    maker, _, _ = scene(tmp_path / "store")
    heads = heads_of(maker)
    body = Seal(tree_of(heads).root, len(heads)).encode()
    add_seal(maker, body, pages_of(change(heads)))
    key = PrivateKey(origin_of(maker.store), SEED)
    report = held(maker, Sealing(body, [], sign_now(maker), key))

    assert {(verdict, f"segment:{maker.store.hex()}[1]")} == said(report)


@pytest.mark.parametrize(
    ("count", "turn"), [(2, True), (3, False)], ids=["order", "count"]
)
def test_a_seal_that_lies(count: int, turn: bool, tmp_path: Path) -> None:
    """Heads in another order, or not as many as said, are refused with a right root."""
    maker, _, _ = scene(tmp_path / "store")
    heads = heads_of(maker)[:: -1 if turn else 1]
    body = Seal(tree_of(heads).root, count).encode()
    add_seal(maker, body, pages_of(heads))
    key = PrivateKey(origin_of(maker.store), SEED)
    report = held(maker, Sealing(body, [], sign_now(maker), key))

    assert {("bad proof", f"segment:{maker.store.hex()}[1]")} == said(report)


def test_what_is_no_store(tmp_path: Path) -> None:
    """Where there is no store, or no head of its log, the note adds no finding."""
    maker, _, _ = scene(tmp_path / "store")
    sealing = seal(maker)
    maker.mark()
    maker.journal.path.unlink()
    pinned = Pinned(sealing.note, [sealing.key.public_key])
    report = verify(maker.root, against=pinned, jobs=1)
    plain = verify(maker.root, jobs=1)
    assert (False, plain.findings) == (report.ok, report.findings)

    (maker.root / "castore.json").write_bytes(b"{}\n")
    report = verify(maker.root, against=pinned, jobs=1)
    assert {("malformed record", "castore.json")} == said(report)


BAD_PAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda head: b"",
    "no heads": lambda head: b"\x80",
    "a number": lambda head: b"\x81\x00",
    "a short string": lambda head: b"\x81\x41\x00",
    "cut in a front": lambda head: b"\x81\x58",
    "no head": lambda head: b"\x81\x58\x18" + bytes(24),
    "a longer front": lambda head: b"\x98\x01" + framed(head),
    "two said": lambda head: b"\x82" + framed(head),
    "none said": lambda head: b"\x80" + framed(head),
    "cut in a head": lambda head: b"\x81" + framed(head)[:-1],
    "a head that is cut": lambda head: b"\x81" + framed(head[:-1]),
    "a byte in a head": lambda head: b"\x81" + framed(head + b"\0"),
    "a byte behind": lambda head: b"\x81" + framed(head) + b"\0",
    "empty arrays": lambda head: b"\x9a\x00\x20\x00\x00" + b"\x80" * (1 << 21),
}


def framed(head: bytes) -> bytes:
    """Return a head as it stands in a payload."""
    return b"\x58" + bytes([len(head)]) + head


@pytest.mark.parametrize("name", BAD_PAGES)
def test_heads_that_are_none(name: str, tmp_path: Path) -> None:
    """A payload that is not the one encoding of heads is malformed."""
    maker, _, _ = scene(tmp_path / "store")
    head = heads_of(maker)[0]
    body = Seal(tree_of([head]).root, 1).encode()
    add_seal(maker, body, [BAD_PAGES[name](head.encode())])
    key = PrivateKey(origin_of(maker.store), SEED)
    report = held(maker, Sealing(body, [], sign_now(maker), key))

    assert {("malformed record", f"segment:{maker.store.hex()}[1]")} == said(report)


def test_heads_that_are_not_there(tmp_path: Path) -> None:
    """Where the list is missing, that is a fault, and the rest is not covered."""
    maker, _, _ = scene(tmp_path / "store")
    page = pages_of(heads_of(maker))[0]
    ref = BlobRef(blob_digest(page), len(page))
    body = Seal(bytes(32), 2).encode()
    maker.note("sealed", body, (Reference("heads", ref),))
    key = PrivateKey(origin_of(maker.store), SEED)
    report = held(maker, Sealing(body, [], sign_now(maker), key))

    where = f"segment:{maker.store.hex()}[1]"
    assert {("missing blob", f"blob:{ref.digest.hex()}"), ("not covered", where)} == (
        said(report)
    )


def test_a_damaged_log_is_not_covered(tmp_path: Path) -> None:
    """Where entries are missing below what was signed, it cannot be compared."""
    maker, log, _ = scene(tmp_path / "store")
    sealing = seal(maker)
    maker.append(log, [line(b"more")])
    report = held(maker, sealing)
    assert report.ok

    forged = Maker(tmp_path / "forged")
    gap = forged.new_session()
    gap.hashes += [bytes([n]) * 32 for n in range(LONG - 1)]  # written nowhere
    forged.append(gap, [line(b"more")])
    add_seal(forged, sealing.body, sealing.pages)
    report = held(forged, sealing)

    assert ("not covered", entry_at(gap)) in said(report)
    assert "truncated log" in {verdict for verdict, _ in said(report)}
