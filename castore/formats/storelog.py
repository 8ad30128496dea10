"""
What the store writes about itself, and its fold.

Spec: spec/storelog.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from castore import limits
from castore.codec import decode_object, encode_object
from castore.errors import CorruptionError, FormatError
from castore.formats.entry import BlobRef, Reference, parse_key
from castore.formats.head import Head, parse_head
from castore.formats.refuse import is_bytes, is_count, is_text, need, record, refusal
from castore.formats.seal import Recovery, Seal
from castore.formats.taken import check_imported


PACKS, TAGGED, UNTAGGED = "packs", "tagged", "untagged"
DELETED, INSTANCE = "deleted", "instance"
COLLECTED, ERASED, LOST = "collected", "erased", "lost"
IMPORTED, WITHHELD = "imported", "withheld"
POLICY, PINNED, UNPINNED = "policy", "pinned", "unpinned"
SEALED, RECOVERED = "sealed", "recovered"
TAG_ROLE = "tag"
ALL = (1 << 63) - 1  # of the newest so many: no log has as many


@attrs.frozen
class Listing:
    """A file that the store log lists: sizes in bytes, hash of its last frame."""

    file: bytes
    kind: int
    size: int
    frame: bytes


@attrs.frozen
class Absence:
    """
    Why a blob is not there.

    Attributes:
        how: Kind of the entry that says so: ``collected``, ``erased``, ``lost`` or
            ``withheld``.

        number: Of the GC run for ``collected``, else index of that entry.
    """

    how: str
    number: int

    @property
    def verdict(self) -> str:
        """What a checker says of the blob."""
        return _VERDICTS[self.how].format(self.number)


_VERDICTS = {
    COLLECTED: "collected by run {}",
    ERASED: "erased by entry {}",
    LOST: "lost, accepted by entry {}",
    WITHHELD: "withheld by bundle {}",
}


@attrs.frozen
class Rule:
    """
    What is kept of one group of references; the newest rule for the same counts.

    Attributes:
        session: Of which session; None for all that have no rule of their own.

        group: Of which group of roles; None for the bodies of entries.

        newest: Of the newest so many entries of a log that have some; None for none.

        days: Of entries of the last so many days; None for none. Where both are
            None, it takes the rule away that was there.
    """

    session: bytes | None
    group: str | None
    newest: int | None
    days: int | None


def started(created_by: str) -> bytes:
    """Return the body of the store log's start entry."""
    return encode_object({"created_by": created_by})


def packs(add: Iterable[Listing], drop: Iterable[bytes]) -> bytes:
    """Return the body of a ``packs`` entry."""
    listed = [[item.file, item.kind, item.size, item.frame] for item in add]
    return encode_object({"add": listed, "drop": sorted(drop)})


def named(name: str) -> bytes:
    """Return the body of a ``tagged`` or ``untagged`` entry."""
    return encode_object({"name": name})


def deleted(head: Head, key: tuple[str, str] | None) -> bytes:
    """
    Return the body of a ``deleted`` entry.

    Args:
        head: The segment's final head.

        key: The session's key, which may stand in that segment's start entry
            only and must live as long as the session.
    """
    ids = {"segment": head.segment, "session": head.session}
    named = list(key) if key else None
    return encode_object({**ids, "head": head.encode(), "key": named})


def collected(run: int, blobs: Iterable[bytes]) -> bytes:
    """Return the body of a ``collected`` entry."""
    return encode_object({"run": run, "blobs": sorted(blobs)})


def erased(reason: str, blobs: Iterable[bytes]) -> bytes:
    """Return the body of an ``erased`` or a ``lost`` entry."""
    return encode_object({"reason": reason, "blobs": sorted(blobs)})


def policy(rule: Rule) -> bytes:
    """Return the body of a ``policy`` entry."""
    return encode_object(attrs.asdict(rule))


def pinned(segment: bytes, index: int) -> bytes:
    """Return the body of a ``pinned`` or ``unpinned`` entry."""
    return encode_object({"segment": segment, "index": index})


