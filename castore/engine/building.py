"""
A commit's bytes: what can be made outside of the lock, and the rest.

`prepare` encodes, compresses and hashes entries and payloads; it depends on no
head. `finish_commit`, under the lock, puts them in their place.

Spec: spec/ordering.md, "Commit"; spec/frame.md.
"""

from __future__ import annotations

import time

from collections.abc import Callable, Iterable, Sequence

import attrs

from castore import limits, merkle
from castore.catalog.rows import Catalog, Facts, Place, Position
from castore.codec import encode_record
from castore.digest import format_digest
from castore.engine.expect import (
    Expect,
    check_absent,
    check_revision,
    living,
    remember_head,
)
from castore.engine.fold import CommitImage, Extension, grow, split_peaks
from castore.engine.pool import Pending, Pool
from castore.engine.side import LEVEL, SidePack
from castore.errors import ConflictError, LimitError, NotFoundError
from castore.formats import frame as frame_format
from castore.formats.commit import Commit, CommitKey, content_hash, hash_commit
from castore.formats.entry import (
    REF_LIST_FLAG,
    BlobRef,
    Reference,
    Start,
    encode_ref_list,
    entries_of,
    genesis,
)
from castore.formats.frame import Part, finish, seal_part
from castore.formats.head import Head, hash_head
from castore.formats.trees import tree_of


@attrs.frozen
class NewEntry:
    """
    An entry to be appended.

    Attributes:
        kind: What it is, 1 to 64 bytes.

        body: Its content, put before.

        refs: Payloads it keeps, put before.

        time_ms: The writer's claim, or None.

        content: For the store log: the body's bytes.
    """

    kind: str
    body: BlobRef
    refs: tuple[Reference, ...] = ()
    time_ms: int | None = None
    start: Start | None = None
    content: bytes = b""


@attrs.frozen
class Append:
    """
    Entries for one segment.

    Attributes:
        expect: ABSENT to begin it, a revision, or ANY.

        fork: For a fork: its parent, the count it inherits, last entry hash and
            peaks there.
    """

    session: bytes
    segment: bytes
    entries: tuple[NewEntry, ...]
    expect: Expect | int
    fork: tuple[bytes, int, bytes, list[bytes]] | None = None


@attrs.frozen
class Change:
    """
    One commit to be made.

    Attributes:
        appends: What it appends, at least one.

        key: Its idempotence key, in the scope of the first segment.

        maintenance: Whether it is made even where the store may not grow.

        guard: Called under the lock with what is known; what it raises gives
            the commit up.

        listed: What stands in the packs that it lists, where the caller knows.

        raises_generation: Whether it moves or deletes blobs.
    """

    appends: tuple[Append, ...]
    key: str | None = None
    maintenance: bool = False
    guard: Callable[[Catalog], None] | None = None
    listed: Facts | None = None
    raises_generation: bool = False


@attrs.define
class Prepared:
    """What `prepare` made of a change; *appends* with ref lists put in."""

    change: Change
    appends: tuple[Append, ...]
    payload: list[tuple[Part, list[list[object]], list[Pending]]]
    part: Part
    table: list[list[object]]
    pending: list[Pending]
    bodies: list[tuple[bytes, int]]
    stored: list[list[list[object]]]
    ref_lists: list[tuple[bytes, int, int]]
    side: tuple[tuple[bytes, int, bytes], list[Place]] | None
    asked: frozenset[bytes]
    content: bytes
    size: int


@attrs.frozen
class Outcome:
    """
    A commit that is durable.

    Attributes:
        seq: Its number.

        first_index: Of the entries appended to the first segment.

        count: How many.

        head: New head of the first segment; None when *replayed*.

        replayed: Whether the key named a commit made before.
    """

    seq: int
    first_index: int
    count: int
    head: Head | None
    replayed: bool = False


def prepare(change: Change, pool: Pool, side: SidePack, view: Catalog) -> Prepared:
    """
    Make everything of *change* that depends on no head.

    Raises:
        NotFoundError: A body or payload was never put.

        LimitError: An entry or the batch is too large.

        FormatError: A kind, role or time that no entry can have.
    """
    lists: dict[bytes, tuple[bytes, int]] = {}
    appends = [_with_ref_lists(append, lists) for append in change.appends]
    wanted, asked = _closure(appends, pool, view)
    memory = [item for item in map(pool.find, wanted) if item is not None]
    sealed = None
    if any(pool.find(digest) is None for digest in wanted):
        sealed = side.seal()
    payload, own = _spread(memory)
    whole = [item for item in own if item.descriptor[0] == frame_format.BLOB]
    numbers = {item.ref.digest: number for number, item in enumerate(whole)}
    stored = [_stored(append, numbers) for append in appends]
    encoded = [encode_record(entries) for entries in stored]
    # Segment, index and prev stand in once the head is known.
    table: list[list[object]] = [
        [frame_format.ENTRIES, len(data), append.segment, 0, b"", len(entries), 0]
        for append, data, entries in zip(appends, encoded, stored, strict=True)
    ]
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
    first_list = len(appends) + len(own)
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
        asked=asked,
        content=_content(appends[0]) if change.key else b"",
        size=len(part.data) + sum(len(item[0].data) for item in payload),
    )


