"""
The part of a commit that is made outside of the lock.

It encodes, compresses and hashes entries and payloads, and depends on no head.

Spec: spec/ordering.md, "Commit"; spec/frame.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from castore import limits
from castore.catalog.rows import Catalog, Place
from castore.codec import encode_record
from castore.digest import format_digest
from castore.engine.batches import Pending, block_of
from castore.engine.change import Append, Change
from castore.engine.pool import Pool
from castore.engine.side import LEVEL, SidePack
from castore.errors import FormatError, LimitError, NotFoundError
from castore.formats import frame as frame_format
from castore.formats.commit import content_hash
from castore.formats.entry import (
    REF_LIST_FLAG,
    BlobRef,
    Reference,
    encode_ref_list,
    stored_form,
)
from castore.formats.frame import Part, seal_part


#: Stored entries of one entries record.
Chunk = list[list[Any]]


@attrs.define
class Prepared:
    """
    What `prepare` made of a change.

    Attributes:
        appends: Those of the change, with ref lists put in.

        payload: Frames before the commit's own: part, table, blobs.

        part: Stored part of the commit's own frame.

        table: Its table up to heads and commit; entries records come first.

        pending: Its blobs, in the order of the table.

        bodies: Digest and size of its whole blobs.

        stored: For each append its entries records.

        ref_lists: Digest, count and record number of its ref lists.

        side: What the commit must name of the side pack, and what stands there.

        asked: What the store was found to have already; the pool may let go of it.

        content: Content hash, where there is a key.
    """

    change: Change
    appends: tuple[Append, ...]
    payload: list[tuple[Part, list[list[Any]], list[Pending]]]
    part: Part
    table: list[list[Any]]
    pending: list[Pending]
    bodies: list[tuple[bytes, int]]
    stored: list[list[Chunk]]
    ref_lists: list[tuple[bytes, int, int]]
    side: tuple[tuple[bytes, int, bytes], list[Place]] | None
    asked: set[bytes]
    content: bytes


def prepare(change: Change, pool: Pool, side: SidePack, view: Catalog) -> Prepared:
    """
    Make everything of *change* that depends on no head.

    Raises:
        NotFoundError: A body or payload was never put.

        FormatError: A reference states another size than its blob has.

        LimitError: An entry or the batch is too large.

        FormatError: A kind, role or time that no entry can have.
    """
    lists: dict[bytes, tuple[bytes, int]] = {}
    appends = [_with_ref_lists(append, lists) for append in change.appends]
    needed = _closure(change.appends, pool, view)
    sealed = side.seal() if needed.written else None
    payload, own = _spread(list(needed.memory.values()))
    whole = [item for item in own if item.descriptor[0] == frame_format.BLOB]
    numbers = {item.ref.digest: number for number, item in enumerate(whole)}
    stored = [_chunks(append, numbers) for append in appends]
    encoded: list[bytes] = []
    table: list[list[Any]] = []
    for append, chunks in zip(appends, stored, strict=True):
        for chunk in chunks:
            data = encode_record(chunk)
            # Index and prev stand in once the head is known.
            place = [append.segment, 0, b"", len(chunk), 0]
            table.append([frame_format.ENTRIES, len(data), *place])
            encoded.append(data)
    first_own = len(table)
    table += [item.descriptor for item in own]
    table += [[frame_format.REF_LIST, len(data)] for data, _ in lists.values()]
    own_data = [item.payload for item in own]
    raw = b"".join([*encoded, *own_data, *(data for data, _ in lists.values())])
    if len(raw) > limits.FRAME_RAW_SIZE_MAX:
        raise LimitError(
            what="too much for one commit; append fewer entries at once",
            limit=limits.FRAME_RAW_SIZE_MAX,
        )
    part = seal_part(raw, LEVEL)
    first_list = first_own + len(own)
    return Prepared(
        change=change,
        appends=tuple(appends),
        payload=payload,
        part=part,
        table=table,
        pending=own,
        bodies=[(item.ref.digest, item.ref.size) for item in whole],
        stored=stored,
        ref_lists=[
            (digest, count, number)
            for number, (digest, (_, count)) in enumerate(lists.items(), first_list)
        ],
        side=sealed,
        asked=needed.asked,
        content=_content(appends[0]) if change.key else b"",
    )


@attrs.define(eq=False)
class _Needed:
    """
    What a change names, directly or not.

    Attributes:
        memory: Blobs that wait in memory, in order.

        written: Those that wait in the side pack.

        asked: Those that the store has.
    """

    memory: dict[bytes, Pending] = attrs.Factory(dict)
    written: set[bytes] = attrs.Factory(set)
    asked: set[bytes] = attrs.Factory(set)

    def has(self, digest: bytes) -> bool:
        return digest in self.memory or digest in self.asked or digest in self.written


def _with_ref_lists(append: Append, lists: dict[bytes, tuple[bytes, int]]) -> Append:
    most = max(map(len, [entry.refs for entry in append.entries]))
    if most <= limits.ENTRY_REFS_COUNT_MAX:
        return append
    entries = []
    for entry in append.entries:
        refs = entry.refs
        if len(refs) > limits.ENTRY_REFS_COUNT_MAX:
            refs = tuple(_list_refs(refs, lists))
        entries.append(attrs.evolve(entry, refs=refs))
    return attrs.evolve(append, entries=tuple(entries))


def _list_refs(
    refs: Sequence[Reference], lists: dict[bytes, tuple[bytes, int]]
) -> Iterable[Reference]:
    for at in range(0, len(refs), limits.REF_LIST_COUNT_MAX):
        some = refs[at : at + limits.REF_LIST_COUNT_MAX]
        digest, data = encode_ref_list(some)
        lists[digest] = (data, len(some))
        yield Reference("", BlobRef(digest, len(some)), REF_LIST_FLAG)


def _closure(appends: Sequence[Append], pool: Pool, view: Catalog) -> _Needed:
    """
    Return what *appends* name, directly or not.

    Raises:
        NotFoundError: Something that is neither stored nor waiting.

        FormatError: A reference states another size.
    """
    needed = _Needed()
    stated = dict(_blobs(appends))
    todo = list(stated)
    why: dict[bytes, bytes] = {}
    while todo:
        found = view.find_places(todo)
        more: dict[bytes, bytes] = {}
        for digest in todo:
            place = found.get(digest)
            waiting = pool.find(digest) if place is None else None
            if place is not None:
                size = place.size
                needed.asked.add(digest)
                # What is stored has all that it needs, but for chunks: their list
                # may have come with a side pack after they went.
                large = size > limits.SIDE_SIZE_MIN
                listed = pool.listed(digest) if large else ()
                needs: Iterable[bytes] = [name for name, _ in listed]
            elif waiting is not None:
                size = waiting.ref.size
                needed.memory[digest] = waiting
                needs = pool.needs(digest)
            else:
                written = pool.find_written(digest)
                if written is None:
                    pool.let_go_of_heirs(digest)
                    name = format_digest(_root(digest, why))
                    what = f"{name} is not in the store; put it first"
                    raise NotFoundError(what=what)
                size = written.size
                needed.written.add(digest)
                needs = pool.needs(digest)
            if stated.get(digest, size) != size:
                raise FormatError(
                    what=f"a reference states {stated[digest]} bytes for "
                    f"{format_digest(digest)}, which has {size}"
                )
            for need in needs:
                more[need] = digest
        why |= more
        todo = [digest for digest in more if not needed.has(digest)]
    return needed


def _root(digest: bytes, why: dict[bytes, bytes]) -> bytes:
    """Return the name that the caller knows, for whose sake *digest* is needed."""
    while digest in why:
        digest = why[digest]
    return digest


def named_size(change: Change) -> int:
    """Return the raw bytes of all blobs that *change* names."""
    return sum([size for _, size in _blobs(change.appends)])


def _blobs(appends: Sequence[Append]) -> Iterator[tuple[bytes, int]]:
    for append in appends:
        for entry in append.entries:
            yield entry.body.digest, entry.body.size
            for ref in entry.refs:
                if not ref.flags:
                    yield ref.blob.digest, ref.blob.size


def _spread(
    memory: list[Pending],
) -> tuple[list[tuple[Part, list[list[Any]], list[Pending]]], list[Pending]]:
    """Put what is too much for the commit's own frame into frames before it."""
    frames = []
    own = list(memory)
    left = sum(len(item.payload) for item in own)
    while len(own) > 1 and (left > limits.BLOCK_SIZE or len(own) > limits.BLOCK_COUNT):
        some = block_of(own)
        own = own[len(some) :]
        left -= sum(len(item.payload) for item in some)
        raw = b"".join(item.payload for item in some)
        table = [item.descriptor for item in some]
        frames.append((seal_part(raw, LEVEL), table, some))
    return frames, own


def _chunks(append: Append, numbers: dict[bytes, int]) -> list[Chunk]:
    entries = append.entries
    step = limits.RUN_COUNT
    return [
        stored_form(entries[at : at + step], numbers.get)
        for at in range(0, len(entries), step)
    ]


def _content(append: Append) -> bytes:
    return content_hash(
        [entry.kind, entry.body.digest, [ref.record() for ref in entry.refs]]
        for entry in append.entries
    )