def instance(value: bytes) -> bytes:
    """Return the body of an ``instance`` entry."""
    return encode_object({"instance": value})


def is_known(kind: str) -> bool:
    """Return whether this version says what entries of *kind* mean."""
    return kind in _FOLDS


@attrs.define
class StoreLog:
    """
    The fold of a store log.

    Attributes:
        store: Store id.

        listed: Files listed and not dropped since, by id.

        dropped: Ids of all files ever dropped.

        tags: Payloads that are roots, by name.

        untagged: Names whose newest entry takes the tag away.

        deleted: For each deleted segment: index of the entry and final head.

        keys: For each session with a deleted segment and a key: that.

        absent: For each blob that went, or was given up, why; the newest entry.

        rules: What GC keeps, by session and group.

        pins: Entries whose body and payloads stay, by segment and index.

        seals: What each ``sealed`` entry covers, by index.

        recovered: Notes that the store does not extend, by index of the entry.

        instance: Of the copy that wrote last; empty for the store as it was made.

        unknown: Indices of entries whose kind this reader does not know.
    """

    store: bytes
    listed: dict[bytes, Listing] = attrs.Factory(dict)
    dropped: set[bytes] = attrs.Factory(set)
    tags: dict[str, BlobRef] = attrs.Factory(dict)
    untagged: set[str] = attrs.Factory(set)
    deleted: dict[bytes, tuple[int, Head]] = attrs.Factory(dict)
    keys: dict[bytes, tuple[str, str]] = attrs.Factory(dict)
    absent: dict[bytes, Absence] = attrs.Factory(dict)
    rules: dict[tuple[bytes | None, str | None], Rule] = attrs.Factory(dict)
    pins: set[tuple[bytes, int]] = attrs.Factory(set)
    seals: dict[int, Seal] = attrs.Factory(dict)
    recovered: dict[int, Recovery] = attrs.Factory(dict)
    instance: bytes = b""
    unknown: list[int] = attrs.Factory(list)

    def apply(
        self, index: int, kind: str, body: bytes, refs: tuple[Reference, ...]
    ) -> None:
        """
        Fold one entry in, or nothing of it if it is refused.

        Args:
            index: Of the entry.

            kind: Of the entry.

            body: Its content.

            refs: Its references.

        Raises:
            CorruptionError: ``malformed record``: a body of another shape.
        """
        fold = _FOLDS.get(kind)
        if fold is None:
            self.unknown.append(index)
            return
        try:
            value = decode_object(body)
        except FormatError as error:
            raise refusal(f"store log, {kind}: {error.what}") from error
        keys, step = fold
        shape = isinstance(value, dict) and tuple(value) == keys
        need(shape, f"store log, {kind}: keys")
        step(self, index, value, refs)


_Value = dict[str, Any]
_Refs = tuple[Reference, ...]