def _with_ref_lists(append: Append, lists: dict[bytes, tuple[bytes, int]]) -> Append:
    if all(len(entry.refs) <= limits.ENTRY_REFS_COUNT_MAX for entry in append.entries):
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


def _closure(
    appends: Sequence[Append], pool: Pool, view: Catalog
) -> tuple[list[bytes], frozenset[bytes]]:
    """
    Return what must be written or named, and what the store was asked for.
    """
    wanted: dict[bytes, None] = {}
    asked: set[bytes] = set()
    todo = [digest for append in appends for digest in _digests(append)]
    while todo:
        digest = todo.pop()
        if digest in wanted or digest in asked:
            continue
        if view.find_place(digest) is not None:
            asked.add(digest)
        elif pool.has(digest):
            wanted[digest] = None
            todo += pool.needs(digest)
        else:
            raise NotFoundError(
                what=f"{format_digest(digest)} is not in the store; put it first"
            )
    return list(wanted), frozenset(asked)


def _digests(append: Append) -> Iterable[bytes]:
    for entry in append.entries:
        yield entry.body.digest
        for ref in entry.refs:
            if not ref.flags:
                yield ref.blob.digest


def _spread(
    memory: list[Pending],
) -> tuple[list[tuple[Part, list[list[object]], list[Pending]]], list[Pending]]:
    """Put what is too much for the commit's own frame into frames before it."""
    frames = []
    own = list(memory)
    while sum(len(item.payload) for item in own) > limits.BLOCK_SIZE and len(own) > 1:
        some: list[Pending] = []
        size = 0
        while own and (not some or size + len(own[0].payload) <= limits.BLOCK_SIZE):
            size += len(own[0].payload)
            some.append(own.pop(0))
        raw = b"".join(item.payload for item in some)
        table = [item.descriptor for item in some]
        frames.append((seal_part(raw, LEVEL), table, some))
    return frames, own


def _stored(append: Append, numbers: dict[bytes, int]) -> list[list[object]]:
    stored: list[list[object]] = []
    clock = 0
    for entry in append.entries:
        delta = None
        if entry.time_ms is not None:
            delta = entry.time_ms - clock
            clock = entry.time_ms
        body: object = numbers.get(entry.body.digest)
        if body is None:
            body = [entry.body.digest, entry.body.size]
        item: list[object] = [delta, entry.kind, body, [r.record() for r in entry.refs]]
        if entry.start is not None:
            item.append(entry.start.record())
        stored.append(item)
    return stored


def _content(append: Append) -> bytes:
    return content_hash(
        [entry.kind, entry.body.digest, [ref.record() for ref in entry.refs]]
        for entry in append.entries
    )


# --- under the lock ----------------------------------------------------------


@attrs.frozen
class Ending:
    """Where the next frame goes: the journal's end as a group knows it."""

    file_hash: bytes
    position: Position
    group_start: int


def replay_of(prepared: Prepared, view: Catalog) -> Outcome | None:
    """
    Return the outcome of the commit that had this key before, None if none had.

    Raises:
        ConflictError: It had another content.
    """
    change = prepared.change
    if change.key is None:
        return None
    row = view.find_key(change.appends[0].segment, change.key)
    if row is None:
        return None
    if row.content != prepared.content:
        raise ConflictError(
            what=f"the key {change.key!r} stands for another commit",
            subject="key",
            expected=prepared.content.hex(),
            actual=row.content.hex(),
        )
    return Outcome(row.seq, row.first, row.count, None, replayed=True)


