"""
What an erasure is about: what goes, what stays, and who still names it.

All of it comes from the files of the store, none from its catalog.

Spec: spec/erasing.md, "What goes".
"""

from __future__ import annotations

import itertools

from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import attrs

from castore.digest import SIZE, format_digest
from castore.errors import NeededError, NotFoundError
from castore.formats import frame as frame_format
from castore.formats.chunked import decode_chunks
from castore.formats.entry import decode_ref_list
from castore.formats.head import Head
from castore.formats.storelog import TAG_ROLE
from castore.merkle import COUNT_MAX
from castore.reading.findings import blob_place, segment_place
from castore.reading.logs import Piece
from castore.reading.stored import digests_in
from castore.reading.survey import Survey


PAYLOAD, ENTRY, SESSION = "payload", "entry", "session"
BODY = "body"
_NAMED_COUNT = 5  # of what needs something, in an error
_LOG, _TAG, _BLOB = "store log", "tag", "blob"  # parties that are no session


class Target(NamedTuple):
    """
    What shall go: a payload by digest, an entry by segment and index, a session.
    """

    kind: str
    id: bytes
    at: int = 0

    def __str__(self) -> str:
        if self.kind == PAYLOAD:
            return format_digest(self.id)
        if self.kind == ENTRY:
            return segment_place(self.id, self.at)
        return f"session:{self.id.hex()}"


@attrs.frozen
class Wish:
    """
    What is asked for.

    Attributes:
        targets: What, at least one thing.

        shared: Whether what others need too goes.

        with_forks: Whether segments of other sessions that inherit entries go.

        payloads_only: Whether entries stay, of a session too.
    """

    targets: tuple[Target, ...]
    shared: bool = False
    with_forks: bool = False
    payloads_only: bool = False


class Use(NamedTuple):
    """
    What names a payload.

    Attributes:
        party: Whose it is: a session's, one tag's, the store log's, a blob's.

        where: The place, as a receipt gives it.
    """

    party: str
    where: str


@attrs.define
class Scope:
    """
    What comes of a wish.

    Attributes:
        going: Blobs that go and that the store log names.

        kept: Blobs that were meant and stay.

        gone: Blobs that were meant and are not there already.

        silent: Chunks and ref lists that go with these, which nobody names.

        uses: What else names each of these.

        own_uses: What names each of these and is meant itself.

        sizes: Raw bytes of each of these, as far as anything tells.

        doomed: Living segments that go, with their heads.

        leaving: Segments whose entries no file may hold afterwards.

        forks: Segments of other sessions that inherit of these.

        tags: Names of tags that go.
    """

    going: set[bytes] = attrs.Factory(set)
    kept: set[bytes] = attrs.Factory(set)
    gone: set[bytes] = attrs.Factory(set)
    silent: set[bytes] = attrs.Factory(set)
    uses: dict[bytes, list[Use]] = attrs.Factory(dict)
    own_uses: dict[bytes, list[Use]] = attrs.Factory(dict)
    sizes: dict[bytes, int] = attrs.Factory(dict)
    doomed: dict[bytes, Head] = attrs.Factory(dict)
    leaving: set[bytes] = attrs.Factory(set)
    forks: list[bytes] = attrs.Factory(list)
    tags: list[str] = attrs.Factory(list)

    @property
    def dead(self) -> set[bytes]:
        """All that no file may hold afterwards."""
        return self.going | self.silent


def scope_of(found: Survey, wish: Wish) -> Scope:
    """
    Return what *wish* comes to in the store *found*.

    Raises:
        NotFoundError: There is no such entry or session.

        NeededError: Others need what was meant, and the wish does not say that
            they shall lose it.
    """
    return _Finder(found, wish).run()


class _Name(NamedTuple):
    """What the entry *at* an index names; *size* where the reference says it."""

    at: int
    role: str
    digest: bytes
    size: int | None = None
    is_list: bool = False


