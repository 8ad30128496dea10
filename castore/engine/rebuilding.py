"""
The catalog's rows from the files alone.

Spec: spec/ordering.md, "The catalog"; spec/checking.md.
"""

from __future__ import annotations

from castore.catalog.rows import (
    DeletedRow,
    Facts,
    KeyRow,
    Label,
    Node,
    Place,
    Position,
    Run,
    SegmentRow,
    SessionRow,
    TagRow,
)
from castore.engine.fold import LABEL_ROLES, absences, key_row
from castore.formats import frame as frame_format
from castore.formats.chunked import decode_chunks
from castore.formats.mark import LockFile
from castore.reading.collecting import no_search
from castore.reading.logs import Log
from castore.reading.parts import processor_count
from castore.reading.stored import BlobPlace
from castore.reading.survey import Survey, survey
from castore.storage import Files


def facts_of_survey(
    files: Files, store: bytes, lock: LockFile | None
) -> tuple[Facts, Position]:
    """
    Return all rows of a catalog, and the place on the journals up to which they are.

    Reads every file once.

    Raises:
        CorruptionError: The files are damaged; an index of them would lie.
    """
    with no_search():
        return _facts_of_survey(files, store, lock)


def _facts_of_survey(
    files: Files, store: bytes, lock: LockFile | None
) -> tuple[Facts, Position]:
    found = survey(files, store=store, lock=lock, jobs=processor_count())
    found.raise_faults()
    facts = Facts(
        places=[
            Place(digest, place.file, place.offset, place.record, place.size)
            for digest, place in _readable(found).items()
        ],
        tags=[
            TagRow(name, blob.digest, blob.size, blob.slices)
            for name, blob in found.log.tags.items()
        ],
        deleted=[
            DeletedRow(segment, index, head.encode())
            for segment, (index, head) in found.log.deleted.items()
        ],
        absences=absences(found.log),
        keys=_keys(found),
    )
    facts.sessions = _sessions(found)
    found.runs.clear()  # those that count stand in logs, which go one by one now
    while found.logs:
        _add_log(facts, found.logs.popitem()[1], found)
    return facts, _position(found, lock)


def _readable(found: Survey) -> dict[bytes, BlobPlace]:
    """
    Return the copy of each blob that counts, and nothing that cannot be read.

    Of several copies one without a base counts, else the one with the fewest
    bases behind it: what GC removed may be the base of a copy that nobody uses.
    """
    best: dict[bytes, BlobPlace] = {}
    heirs: dict[bytes, list[tuple[bytes, BlobPlace]]] = {}
    lists: list[tuple[bytes, BlobPlace]] = []
    for digest in found.places:
        for place in found.places.places_of(digest):
            if place.kind == frame_format.DIFFERENCE:
                base = found.records.bases[place]
                heirs.setdefault(base, []).append((digest, place))
            elif place.kind == frame_format.CHUNKED:
                lists.append((digest, place))
            else:
                best.setdefault(digest, place)
    todo = [base for base in heirs if base in best]
    for base in todo:  # grows, by depth
        for digest, place in heirs.get(base, ()):
            if digest not in best:
                best[digest] = place
                todo.append(digest)
    for digest, place in lists:
        listed = decode_chunks(found.reader.record(place).payload, place.size)
        if all(name in best for name, _ in listed.chunks):
            best.setdefault(digest, place)
    return best


def _add_log(facts: Facts, log: Log, found: Survey) -> None:
    segment = log.segment
    if log.head is not None:
        head, peaks = log.head, b"".join(log.peaks)
    else:
        # Deleted, but inherited from: its row stays, without peaks.
        head, peaks = found.log.deleted[segment][1], b""
    labels = _labels(log)
    facts.segments.append(
        SegmentRow(
            segment,
            head.session,
            log.owner,
            head.fork_index,
            head.count,
            head.revision,
            head.seq,
            head.time_ms,
            len(labels),
            head.encode(),
            peaks,
        )
    )
    facts.labels += labels
    facts.nodes += [Node(segment, *node) for node in log.nodes]
    for run in log.runs():
        header = run.header
        place = (run.file, run.offset, header.record)
        facts.runs.append(Run(segment, header.first, header.count, *place))


def _labels(log: Log) -> list[Label]:
    found = [want for want in log.wants() if want.role in LABEL_ROLES]
    starts = log.starts() if found else {}
    return [Label(want.digest, log.segment) for want in found if want.entry in starts]


def _sessions(found: Survey) -> list[SessionRow]:
    """
    Return each session with the key that its first segment gives it, or gave.
    """
    keys: dict[bytes, tuple[str, str] | None] = {}
    for log in found.logs.values():
        if log.segment == found.store:
            continue
        keys.setdefault(log.session, None)
        for start in log.starts().values():
            if start.key is not None and start.session == log.session:
                keys[log.session] = start.key
    for session, key in found.log.keys.items():
        if session in keys:
            keys[session] = key
    return [SessionRow(each, *(key or (None, None))) for each, key in keys.items()]


def _keys(found: Survey) -> list[KeyRow]:
    """Return the commit keys of living segments, of each text the newest."""
    rows: dict[tuple[bytes, str], KeyRow] = {}
    for _, (commit, _) in sorted(found.commits.items()):
        key = commit.key
        if key is not None and key.segment in found.heads:
            row = key_row(commit, key)
            rows[key.segment, key.text] = row
    return list(rows.values())


def _position(found: Survey, lock: LockFile | None) -> Position:
    newest = found.chain[0]
    header = newest.file.header
    seq, commit = header.seq, header.commit
    if found.commits:
        seq = max(found.commits)
        commit = found.commits[seq][1]
    generation = lock.gc_generation if lock else 0
    return Position(newest.file.id, newest.end, newest.frame, seq, commit, generation)
