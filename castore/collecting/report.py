"""
What a collection did: kept, deleted, and what goes later and why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import attrs

from castore.engine import Engine
from castore.engine.members import members
from castore.marking import Marks


#: Why something that nothing needs stays for now; the keys of `Report.later`.
GRACE, HELD, PLAN = "grace", "held", "plan"
TIME, BYTES, ROOM = "time", "bytes", "room"
LATER = (GRACE, HELD, PLAN, TIME, BYTES, ROOM)


@attrs.frozen
class RoleCount:
    """References of one role: how many blobs they keep, how many went."""

    retained: int = 0
    deleted: int = 0


@attrs.frozen
class Later:
    """What goes another time for one reason: blobs, their raw bytes."""

    blob_count: int = 0
    raw_bytes: int = 0


@attrs.frozen
class Report:
    """
    What a collection did, or would do. Sizes in bytes, times in ms since 1970 UTC.

    Attributes:
        plan: Hash of what was due, in hex: what `collect` may be held to.

        root_count: Living segments, tags, and the store log.

        pin_count: Entries that are pinned.

        examined_blob_count: Blobs that were there, ref lists included.

        retained_blob_count: Blobs that something needs.

        retained_raw_bytes: Their raw size.

        retained_by: How many of these for which reason, each counted once, for the
            first that holds: ``payloads`` (of entries, or in their ref lists),
            ``tags``, ``lists`` (ref lists), ``chunks`` (of large blobs that are
            needed), ``bodies`` (of entries, start entries included).

        by_role: For each group of roles: blobs retained and deleted.

        deleted_blob_count: Blobs that went, or would go.

        deleted_raw_bytes: Their raw size.

        condemned_blob_count: Blobs that nothing needs and whose grace runs.

        resurrected_blob_count: Blobs that were condemned, or stood in the plan, and
            are needed again.

        held_blob_count: Garbage in side packs that a live process has open.

        missing_blob_count: References that lead nowhere and are explained, those
            included that were accepted.

        accepted_blob_count: Of these, what was accepted as lost by this run.

        later: What nothing needs and stays for now, by reason: ``grace`` (it runs),
            ``held`` (a live process has the file), ``plan`` (not in it), ``time``,
            ``bytes`` (bounds of the run), ``room`` (none to rewrite files).

        next_ms: When the next condemned blob may go, None if none waits. What waits
            for another reason may go with the next run.

        files_kept: Files that stay as they were.

        files_rewritten: Files of which something was written anew.

        files_dropped: Files that went as a whole.

        files_written: Packs that came.

        rewritten_bytes: Size of these packs.

        stored_bytes: Size of the store's files now.

        freed_bytes: By how much they shrank.

        dry_run: Whether nothing was changed.
    """

    plan: str
    root_count: int
    pin_count: int
    examined_blob_count: int
    retained_blob_count: int
    retained_raw_bytes: int
    retained_by: dict[str, int]
    by_role: dict[str, RoleCount]
    deleted_blob_count: int
    deleted_raw_bytes: int
    condemned_blob_count: int
    resurrected_blob_count: int
    held_blob_count: int
    missing_blob_count: int
    accepted_blob_count: int
    later: dict[str, Later]
    next_ms: int | None
    files_kept: int
    files_rewritten: int
    files_dropped: int
    files_written: int
    rewritten_bytes: int
    stored_bytes: int
    freed_bytes: int
    dry_run: bool


@attrs.define
class Work:
    """
    What a run found and did.

    Attributes:
        plan: Hash of what was due.

        condemned: Names of what waits for its grace, and since when.

        deleted: Names of what went, or would go.

        later: Names of what does not go yet, by reason.

        accepted_count: Names that were accepted as lost.

        resurrected_count: Names that came alive again.

        rewritten: Files of which something was written anew.

        dropped: Files that went as a whole.

        written: Packs that came.

        written_size: Their bytes.

        freed: By how much the files shrank, in bytes.
    """

    plan: bytes = b""
    condemned: dict[bytes, int] = attrs.Factory(dict)
    deleted: set[bytes] = attrs.Factory(set)
    later: dict[str, set[bytes]] = attrs.Factory(dict)
    accepted_count: int = 0
    resurrected_count: int = 0
    rewritten: int = 0
    dropped: int = 0
    written: int = 0
    written_size: int = 0
    freed: int = 0

    def leave(self, reason: str, names: Iterable[bytes]) -> None:
        """Note that *names* go later."""
        self.later.setdefault(reason, set()).update(names)


def report_of(
    engine: Engine, marks: Marks, work: Work, *, grace_s: float, dry_run: bool
) -> Report:
    """Return what is to be said of a run."""
    times = [work.condemned[name] for name in work.later[GRACE]]
    files = members(engine.refresh(), engine.state.opened, engine.store)
    gone = work.deleted.intersection(marks.dead)
    return Report(
        plan=work.plan.hex(),
        root_count=marks.root_count,
        pin_count=len(marks.policy.pins),
        examined_blob_count=marks.live_count + len(marks.dead),
        retained_blob_count=marks.live_count,
        retained_raw_bytes=marks.raw_size,
        retained_by=dict(marks.reasons),
        by_role=_by_role(marks, gone),
        deleted_blob_count=len(gone),
        deleted_raw_bytes=sum(marks.dead[name].size for name in gone),
        condemned_blob_count=len(times),
        resurrected_blob_count=work.resurrected_count,
        held_blob_count=len(work.later[HELD]),
        missing_blob_count=len(marks.explained),
        accepted_blob_count=work.accepted_count,
        later=_later_of(marks, work.later),
        next_ms=min(times) + int(grace_s * 1000) if times else None,
        files_kept=len(files) - work.written,
        files_rewritten=work.rewritten,
        files_dropped=work.dropped,
        files_written=work.written,
        rewritten_bytes=work.written_size,
        stored_bytes=sum(files.values()),
        freed_bytes=work.freed,
        dry_run=dry_run,
    )


def _by_role(marks: Marks, gone: set[bytes]) -> dict[str, RoleCount]:
    """Return for each group of roles what it keeps and what of it is *gone*."""
    return {
        group: RoleCount(found.retained_count, len(found.dead & gone))
        for group, found in sorted(marks.by_group.items())
    }


def _later_of(
    marks: Marks, waiting: Mapping[str, Collection[bytes]]
) -> dict[str, Later]:
    """Return for each reason how much waits for it; all reasons are there."""
    found = dict.fromkeys(LATER, Later())
    for reason, names in waiting.items():
        sizes = [marks.dead[name].size for name in names]
        found[reason] = Later(len(sizes), sum(sizes))
    return found
