"""
Heads, commit records, chunk lists and store-log bodies come back as written.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from format_strategies import (
    blob_refs,
    chunk_lists,
    commits,
    counts,
    digests,
    heads,
    ids,
    keys,
    texts,
)
from hypothesis import given
from hypothesis import strategies as st

from castore.codec import decode_object, decode_record, encode_object, encode_record
from castore.digest import in_context
from castore.errors import CorruptionError
from castore.formats import storelog
from castore.formats.chunked import (
    ChunkList,
    decode_chunks,
    encode_chunks,
    slices_digest,
)
from castore.formats.commit import (
    Commit,
    content_hash,
    hash_commit,
    parse_commit,
    store_genesis,
)
from castore.formats.entry import BlobRef, Reference
from castore.formats.head import Head, hash_head, parse_head
from castore.formats.refuse import record
from castore.formats.storelog import Listing, StoreLog
from castore.formats.trees import SEGMENT_TREE, STORE_LOG_TREE, tree_of


SIZE_MAX = 1 << 20
STORE = bytes(16)


@given(heads())
def test_heads_come_back(head: Head) -> None:
    """A head that is written is the one that is read, and hashed as it stands."""
    encoded = head.encode()

    assert head == parse_head(decode_record(encoded, size_max=SIZE_MAX), head.store)
    assert hash_head(encoded) == in_context["head"](encoded)


@given(heads(), ids)
def test_a_head_belongs_to_its_store(head: Head, store: bytes) -> None:
    """A head of another store is foreign; where the store is not known it is not."""
    assert head == parse_head(head.record())
    if store != head.store:
        with pytest.raises(CorruptionError) as caught:
            parse_head(head.record(), store)
        assert "foreign record" == caught.value.verdict


@given(commits)
def test_commits_come_back(commit: Commit) -> None:
    """A commit record that is written is the one that is read."""
    encoded = commit.encode()

    assert commit == parse_commit(decode_record(encoded, size_max=SIZE_MAX))
    assert hash_commit(encoded) == in_context["commit"](encoded)


@given(heads() | commits, st.data())
def test_a_flipped_bit_is_refused_or_another_record(
    written: Head | Commit, data: st.DataObject
) -> None:
    """A flipped bit in a head or commit never gives the same head or commit."""
    parse: Any = parse_head if isinstance(written, Head) else parse_commit
    encoded = bytearray(written.encode())
    bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    try:
        found = parse(record(bytes(encoded), SIZE_MAX, "record"))
    except CorruptionError:
        return

    assert written != found
    assert bytes(encoded) == found.encode()


@given(st.lists(st.tuples(texts(1, 64), digests), max_size=3))
def test_content_hash_is_over_kinds_bodies_and_references(
    items: list[tuple[str, bytes]],
) -> None:
    """The content of a keyed commit is hashed as the array that the page gives."""
    rows = [[kind, body, []] for kind, body in items]

    assert content_hash(rows) == in_context["content"](encode_record(rows))


@given(chunk_lists())
def test_chunk_lists_come_back(chunks: ChunkList) -> None:
    """A chunk list that is written is the one that is read, for its size only."""
    payload = memoryview(encode_chunks(chunks.chunks, chunks.slices))
    size = sum(part for _, part in chunks.chunks)

    assert chunks == decode_chunks(payload, size)
    for wrong in (size - 1, size + 1):
        with pytest.raises(CorruptionError):
            decode_chunks(payload, wrong)
    assert slices_digest(chunks.slices) == in_context["slices"](chunks.slices)


# --- store log ---------------------------------------------------------------

listings = st.builds(Listing, ids, st.sampled_from([2, 3]), counts, digests)


def fold(*entries: tuple[str, bytes, tuple[Reference, ...]]) -> StoreLog:
    """Return what a store log of *entries* says."""
    log = StoreLog(STORE)
    for index, entry in enumerate(entries):
        log.apply(index, *entry)
    return log


def distinct(files: list[Listing]) -> dict[bytes, Listing]:
    """Return listings by file id."""
    return {item.file: item for item in files}


@given(st.lists(listings, max_size=4), st.lists(ids, max_size=2), st.data())
def test_listed_files_come_back(
    added: list[Listing], dropped: list[bytes], data: st.DataObject
) -> None:
    """What is listed and not dropped later is listed; what is dropped is gone."""
    known = distinct(added)
    gone = data.draw(st.sets(st.sampled_from(sorted(known)))) if known else set()
    first = storelog.packs(known.values(), set(dropped) - known.keys())
    second = storelog.packs([], gone)

    log = fold(("packs", first, ()), ("packs", second, ()))

    assert log.listed == {k: item for k, item in known.items() if k not in gone}
    assert log.dropped == (set(dropped) - known.keys()) | gone


@given(st.lists(st.tuples(texts(1, 9), st.none() | blob_refs()), max_size=6))
def test_tags_come_back(steps: list[tuple[str, BlobRef | None]]) -> None:
    """The newest entry of a name says where its tag is, or that it is gone."""
    tags: dict[str, BlobRef | None] = {}
    entries = []
    for name, blob in steps:
        tags[name] = blob
        refs = (Reference("tag", blob),) if blob else ()
        kind = "tagged" if blob else "untagged"
        entries.append((kind, storelog.named(name), refs))

    log = fold(*entries)

    assert log.tags == {name: blob for name, blob in tags.items() if blob}
    assert log.untagged == {name for name, blob in tags.items() if not blob}


@given(heads(), keys)
def test_deletions_come_back(head: Head, key: tuple[str, str] | None) -> None:
    """A deleted segment is known with its final head and its session's key."""
    head = attrs.evolve(head, store=STORE)
    if head.segment == STORE:
        return
    log = fold(("deleted", storelog.deleted(head, key), ()))

    assert {head.segment: (0, head)} == log.deleted
    assert ({head.session: key} if key else {}) == log.keys


