"""
Bundles that a store makes.
"""

from __future__ import annotations

import io
import shutil

from pathlib import Path

import pytest

import castore

from castore.bundles import Checked, Redaction, Wish, check_bundle, export_bundle
from castore.bundles.exporting import Exported
from castore.bundles.manifest import ERASED, KNOWN
from castore.digest import blob_digest
from castore.erasing import erase
from castore.errors import CorruptionError, GoneError, LimitError, NotFoundError
from castore.packing import pack


MIB = 1 << 20


def entry(number: int, *refs: castore.Reference) -> castore.NewEntry:
    """Return an entry with a body of its own."""
    return castore.NewEntry("line", b"body %d" % number, refs, 1_700_000_000_000)


def fill(store: castore.Store) -> tuple[castore.Segment, castore.Segment]:
    """Return a session's segment with all sorts of payloads, and a fork of it."""
    first = store.create_session(key=("tool", "one"), body=b"meta")
    many = [castore.Reference("many", store.put(b"item %d" % n)) for n in range(300)]
    sizes = {3: MIB, 4: MIB + 1, 5: 9 * MIB}
    for number in range(40):
        data = bytes([number]) * sizes.get(number, 50)
        refs = [castore.Reference("tool.out", store.put(data))]
        refs += many if number == 7 else []
        first.append([entry(number, *refs)])
    return first, first.fork(20, then=[entry(100), entry(101)])


def export(
    store: castore.Store, path: Path, *wishes: Wish, **options: object
) -> Exported:
    """Write a bundle."""
    with path.open("wb") as file:
        return export_bundle(store.engine, wishes, file, **options)  # type: ignore[arg-type]


def good(path: Path) -> Checked:
    """Return a bundle that was checked and has no fault."""
    checked = check_bundle(path)
    assert checked.report.ok, checked.report.findings
    return checked


@pytest.fixture
def store(tmp_path: Path) -> castore.Store:
    """An empty store."""
    return castore.open(tmp_path / "store", create=True)


def test_a_log_with_all_that_it_needs(store: castore.Store, tmp_path: Path) -> None:
    """A bundle of a segment holds its entries, bodies, payloads and head."""
    first, _ = fill(store)

    made = export(store, tmp_path / "b", Wish(first.id))
    checked = good(tmp_path / "b")

    assert checked.manifest is not None
    (row,) = checked.manifest.rows
    assert (0, 41, first.head) == (row.first, row.stop, row.head)
    assert () == (*checked.report.findings, *checked.report.explained)
    assert (41, 1, 0) == (made.entries, made.segments, made.redacted)
    assert checked.report.covered["entries"] == made.entries
    assert checked.report.covered["bytes"] == made.size
    assert made.size < MIB  # chunks that are the same stand once


def test_a_fork_brings_what_it_inherits(store: castore.Store, tmp_path: Path) -> None:
    """A bundle of a fork holds the entries that it inherits; the origin is proved."""
    first, fork = fill(store)
    below = fork.fork(21, then=[entry(200)])

    export(store, tmp_path / "b", Wish(below.id))
    checked = good(tmp_path / "b")

    assert checked.manifest is not None
    rows = {row.segment: (row.first, row.stop) for row in checked.manifest.rows}
    wanted = {first.id: (0, 20), fork.id: (20, 21), below.id: (21, below.count)}
    assert wanted == rows
    assert () == checked.report.findings


def test_a_deleted_parent_goes_along(store: castore.Store, tmp_path: Path) -> None:
    """What is inherited from a deleted segment is there; that has no head."""
    first, fork = fill(store)
    castore.Segment.delete(store.segment(first.id))

    export(store, tmp_path / "b", Wish(fork.id))
    checked = good(tmp_path / "b")

    assert checked.manifest is not None
    assert [None, fork.head] == [row.head for row in checked.manifest.rows]
    with pytest.raises(GoneError):
        export(store, tmp_path / "c", Wish(first.id))


