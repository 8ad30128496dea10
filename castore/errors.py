"""
What can go wrong, named for what the caller can do about it.

Every error that castore raises on purpose is a `CastoreError`; a wrong argument
is the built-in `TypeError` or `ValueError`. Facts stand in fields and the text
is made from them. No error ever holds or prints payload bytes.

Spec: spec/conventions.md, "Errors".
"""

from __future__ import annotations

from typing import Any

import attrs


@attrs.define
class CastoreError(Exception):
    """
    Base of all errors of this package.

    Attributes:
        what: One sentence: what is wrong, where, and what to do.
    """

    what: str

    def __str__(self) -> str:
        return self.what

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own pickling would call the class with `args`, which attrs
        # leaves empty; errors cross process borders in pools.
        return (_rebuild, (type(self), attrs.asdict(self, recurse=False)))


def _rebuild(kind: type[CastoreError], facts: dict[str, Any]) -> CastoreError:
    return kind(**facts)


@attrs.define
class NotFoundError(CastoreError):
    """
    There is no such blob, segment, session, tag or key, and never was one that
    the store still explains. Treat it as absent.
    """


@attrs.define
class GoneError(CastoreError):
    """
    It was here and went on purpose.

    Attributes:
        how: ``erased``, ``collected``, ``deleted``, ``withheld`` or ``lost``.

        entry: Index of the store-log entry that says so.
    """

    how: str
    entry: int


@attrs.define
class CorruptionError(CastoreError):
    """
    Bytes do not match their digest, root or frame: stop using them, run
    ``castore verify``, restore from a copy.

    Attributes:
        verdict: One of the closed set of spec/verdicts.md.

        where: File, offset, blob or entry; as exact as is known.
    """

    verdict: str
    where: str

    def __str__(self) -> str:
        return f"{self.verdict}: {self.where}: {self.what}"


@attrs.define
class LostError(CastoreError):
    """
    A reference that nothing explains leads nowhere: a fault of the store.

    Attributes:
        names: What is lost, in the form ``blake3:...``, as far as it is known.
    """

    names: tuple[str, ...]


@attrs.define
class ConflictError(CastoreError):
    """
    Something else came first. Nothing of the failed call was stored. Read
    again and retry, or fork.

    Attributes:
        subject: What both wanted: ``head``, ``key``, ``session``, ``segment``,
            ``blob``, ``file``, ``binding``, ``lease``, ``node`` or ``plan``.

        expected: What the caller took for granted.

        actual: What is there.
    """

    subject: str
    expected: object
    actual: object

    def __str__(self) -> str:
        facts = f"expected {self.expected}, found {self.actual}"
        return f"{self.what} ({self.subject}: {facts})"


@attrs.define
class NeededError(CastoreError):
    """
    What was to go is needed by others too. Nothing was changed; leave it, or say
    that they shall lose it.

    Attributes:
        by: What needs it, some of that.
    """

    by: tuple[str, ...]


@attrs.define
class LockedError(CastoreError):
    """
    Somebody else holds the lock and did not let go in time. Try again later.

    Attributes:
        holder: Process, host, command and start time as its holder wrote them;
            empty where unknown.
    """

    holder: str


@attrs.define
class FormatError(CastoreError):
    """
    Bytes given by the caller are not of the stated form.
    """


@attrs.define
class UnsupportedError(CastoreError):
    """
    A format version, feature, platform or file system that this version of
    castore does not know or refuses. Upgrade, or move the store.
    """


@attrs.define
class LimitError(CastoreError):
    """
    A bound of `limits` or of the store would be passed. Nothing was stored.

    Attributes:
        limit: The bound, in the unit that the text names.
    """

    limit: int


@attrs.define
class StorageError(CastoreError):
    """
    The medium failed.

    Attributes:
        errno: The system's error number, 0 where there is none.

        transient: Whether the same call may work later (no space, interrupted).
    """

    errno: int
    transient: bool


@attrs.define
class ClosedError(CastoreError):
    """
    Used after `close`, or after a failed sync, which poisons a handle. Open
    the store again.
    """


@attrs.define
class ForkedStoreError(ClosedError):
    """
    Used in a child process of the one that opened it. Open it in the child.
    """
