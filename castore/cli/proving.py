"""
``prove``: proofs about logs, in files.
"""

from __future__ import annotations

import argparse

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from castore import limits
from castore.cli.checkup import NOTHING, facts_of
from castore.cli.exits import CommandError, Exit
from castore.cli.opening import read_store
from castore.cli.output import Output
from castore.cli.target import check_output, target
from castore.digest import parse_digest
from castore.proofs.decoding import Proof
from castore.proofs.ranges import RangeProof


if TYPE_CHECKING:
    from castore.segment import Segment
    from castore.store import Store


_T = TypeVar("_T")


def prove(options: argparse.Namespace, out: Output) -> Exit:
    """Write a proof of what stands in a log."""
    check_output(options, "proof")
    _check_line(options)
    with read_store(options) as store:
        log = _find(store, options.segment)
        proof = _of_arguments(lambda: _prove(options, store, log))
        data = proof.encode()
        if isinstance(proof, RangeProof) and options.data:
            _write_range(store, proof, options)
    with target(options.output, force=options.force) as file:
        file.write(data)
    out.object(
        {"output": options.output, "size": len(data), **facts_of(proof, NOTHING)}
    )
    return Exit.DONE


def _check_line(options: argparse.Namespace) -> None:
    wants_index = not (options.consistency or options.origin or options.sealed)
    if wants_index == (options.index is None):
        what = "say which entry: SEGMENT INDEX, or --consistency, --origin, --sealed"
        raise CommandError(Exit.USAGE, what)
    if options.data and not options.range:
        raise CommandError(Exit.USAGE, "--data belongs to --range")
    if options.at is not None and (options.range or not wants_index):
        raise CommandError(Exit.USAGE, "--at belongs to the proof of an entry")


def _find(store: Store, name: str) -> Segment:
    from castore.importer import find_segment

    return find_segment(store, name)


def _of_arguments(make: Callable[[], _T]) -> _T:
    try:
        return make()
    except (IndexError, ValueError) as error:
        raise CommandError(Exit.USAGE, str(error)) from error


def _prove(options: argparse.Namespace, store: Store, log: Segment) -> Proof:
    if options.consistency:
        first, second = options.consistency
        return log.prove_consistency(first, second or None)
    if options.origin:
        return log.prove_origin()
    if options.sealed:
        return log.prove_sealed()
    index = options.index + log.count if options.index < 0 else options.index
    if not options.range:
        return log.prove(index, options.at)
    name, start, stop = options.range
    tagged = store.tags().get(name)
    digest = tagged.digest if tagged else parse_digest(name)
    return log.prove_range(index, digest, int(start), int(stop))


def _write_range(store: Store, proof: RangeProof, options: argparse.Namespace) -> None:
    with target(options.data, force=options.force) as file:
        step = limits.SLICE_SIZE
        for at in range(proof.start, proof.stop, step):
            stop = min(at + step, proof.stop)
            file.write(store.engine.read_range(proof.blob, at, stop))