@pytest.mark.parametrize("span", [(0, 1), (5, 30), (19, 21), (20, 22), (21, 22)])
def test_a_range_stays_provable(
    span: tuple[int, int], store: castore.Store, tmp_path: Path
) -> None:
    """A part of a log is checked against the head of all of it."""
    first, fork = fill(store)

    for segment in (first, fork):
        start, stop = span[0], min(span[1], segment.count)
        export(store, tmp_path / "b", Wish(segment.id, start, stop))
        checked = good(tmp_path / "b")
        assert checked.report.covered["entries"] == stop - start
        assert checked.manifest is not None
        assert all(row.head is not None for row in checked.manifest.rows)


def test_the_same_content_gives_the_same_bytes(
    store: castore.Store, tmp_path: Path
) -> None:
    """Nothing in a bundle depends on when it was made, or how things are stored."""
    first, fork = fill(store)
    wishes = (Wish(first.id), Wish(fork.id))
    export(store, tmp_path / "one", *wishes)
    pack(store.engine, level=3)
    store.close()
    shutil.copytree(store.engine.files.root, tmp_path / "copy")
    copy = castore.open(tmp_path / "copy", read_only=True)

    export(copy, tmp_path / "two", *reversed(wishes), Wish(fork.id, 3, 9))

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_what_is_redacted_is_nowhere(store: castore.Store, tmp_path: Path) -> None:
    """A role that is left out leaves no byte of its payloads, and says so."""
    secret = b"hidden payload, larger than a hash " * 3
    ref = store.put(secret)
    keep = store.put(b"kept payload " * 9)
    log = store.create_session(body=b"meta")
    log.append(
        [
            castore.NewEntry("a", b"x", [castore.Reference("tool.out", ref)]),
            castore.NewEntry("b", b"y", [castore.Reference("other", ref)]),
            castore.NewEntry("c", b"z", [castore.Reference("tools", keep)]),
        ]
    )

    for role in ("tool", "tool.out"):
        redaction = Redaction({role})
        made = export(store, tmp_path / "b", Wish(log.id), redaction=redaction)
        report = good(tmp_path / "b").report
        (said,) = report.explained
        assert (1, 0) == (made.redacted, made.absent)
        assert f"withheld by bundle {made.bundle.hex()}" == said.verdict
        assert f"blob:{ref.digest.hex()}" == said.where
    assert log.head.root == _root(tmp_path / "b")


def _root(path: Path) -> bytes:
    checked = check_bundle(path)
    assert checked.manifest is not None
    head = checked.manifest.rows[0].head
    assert head is not None
    return head.root


def test_bodies_are_redacted(store: castore.Store, tmp_path: Path) -> None:
    """All bodies but those of start entries are left out where it is asked for."""
    first, _ = fill(store)

    made = export(
        store, tmp_path / "b", Wish(first.id), redaction=Redaction(bodies=True)
    )

    assert made.redacted == 40
    assert len(good(tmp_path / "b").report.explained) == 40


def test_a_large_payload_around_a_redacted_one(
    store: castore.Store, tmp_path: Path
) -> None:
    """What has a redacted payload as a chunk is left out with it."""
    part = b"p" * MIB
    log = store.create_session()
    refs = [
        castore.Reference("hidden", store.put(part)),
        castore.Reference("open", store.put(part + b"more")),
    ]
    log.append([castore.NewEntry("a", b"x", refs)])

    redaction = Redaction({"hidden"})
    made = export(store, tmp_path / "b", Wish(log.id), redaction=redaction)

    assert made.redacted == 2
    assert len(good(tmp_path / "b").report.explained) == 2


@pytest.mark.parametrize("order", [0, 1])
def test_a_payload_that_is_a_chunk_too(
    order: int, store: castore.Store, tmp_path: Path
) -> None:
    """A payload that is a chunk of another stands once, whichever comes first."""
    part = b"p" * MIB
    refs = [
        castore.Reference("a", store.put(part)),
        castore.Reference("b", store.put(part + b"more")),
        castore.Reference("c", store.put(part + b"less")),
    ]
    log = store.create_session()
    log.append([castore.NewEntry("a", b"x", refs[:: 1 - 2 * order])])

    made = export(store, tmp_path / "b", Wish(log.id))

    assert made.blobs == 5
    assert good(tmp_path / "b").report.covered["blobs"] == 7


