"""
Session leases: who may commit, for how long, under which number.

Spec: spec/runtime.md, "Leases".
"""

from __future__ import annotations

import os
import socket

from pathlib import Path

import attrs

from castore.records.fields import TEXT, U64, Record, one, optional, required


_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@attrs.frozen(kw_only=True, repr=False)
class Process(Record):
    """
    A process, as those of its own machine can tell it from all others.

    Attributes:
        boot_id: Of the system's run in which it lives.

        start_time: In the system's own unit: process ids are used again.
    """

    host_id: str = required(TEXT)
    boot_id: str = required(TEXT)
    pid: int = required(U64)
    start_time: str = required(TEXT)

    @classmethod
    def this(cls) -> Process | None:
        """Return this process, None where the system does not tell enough."""
        started = start_time(os.getpid())
        try:
            boot_id = _BOOT_ID.read_text("ascii").strip()
        except OSError:
            return None
        if started is None:
            return None
        return cls(
            host_id=socket.gethostname(),
            boot_id=boot_id,
            pid=os.getpid(),
            start_time=started,
        )

    def is_provably_dead(self, observer: Process | None) -> bool:
        """
        Return whether it is certain that it is gone.

        Args:
            observer: Who asks. Of other hosts and boots nothing is certain.
        """
        if observer is None or self.host_id != observer.host_id:
            return False
        if self.boot_id != observer.boot_id:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        started = start_time(self.pid)
        return started is not None and started != self.start_time


def start_time(pid: int) -> str | None:
    """Return when the process *pid* began, None where that is not told."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The second field is a name in parentheses, which may hold anything.
    return facts.rpartition(")")[2].split()[19]


@attrs.frozen(kw_only=True, repr=False)
class LeaseOwner(Record):
    """
    Who wants to hold a lease.

    Attributes:
        owner_id: Stays over restarts.

        incarnation_id: New with each start.

        process: Lets others see that it is gone; None if it does not tell.
    """

    owner_id: str = required(TEXT)
    incarnation_id: str = required(TEXT)
    process: Process | None = optional(one(Process))

    def __str__(self) -> str:
        where = f" pid {self.process.pid}" if self.process is not None else ""
        return f"{self.owner_id} ({self.incarnation_id}{where})"


@attrs.frozen(kw_only=True, repr=False)
class SessionLease(Record):
    """
    A lease as it was granted or renewed.

    Attributes:
        token: Known to who holds it.

        fencing: Higher than that of every lease of the session before.

        expires_ms: By the store's clock, ms since 1970.
    """

    owner: LeaseOwner = required(one(LeaseOwner))
    token: str = required(TEXT)
    fencing: int = required(U64)
    expires_ms: int = required(U64)

    def is_live(self, now_ms: int) -> bool:
        """Return whether it has not expired."""
        return now_ms < self.expires_ms


@attrs.frozen
class LeaseTimings:
    """
    How long a lease holds, and how often its holder renews it.

    Raises:
        ValueError: A holder that misses two renewals would lose it.
    """

    ttl_ms: int = 30_000
    renew_ms: int = 10_000

    def __attrs_post_init__(self) -> None:
        if self.renew_ms < 1 or self.ttl_ms < 3 * self.renew_ms:
            raise ValueError("a lease holds three intervals of renewal or more")
