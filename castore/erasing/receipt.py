"""
What is written down of an erasure: names and sizes, never contents.

Spec: spec/erasing.md, "The receipt".
"""

from __future__ import annotations

from typing import Any

import attrs

from castore.errors import FormatError


VERSION = 1
PLANNED, BEGUN, DONE = "planned", "begun", "done"

#: What no erasure reaches.
NOT_REACHED = (
    "copies of the store, backups, bundles, and what was restored or exported from it",
    "snapshots of the file system, and blocks that the medium keeps after a removal",
    "files that were imported: where a whole session went, an import takes it in again",
    "the memory of other processes; what they put again later is stored again",
    "removed files that a process still has open, until it closes them",
    "names: tags, keys of commits, kinds and roles stand in what proves the logs",
)


@attrs.frozen
class Erased:
    """
    One payload or body.

    Attributes:
        ref: Its name, ``blake3:`` and 64 hex digits.

        size: Raw bytes; None where nothing tells any more.

        used_by: What names it, not all where that is much: entries
            (``segment:ID[INDEX] ROLE``), tags, other blobs.

        used_count: How many do.
    """

    ref: str
    size: int | None
    used_by: tuple[str, ...]
    used_count: int


@attrs.frozen
class Receipt:
    """
    What an erasure did, or would do.

    Attributes:
        state: ``planned`` in a dry run; ``begun`` before it counts; ``done`` when
            nothing of it is left in the store.

        store: Store id, 32 hex digits.

        targets: What was asked for: each ``session:ID``, ``segment:ID[INDEX]`` or a
            payload's name.

        reason: As the store log says it.

        time_ms: When it began.

        log_count: Entries of the store log by then.

        entry: Index of the ``erased`` entry; None before it counts.

        seq: Its commit; None before that, or where a later run no longer knows.

        erased: What went.

        kept: What was meant and stays, since others need it.

        segments: Ids of the segments that were deleted.

        forks: Ids of segments of other sessions that inherit entries of these.

        untagged: Tags that went with their payloads.

        removed: Files that went: of the store, and from quarantine.

        not_reached: What castore cannot reach.
    """

    state: str
    store: str
    targets: tuple[str, ...]
    reason: str
    time_ms: int
    log_count: int
    entry: int | None = None
    seq: int | None = None
    erased: tuple[Erased, ...] = ()
    kept: tuple[Erased, ...] = ()
    segments: tuple[str, ...] = ()
    forks: tuple[str, ...] = ()
    untagged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    not_reached: tuple[str, ...] = NOT_REACHED

    def to_json(self) -> dict[str, object]:
        """Return the receipt as plain values; the order of keys is fixed."""
        return {"castore_receipt": VERSION, **attrs.asdict(self)}

    @classmethod
    def from_json(cls, value: Any) -> Receipt:
        """
        Return the receipt that *value*, from `to_json`, is.

        Raises:
            FormatError: It is none, or of another version.
        """
        if not isinstance(value, dict) or value.get("castore_receipt") != VERSION:
            raise FormatError(what="this is no receipt of an erasure")
        try:
            plain = {name: _frozen(item) for name, item in value.items()}
            del plain["castore_receipt"]
            for name in ("erased", "kept"):
                plain[name] = tuple(Erased(**item) for item in plain[name])
            return cls(**plain)
        except (TypeError, KeyError) as error:
            raise FormatError(what="this is no receipt of an erasure") from error


def _frozen(value: Any) -> Any:
    """Return *value* with tuples for lists."""
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
