"""
Claiming, renewing, giving up and taking over the lease of a session.

A grant is an entry of the session's log, so that who commits and who claims
compare and set the same head; a renewal stands in the catalog alone, and is
forgotten with it.

Spec: spec/runtime.md, "Leases".
"""

from __future__ import annotations

import threading
import uuid

from collections.abc import Callable

import attrs

from castore.codec import decode_record, encode_record
from castore.errors import ConflictError, LockedError
from castore.runtime.bodies import LEASE, LeaseBody
from castore.runtime.fold import Fold
from castore.runtime.lease import LeaseOwner, LeaseTimings, SessionLease
from castore.runtime.log import Made, RuntimeLog


class Leases:
    """The lease of one session: at most one is live."""

    def __init__(
        self,
        log: RuntimeLog,
        guard: threading.RLock,
        clock: Callable[[], int],
        *,
        require_lease: bool,
    ) -> None:
        self._log = log
        self._guard = guard
        self._clock = clock
        self._is_required = require_lease

    def current(self) -> SessionLease | None:
        """Return the live lease, None if there is none."""
        with self._guard:
            return self._live(self._log.refresh())

    def claim(
        self, owner: LeaseOwner, ttl_ms: int = LeaseTimings().ttl_ms
    ) -> SessionLease:
        """
        Take the lease for *ttl_ms*, or go on with the one that *owner* holds.

        Raises:
            LockedError: Somebody else holds it, or an earlier start of *owner*.
        """

        def decide(fold: Fold) -> tuple[Made | None, SessionLease]:
            live = self._live(fold)
            if live is None:
                return self._grant(fold, owner, ttl_ms, "granted")
            if _who(live.owner) != _who(owner):
                raise _busy(live)
            return None, self._extend(live, self._clock() + ttl_ms)

        with self._guard:
            return self._log.change(decide)

    def renew(
        self, lease: SessionLease, ttl_ms: int = LeaseTimings().ttl_ms
    ) -> SessionLease:
        """
        Hold *lease* for *ttl_ms* from now.

        Raises:
            ConflictError: ``lease``: it has expired, or is somebody else's.
        """
        with self._guard:
            self._check_held(self._log.refresh(), lease)
            renewed = self._extend(lease, self._clock() + ttl_ms)
            # Whoever claimed meanwhile has a higher number.
            self._check_held(self._log.refresh(), renewed)
            return renewed

    def release(self, lease: SessionLease) -> bool:
        """Give *lease* up; nothing happens if it is not held any more."""

        def decide(fold: Fold) -> tuple[Made | None, bool]:
            held = fold.lease is not None and fold.lease.token == lease.token
            body = LeaseBody(change="released", lease=lease)
            return Made(LEASE, body) if held else None, held

        with self._guard:
            return self._log.change(decide)

    def take_over(
        self,
        observed: SessionLease,
        owner: LeaseOwner,
        ttl_ms: int = LeaseTimings().ttl_ms,
    ) -> SessionLease:
        """
        Take the lease from a holder that is gone, before it expires.

        Args:
            observed: The lease as `current` returned it.

            owner: Who takes it.

            ttl_ms: For how long.

        Raises:
            LockedError: It is not certain that the holder is gone, or somebody
                else took the lease meanwhile.
        """

        def decide(fold: Fold) -> tuple[Made | None, SessionLease]:
            live = self._live(fold)
            if live is not None:
                process = live.owner.process
                dead = process is not None and process.is_provably_dead(owner.process)
                if live.token != observed.token or not dead:
                    raise _busy(live)
            return self._grant(fold, owner, ttl_ms, "taken")

        with self._guard:
            return self._log.change(decide)

    def check(self, fold: Fold, lease: SessionLease | None) -> None:
        """
        Refuse a commit under *lease* that is not held, or without the one that is.

        Raises:
            ConflictError: ``lease``.
        """
        if lease is not None:
            self._check_held(fold, lease)
        elif self._is_required or self._live(fold) is not None:
            raise _expired("a commit without a lease", fold)

    # --- how it is kept ------------------------------------------------------

    def _live(self, fold: Fold) -> SessionLease | None:
        """Return the lease with its renewals, None if none is live."""
        if fold.lease is None:
            return None
        expires = max(fold.lease.expires_ms, self._renewed(fold.lease))
        lease = attrs.evolve(fold.lease, expires_ms=expires)
        return lease if lease.is_live(self._clock()) else None

    def _check_held(self, fold: Fold, lease: SessionLease) -> None:
        live = self._live(fold)
        if live is None or live.token != lease.token:
            raise _expired("the lease has expired, or is somebody else's", fold)

    def _grant(
        self, fold: Fold, owner: LeaseOwner, ttl_ms: int, change: str
    ) -> tuple[Made, SessionLease]:
        lease = SessionLease(
            owner=owner,
            token=uuid.uuid4().hex,
            fencing=fold.fencing + 1,
            expires_ms=self._clock() + ttl_ms,
        )
        return Made(LEASE, LeaseBody(change=change, lease=lease)), lease

    def _name(self) -> bytes:
        """Return under which name the catalog keeps the newest renewal."""
        return b"lease " + (self._log.segment.id if self._log.segment else b"")

    def _renewed(self, lease: SessionLease) -> int:
        """Return until when *lease* was renewed, 0 if it never was."""
        kept = self._log.store.engine.upkeep.remembered(self._name())
        if kept is None:
            return 0
        fencing, until = decode_record(kept, size_max=32)
        return int(until) if fencing == lease.fencing else 0

    def _extend(self, lease: SessionLease, until_ms: int) -> SessionLease:
        if until_ms <= lease.expires_ms:
            return lease
        kept = {self._name(): encode_record([lease.fencing, until_ms])}
        self._log.store.engine.upkeep.remember(kept)
        return attrs.evolve(lease, expires_ms=until_ms)


def _who(owner: LeaseOwner) -> tuple[str, str]:
    return owner.owner_id, owner.incarnation_id


def _busy(lease: SessionLease) -> LockedError:
    return LockedError(what="the session is leased", holder=str(lease.owner))


def _expired(what: str, fold: Fold) -> ConflictError:
    actual = fold.lease.fencing if fold.lease is not None else "none"
    return ConflictError(
        what=what, subject="lease", expected="a live lease", actual=actual
    )
