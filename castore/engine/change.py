"""
What a caller asks the engine to commit, and what comes of it.

Spec: spec/commit.md; spec/ordering.md, "Commit".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from castore.catalog.rows import Catalog, Facts, Place
from castore.engine.expect import Expect
from castore.formats.entry import BlobRef, Reference, Start
from castore.formats.head import Head


@attrs.define
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


@attrs.define
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


@attrs.define
class Adoption:
    """
    A segment that is as its entries say, which stand in packs that the same commit
    lists.

    Attributes:
        fork_index: Count of inherited entries.

        count: Entries of the log, inherited ones included.

        last: Entry hash of the last one.

        peaks: Of its tree.

        nodes: Subtrees that closed with the new entries: level, index and hash.

        expect: ABSENT to begin it, or a revision.

        start: Where it begins: its start record.

        start_refs: References of that entry.
    """

    session: bytes
    segment: bytes
    fork_index: int
    count: int
    last: bytes
    peaks: list[bytes]
    nodes: list[tuple[int, int, bytes]]
    expect: Expect | int
    start: Start | None
    start_refs: tuple[Reference, ...]


@attrs.define
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

        moved: Places that belong to that, by digest: there may be millions.

        raises_generation: Whether it moves or deletes blobs.

        adoptions: Segments whose entries stand in the packs that it lists; parents
            before their forks.

        blobs: Digest and stated size of all blobs that it names.
    """

    appends: tuple[Append, ...]
    key: str | None = None
    maintenance: bool = False
    guard: Callable[[Catalog], None] | None = None
    listed: Facts | None = None
    moved: Iterable[Place] = ()
    raises_generation: bool = False
    adoptions: tuple[Adoption, ...] = ()
    blobs: dict[bytes, int] = attrs.field(init=False)

    @blobs.default
    def _named(self) -> dict[bytes, int]:
        named: dict[bytes, int] = {}
        for append in self.appends:
            for entry in append.entries:
                named[entry.body.digest] = entry.body.size
                for ref in entry.refs:
                    if not ref.flags:
                        named[ref.blob.digest] = ref.blob.size
        return named


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
