"""
Erasing: one commit, with which the payloads are neither named as there nor stored.

Stopped anywhere, either nothing was erased, or the erasure counts and the next
maintenance removes what is left.

Spec: spec/erasing.md.
"""

from __future__ import annotations

import contextlib
import time

from collections.abc import Callable, Iterator

import attrs

from castore import limits
from castore.catalog.rows import Catalog, Position
from castore.clock import now_ms
from castore.digest import format_digest
from castore.engine import Engine
from castore.engine.members import members, store_log
from castore.engine.putting import check_writable
from castore.engine.view import listed_frames
from castore.erasing.holders import files_with, inputs_of, void_files
from castore.erasing.receipt import BEGUN, DONE, PLANNED, Erased, Receipt
from castore.erasing.scope import Scope, Use, Wish, scope_of
from castore.erasing.settling import FILES, remove, settle, torn
from castore.errors import ConflictError, NotFoundError
from castore.formats import file as file_format
from castore.formats import storelog
from castore.formats.file import file_name
from castore.marking import names_since
from castore.packing.rewrite import (
    LEVEL,
    Input,
    Packing,
    close_journal,
    maintenance,
    remove_dropped,
    rewrite,
)
from castore.reading.image import commits, run_headers
from castore.reading.parts import processor_count
from castore.reading.survey import Progress, Survey, survey
from castore.writing import check_text


_TRIES = 3  # others may name what goes while it is looked for
_USES_COUNT = 100  # of one payload, in a receipt


def _tell_nobody(_: Receipt) -> None:
    """Write the receipt nowhere."""


def erase(
    engine: Engine,
    wish: Wish,
    *,
    reason: str,
    dry_run: bool = False,
    timeout_s: float = 1.0,
    level: int = LEVEL,
    begun: Callable[[Receipt], None] = _tell_nobody,
    progress: Progress | None = None,
) -> Receipt:
    """
    Remove payloads, and bodies of entries, for good.

    As `castore.erase`, which says more.

    Args:
        engine: The store.

        wish: What.

        reason: Why; the store log keeps it for good, so it names nobody.

        dry_run: Change nothing, and say what would go.

        timeout_s: How long to wait for other maintenance, and for processes that
            write files which have to go.

        level: Of zstd, for files that are rewritten.

        begun: Given the receipt as far as it is known, before anything counts;
            `finish` takes it up again where this is stopped. Perhaps more than
            once, if others commit meanwhile.

        progress: Told how many of how many bytes were read.

    Returns:
        What went, who still names it, and what castore cannot reach.

    Raises:
        NotFoundError: There is no such thing.

        NeededError: Others need it, and *wish* does not say that they shall lose
            it; nothing was changed.

        LockedError: A live process writes what has to be rewritten, or maintains
            the store; nothing was changed. Or, and it says so, the erasure counts
            and old files could not be removed yet.

        ConflictError: Others kept committing what was to go.

        CorruptionError: The store is damaged.
    """
    check_text(reason, "a reason", 0, limits.NAME_SIZE_MAX)
    run = _Run(engine, wish, reason, level, begun, progress)
    if dry_run:
        return run.planned()
    check_writable(engine)
    deadline = time.monotonic() + timeout_s
    with maintenance(engine, timeout_s):
        for _ in range(_TRIES - 1):
            remove_dropped(engine)
            with contextlib.suppress(ConflictError):
                return run.erased(deadline)
        remove_dropped(engine)
        return run.erased(deadline)


def finish(
    engine: Engine, receipt: Receipt, *, timeout_s: float = 1.0
) -> Receipt | None:
    """
    Go on with an erasure that was stopped; None if it does not count.

    Args:
        engine: The store.

        receipt: As *begun* was given it.

        timeout_s: How long to wait for other maintenance.

    Raises:
        LockedError: Somebody else maintains the store, or old files cannot be
            removed yet.
    """
    with maintenance(engine, timeout_s):
        digests = sorted(
            bytes.fromhex(each.ref.partition(":")[2]) for each in receipt.erased
        )
        body = storelog.erased(receipt.reason, digests)
        for index, kind, content in _notes(engine, receipt.log_count):
            if (kind, content) == (storelog.ERASED, body):
                names = [name for name in receipt.removed if name.startswith(FILES)]
                engine.upkeep.compact_catalog()
                settle(engine, names, time.monotonic() + timeout_s)
                seq = _seq_of(engine, index)
                return attrs.evolve(receipt, state=DONE, entry=index, seq=seq)
    return None


