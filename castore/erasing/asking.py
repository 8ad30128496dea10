"""
Asking for an erasure with what a store gives out.

Spec: spec/erasing.md.
"""

from __future__ import annotations

from collections.abc import Callable

from castore.erasing.erase import erase as erase_in
from castore.erasing.receipt import Receipt
from castore.erasing.scope import ENTRY, PAYLOAD, SESSION, Target, Wish
from castore.formats.entry import BlobRef
from castore.segment import Segment
from castore.session import Session
from castore.store import Store


def target_of(what: BlobRef | Session | tuple[Segment, int]) -> Target:
    """
    Return what is meant by a payload, a session, or an entry: segment and index.

    Raises:
        IndexError: There is no such entry.
    """
    if isinstance(what, BlobRef):
        return Target(PAYLOAD, what.digest)
    if isinstance(what, Session):
        return Target(SESSION, what.id)
    segment, index = what
    return Target(ENTRY, segment.id, segment.entry(index).index)


def erase(
    store: Store,
    *what: BlobRef | Session | tuple[Segment, int],
    reason: str,
    shared: bool = False,
    with_forks: bool = False,
    payloads_only: bool = False,
    dry_run: bool = False,
    timeout_s: float = 1.0,
    begun: Callable[[Receipt], None] | None = None,
) -> Receipt:
    """
    Remove payloads, and bodies of entries, for good.

    When this returns, no file of the store holds them; what is asked for them is
    answered with `GoneError`, and every proof that was given before still holds.
    Reads the whole store, and rewrites the files concerned.

    Args:
        store: Where.

        what: At least one thing: a payload; an entry, by segment and index: its
            body and its payloads; or a session: those of all its entries, and its
            segments.

        reason: Why. The store's log keeps it for good, so it names nobody.

        shared: What others need too goes as well; else it stays, and the receipt
            says who needs it. A payload that one session, or one tag, names is
            nobody else's.

        with_forks: Segments of other sessions that inherit entries of the session
            go too.

        payloads_only: The session's entries and segments stay, without bodies and
            payloads.

        dry_run: Change nothing, and say what would go.

        timeout_s: How long to wait for who maintains the store or writes files
            that have to go.

        begun: Given the receipt as far as it is known before anything counts, to
            be written down: `castore.erasing.finish` goes on from it.

    Raises:
        NotFoundError: There is nothing of it.

        NeededError: Others need it; nothing was changed.

        LockedError: A live process writes what has to go; nothing was changed. Or
            the erasure counts, and old files cannot be removed yet.

        ConflictError: Others kept writing what was to go; nothing was changed.
    """
    if not what:
        raise ValueError("nothing is named that should go")
    wish = Wish(tuple(map(target_of, what)), shared, with_forks, payloads_only)
    return erase_in(
        store.engine,
        wish,
        reason=reason,
        dry_run=dry_run,
        timeout_s=timeout_s,
        begun=begun or (lambda _: None),
    )