def _fold_start(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    need(type(value["created_by"]) is str, "store log, start: created_by")


def _fold_packs(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    add, drop = value["add"], value["drop"]
    need(isinstance(add, list) and isinstance(drop, list), "store log, packs: lists")
    listings = [_listing(item) for item in add]
    need(all(is_bytes(file, 16) for file in drop), "store log, packs: drop")
    log.dropped.update(drop)
    log.listed.update((listing.file, listing) for listing in listings)
    for file in log.dropped & log.listed.keys():
        del log.listed[file]


def _listing(item: Any) -> Listing:
    need(isinstance(item, list) and len(item) == 4, "store log, packs: add")
    file, kind, size, frame = item
    need(is_bytes(file, 16) and is_count(kind, start=2, stop=4), "packs: add")
    need(is_count(size) and is_bytes(frame, 32), "packs: add")
    return Listing(file, kind, size, frame)


def _name(value: _Value) -> str:
    name: str = value["name"]
    need(is_text(name, size_min=1, size_max=limits.NAME_SIZE_MAX), "tag name")
    return name


def _fold_tagged(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    need(len(refs) == 1 and refs[0].role == TAG_ROLE, "store log, tagged: refs")
    name = _name(value)
    log.tags[name] = refs[0].blob
    log.untagged.discard(name)


def _fold_untagged(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    name = _name(value)
    log.tags.pop(name, None)
    log.untagged.add(name)


def _fold_deleted(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    need(type(value["head"]) is bytes, "store log, deleted: head")
    try:
        head = parse_head(record(value["head"], 1024, "final head"), log.store)
    except CorruptionError as error:
        raise refusal(f"store log, deleted: {error.what}") from error
    need(head.segment != log.store, "store log, deleted: the store log itself")
    same = (head.segment, head.session) == (value["segment"], value["session"])
    need(same, "store log, deleted: ids")
    key = parse_key(value["key"])
    log.deleted[head.segment] = (index, head)
    if key is not None:
        log.keys[head.session] = key


def _fold_collected(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    run = value["run"]
    need(type(run) is int, "store log, collected: run")
    _add_absent(log, value, Absence(COLLECTED, run))


def _fold_erased(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    _check_reason(value)
    _add_absent(log, value, Absence(ERASED, index))


def _fold_lost(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    _check_reason(value)
    _add_absent(log, value, Absence(LOST, index))


def _fold_imported(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    check_imported(value)


def _fold_withheld(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    need(is_bytes(value["bundle"], 16), "store log, withheld: bundle")
    _add_absent(log, value, Absence(WITHHELD, index))


def _check_reason(value: _Value) -> None:
    reason = value["reason"]
    right = is_text(reason, size_min=0, size_max=limits.NAME_SIZE_MAX)
    need(right, "store log: reason")


def _add_absent(log: StoreLog, value: _Value, absence: Absence) -> None:
    blobs = value["blobs"]
    need(isinstance(blobs, list), "store log: blobs")
    need(all(is_bytes(blob, 32) for blob in blobs), "store log: blobs")
    log.absent.update(dict.fromkeys(blobs, absence))


def _fold_policy(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    rule = Rule(**value)
    need(rule.session is None or is_bytes(rule.session, 16), "policy: session")
    group = rule.group
    known = group is None or is_text(group, size_min=0, size_max=limits.ROLE_SIZE_MAX)
    need(known, "store log, policy: group")
    for count in (rule.newest, rule.days):
        need(count is None or is_count(count), "store log, policy: newest, days")
    if rule.newest is None and rule.days is None:
        log.rules.pop((rule.session, group), None)
    else:
        log.rules[rule.session, group] = rule


def _fold_pinned(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    log.pins.add(_pin(value))


def _fold_unpinned(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    log.pins.discard(_pin(value))


def _pin(value: _Value) -> tuple[bytes, int]:
    segment, index = value["segment"], value["index"]
    need(is_bytes(segment, 16) and is_count(index), "store log, pinned")
    return segment, index


def _fold_instance(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    need(is_bytes(value["instance"], 16), "store log, instance")
    log.instance = value["instance"]


def _fold_sealed(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    log.seals[index] = Seal.parse(value, refs)


def _fold_recovered(log: StoreLog, index: int, value: _Value, refs: _Refs) -> None:
    log.recovered[index] = Recovery.parse(value)


_FOLDS = {
    "start": (("created_by",), _fold_start),
    PACKS: (("add", "drop"), _fold_packs),
    TAGGED: (("name",), _fold_tagged),
    UNTAGGED: (("name",), _fold_untagged),
    DELETED: (("segment", "session", "head", "key"), _fold_deleted),
    COLLECTED: (("run", "blobs"), _fold_collected),
    ERASED: (("reason", "blobs"), _fold_erased),
    LOST: (("reason", "blobs"), _fold_lost),
    IMPORTED: (("bundle", "store", "segments"), _fold_imported),
    WITHHELD: (("bundle", "blobs"), _fold_withheld),
    POLICY: (("session", "group", "newest", "days"), _fold_policy),
    PINNED: (("segment", "index"), _fold_pinned),
    UNPINNED: (("segment", "index"), _fold_unpinned),
    INSTANCE: (("instance",), _fold_instance),
    SEALED: (("heads", "count"), _fold_sealed),
    RECOVERED: (("count", "root"), _fold_recovered),
}
