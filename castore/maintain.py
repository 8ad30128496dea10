"""
All that a store needs from time to time, in one run: pack, collect, check.
"""

from __future__ import annotations

import time

import attrs

from castore import limits
from castore.clock import now_ms
from castore.engine import Engine
from castore.errors import CastoreError, LockedError
from castore.gc import Bounds, Progress, collect
from castore.gc import Report as Collection
from castore.packing import Packing, pack
from castore.packing.rewrite import LEVEL
from castore.sweeping import Sweep, sweep


VERIFY_SHARE = 7  # runs in which all is checked

_PACK_PART = 0.5  # of the duration; what is left over is left to the others


@attrs.define
class Upkeep:
    """
    What a run did. A part that failed does not keep the others from their work.

    Attributes:
        packing: Of the part ``pack``, None if it failed.

        collection: Of ``gc``, None if it failed or there was no time.

        sweep: Of ``verify``, None likewise.

        errors: Why a part failed, by its name.

        skipped: Parts for which there was no time.
    """

    packing: Packing | None = None
    collection: Collection | None = None
    sweep: Sweep | None = None
    errors: dict[str, CastoreError] = attrs.Factory(dict)
    skipped: list[str] = attrs.Factory(list)


def maintain(
    engine: Engine,
    *,
    progress: Progress,
    grace_s: float = limits.GRACE_S,
    keep_checkpoints: int | None = None,
    yes: bool = False,
    level: int = LEVEL,
    max_duration_s: float | None = None,
    max_rewrite_bytes: int | None = None,
    share: int = VERIFY_SHARE,
) -> Upkeep:
    """
    Pack what is new, remove what nothing needs, check a share of the files.

    Args:
        engine: The store.

        progress: Told at each step.

        grace_s: As of `castore.gc.collect`, like the next two.

        keep_checkpoints: As there.

        yes: As there.

        level: Of zstd, for what is rewritten.

        max_duration_s: Begin nothing more after so many seconds. Packing ends
            after half of it; a collection marks, and deletes a part at least.

        max_rewrite_bytes: As of `castore.gc.Bounds`.

        share: As of `castore.sweeping.sweep`.

    Raises:
        LockedError: Somebody else maintains the store; nothing was done.
    """
    run = _Run(
        engine,
        progress,
        grace_s,
        keep_checkpoints,
        yes,
        level,
        max_duration_s,
        max_rewrite_bytes,
        share,
    )
    parts = {"pack": run.pack, "gc": run.collect, "verify": run.verify}
    for name, part in parts.items():
        if name != "pack" and run.is_late():
            run.done.skipped.append(name)
            continue
        try:
            part()
        except CastoreError as error:
            if name == "pack" and isinstance(error, LockedError):
                raise
            run.done.errors[name] = error
    return run.done


@attrs.define
class _Run:
    """The parts, and what they share."""

    engine: Engine
    progress: Progress
    grace_s: float
    keep_checkpoints: int | None
    yes: bool
    level: int
    max_duration_s: float | None
    max_rewrite_bytes: int | None
    share: int
    begun: float = attrs.Factory(time.monotonic)
    done: Upkeep = attrs.Factory(Upkeep)

    def is_late(self) -> bool:
        """Whether nothing more should begin."""
        spent = time.monotonic() - self.begun
        return self.max_duration_s is not None and spent >= self.max_duration_s

    def _left_s(self) -> float | None:
        if self.max_duration_s is None:
            return None
        return max(0.0, self.max_duration_s - (time.monotonic() - self.begun))

    def pack(self) -> None:
        limit = self.max_duration_s
        total = self.engine.refresh().known.counts().raw_size
        self.done.packing = pack(
            self.engine,
            level=self.level,
            max_duration_s=None if limit is None else limit * _PACK_PART,
            progress=lambda size: self.progress("packing", size, total),
        )

    def collect(self) -> None:
        self.done.collection = collect(
            self.engine,
            grace_s=self.grace_s,
            keep_checkpoints=self.keep_checkpoints,
            yes=self.yes,
            level=self.level,
            bounds=Bounds(self._left_s(), self.max_rewrite_bytes),
            progress=self.progress,
        )

    def verify(self) -> None:
        self.done.sweep = sweep(
            self.engine,
            share=self.share,
            now_ms=now_ms(),
            progress=lambda read, total: self.progress("verifying", read, total),
            enough=self.is_late,
        )
