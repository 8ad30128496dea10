"""
The part of a commit that is made under the lock: place, chain, heads, hash.

Spec: spec/ordering.md, "Commit"; spec/frame.md.
"""

from __future__ import annotations

import attrs

from castore import merkle
from castore.catalog.database import damaged
from castore.catalog.rows import Catalog, Place, Position, SegmentRow
from castore.clock import now_ms
from castore.engine.adopting import adopt
from castore.engine.change import Append, Outcome
from castore.engine.expect import (
    Expect,
    check_absent,
    check_revision,
    living,
    newest_head,
    remember_head,
)
from castore.engine.fold import CommitImage, Extension, grow, split_peaks
from castore.engine.preparing import Chunk, Prepared
from castore.errors import ConflictError
from castore.formats import frame as frame_format
from castore.formats.commit import Commit, CommitKey, hash_commit
from castore.formats.entry import genesis
from castore.formats.frame import finish, inline_record
from castore.formats.head import Head, hash_head
from castore.formats.stored import entries_of
from castore.formats.trees import tree_of


@attrs.define
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
    now = now_ms()
    extensions = _extensions(prepared, view, store, seq, now)
    commit = Commit(
        seq,
        position.commit,
        now,
        tuple([hash_head(item.encoded) for item, _ in extensions]),
        _key(prepared, extensions[0][0]),
        (prepared.side[0],) if prepared.side else (),
    )
    data, offset, prev, places = _payload_frames(prepared, ending)
    table = list(prepared.table)
    inline = []
    number = 0
    for extension, runs in extensions:
        extension.place = []
        for first, before, count in runs:
            table[number] = [*table[number][:3], first, before, *table[number][5:]]
            extension.place.append((position.journal, offset, number, count))
            number += 1
        inline.append(inline_record(frame_format.HEAD, extension.encoded))
    own = number
    record = commit.encode()
    inline.append(inline_record(frame_format.COMMIT, record))
    data.append(
        finish(
            prepared.part,
            table,
            inline,
            offset=offset,
            group_start=ending.group_start,
            file_hash=ending.file_hash,
            prev=prev,
        )
    )
    places += _own_places(prepared, position.journal, offset, own)
    listed = prepared.change.listed
    image = CommitImage(commit, [item for item, _ in extensions], places, listed)
    after = Position(
        position.journal,
        offset + len(data[-1]),
        data[-1][-32:],
        seq,
        hash_commit(record),
        position.gc_generation,
    )
    return b"".join(data), image, after


def _extensions(
    prepared: Prepared, view: Catalog, store: bytes, seq: int, now: int
) -> list[tuple[Extension, list[tuple[int, bytes, int]]]]:
    """Return what each segment becomes; first index, ``prev``, count of its runs."""
    extended = [
        _extend(append, stored, prepared.bodies, view, store, seq, now)
        for append, stored in zip(prepared.appends, prepared.stored, strict=True)
    ]
    adoptions = prepared.change.adoptions
    return extended + [(adopt(each, view, store, seq, now), []) for each in adoptions]


def _own_places(
    prepared: Prepared, journal: bytes, offset: int, first: int
) -> list[Place]:
    """Return where the blobs are that a commit makes visible, but for `payload`'s."""
    places = [
        Place(item.ref.digest, journal, offset, number, item.ref.size)
        for number, item in enumerate(prepared.pending, first)
    ]
    for digest, count, number in prepared.ref_lists:
        places.append(Place(digest, journal, offset, number, count))
    if prepared.side:
        places += prepared.side[1]
    return places


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


def _check_row(row: SegmentRow, head: Head, view: Catalog, store: bytes) -> None:
    """
    Refuse to build on a row that would fork the log: on peaks of other entries,
    or behind an older head.

    Raises:
        CorruptionError: ``catalog differs``.
    """
    count_is_right = head.count.bit_count() == len(row.peaks) // 32
    peaks = split_peaks(row.peaks)
    if not count_is_right or merkle.root(tree_of(row.id, store), peaks) != head.root:
        raise damaged("the peaks of a log do not lead to its root")
    if head.store != store:
        raise damaged("a head is of another store")
    if view.find_run(row.id, head.count) is not None:
        raise damaged("a log goes on behind its head")


_built: dict[bytes, SegmentRow] = {}  # by segment: made or checked by this process
_BUILT_COUNT = 4096


def remember_built(row: SegmentRow, head: Head) -> None:
    """Keep what a commit made of a segment: the next one need not check it."""
    remember_head(row, head)
    if len(_built) >= _BUILT_COUNT:
        _built.clear()
    _built[row.id] = row


def _extend(
    append: Append,
    chunks: list[Chunk],
    bodies: list[tuple[bytes, int]],
    view: Catalog,
    store: bytes,
    seq: int,
    now: int,
) -> tuple[Extension, list[tuple[int, bytes, int]]]:
    """Return the extension of a segment; first index, ``prev``, count of each run."""
    start = append.entries[0].start
    if append.expect is Expect.ABSENT:
        check_absent(view, append.segment, start.key if start else None)
        revision, first, fork_index = 0, 0, 0
        peaks: list[bytes] = []
        prev = genesis(append.session, append.segment)
        if append.fork is not None:
            parent, fork_index, prev, peaks = append.fork
            living(view, parent)
            first = fork_index
    else:
        row = living(view, append.segment)
        before = newest_head(row)
        check_revision(before, append.expect)
        if _built.get(row.id) != row:
            _check_row(row, before, view, store)
        revision, first, fork_index = before.revision, before.count, row.fork_index
        peaks, prev = split_peaks(row.peaks), before.last
    hashes: list[bytes] = []
    runs = []
    for chunk in chunks:
        index = first + len(hashes)
        runs.append((index, prev, len(chunk)))
        placed = entries_of(chunk, first_index=index, prev=prev, bodies=bodies)
        hashes += [item[0] for item in placed]
        prev = hashes[-1]
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
        head.encode(),
    )
    return extension, runs
