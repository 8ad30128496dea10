"""
What a command's exit code says, and which error leads to which.

Names of error classes stand here as text, so that asking for help imports none.
"""

from __future__ import annotations

import enum
import os


class Exit(enum.IntEnum):
    """Exit codes; scripts may rely on them."""

    DONE = 0
    FINDINGS = 1
    USAGE = 2
    PARTIAL = 3
    REFUSED = 4
    FAILED = 5
    CONFLICT = 6
    NO_STORE = 10
    LOCKED = 11
    UNSUPPORTED = 12
    INTERRUPTED = 130


MEANINGS = {
    Exit.DONE: "done",
    Exit.FINDINGS: "done, and something was found to be wrong",
    Exit.USAGE: "the command line is wrong; nothing was done",
    Exit.PARTIAL: "done in part: some files could not be taken in",
    Exit.REFUSED: "refused for safety; nothing was done",
    Exit.FAILED: "failed: not there, damage, no space, or the medium failed",
    Exit.CONFLICT: "somebody else came first, or a name means several things",
    Exit.NO_STORE: "there is no store",
    Exit.LOCKED: "somebody else holds the lock; try later",
    Exit.UNSUPPORTED: "a newer format, or a platform that castore does not support",
    Exit.INTERRUPTED: "interrupted",
}

# A pipe that was closed on the other side: what a shell says of any command.
BROKEN_PIPE = 141

CODES = {
    "CastoreError": Exit.FAILED,
    "NotFoundError": Exit.FAILED,
    "GoneError": Exit.FAILED,
    "CorruptionError": Exit.FAILED,
    "LostError": Exit.REFUSED,
    "StorageError": Exit.FAILED,
    "ClosedError": Exit.FAILED,
    "ForkedStoreError": Exit.FAILED,
    "ConflictError": Exit.CONFLICT,
    "LockedError": Exit.LOCKED,
    "FormatError": Exit.USAGE,
    "UnsupportedError": Exit.UNSUPPORTED,
    "LimitError": Exit.REFUSED,
    "NeededError": Exit.REFUSED,
}
_NEWER = "unsupported version"  # verdict of a `CorruptionError` that is no damage


class CommandError(Exception):
    """
    A command cannot go on; nothing that castore's library has a class for.

    Attributes:
        code: The exit code.
    """

    def __init__(self, code: Exit, what: str) -> None:
        super().__init__(what)
        self.code = code


def code_of(error: BaseException) -> Exit | None:
    """Return the exit code for *error*, None if it is a bug."""
    if isinstance(error, CommandError):
        return error.code
    if getattr(error, "verdict", None) == _NEWER:
        return Exit.UNSUPPORTED
    for kind in type(error).__mro__:
        if kind.__module__ == "castore.errors" and kind.__name__ in CODES:
            return CODES[kind.__name__]
    if isinstance(error, UnicodeEncodeError):
        return Exit.USAGE  # an argument with bytes that are no UTF-8
    return Exit.FAILED if isinstance(error, OSError) else None


def text_of(error: BaseException) -> str:
    """Return what to say about *error*, in one line."""
    if isinstance(error, OSError) and error.strerror:
        name = os.fsdecode(error.filename) if error.filename is not None else ""
        return f"{name}: {error.strerror}" if name else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
