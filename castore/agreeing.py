"""
The second mark of garbage collection: what the files alone say is needed.

Spec: spec/checking.md; spec/ordering.md, "Packing and deleting".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from castore.engine import Engine
from castore.errors import CorruptionError
from castore.formats import frame as frame_format
from castore.formats.entry import decode_ref_list
from castore.reading.parts import processor_count
from castore.reading.stored import BlobPlace
from castore.reading.survey import Progress, Survey, survey


def named_by_files(
    engine: Engine,
    due: Collection[bytes],
    heirs: Collection[bytes],
    *,
    progress: Progress | None = None,
) -> tuple[set[bytes], dict[bytes, frozenset[bytes]]]:
    """
    Return which of *due* living entries and tags lead to, from the files alone, and
    the files in which each of *due* and *heirs* stands.

    The second mark: no catalog has a say in it. Released checkpoints are in it.

    Args:
        engine: The store.

        due: Names that seem dead.

        heirs: Names of what is stored against them.

        progress: Told how many of how many bytes were read.

    Raises:
        CorruptionError: The files are damaged.
    """
    wanted = frozenset(due)
    found = survey(
        engine.files,
        store=engine.store,
        progress=progress,
        jobs=processor_count(),
        needed=wanted,
    )
    found.raise_faults()
    named = {blob.digest for blob in found.log.tags.values()} & wanted
    lists = dict(found.records.blobs_of_kind(frame_format.REF_LIST))
    for log in found.logs.values():
        named.update(wanted.intersection(log.bodies()))
        for want in log.wants():
            # What the store log's own entries name are tags, taken above.
            if log.segment == found.store and want.role is not None:
                continue
            if want.digest in wanted:
                named.add(want.digest)
            if want.flags:
                listed = _read_list(engine, want.digest, lists)
                named.update(wanted.intersection(listed))
    return named, _files_of(found, wanted | set(heirs))


def _read_list(
    engine: Engine, digest: bytes, lists: dict[bytes, BlobPlace]
) -> Iterator[bytes]:
    place = lists.get(digest)
    if place is None:
        raise CorruptionError(
            what="a list of references is not there",
            verdict="missing blob",
            where=f"blob:{digest.hex()}",
        )
    frame = engine.view.frames.get(place.file, place.offset)
    listed = decode_ref_list(frame.records[place.record].payload)
    return (ref.blob.digest for ref in listed)


def _files_of(
    found: Survey, wanted: Collection[bytes]
) -> dict[bytes, frozenset[bytes]]:
    none: frozenset[bytes] = frozenset()
    files = dict.fromkeys(wanted, none)
    # Few sets: most stand in one file only, and that file is most of theirs.
    sets: dict[tuple[frozenset[bytes], bytes], frozenset[bytes]] = {}
    for blobs in found.records.blobs:
        for digest in blobs.names():
            if digest in files:
                key = (files[digest], blobs.file)
                files[digest] = sets.setdefault(key, key[0] | {blobs.file})
    return files