@attrs.frozen
class _Run:
    """What `erase` was asked for."""

    engine: Engine
    wish: Wish
    reason: str
    level: int
    begun: Callable[[Receipt], None]
    progress: Progress | None

    def planned(self) -> Receipt:
        """Return what would go."""
        scope = scope_of(self._survey(), self.wish)
        if scope.dead or scope.leaving:
            return self._receipt(scope, PLANNED)
        return self._before(scope)

    def erased(self, deadline: float) -> Receipt:
        """Erase, and wait until *deadline* for what can be waited for."""
        engine = self.engine
        with engine.state.locked():  # which takes in what a stop left
            position = engine.view.position
        found = self._survey()
        scope = scope_of(found, self.wish)
        if not (scope.dead or scope.leaving):
            return self._before(scope)
        inputs = self._inputs(found, scope, deadline)
        receipt = self._receipt(scope, BEGUN)
        names = [file_name(item.file.id) for item in inputs]
        others = torn(engine)
        receipt = attrs.evolve(receipt, removed=(*names, *others))
        self.begun(receipt)
        engine.pool.forget(scope.dead)
        remove(engine, others)
        done = self._rewrite(scope, inputs, position)
        if scope.doomed or scope.tags:
            engine.upkeep.compact_catalog()
        settle(engine, names, deadline)
        return attrs.evolve(receipt, state=DONE, entry=_newest(engine), seq=done.seq)

    def _survey(self) -> Survey:
        found = survey(
            self.engine.files,
            store=self.engine.store,
            progress=self.progress,
            jobs=processor_count(),
        )
        found.raise_faults()
        return found

    def _inputs(self, found: Survey, scope: Scope, deadline: float) -> list[Input]:
        engine = self.engine
        engine.leave_side()
        files = files_with(found, scope)
        if engine.view.position.journal in files:
            close_journal(engine)
        return inputs_of(engine, files | void_files(engine, scope), deadline)

    def _rewrite(
        self, scope: Scope, inputs: list[Input], position: Position
    ) -> Packing:
        notes = [(storelog.ERASED, storelog.erased(self.reason, scope.going))]
        notes += _deletions(self.engine, scope)
        notes += [(storelog.UNTAGGED, storelog.named(name)) for name in scope.tags]

        def guard(known: Catalog) -> None:
            _check_unchanged(self.engine, scope, position, known)

        return rewrite(
            self.engine,
            inputs,
            level=self.level,
            dead=scope.dead,
            deleting=scope.doomed,
            notes=notes,
            guard=guard,
        )

    # --- receipts ------------------------------------------------------------

    def _receipt(self, scope: Scope, state: str) -> Receipt:
        # Whoever inherits entries that stay keeps them, without payloads.
        row = self.engine.view.known.find_segment(self.engine.store)
        return Receipt(
            state=state,
            store=self.engine.store.hex(),
            targets=tuple(map(str, self.wish.targets)),
            reason=self.reason,
            time_ms=now_ms(),
            log_count=row.count if row else 0,
            erased=_listed(scope, scope.going),
            kept=_listed(scope, scope.kept),
            segments=tuple(segment.hex() for segment in scope.doomed),
            forks=tuple(segment.hex() for segment in scope.forks),
            untagged=tuple(scope.tags),
        )

    def _before(self, scope: Scope) -> Receipt:
        """
        Return the receipt of what was erased before.

        Raises:
            NotFoundError: It was not, and is not there.
        """
        absent = store_log(self.engine.view, self.engine.store).absent
        gone = {
            digest: absent[digest].number
            for digest in scope.gone
            if digest in absent and absent[digest].how == storelog.ERASED
        }
        if not gone:
            targets = ", ".join(map(str, self.wish.targets))
            what = f"nothing of {targets} is there, and nothing was erased"
            raise NotFoundError(what=what)
        receipt = self._receipt(scope, DONE)
        index = max(gone.values())
        return attrs.evolve(
            receipt,
            erased=_listed(scope, set(gone)),
            entry=index,
            seq=_seq_of(self.engine, index),
        )