def test_what_is_gone_is_said(store: castore.Store, tmp_path: Path) -> None:
    """Why a payload is absent where the bundle was made is said in it."""
    gone, there = store.put(b"erased one"), store.put(b"some other")
    log = store.create_session()
    refs = [castore.Reference("a", ref) for ref in (gone, there)]
    log.append([castore.NewEntry("a", b"x", refs)])
    erase(store, gone, reason="asked")

    made = export(store, tmp_path / "b", Wish(log.id))
    checked = good(tmp_path / "b")

    assert (0, 1) == (made.redacted, made.absent)
    assert checked.manifest is not None
    assert {gone.digest: ERASED} == dict(checked.manifest.withheld)


def test_what_nobody_explains_ends_it(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payload that is missing without a word is damage, and no bundle is made."""
    first, _ = fill(store)
    known = store.engine.refresh().known
    gone = blob_digest(b"body 3")
    places = known.find_places

    def without(names: list[bytes]) -> dict[bytes, object]:
        return {name: at for name, at in places(names).items() if name != gone}

    monkeypatch.setattr(known, "find_places", without)

    with pytest.raises(CorruptionError, match="missing blob"):
        export(store, tmp_path / "b", Wish(first.id))


def test_what_the_other_has_is_left_out(store: castore.Store, tmp_path: Path) -> None:
    """What whoever gets the bundle has already stands in it by name only."""
    first, _ = fill(store)
    known = blob_digest(b"body 3")

    made = export(
        store, tmp_path / "b", Wish(first.id), has=lambda names: {known} & {*names}
    )
    checked = good(tmp_path / "b")

    assert made.absent == 1
    assert checked.manifest is not None
    assert {known: KNOWN} == dict(checked.manifest.withheld)


def test_wrong_wishes(store: castore.Store) -> None:
    """What is not there, and the store's own log, go into no bundle."""
    first, _ = fill(store)

    for wish, error in (
        (Wish(bytes(16)), NotFoundError),
        (Wish(store.id), NotFoundError),
        (Wish(first.id, 5, 5), IndexError),
        (Wish(first.id, 0, first.count + 1), IndexError),
    ):
        with pytest.raises(error):
            export_bundle(store.engine, [wish], io.BytesIO())


def test_too_many_segments(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More segments than a bundle may have are refused before anything is written."""
    first, fork = fill(store)
    monkeypatch.setattr("castore.bundles.choosing.ROW_COUNT_MAX", 1)
    sink = io.BytesIO()

    with pytest.raises(LimitError):
        export_bundle(store.engine, [Wish(first.id), Wish(fork.id)], sink)
    assert b"" == sink.getvalue()


def test_too_much_left_out(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More payloads than a manifest can name are refused likewise."""
    first, _ = fill(store)
    monkeypatch.setattr("castore.bundles.choosing.WITHHELD_COUNT_MAX", 39)
    sink, redaction = io.BytesIO(), Redaction(bodies=True)

    with pytest.raises(LimitError, match="left out"):
        export_bundle(store.engine, [Wish(first.id)], sink, redaction=redaction)
    assert b"" == sink.getvalue()


def test_a_bundle_that_comes_to_too_much(store: castore.Store, tmp_path: Path) -> None:
    """A writer makes no bundle that readers refuse for what it comes to."""
    log = store.create_session()
    zeros = io.BytesIO(bytes(300 * MIB))
    log.append(
        [castore.NewEntry("a", b"x", [castore.Reference("z", store.put(zeros))])]
    )

    with pytest.raises(LimitError, match="bytes of payloads"):
        export(store, tmp_path / "b", Wish(log.id))
