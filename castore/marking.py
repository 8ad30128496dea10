"""
The mark of garbage collection: everything that a root leads to.

Roots are the heads of all living segments, the store log and the tags. The
references are read from the entries in the files, never from the catalog.

Spec: spec/checking.md, step 8; spec/storelog.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from castore.catalog.rows import Position, SegmentRow
from castore.engine import Engine
from castore.engine.members import members, store_log
from castore.engine.needs import stored_needs
from castore.formats.entry import Entry, decode_ref_list
from castore.reading.survey import Progress, survey


CHECKPOINT = "checkpoint"


@attrs.define
class Marks:
    """
    What is alive.

    Attributes:
        live: Names of blobs and ref lists that are needed and there.

        lost: Names that are needed, are not there, and nothing explains.

        explained: Names that are named and not there, as the store log says.

        released: Payloads that retained entries name and no log keeps.

        by_group: Payloads named by entries, by group of role.

        root_count: Living segments, tags, and the store log.

        raw_size: Raw bytes of what is live.

        heirs: For each base the stored differences to it, dead ones too: they
            are stored anew when it goes.

        lists: The chunks of each stored chunk list that is dead.

        copies: Files with further copies of a blob, where that was looked for.

        position: Up to where this mark looked.
    """

    live: set[bytes] = attrs.Factory(set)
    lost: set[bytes] = attrs.Factory(set)
    explained: set[bytes] = attrs.Factory(set)
    released: set[bytes] = attrs.Factory(set)
    by_group: dict[str, set[bytes]] = attrs.Factory(dict)
    root_count: int = 0
    raw_size: int = 0
    heirs: dict[bytes, set[bytes]] = attrs.Factory(dict)
    lists: dict[bytes, tuple[bytes, ...]] = attrs.Factory(dict)
    copies: dict[bytes, set[bytes]] = attrs.Factory(dict)
    position: Position | None = None


def group_of(role: str) -> str:
    """Return the group that a role belongs to: the part before the first dot."""
    return role.partition(".")[0]


def digests_of(engine: Engine, entry: Entry) -> Iterator[bytes]:
    """Yield every name that *entry* leads to by itself."""
    yield entry.body.digest
    for ref in entry.refs:
        if ref.flags:
            yield ref.blob.digest
    for ref in engine.view.references(entry):
        yield ref.blob.digest


def mark(engine: Engine, keep_checkpoints: int | None) -> Marks:
    """
    Return everything that the roots lead to.

    Reads every living entry once and the tables of all frames.

    Args:
        engine: The store.

        keep_checkpoints: See `castore.gc.collect`.

    Raises:
        CorruptionError: Something cannot be read.
    """
    view = engine.refresh()
    known = view.known
    marks = Marks(position=view.position)
    rows = list(known.segments())
    alive = [row for row in rows if known.find_deleted(row.id) is None]
    keep = None
    if keep_checkpoints is not None:
        keep = _kept_checkpoints(engine, alive, keep_checkpoints)
    wanted: set[bytes] = set()
    for row in rows:
        stop = row.count
        if known.find_deleted(row.id) is not None:
            heirs = known.children(row.id)
            stop = max((heir.fork_index for heir in heirs), default=row.fork_index)
        for entry in view.logs.entries(row, row.fork_index, stop):
            _mark_entry(engine, row.id, entry, keep, marks, wanted)
    tags = known.tags()
    wanted |= {row.digest for row in tags}
    marks.root_count = len(alive) + len(tags)
    _close_over(engine, wanted, marks)
    marks.released -= marks.live
    return marks


def _mark_entry(
    engine: Engine,
    segment: bytes,
    entry: Entry,
    keep: set[tuple[bytes, int]] | None,
    marks: Marks,
    wanted: set[bytes],
) -> None:
    wanted.add(entry.body.digest)
    wanted.update(ref.blob.digest for ref in entry.refs if ref.flags)
    for ref in engine.view.references(entry):
        group = group_of(ref.role)
        marks.by_group.setdefault(group, set()).add(ref.blob.digest)
        released = (
            keep is not None
            and group == CHECKPOINT
            and (segment, entry.index) not in keep
        )
        # A tag's entry names what it kept; the tag itself is the root.
        if released or segment == engine.store:
            marks.released.add(ref.blob.digest)
        else:
            wanted.add(ref.blob.digest)


def _kept_checkpoints(
    engine: Engine, alive: list[SegmentRow], count: int
) -> set[tuple[bytes, int]]:
    """Return owner and index of each entry whose checkpoint some log keeps."""
    keep: set[tuple[bytes, int]] = set()
    for row in alive:
        found = 0
        for entry in engine.view.logs.entries_reversed(row, 0, row.count):
            if found >= count:
                break
            roles = {group_of(ref.role) for ref in engine.view.references(entry)}
            if CHECKPOINT in roles:
                owner = engine.view.logs.pieces(row, entry.index, entry.index + 1)[0][0]
                keep.add((owner, entry.index))
                found += 1
    return keep


def _close_over(engine: Engine, wanted: set[bytes], marks: Marks) -> None:
    """Follow chunks; sort into live, lost and explained."""
    view = engine.view
    files = members(view, engine.state.opened, engine.store)
    heirs, chunks = stored_needs(engine, files)
    collected = store_log(view, engine.store).collected
    todo = list(wanted)
    while todo:
        digest = todo.pop()
        if digest in marks.live:
            continue
        place = view.known.find_place(digest)
        if place is None:
            known = digest in collected
            (marks.explained if known else marks.lost).add(digest)
            continue
        marks.live.add(digest)
        marks.raw_size += place.size
        todo += chunks.get(digest, ())
    # What is dead and stays for now may come alive again: whole.
    stored = {place.digest for place in view.known.places()}
    marks.heirs = {base: names & stored for base, names in heirs.items()}
    marks.lists = {name: chunks[name] for name in chunks.keys() & stored - marks.live}


def named_by_files(
    engine: Engine, *, progress: Progress | None = None
) -> tuple[set[bytes], dict[bytes, set[bytes]]]:
    """
    Return every name that living entries and tags lead to, from the files alone,
    and the files of all blobs of which there are several copies.

    The second mark: no catalog has a say in it. Released checkpoints are in it.

    Args:
        engine: The store.

        progress: Told how many of how many bytes were read.

    Raises:
        CorruptionError: The files are damaged.
    """
    found = survey(engine.files, store=engine.store, progress=progress)
    found.raise_faults()
    named = {blob.digest for blob in found.log.tags.values()}
    for log in found.logs.values():
        named.update(log.bodies())
        for want in log.wants():
            # What the store log's own entries name are tags, taken above.
            if log.segment == found.store and want.role is not None:
                continue
            named.add(want.digest)
            if want.flags:
                place = found.places[want.digest]
                frame = engine.view.frames.get(place.file, place.offset)
                listed = decode_ref_list(frame.records[place.record].payload)
                named.update(ref.blob.digest for ref in listed)
    copies = {
        digest: {place.file for place in found.records.places_of(digest)}
        for digest in found.records.copies
    }
    return named, copies