def _listed(scope: Scope, digests: set[bytes]) -> tuple[Erased, ...]:
    found = []
    for digest in sorted(digests):
        # Entries that go name nothing any more; those of what stays are no reason.
        is_own = not scope.leaving and digest not in scope.kept
        own = scope.own_uses.get(digest, ()) if is_own else ()
        uses: list[Use] = [*scope.uses.get(digest, ()), *own]
        places = tuple(use.where for use in uses[:_USES_COUNT])
        size = scope.sizes.get(digest)
        found.append(Erased(format_digest(digest), size, places, len(uses)))
    return tuple(found)


# --- the commit --------------------------------------------------------------


def _deletions(engine: Engine, scope: Scope) -> Iterator[tuple[str, bytes]]:
    """Yield the entries that delete segments; keys only of sessions that stay."""
    known = engine.view.known
    for head in scope.doomed.values():
        session = known.find_session(head.session)
        rows = known.segments_of(head.session)
        stays = any(
            row.id not in scope.leaving and known.find_deleted(row.id) is None
            for row in rows
        )
        key = session.key if session is not None and stays else None
        yield storelog.DELETED, storelog.deleted(head, key)


def _check_unchanged(
    engine: Engine, scope: Scope, position: Position, known: Catalog
) -> None:
    """
    Refuse to erase what was committed to since it was looked at. Under the lock.

    Raises:
        ConflictError: Something names what goes, or builds on it.
    """
    dead = scope.dead
    for name in names_since(engine, position):
        if name in dead:
            raise _conflict("a payload was named while it was being erased", "blob")
    for segment, head in scope.doomed.items():
        row = known.find_segment(segment)
        if row is None or row.head != head.encode():
            raise _conflict("a segment moved on while it was being erased", "head")
        if any(child.id not in scope.leaving for child in known.children(segment)):
            raise _conflict("a segment was forked while it was being erased", "segment")


def _conflict(what: str, subject: str) -> ConflictError:
    return ConflictError(
        what=f"{what}; nothing was erased: stop who writes it, and try again",
        subject=subject,
        expected="unchanged",
        actual="committed to",
    )


# --- the store log -----------------------------------------------------------


def _notes(engine: Engine, start: int) -> Iterator[tuple[int, str, bytes]]:
    """Yield index, kind and body of the store log's entries from *start* on."""
    row = engine.refresh().known.find_segment(engine.store)
    if row is not None:
        for entry, body in engine.view.read_log(row, start, row.count):
            yield entry.index, entry.kind, body


def _newest(engine: Engine) -> int | None:
    """Return the index of the newest ``erased`` entry."""
    row = engine.refresh().known.find_segment(engine.store)
    if row is not None:
        for entry in engine.view.logs.entries_reversed(row, 0, row.count):
            if entry.kind == storelog.ERASED:
                return entry.index
    return None


def _seq_of(engine: Engine, index: int) -> int | None:
    """Return the commit of the store log's entry *index*, None once it is packed."""
    stops = members(engine.refresh(), engine.state.opened, engine.store)
    for file, stop in stops.items():
        opened = engine.state.opened.get(file)
        if opened.header.kind == file_format.JOURNAL:
            for frame in listed_frames(opened, stop):
                for run in run_headers(frame):
                    is_it = run.first <= index < run.first + run.count
                    if run.segment == engine.store and is_it:
                        return commits(frame)[0][0].seq
    return None
