"""
What a store must hold and answer, worked out with dicts and lists alone.

The model knows contents, logs, tags, and which name leads to which. It knows no
file, frame or index.
"""

from __future__ import annotations

import random

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache

import attrs

from castore import BlobRef, Entry, Reference, limits
from castore.chunker import chunks
from castore.digest import blob_digest
from castore.formats.entry import encode_ref_list


SessionKey = tuple[str, str]
Names = dict[bytes, tuple[bytes, ...]]  # what waits to be committed, and its needs


@lru_cache(32)  # some have megabytes
def content(seed: int, size: int, edit: int) -> bytes:
    """
    Return *size* bytes, half of them text; *edit* says which version of them.

    Versions 1 and 2 differ by some bytes from version 0, version 3 in a third.
    """
    rng = random.Random(seed)
    data = rng.randbytes(size // 2) + (b"line %d\n" % seed * (size // 7 + 1))
    data = data[:size]
    if not edit or not size:
        return data
    if edit < 3:
        at = size * edit // 3
        return data[:at] + b"<%d>" % edit + data[at:]
    third = rng.randbytes(size // 3)
    return data[: size // 3] + third + data[size // 3 + len(third) :]


@attrs.frozen(eq=False)
class Item:
    """An entry: kind, name of its body, references, time, names of its ref lists."""

    kind: str
    body: bytes
    refs: tuple[Reference, ...] = ()
    time_ms: int | None = None

    @property
    def lists(self) -> tuple[bytes, ...]:
        """Names of its ref lists: there is one where there are many references."""
        if len(self.refs) <= limits.ENTRY_REFS_COUNT_MAX:
            return ()
        return (encode_ref_list(self.refs)[0],)

    @property
    def names(self) -> tuple[bytes, ...]:
        """What must be stored or put before it is appended."""
        return (self.body, *(ref.blob.digest for ref in self.refs))

    def is_checkpoint(self) -> bool:
        """Whether retention of checkpoints speaks of it."""
        return any(group_of(ref.role) == "checkpoint" for ref in self.refs)

    def agrees(self, entry: Entry, index: int) -> bool:
        """Whether *entry*, as a store gives it, is this one at *index*."""
        found = (entry.index, entry.kind, entry.body.digest, entry.time_ms)
        names = tuple(ref.blob.digest for ref in entry.refs)
        is_same = names == self.lists if self.lists else entry.refs == self.refs
        return is_same and found == (index, self.kind, self.body, self.time_ms)


def group_of(role: str) -> str:
    """Return the part of *role* that retention looks at."""
    return role.split(".", maxsplit=1)[0]


@attrs.define(eq=False)
class Log:
    """
    A segment.

    Attributes:
        parent: Who owns the last entry that it inherits.

        own: Entries from `fork_index` on.

        is_deleted: It stays here only because others inherit from it.
    """

    id: bytes
    session: bytes
    parent: Log | None
    fork_index: int
    own: list[Item]
    revision: int = 1
    is_deleted: bool = False

    @property
    def count(self) -> int:
        """Entries, inherited ones included."""
        return self.fork_index + len(self.own)

    def items(self) -> list[Item]:
        """Return all entries."""
        inherited = self.parent.items()[: self.fork_index] if self.parent else []
        return inherited + self.own

    def owner(self, index: int) -> Log:
        """Return who owns entry *index*."""
        if index >= self.fork_index or self.parent is None:
            return self
        return self.parent.owner(index)


@attrs.frozen
class Expected:
    """What a collection must find and do."""

    root_count: int
    live: set[bytes]
    explained: set[bytes]
    released: set[bytes]
    by_group: dict[str, set[bytes]]


@attrs.define
class Model:
    """
    A store.

    Attributes:
        contents: All that was ever put, by name.

        parts: The chunks of each blob that is kept as chunks.

        stored: Size of what commits have made part of the store: of a ref list
            its count.

        lists: Names of ref lists.

        collected: What was collected although a retained entry names it.

        condemned: What gc has condemned, and whether that was long ago.

        sessions: Key of each session.

        logs: Segments that live or are inherited from.

        deleted: Segments that were deleted.

        keys: Commit keys: what they stand for.

        notes: The store's log about itself.

        seq: Last commit.
    """

    contents: dict[bytes, bytes] = attrs.Factory(dict)
    parts: Names = attrs.Factory(dict)
    stored: dict[bytes, int] = attrs.Factory(dict)
    lists: set[bytes] = attrs.Factory(set)
    collected: set[bytes] = attrs.Factory(set)
    condemned: dict[bytes, bool] = attrs.Factory(dict)
    tags: dict[str, BlobRef] = attrs.Factory(dict)
    sessions: dict[bytes, SessionKey | None] = attrs.Factory(dict)
    logs: dict[bytes, Log] = attrs.Factory(dict)
    deleted: set[bytes] = attrs.Factory(set)
    keys: dict[tuple[bytes, str], tuple[object, int, int]] = attrs.Factory(dict)
    notes: list[Item] = attrs.Factory(list)
    seq: int = 0

    # --- payloads ------------------------------------------------------------

    def put(self, data: bytes) -> Names:
        """Take note of *data*; return all names that wait from now on."""
        name = blob_digest(data)
        self.contents[name] = data
        if len(data) <= limits.BLOB_RECORD_SIZE_MAX:
            return {name: ()}
        pieces = {blob_digest(piece): piece for piece in chunks([data])}
        self.contents |= pieces
        self.parts[name] = tuple(pieces)
        return {name: tuple(pieces), **dict.fromkeys(pieces, ())}

    def closure(self, names: Iterable[bytes], waiting: Names) -> set[bytes] | None:
        """
        Return what a commit that names *names* must store, None where something
        of it is neither stored nor waiting.
        """
        found: set[bytes] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in self.stored or name in found:
                continue
            if name not in waiting:
                return None
            found.add(name)
            todo += waiting[name]
        return found

    def orphans(self, waiting: Names) -> set[bytes]:
        """Return what of *waiting* is a difference to something that went."""
        there = waiting.keys() | self.stored.keys()
        return {name for name, needs in waiting.items() if not there >= set(needs)}

    # --- logs ----------------------------------------------------------------

    def living(self) -> list[Log]:
        """Return the segments that live, oldest first."""
        return [log for log in self.logs.values() if not log.is_deleted]

    def children(self, log: Log) -> list[Log]:
        """Return who inherits from *log* itself."""
        return [other for other in self.logs.values() if other.parent is log]

    def begin(self, log: Log, key: SessionKey | None) -> None:
        """Add the segment *log*, and its session if it is new."""
        self.logs[log.id] = log
        self.sessions.setdefault(log.session, key)
        self.seq += 1

    def append(self, log: Log, items: list[Item], key: str | None) -> None:
        """Append *items* to *log*."""
        if key is not None:
            self.keys[log.id, key] = (content_of(items), log.count, len(items))
        log.own += items
        log.revision += 1
        self.seq += 1

    def delete(self, log: Log) -> None:
        """Delete *log*; what others inherit from it stays."""
        self.deleted.add(log.id)
        log.is_deleted = True
        at: Log | None = log
        while at is not None and at.is_deleted and not self.children(at):
            del self.logs[at.id]
            if all(other.session != at.session for other in self.logs.values()):
                del self.sessions[at.session]
            at = at.parent
        self.seq += 1

    def kept(self, log: Log) -> list[Item]:
        """Return the own entries of *log* that somebody can still read."""
        if not log.is_deleted:
            return log.own
        stop = max(other.fork_index for other in self.children(log))
        return log.own[: stop - log.fork_index]

    # --- collecting ----------------------------------------------------------

    def collect(self, keep_checkpoints: int | None) -> Expected:
        """Return what a collection must find."""
        kept = self._kept_checkpoints(keep_checkpoints)
        wanted: set[bytes] = {ref.digest for ref in self.tags.values()}
        released: set[bytes] = set()
        by_group: dict[str, set[bytes]] = {}
        entries = [
            (item, False) for log in self.logs.values() for item in self.kept(log)
        ]
        entries += [(item, True) for item in self.notes]
        for item, is_note in entries:
            wanted |= {item.body, *item.lists}
            for ref in item.refs:
                group = group_of(ref.role)
                by_group.setdefault(group, set()).add(ref.blob.digest)
                is_old = group == "checkpoint" and kept is not None and item not in kept
                is_old &= item.kind != "start"  # what it refers to is never released
                (released if is_old or is_note else wanted).add(ref.blob.digest)
        live = wanted | {name for each in wanted for name in self.parts.get(each, ())}
        live &= self.stored.keys()
        explained = wanted - live
        assert explained <= self.collected
        root_count = len(self.living()) + len(self.tags) + 1
        return Expected(root_count, live, explained, released - live, by_group)

    def _kept_checkpoints(self, count: int | None) -> set[Item] | None:
        if count is None:
            return None
        return {
            item
            for log in self.living()
            for item in [item for item in log.items()[::-1] if item.is_checkpoint()][
                :count
            ]
        }

    def due(
        self, dead: Collection[bytes], held: Collection[bytes], *, at_once: bool
    ) -> set[bytes]:
        """
        Return what of *dead* goes: what is not *held* and was condemned long ago.

        What a dead blob is made of stays as long as that blob.
        """
        due = {name for name in dead if at_once or self.condemned.get(name)}
        due -= set(held)
        for name in set(dead) - due:
            due -= set(self.parts.get(name, ()))
        return due

    def collected_now(self, due: set[bytes], dead: Collection[bytes]) -> None:
        """Take note that *due* went and the rest of *dead* is condemned."""
        for name in due:
            del self.stored[name]
        self.condemned = {
            name: self.condemned.get(name, False) for name in set(dead) - due
        }

    # --- totals --------------------------------------------------------------

    def counts(self) -> Mapping[str, int]:
        """Return what `Store.stats` counts; its log is among the entries."""
        return {
            "sessions": len(self.sessions),
            "segments": len(self.logs),
            "entries": sum(len(log.own) for log in self.logs.values())
            + len(self.notes),
            "blobs": len(self.stored),
            "raw_bytes": sum(self.stored.values()),
        }

    def readable(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield name and bytes of every blob that is stored."""
        for name in self.stored:
            if name in self.contents:
                yield name, self.contents[name]


def content_of(items: Iterable[Item]) -> object:
    """Return what a commit key stands for: all of *items* but their times."""
    return [(item.kind, item.body, item.refs) for item in items]