class _Finder:
    """Makes one `Scope`."""

    def __init__(self, found: Survey, wish: Wish) -> None:
        self._found = found
        self._wish = wish
        self._scope = Scope()
        # What is meant: payloads by name, and entries by segment.
        self._payloads: set[bytes] = set()
        self._own: dict[bytes, Collection[int]] = {}
        self._chunks: dict[bytes, set[bytes]] = {}  # by list, of all its copies
        self._lists: dict[bytes, set[bytes]] = {}  # by chunk
        self._ref_lists = dict(found.records.blobs_of_kind(frame_format.REF_LIST))

    def run(self) -> Scope:
        """Return what the wish comes to."""
        scope = self._scope
        meant, ref_lists = self._meant()
        self._find_chunks()
        chunks = set().union(*(self._chunks.get(digest, ()) for digest in meant))
        asked = meant | chunks | ref_lists
        self._find_uses(asked)
        stored = self._find_stored(asked)
        scope.gone = meant - stored
        scope.going = {each for each in meant & stored if not self._is_needed(each)}
        self._keep_parts()
        scope.kept = (meant & stored) - scope.going
        scope.silent = {each for each in chunks if self._is_free(each)}
        scope.silent |= ref_lists - scope.uses.keys()
        scope.silent &= stored
        scope.tags = sorted(
            name
            for name, blob in self._found.log.tags.items()
            if blob.digest in scope.going
        )
        named = scope.kept & self._payloads
        if named or (scope.kept and not scope.going | scope.leaving):
            raise self._refusal(named or scope.kept)
        return scope

    # --- what is meant -------------------------------------------------------

    def _meant(self) -> tuple[set[bytes], set[bytes]]:
        """Return the blobs that are meant, and the ref lists of entries that go."""
        targets = self._wish.targets
        for target in targets:
            if target.kind == PAYLOAD:
                self._payloads.add(target.id)
            if target.kind == ENTRY:
                self._take_entry(target)
        sessions = {target.id for target in targets if target.kind == SESSION}
        if sessions:
            self._take_sessions(sessions)
        meant = set(self._payloads)
        ref_lists: set[bytes] = set()
        for segment, own in self._own.items():
            for run in self._found.runs.get(segment, ()):
                for name in self._names(Piece(run, run.first, run.stop)):
                    if name.at in own:
                        (ref_lists if name.is_list else meant).add(name.digest)
        # Entries that stay keep their lists: these are what proves them.
        return meant, ref_lists if self._scope.leaving else set()

    def _take_entry(self, target: Target) -> None:
        log = self._found.logs.get(target.id)
        while log is not None and target.at < log.fork_index and log.owner:
            log = self._found.logs.get(log.owner)  # it is inherited
        if log is None or log.hash_at(target.at) is None:
            raise NotFoundError(what=f"no entry {target} in this store")
        own = self._own.setdefault(log.segment, set())
        self._own[log.segment] = {*own, target.at}

    def _take_sessions(self, sessions: set[bytes]) -> None:
        found, scope = self._found, self._scope
        owners = {each: log.session for each, log in found.logs.items()}
        # What was deleted and no collection has taken away is of the session too.
        for segment, (_, head) in found.log.deleted.items():
            if segment in found.runs:
                owners[segment] = head.session
        missing = sessions - set(owners.values()) or sessions & {found.store}
        if missing:
            raise NotFoundError(what=f"no session {min(missing).hex()} in this store")
        taken = {segment for segment, each in owners.items() if each in sessions}
        heirs = self._heirs(taken)
        scope.forks = sorted(each for each in heirs if each in found.heads)
        if not self._wish.payloads_only:
            if scope.forks and not self._wish.with_forks:
                raise NeededError(
                    what=f"{len(scope.forks)} segments of other sessions inherit "
                    "entries of this one; erase them with it (with forks), or bodies "
                    "and payloads only (payloads only)",
                    by=tuple(map(segment_place, scope.forks)),
                )
            taken |= heirs
            taken |= self._left_over(taken)
            scope.leaving = taken
            heads = ((each, found.heads.get(each)) for each in sorted(taken))
            scope.doomed = {each: head for each, head in heads if head}
        self._own |= dict.fromkeys(taken, range(COUNT_MAX))

    def _heirs(self, taken: AbstractSet[bytes]) -> set[bytes]:
        """Return all other segments that inherit from one of *taken*."""
        heirs: set[bytes] = set()
        # A parent's fork index is lower than that of whoever inherits from it.
        for log in sorted(self._found.logs.values(), key=lambda log: log.fork_index):
            if log.segment not in taken and log.owner in taken | heirs:
                heirs.add(log.segment)
        return heirs

    def _left_over(self, taken: AbstractSet[bytes]) -> set[bytes]:
        """Return the deleted segments of which only *taken* still inherits."""
        logs = self._found.logs.values()
        children: dict[bytes, set[bytes]] = {}
        for log in logs:
            if log.owner is not None:
                children.setdefault(log.owner, set()).add(log.segment)
        left: set[bytes] = set()
        for log in sorted(logs, key=lambda log: -log.fork_index):
            heirs = children.get(log.segment, set())
            if heirs and not log.head and heirs <= taken | left:
                left.add(log.segment)
        return left - taken

    # --- who names it --------------------------------------------------------

    def _names(self, piece: Piece) -> Iterator[_Name]:
        """Yield what the entries of *piece* name; ref lists and what they hold."""
        run, start, stop = piece
        first, last = (start - run.first) * SIZE, (stop - run.first) * SIZE
        for at, digest in enumerate(digests_in(run.bodies[first:last]), start):
            yield _Name(at, BODY, digest)
        for want in run.wants:
            if not start <= want.entry < stop:
                continue
            if want.role is None:  # a body: it was told above, without its size
                self._scope.sizes[want.digest] = want.size
            elif not want.flags:
                yield _Name(want.entry, want.role, want.digest, want.size)
            else:
                yield _Name(want.entry, "list", want.digest, is_list=True)
                yield from self._listed(want.entry, want.digest)

    def _listed(self, at: int, digest: bytes) -> Iterator[_Name]:
        place = self._ref_lists.get(digest)
        if place is not None:
            for ref in decode_ref_list(self._found.reader.record(place).payload):
                yield _Name(at, ref.role, ref.blob.digest, ref.blob.size)

    def _find_uses(self, asked: AbstractSet[bytes]) -> None:
        """Find what names *asked*."""
        scope, store = self._scope, self._found.store
        for log in self._found.logs.values():
            own = self._own.get(log.segment, ())
            party = _LOG if log.segment == store else log.session.hex()
            names = itertools.chain.from_iterable(map(self._names, log.pieces))
            for name in names:
                if name.digest not in asked:
                    continue
                if name.size is not None:
                    scope.sizes[name.digest] = name.size
                if party == _LOG and name.role == TAG_ROLE:  # tags are taken below
                    continue
                use = Use(party, f"{log.where(name.at)} {name.role}")
                uses = scope.own_uses if name.at in own else scope.uses
                uses.setdefault(name.digest, []).append(use)
        for tag, blob in self._found.log.tags.items():
            if blob.digest in asked:
                use = Use(f"{_TAG} {tag}", f"tag:{tag}")
                scope.uses.setdefault(blob.digest, []).append(use)

    def _find_stored(self, asked: AbstractSet[bytes]) -> set[bytes]:
        """Return which of *asked* are there; note their sizes."""
        stored = set()
        for blobs in self._found.records.blobs:
            for at, digest in enumerate(blobs.names()):
                if digest in asked:
                    stored.add(digest)
                    self._scope.sizes[digest] = blobs.sizes[at]
        return stored

    def _find_chunks(self) -> None:
        """Find the chunks of each chunk list, of what nothing needs too."""
        found = self._found
        for digest, place in found.records.blobs_of_kind(frame_format.CHUNKED):
            record = found.reader.record(place)
            for chunk, _ in decode_chunks(record.payload, place.size).chunks:
                self._chunks.setdefault(digest, set()).add(chunk)
                self._lists.setdefault(chunk, set()).add(digest)

    # --- what stays ----------------------------------------------------------

    def _is_needed(self, digest: bytes) -> bool:
        """Whether somebody needs *digest* who shall not lose it."""
        parties = {use.party for use in self._scope.uses.get(digest, ())}
        if _LOG in parties:
            return True
        # A payload that one party names is that party's; entries name their own.
        allowed = 1 if digest in self._payloads else 0
        return len(parties) > allowed and not self._wish.shared

    def _keep_parts(self) -> None:
        """Keep what a blob that stays cannot be read without, whoever wishes."""
        scope = self._scope
        none: set[bytes] = set()
        while kept := {
            digest
            for digest in scope.going
            if not self._lists.get(digest, none) <= scope.going
        }:
            scope.going -= kept
            for digest in kept:
                for name in sorted(self._lists[digest] - scope.going):
                    use = Use(_BLOB, blob_place(name))
                    scope.uses.setdefault(digest, []).append(use)

    def _is_free(self, chunk: bytes) -> bool:
        """Whether *chunk* is nothing but a part of what goes."""
        scope = self._scope
        named = chunk in scope.uses or chunk in scope.own_uses or chunk in scope.going
        return not named and self._lists[chunk] <= scope.going

    def _refusal(self, kept: AbstractSet[bytes]) -> NeededError:
        uses = (self._scope.uses[digest] for digest in sorted(kept))
        places = [use.where for some in uses for use in some]
        listed = ", ".join(places[:_NAMED_COUNT])
        more = len(places) - _NAMED_COUNT
        listed += f" and {more} more" if more > 0 else ""
        what = f"it is needed elsewhere: {listed}; say shared if these shall lose it"
        return NeededError(what=what, by=tuple(places))
