"""
Values of the formats, for properties.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from castore.formats.chunked import ChunkList
from castore.formats.commit import Commit, CommitKey, store_genesis
from castore.formats.entry import BlobRef, Origin, Reference, Start
from castore.formats.file import JOURNAL, PACK, SIDE, FileHeader
from castore.formats.head import Head
from castore.formats.mark import LockFile
from castore.limits import BLOB_RECORD_SIZE_MAX, SLICED_SIZE_MIN


MOST = (1 << 63) - 1
ids = st.binary(min_size=16, max_size=16)
digests = st.binary(min_size=32, max_size=32)
counts = st.integers(0, MOST)
positives = st.integers(1, MOST)
words = st.integers(0, (1 << 64) - 1)


def texts(size_min: int, size_max: int) -> SearchStrategy[str]:
    """Return text of ``[size_min, size_max]`` bytes in UTF-8."""
    wide = st.text(min_size=size_min, max_size=size_max // 4)
    narrow = st.text(st.characters(max_codepoint=127), min_size=size_min)
    return wide | narrow.map(lambda text: text[:size_max])


@st.composite
def blob_refs(draw: st.DrawFn) -> BlobRef:
    """Return the name of a blob, with slices exactly if it is large."""
    size = draw(counts | st.integers(0, 2 * SLICED_SIZE_MIN))
    slices = draw(digests) if size >= SLICED_SIZE_MIN else None
    return BlobRef(draw(digests), size, slices)


plain_references = st.builds(Reference, texts(0, 64), blob_refs())
list_references = st.builds(
    Reference,
    st.just(""),
    st.builds(BlobRef, digests, st.integers(1, 65_536)),
    st.just(2),
)
references = plain_references | list_references
origins = st.builds(Origin, ids, ids, positives, digests, digests, st.none() | counts)
keys = st.none() | st.tuples(texts(1, 64), texts(1, 1024))


@st.composite
def starts(draw: st.DrawFn) -> Start:
    """Return a start record."""
    cause = draw(st.sampled_from(["new", "fork", "compaction", "import"]))
    origin = draw(origins if cause == "fork" else st.none() | origins)
    return Start(draw(ids), draw(ids), cause, origin, draw(keys))


@st.composite
def heads(draw: st.DrawFn) -> Head:
    """Return a head."""
    fork_index = draw(st.integers(0, MOST - 1))
    count = draw(st.integers(fork_index + 1, MOST))
    state = (fork_index, draw(positives), count, draw(digests), draw(digests))
    return Head(draw(ids), draw(ids), draw(ids), *state, draw(positives), draw(counts))


commit_keys = st.builds(CommitKey, ids, texts(1, 512), digests, counts, counts)
commits = st.builds(
    Commit,
    positives,
    digests,
    counts,
    st.lists(digests, min_size=1, max_size=5).map(tuple),
    st.none() | commit_keys,
    st.lists(
        st.tuples(ids, counts, digests), max_size=3, unique_by=lambda side: side[0]
    ).map(tuple),
)


@st.composite
def chunk_lists(draw: st.DrawFn) -> ChunkList:
    """Return a chunk list with as many slices as it must have."""
    sizes = st.integers(1, BLOB_RECORD_SIZE_MAX)
    chunks = draw(st.lists(st.tuples(digests, sizes), min_size=1, max_size=5))
    size = sum(part for _, part in chunks)
    count = -(-size // (1 << 20)) if size >= SLICED_SIZE_MIN else 0
    return ChunkList(tuple(chunks), draw(digests) * count)


@st.composite
def headers(draw: st.DrawFn) -> FileHeader:
    """Return a file header of any kind."""
    kind, store, file = (
        draw(st.sampled_from([JOURNAL, SIDE, PACK])),
        draw(ids),
        draw(ids),
    )
    if kind != JOURNAL:
        return FileHeader(kind, store, file)
    carried_end = draw(st.integers(188, MOST))
    number = draw(st.integers(1, 3) | positives)
    if number == 1:
        genesis = store_genesis(store)
        return FileHeader(kind, store, file, 1, commit=genesis, carried_end=carried_end)
    pred = draw(ids.filter(any))
    seq = draw(st.integers(0, 2) | counts)
    commit = draw(digests) if seq else store_genesis(store)
    place = (pred, draw(counts), draw(digests))
    return FileHeader(kind, store, file, number, *place, seq, commit, carried_end)


holders = st.text(max_size=27).filter(lambda text: not text.endswith("\0"))
locks = st.builds(
    LockFile,
    ids,
    words,
    words,
    ids,
    words,
    digests,
    words,
    words,
    words,
    st.integers(0, (1 << 32) - 1),
    words,
    holders,
)
