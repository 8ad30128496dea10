"""
What may go, as a value: a hash of the names, by which a later run is held to them.

The names themselves stand in the catalog only, those of the newest plan: a run that
does not find them there, and does not come to the same by itself, refuses.
"""

from __future__ import annotations

from collections.abc import Collection

from castore.digest import SIZE, in_context
from castore.engine import Engine
from castore.errors import ConflictError


_KEY = b"gc plan"


def plan_hash(due: Collection[bytes]) -> bytes:
    """Return the 32-byte hash of a plan: of the names in order, context *plan*."""
    return in_context["plan"](*sorted(due))


def remember_plan(engine: Engine, due: Collection[bytes]) -> None:
    """Keep the names of a plan in the catalog, instead of those of the one before."""
    engine.upkeep.remember({_KEY: b"".join(sorted(due))})


def recall_plan(engine: Engine, plan: bytes, due: set[bytes]) -> set[bytes]:
    """
    Return the names of *plan*.

    Args:
        engine: The store.

        plan: Its hash.

        due: What is due now: the plan, if nothing has changed.

    Raises:
        ConflictError: It is not known, or not any more.
    """
    if plan_hash(due) == plan:
        return due
    data = engine.upkeep.remembered(_KEY) or b""
    names = {data[at : at + SIZE] for at in range(0, len(data), SIZE)}
    if plan_hash(names) != plan:
        raise ConflictError(
            what="the plan is not known any more, so nothing was deleted; make "
            "another with castore gc --dry-run",
            subject="plan",
            expected=plan.hex(),
            actual=plan_hash(names).hex(),
        )
    return names


def check_plan(names: set[bytes], due: set[bytes], dead: Collection[bytes]) -> None:
    """
    Refuse a plan that differs from what is *due* by more than what came alive.

    What of it is gone already, of an earlier run that was stopped, is fine.

    Raises:
        ConflictError: Some of *names* are *dead* still, but may not go now.
    """
    stuck = (names - due).intersection(dead)
    if stuck:
        raise ConflictError(
            what=f"{len(stuck)} blobs of the plan are not due any more, so nothing "
            "was deleted; make another with castore gc --dry-run",
            subject="plan",
            expected=f"{len(names)} due",
            actual=f"{len(names & due)} due",
        )
