"""
Repair: new packs with what is good, of here and of elsewhere, for damaged files.

Stopped anywhere, nothing counts but the damaged files, or nothing but the packs that
replace them; the next run goes on.

Spec: spec/repair.md; spec/ordering.md, "Packing and deleting".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import attrs

from castore.catalog.rows import Facts
from castore.engine import Engine
from castore.formats import file as file_format
from castore.formats.file import file_name
from castore.packing.rewrite import (
    LEVEL,
    close_journal,
    drop,
    is_idle,
    maintenance,
    publish,
)
from castore.packing.writer import PackWriter
from castore.reading.findings import FAULT
from castore.reading.parts import processor_count
from castore.reading.payloads import Payloads
from castore.reading.survey import Survey, survey
from castore.repairing.carrying import Carrying
from castore.repairing.damage import Damage, Damaged
from castore.repairing.names import Lost, Names
from castore.repairing.sources import Source


QUARANTINE = "quarantine"


@attrs.frozen
class Repaired:
    """
    What a repair did.

    Attributes:
        fault_count: Faults that a check found before.

        replaced: Names of damaged files that packs stand for now.

        left: Names of damaged files that stay: what they held of entries, heads or
            commits is nowhere, or a process writes them.

        quarantined: Names under which the damaged files are kept.

        taken_count: Blobs that came from sources.

        lost: Needed blobs that are nowhere.

        seq: The commit with which that counts; None if nothing changed.
    """

    fault_count: int
    replaced: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()
    taken_count: int = 0
    lost: tuple[Lost, ...] = ()
    seq: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to be mended."""
        return not self.lost and not self.left


def repair(
    engine: Engine,
    sources: Sequence[Source] = (),
    *,
    level: int = LEVEL,
    progress: Callable[[int, int], None] | None = None,
) -> Repaired:
    """
    Mend what can be mended, put damaged files aside, and say what is lost.

    Reads all files once, and the sources if anything is missing. What is lost is
    not known as stored any more: put again, it is there again.

    Args:
        engine: The store; it must be possible to open it.

        sources: Where to look for good copies, the first first.

        level: Of zstd, for new packs.

        progress: Told how many of how many bytes were read.

    Raises:
        LockedError: Somebody else maintains the store.

        CorruptionError: The journal cannot be closed; nothing was changed.

        StorageError: No room, or the medium failed.
    """
    with maintenance(engine):
        close_journal(engine)
        engine.leave_side()
        found, payloads = _judged(engine, progress)
        faults = [item for item in found.findings if item.severity == FAULT]
        if not faults:
            return Repaired(0)
        # Whole files first: which are the store's may stand in one that is damaged.
        damage = Damage(engine, sources)
        done = Repaired(len(faults))
        whole = [item.id for item in damage.damaged if item.is_whole]
        if whole:
            done = _Run(engine, damage, level).replace(done)
            found, payloads = _judged(engine, progress)
            damage = Damage(engine, sources)
        if found.first_fault() is None:
            return done
        names = Names(engine, found, payloads, sources)
        return _Run(engine, damage, level, names).replace(done)


def _judged(
    engine: Engine, progress: Callable[[int, int], None] | None
) -> tuple[Survey, Payloads]:
    found = survey(
        engine.files, store=engine.store, progress=progress, jobs=processor_count()
    )
    payloads = Payloads(found, found.findings)
    payloads.judge()
    return found, payloads


@attrs.define(eq=False)
class _Run:
    """
    One commit of a repair.

    Attributes:
        names: Finds single blobs; without it whole files are replaced, no others.
    """

    engine: Engine
    damage: Damage
    level: int
    names: Names | None = None

    def replace(self, before: Repaired) -> Repaired:
        """Write packs and let them count; return what was done, and *before*."""
        writer = PackWriter(self.engine.state, self.level)
        lost: set[bytes] = set()
        try:
            replaced = self._replaceable()
            keeps = self.names.keeps if self.names else _keep_all
            made = Carrying(self.engine.view, writer, keeps)
            for item in replaced:
                if item.file is not None:
                    made.carry(item.file, item.stop)
            if self.names is not None:
                lost = self.names.add(made, {item.id for item in replaced})
            listings = writer.finish()
            facts = Facts(runs=made.runs, gone_places=sorted(lost))
            places = [made.places[name] for name in sorted(made.places)]
            kept = tuple(self._put_aside(replaced))
        except BaseException:
            writer.abandon()
            raise
        seq = before.seq
        ids = [item.id for item in replaced]
        if listings or ids or lost:
            seq = publish(self.engine, listings, ids, facts, places)
            drop(self.engine, ids)
        names = {item.name for item in replaced if item.is_damaged}
        left = {item.name for item in self.damage.damaged} - names
        return Repaired(
            before.fault_count,
            tuple(sorted({*before.replaced, *names})),
            tuple(sorted(left)),
            tuple(sorted({*before.quarantined, *kept})),
            len(self.names.taken) if self.names else 0,
            tuple(self.names.needed(lost)) if self.names else (),
            seq,
        )

    # --- files ---------------------------------------------------------------

    def _replaceable(self) -> list[Damaged]:
        """
        Return the files to be replaced: damaged ones that lose nothing but blobs,
        with the journals that are older than such a one.

        The chain of journals ends where one was dropped: what is older goes along.
        """
        good = {item.id for item in self.damage.damaged if self._may_go(item)}
        files = self.damage.files
        # A record that does not give its blob goes with its file, too.
        bad = self.names.corrupt_files() if self.names else set()
        for file in bad & files.keys():
            files[file].is_damaged = True
            good |= {file} if self._may_go(files[file]) else set()
        chosen = [files[file] for file in sorted(good) if file not in self.damage.chain]
        waiting: list[Damaged] = []
        for file in reversed(self.damage.chain):
            item = files[file]
            if item.is_damaged and item.id not in good:
                break
            waiting.append(item)
            if item.is_damaged:
                chosen += waiting
                waiting = []
        return chosen

    def _may_go(self, item: Damaged) -> bool:
        is_mended = item.is_whole if self.names is None else True
        return is_mended and not self.damage.misses(item) and self._is_idle(item)

    def _is_idle(self, item: Damaged) -> bool:
        name = file_name(item.id)
        is_side = item.file is not None and item.file.header.kind == file_format.SIDE
        return not (
            is_side
            and self.engine.files.exists(name)
            and not is_idle(self.engine, name)
        )

    def _put_aside(self, replaced: Collection[Damaged]) -> Iterator[str]:
        """Give damaged files a second name; their bytes are not touched."""
        files = self.engine.files
        for item in replaced:
            name = f"{QUARANTINE}/{item.id.hex()}.cas"
            if not item.is_damaged or not files.exists(file_name(item.id)):
                continue
            if not files.exists(name):
                files.make_folder(QUARANTINE)
                files.link(file_name(item.id), name)
            yield name
        if files.exists(QUARANTINE):
            files.sync_folder(QUARANTINE)
            files.sync_folder("")


def _keep_all(_: bytes) -> bool:
    """Leave nothing out of a file that is whole."""
    return True
