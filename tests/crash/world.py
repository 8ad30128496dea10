"""
What a store was told and what it answered: what must be there after a stop.

An intention is noted before something is done and settled after it; what was
intended and not settled may be there whole, or not at all.
"""

from __future__ import annotations

import copy

from collections.abc import Iterator, Sequence

import attrs

from castore import CastoreError, Entry, GoneError, Segment, Store
from castore.digest import blob_digest, format_digest


#: An entry: kind, digest of its body, role and digest of each reference.
Item = tuple[str, bytes, tuple[tuple[str, bytes], ...]]
Key = tuple[str, str]


@attrs.frozen
class Intent:
    """
    Something that a store is told to do.

    Attributes:
        number: Names it.

        what: ``store``, ``begin``, ``append``, ``tag``, ``untag``, ``delete``,
            ``collect`` or ``erase``.

        segment: For ``append`` and ``delete``; for ``erase`` of a session, its one.

        items: Entries of the commit; for ``begin`` the whole log of the new
            segment, inherited entries included.

        key: Session key of a new session.

        name: Of a tag.

        digest: That the tag names.

        released: Payloads that may go, though entries name them; for ``erase`` all
            of them, or none.

        canaries: What is nowhere in the store once they went.
    """

    number: int
    what: str
    segment: bytes = b""
    items: tuple[Item, ...] = ()
    key: Key | None = None
    name: str = ""
    digest: bytes = b""
    released: frozenset[bytes] = frozenset()
    canaries: frozenset[bytes] = frozenset()


@attrs.frozen
class Intended:
    """Something is about to be done."""

    intent: Intent


@attrs.frozen
class Settled:
    """
    The caller was told, or saw, what became of an intent.

    Attributes:
        segment: The new one, for ``begin``.
    """

    number: int
    happened: bool
    segment: bytes = b""


@attrs.frozen
class Shown:
    """A reader was shown all of this: from now on it is so."""

    seen: Seen


@attrs.frozen
class Seen:
    """
    What a store shows.

    Attributes:
        logs: All entries of each living segment.

        keys: Segments of each session that has a key.

        tags: Digest of each tag.

        gone: Payloads of which the store says that they were collected.
    """

    logs: dict[bytes, tuple[Item, ...]]
    keys: dict[Key, frozenset[bytes]]
    tags: dict[str, bytes]
    gone: frozenset[bytes]


