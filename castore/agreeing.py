"""
The second mark of garbage collection: what the files alone say is needed.

Spec: spec/checking.md; spec/ordering.md, "Packing and deleting".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from castore import limits
from castore.engine import Engine
from castore.engine.frames import FrameCache
from castore.errors import CorruptionError
from castore.formats import frame as frame_format
from castore.formats.entry import Reference, decode_ref_list
from castore.formats.stored import decode_stored
from castore.formats.storelog import TAG_ROLE
from castore.reading.logs import Log, Piece
from castore.reading.parts import processor_count
from castore.reading.stored import BlobPlace, digests_in
from castore.reading.survey import Progress, Survey, survey
from castore.retention import Keeper, Owner, Policy, Terms, group_of, heirs_first
from castore.tracing import Named, groups_of, times_in


def named_by_files(
    engine: Engine,
    due: Collection[bytes],
    heirs: Collection[bytes],
    terms: Terms,
    *,
    progress: Progress | None = None,
) -> tuple[set[bytes], dict[bytes, frozenset[bytes]]]:
    """
    Return which of *due* living entries and tags lead to, from the files alone, and
    the files in which each of *due* and *heirs* stands.

    The second mark: no catalog has a say in it, nor in what is released.

    Args:
        engine: The store.

        due: Names that seem dead.

        heirs: Names of what is stored against them.

        terms: What the collection was asked for.

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
    naming = _Naming(engine, found, wanted)
    named = {blob.digest for blob in found.log.tags.values()} & wanted
    released: set[bytes] = set()
    policy = Policy.of(found.log, terms)
    for log in found.logs.values():
        names = set(naming.names(log))
        if names and policy.groups and log.segment != found.store:
            released.add(log.segment)
        else:
            named |= names
    if released:
        named |= _kept(naming, policy, released)
    return named, _files_of(found, wanted | set(heirs))


class _Naming:
    """What of *wanted* the entries of logs name, read from files."""

    def __init__(self, engine: Engine, found: Survey, wanted: frozenset[bytes]) -> None:
        self.found = found
        self.wanted = wanted
        self._frames = FrameCache(engine.state.opened, 4 * limits.BLOCK_SIZE)
        self._lists = dict(found.records.blobs_of_kind(frame_format.REF_LIST))

    def names(self, log: Log) -> Iterator[bytes]:
        """Yield what the own entries of *log* name, kept or released."""
        yield from self.wanted.intersection(log.bodies())
        for want in log.wants():
            # What is tagged is taken elsewhere.
            if log.segment == self.found.store and want.role == TAG_ROLE:
                continue
            if want.digest in self.wanted:
                yield want.digest
            if want.flags:
                for ref in self._read_list(want.digest):
                    if ref.blob.digest in self.wanted:
                        yield ref.blob.digest

    def kept(self, piece: Piece, keeper: Keeper) -> set[bytes]:
        """Return what of the wanted the entries of *piece* keep."""
        run, start, stop = piece
        frame = self._frames.get(run.file, run.offset)
        payload = frame.records.payload(run.header.record)
        kept: set[bytes] = set()
        named: list[Named] = []
        stored = decode_stored(payload, run.header.count)
        for index in range(start, stop):
            for role, digest, _, flags, _ in stored[index - run.first][3]:
                if flags:
                    kept.add(digest)
                    refs = self._read_list(digest)
                    named += ((index, ref.role, ref.blob.digest) for ref in refs)
                else:
                    named.append((index, role, digest))
        roles = ((index, role) for index, role, _ in named)
        groups = groups_of(range(start, stop), roles, keeper.groups)
        gone = keeper.released(groups, times_in(lambda: payload, run))
        kept.update(
            digest
            for index, role, digest in named
            if (index, group_of(role)) not in gone
        )
        bodies = digests_in(run.bodies[(start - run.first) * 32 :])
        kept.update(
            digest
            for index, digest in zip(range(start, stop), bodies, strict=False)
            if (index, None) not in gone
        )
        return kept & self.wanted

    def _read_list(self, digest: bytes) -> tuple[Reference, ...]:
        place: BlobPlace | None = self._lists.get(digest)
        if place is None:
            raise CorruptionError(
                what="a list of references is not there",
                verdict="missing blob",
                where=f"blob:{digest.hex()}",
            )
        frame = self._frames.get(place.file, place.offset)
        return decode_ref_list(frame.records[place.record].payload)


def _kept(naming: _Naming, policy: Policy, naming_it: set[bytes]) -> set[bytes]:
    """
    Return what the logs of the segments *naming_it*, and those that inherit from
    them, keep of what is wanted.
    """
    logs = naming.found.logs
    owners = list(heirs_first(_owner(naming.found, log) for log in logs.values()))
    touched = set(naming_it)
    for owner in reversed(owners):
        if owner.parent in touched:
            touched.add(owner.id)
    kept: set[bytes] = set()
    keeper = Keeper(policy)
    for owner in owners:
        if owner.id in touched:
            keeper.begin(owner)
            for piece in reversed(logs[owner.id].pieces):
                kept |= naming.kept(piece, keeper)
            keeper.end()
    return kept


def _owner(found: Survey, log: Log) -> Owner:
    head = log.head
    lives = head is not None
    if head is None:
        head = found.log.deleted[log.segment][1]
    count = head.count if lives else None
    ids = (log.segment, log.session, log.owner)
    return Owner(*ids, log.fork_index, count, head.time_ms)


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