@given(st.lists(st.tuples(counts, st.sets(digests, max_size=3)), max_size=3))
def test_collections_come_back(runs: list[tuple[int, set[bytes]]]) -> None:
    """The last run that took a blob is known."""
    expected = {blob: run for run, blobs in runs for blob in blobs}

    log = fold(*[("collected", storelog.collected(*run), ()) for run in runs])

    assert expected == {name: item.number for name, item in log.absent.items()}


@given(texts(0, 99), ids)
def test_other_entries_change_nothing(text: str, instance: bytes) -> None:
    """Start and instance are read; a kind that is not known is noted."""
    log = fold(
        ("start", storelog.started(text), ()),
        ("instance", storelog.instance(instance), ()),
        ("lease", b"anything", ()),
    )

    assert attrs.evolve(StoreLog(STORE), instance=instance, unknown=[2]) == log


BODIES = [
    ("start", storelog.started("castore")),
    ("packs", storelog.packs([Listing(STORE, 3, 1, bytes(32))], [b"x" * 16])),
    ("untagged", storelog.named("v1")),
    ("collected", storelog.collected(1, [bytes(32)])),
    ("erased", storelog.erased("asked for", [bytes(32)])),
    ("lost", storelog.erased("", [bytes(32)])),
    ("policy", storelog.policy(storelog.Rule(None, None, None, 30))),
    ("pinned", storelog.pinned(STORE, 1)),
    ("unpinned", storelog.pinned(STORE, 1)),
    ("instance", storelog.instance(STORE)),
]


@pytest.mark.parametrize(("kind", "body"), BODIES)
def test_a_refused_body_changes_nothing(kind: str, body: bytes) -> None:
    """With one key less, more, or renamed a body is refused and nothing is folded."""
    value = decode_object(body)
    first, *rest = value
    others: list[dict[str, object]] = [
        {key: value[key] for key in rest},
        value | {"more": None},
        {"renamed": value[first]} | {key: value[key] for key in rest},
    ]
    for other in others:
        log = StoreLog(STORE)
        with pytest.raises(CorruptionError) as caught:
            log.apply(0, kind, encode_object(other), ())
        assert "malformed record" == caught.value.verdict
        assert StoreLog(STORE) == log


@given(heads())
def test_a_deletion_with_a_bad_key_changes_nothing(head: Head) -> None:
    """An entry is folded whole or not at all."""
    head = attrs.evolve(head, store=STORE)
    log = StoreLog(STORE)
    with pytest.raises(CorruptionError):
        log.apply(0, "deleted", storelog.deleted(head, ("", "")), ())

    assert StoreLog(STORE) == log


def test_kinds_that_are_known() -> None:
    """There are twelve kinds of store-log entry."""
    kinds = [kind for kind, _ in BODIES] + ["tagged", "deleted"]

    assert all(storelog.is_known(kind) for kind in kinds)
    assert not storelog.is_known("lease")


def test_the_store_log_has_a_tree_of_its_own() -> None:
    """The store log's tree is SHA-256, every other one BLAKE3."""
    assert STORE_LOG_TREE is tree_of(STORE, STORE)
    assert SEGMENT_TREE is tree_of(b"x" * 16, STORE)
    assert store_genesis(STORE) == in_context["genesis"](STORE)