@attrs.define
class World:
    """
    What must be there, and what may.

    Attributes:
        is_made: Whether the store's creation was answered.

        logs: Acknowledged entries of each living segment.

        keys: Segment that each session key was given to.

        tags: Digest of each tag.

        deleted: Segments.

        released: Payloads that may be gone, though entries name them.

        erased: Canaries of which no file holds one any more.

        doubtful: What was intended and not settled.
    """

    is_made: bool = False
    logs: dict[bytes, tuple[Item, ...]] = attrs.Factory(dict)
    keys: dict[Key, bytes] = attrs.Factory(dict)
    tags: dict[str, bytes] = attrs.Factory(dict)
    deleted: set[bytes] = attrs.Factory(set)
    released: set[bytes] = attrs.Factory(set)
    erased: set[bytes] = attrs.Factory(set)
    doubtful: dict[int, Intent] = attrs.Factory(dict)

    def copy(self) -> World:
        """Return a world that changes on its own."""
        return copy.deepcopy(self)

    def apply(self, step: Intended | Settled | Shown) -> None:
        """Take in what came next."""
        match step:
            case Intended(intent):
                self.doubtful[intent.number] = intent
                self.released |= intent.released
            case Settled(number, happened, segment):
                intent = self.doubtful.pop(number)
                if happened:
                    self._happened(intent, segment)
            case Shown(seen):
                self.is_made = True
                self.deleted |= set(self.logs) - set(seen.logs)
                self.logs = dict(seen.logs)
                self.tags = dict(seen.tags)
                self.keys = {}
                self.doubtful = {}

    def _happened(self, intent: Intent, segment: bytes) -> None:
        match intent.what:
            case "store":
                self.is_made = True
            case "begin":
                self.logs[segment] = intent.items
                if intent.key:
                    self.keys[intent.key] = segment
            case "append":
                self.logs[intent.segment] += intent.items
            case "tag":
                self.tags[intent.name] = intent.digest
            case "untag":
                self.tags.pop(intent.name)
            case "erase":
                self.erased |= intent.canaries
            case "delete":
                self.logs.pop(intent.segment)
                self.deleted.add(intent.segment)

    # --- comparing -----------------------------------------------------------

    def faults(self, seen: Seen) -> Iterator[str]:
        """Yield what is wrong with what a store shows: lost, half, or invented."""
        doubtful = list(self.doubtful.values())
        may_go = {one.segment for one in doubtful if one.what == "delete"}
        for segment, items in self.logs.items():
            log = seen.logs.get(segment)
            if log is None:
                if segment not in may_go:
                    yield f"segment {segment.hex()} is lost"
            elif log[: len(items)] != items:
                yield f"acknowledged entries of {segment.hex()} are lost"
            else:
                more = [
                    one.items
                    for one in doubtful
                    if one.what == "append" and one.segment == segment
                ]
                if not _is_made_of(log[len(items) :], more):
                    yield f"segment {segment.hex()} has entries of no commit"
        may_come = [one.items for one in doubtful if one.what == "begin"]
        for segment in set(seen.logs) - set(self.logs):
            if segment in self.deleted:
                yield f"deleted segment {segment.hex()} is back"
            elif seen.logs[segment] in may_come:
                may_come.remove(seen.logs[segment])
            else:
                yield f"segment {segment.hex()} is none that was made"
        for key, segment in self.keys.items():
            if segment not in seen.keys.get(key, ()) and segment in seen.logs:
                yield f"session {key} is lost"
        for digest in seen.gone - self.released:
            yield f"payload {digest.hex()} is gone and was needed"
        for one in doubtful:
            if one.what == "erase" and one.released & seen.gone not in (
                frozenset(),
                one.released,
            ):
                yield "half of an erasure"
        yield from self._tag_faults(seen)

    def counting(self, seen: Seen) -> set[bytes]:
        """Return the canaries of erasures that were stopped and count."""
        doubtful = [one for one in self.doubtful.values() if one.what == "erase"]
        counting = [
            one
            for one in doubtful
            if one.released & seen.gone
            or (one.segment and one.segment not in seen.logs)
        ]
        return {canary for one in counting for canary in one.canaries}

    def _tag_faults(self, seen: Seen) -> Iterator[str]:
        for name in {*self.tags, *seen.tags}:
            legal = {self.tags.get(name)}
            for one in self.doubtful.values():
                if one.name == name:
                    legal.add(one.digest if one.what == "tag" else None)
            if seen.tags.get(name) not in legal:
                yield f"tag {name} is not what it was"


def _is_made_of(items: tuple[Item, ...], groups: Sequence[tuple[Item, ...]]) -> bool:
    """Return whether *items* are some of *groups*, whole, in any order."""
    if not items:
        return True
    return any(
        items[: len(group)] == group
        and _is_made_of(items[len(group) :], [*groups[:at], *groups[at + 1 :]])
        for at, group in enumerate(groups)
    )


# --- looking -----------------------------------------------------------------


def look(store: Store) -> Seen:
    """
    Return all that *store* shows, every byte read.

    Digests are computed here from the bytes that were returned.
    """
    known: dict[bytes, bytes] = {}
    gone: set[bytes] = set()

    def digest_of(named: bytes) -> bytes:
        if named not in known:
            known[named] = named
            try:
                known[named] = blob_digest(store.get(format_digest(named)))
            except GoneError:
                gone.add(named)
        return known[named]

    logs: dict[bytes, tuple[Item, ...]] = {}
    keys = {}
    for session in store.sessions():
        segments = session.segments()
        for segment in segments:
            logs[segment.id] = tuple(
                (
                    entry.kind,
                    digest_of(entry.body.digest) if body is None else blob_digest(body),
                    tuple((ref.role, digest_of(ref.blob.digest)) for ref in entry.refs),
                )
                for entry, body in _read(segment)
            )
        if session.key:
            keys[session.key] = frozenset(segment.id for segment in segments)
    tags = {name: digest_of(ref.digest) for name, ref in store.tags().items()}
    return Seen(logs, keys, tags, frozenset(gone))


def _read(segment: Segment) -> Iterator[tuple[Entry, bytes | None]]:
    """Yield entries and bodies; no bodies where one of them is gone."""
    try:
        yield from list(segment.read())
    except GoneError:
        for entry in segment.entries():
            yield entry, None


def is_gone(store: Store, segment: bytes) -> bool:
    """Return whether *store* says that *segment* was deleted."""
    try:
        store.segment(segment)
    except GoneError:
        return True
    except CastoreError:
        return False
    return False