def finish_commit(
    prepared: Prepared, view: Catalog, store: bytes, ending: Ending
) -> tuple[bytes, CommitImage, Position]:
    """
    Put *prepared* behind *ending*.

    Returns:
        The bytes to write there, what they mean, and where they end.

    Raises:
        ConflictError: A head is not what was expected.
    """
    position = ending.position
    seq = position.seq + 1
    now = time.time_ns() // 1_000_000
    extensions = [
        _extend(append, stored, prepared.bodies, view, store, seq, now)
        for append, stored in zip(prepared.appends, prepared.stored, strict=True)
    ]
    for extension, _, _ in extensions:
        extension.encoded = extension.head.encode()
        remember_head(extension.encoded, extension.head)
    commit = Commit(
        seq,
        position.commit,
        now,
        tuple(hash_head(item.encoded) for item, _, _ in extensions),
        _key(prepared, extensions[0][0]),
        (prepared.side[0],) if prepared.side else (),
    )
    data, offset, prev, places = _payload_frames(prepared, ending)
    table = list(prepared.table)
    for number, (extension, first, before) in enumerate(extensions):
        item = list(table[number])
        item[3:5] = [first, before]
        table[number] = item
        place = (position.journal, offset, number, len(extension.hashes))
        extension.place = [place]
    table += [[frame_format.HEAD, 0, item.head.record()] for item, _, _ in extensions]
    record = commit.record()
    table.append([frame_format.COMMIT, 0, record])
    data.append(
        finish(
            prepared.part,
            table,
            offset=offset,
            group_start=ending.group_start,
            file_hash=ending.file_hash,
            prev=prev,
        )
    )
    own = len(prepared.change.appends)
    for number, item in enumerate(prepared.pending, own):
        places.append(
            Place(item.ref.digest, position.journal, offset, number, item.ref.size)
        )
    for digest, count, number in prepared.ref_lists:
        places.append(Place(digest, position.journal, offset, number, count))
    if prepared.side:
        places += prepared.side[1]
    listed = prepared.change.listed
    image = CommitImage(commit, [item for item, _, _ in extensions], places, listed)
    digest = hash_commit(encode_record(record))
    end = offset + len(data[-1])
    after = position._replace(end=end, frame=data[-1][-32:], seq=seq, commit=digest)
    return b"".join(data), image, after


def _payload_frames(
    prepared: Prepared, ending: Ending
) -> tuple[list[bytes], int, bytes, list[Place]]:
    position = ending.position
    offset, prev = position.end, position.frame
    data: list[bytes] = []
    places: list[Place] = []
    for part, table, items in prepared.payload:
        frame = finish(
            part,
            table,
            offset=offset,
            group_start=ending.group_start,
            file_hash=ending.file_hash,
            prev=prev,
        )
        for number, item in enumerate(items):
            places.append(
                Place(item.ref.digest, position.journal, offset, number, item.ref.size)
            )
        offset, prev = offset + len(frame), frame[-32:]
        data.append(frame)
    return data, offset, prev, places


def _key(prepared: Prepared, extension: Extension) -> CommitKey | None:
    change = prepared.change
    if change.key is None:
        return None
    count = len(extension.hashes)
    first = extension.head.count - count
    return CommitKey(
        change.appends[0].segment, change.key, prepared.content, first, count
    )


def _extend(
    append: Append,
    stored: list[list[object]],
    bodies: list[tuple[bytes, int]],
    view: Catalog,
    store: bytes,
    seq: int,
    now: int,
) -> tuple[Extension, int, bytes]:
    """Return the extension of a segment, its first index, and ``prev`` there."""
    start = append.entries[0].start
    if append.expect is Expect.ABSENT:
        check_absent(view, append.segment, start.key if start else None)
        revision, first, fork_index, peaks = 0, 0, 0, []
        prev = genesis(append.session, append.segment)
        if append.fork is not None:
            parent, fork_index, prev, peaks = append.fork
            living(view, parent)
            first = fork_index
    else:
        before = check_revision(view, append.segment, append.expect)
        row = living(view, append.segment)
        revision, first, fork_index = before.revision, before.count, row.fork_index
        peaks, prev = split_peaks(row.peaks), before.last
    hashes = [
        digest
        for digest, *_ in entries_of(
            stored, first_index=first, prev=prev, bodies=bodies
        )
    ]
    tree = tree_of(append.segment, store)
    grown = grow(peaks, first, hashes, tree)
    head = Head(
        store,
        append.session,
        append.segment,
        fork_index,
        revision + 1,
        first + len(hashes),
        merkle.root(tree, grown[0]),
        hashes[-1],
        seq,
        now,
    )
    log_entries = []
    if append.segment == store:
        log_entries = [
            (index, entry.kind, entry.content, entry.refs)
            for index, entry in enumerate(append.entries, first)
        ]
    extension = Extension(
        head,
        hashes,
        (),
        start,
        append.entries[0].refs if start else (),
        log_entries,
        grown,
    )
    return extension, first, prev
