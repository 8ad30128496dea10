"""
What damage means for logs: who names what is bad, and what still stands.

Spec: spec/checking.md, step 9.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import attrs

from castore.errors import CorruptionError
from castore.formats import frame as frame_format
from castore.formats.entry import decode_ref_list
from castore.reading.findings import FAULT, Finding, blob_place, segment_place
from castore.reading.logs import Log
from castore.reading.survey import Survey


_SHOWN = 5  # entries of one finding; all are counted


@attrs.define
class Affected:
    """
    What one fault means.

    Attributes:
        where: Place of the fault.

        entries: The first entries that name the blob, as places.

        count: How many entries name it; of a log, how many are not proven.

        stands: What is proven all the same.
    """

    where: str
    entries: list[str]
    count: int
    stands: str


def affected_by(found: Survey, findings: Iterable[Finding]) -> list[Affected]:
    """
    Return what the faults at blobs and segments among *findings* mean.

    Looks once at what the entries of all logs name, if any blob is bad.
    """
    faults = {each.where for each in findings if each.severity == FAULT}
    blobs = {where for where in faults if where.startswith("blob:")}
    told = named_by(found, blobs) if blobs else []
    for log in found.logs.values():
        if any(_is_at(where, log) for where in faults):
            told.append(_log(log))
    return sorted(told, key=lambda each: each.where)


def _is_at(where: str, log: Log) -> bool:
    return where.partition("[")[0] == log.where()


def _log(log: Log) -> Affected:
    count = log.head.count if log.head else log.stop
    good = min(log.good, count)
    stands = f"the first {good} of {count} entries are there and linked"
    return Affected(log.where(), [], count - good, stands)


def named_by(found: Survey, wheres: Collection[str]) -> list[Affected]:
    """Return for each blob, by its place, which entries name it."""
    stands = "the entries and their hashes: they hold its name, not its bytes"
    told = {where: Affected(where, [], 0, stands) for where in wheres}
    bad = {bytes.fromhex(where.partition(":")[2]): where for where in wheres}
    lists = dict(_lists_with(found, bad.keys()))
    for log in found.logs.values():
        for index, digest in _names(log):
            named = {digest} if digest in bad else set()
            for each in named | lists.get(digest, set()):
                item = told[bad[each]]
                item.count += 1
                if len(item.entries) < _SHOWN:
                    item.entries.append(segment_place(log.segment, index))
    return list(told.values())


def _names(log: Log) -> Iterator[tuple[int, bytes]]:
    indices = (index for _, *span in log.pieces for index in range(*span))
    yield from zip(indices, log.bodies(), strict=True)
    for want in log.wants():
        if want.role is not None:  # a body was among the bodies
            yield want.entry, want.digest


def _lists_with(
    found: Survey, bad: Collection[bytes]
) -> Iterator[tuple[bytes, set[bytes]]]:
    """Yield each list of references that names one of *bad*, and which."""
    for digest, place in found.records.blobs_of_kind(frame_format.REF_LIST):
        try:
            refs = decode_ref_list(found.reader.record(place).payload)
        except CorruptionError:
            continue  # it was good a moment ago: a finding of its own
        named = {ref.blob.digest for ref in refs} & set(bad)
        if named:
            yield digest, named


def needed_by(found: Survey, segment: bytes) -> tuple[set[bytes], set[str]]:
    """
    Return the segments whose entries the log of *segment* consists of, and the
    places of all blobs that these name.
    """
    lineage: set[bytes] = set()
    at: bytes | None = segment
    while at is not None and at in found.logs and at not in lineage:
        lineage.add(at)
        at = found.logs[at].owner
    names = {digest for each in lineage for _, digest in _names(found.logs[each])}
    lists = dict(found.records.blobs_of_kind(frame_format.REF_LIST))
    for digest in names & lists.keys():
        refs = decode_ref_list(found.reader.record(lists[digest]).payload)
        names |= {ref.blob.digest for ref in refs}
    return lineage, {blob_place(digest) for digest in names}
