"""
``prove``, ``check``: proofs in files.
"""

from __future__ import annotations

import argparse

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from castore import limits
from castore.cli.exits import CommandError, Exit
from castore.cli.opening import read_store
from castore.cli.output import Output
from castore.cli.target import check_output, target
from castore.cli.text import count_text
from castore.digest import format_digest, parse_digest
from castore.errors import CorruptionError
from castore.formats.head import Head, hash_head
from castore.proofs.decoding import Proof, check_proof
from castore.proofs.form import State
from castore.proofs.logs import ConsistencyProof, InclusionProof, OriginProof
from castore.proofs.ranges import RangeProof


if TYPE_CHECKING:
    from castore.segment import Segment
    from castore.store import Store


_T = TypeVar("_T")


# --- making ------------------------------------------------------------------


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
    out.object({"output": options.output, "size": len(data), **facts_of(proof)})
    return Exit.DONE


def _check_line(options: argparse.Namespace) -> None:
    wants_index = not (options.consistency or options.origin)
    if wants_index == (options.index is None):
        what = "say which entry: SEGMENT INDEX, or --consistency, or --origin"
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


# --- checking ----------------------------------------------------------------


def check(options: argparse.Namespace, out: Output) -> Exit:
    """Say of each file what it proves, and on what that stands."""
    if options.data and len(options.files) > 1:
        raise CommandError(Exit.USAGE, "--data belongs to one proof of a range")
    rows = []
    for name in options.files:
        with Path(name).open("rb") as file:
            data = file.read(limits.PROOF_SIZE_MAX + 1)
        try:
            proof = check_proof(data)
            if options.data:
                _check_range(proof, Path(options.data))
        except CorruptionError as error:
            out.answer(f"{name}: REFUSED: {error.verdict}: {error.what}")
            rows.append({"path": name, "ok": False, "verdict": error.verdict})
            rows[-1] |= dict.fromkeys(("proof", "says", "state", "parent"))
            continue
        facts = facts_of(proof)
        out.line(f"{name}: {facts['says']}")
        out.lines(_state_lines(proof))
        rows.append({"path": name, "ok": True, "verdict": None, **facts})
    if not all(row["ok"] for row in rows):
        out.object({"ok": False, "files": rows})
        return Exit.FINDINGS
    out.line("Each stands on a head or point that somebody else has to vouch for:")
    out.line("a copy of the store, or a note.")
    out.object({"ok": True, "files": rows})
    return Exit.DONE


def _check_range(proof: Proof, path: Path) -> None:
    if not isinstance(proof, RangeProof):
        raise CommandError(Exit.USAGE, "--data belongs to the proof of a range")
    with path.open("rb") as file:
        proof.check_bytes(_slices_of(file))


def _slices_of(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(limits.SLICE_SIZE):
        yield data


def facts_of(proof: Proof) -> dict[str, object]:
    """Return what *proof* says, for people and for scripts."""
    parent = None
    if isinstance(proof, InclusionProof):
        state, says = proof.state, _entry_text(proof)
    elif isinstance(proof, ConsistencyProof):
        state, first = proof.second, proof.first
        says = f"the first {_entries(first.count)} have the root {first.root.hex()}"
    elif isinstance(proof, OriginProof):
        state, says = proof.head, _origin_text(proof)
        parent = None if proof.parent is None else state_facts(proof.parent)
    else:
        state = proof.entry.state
        says = (
            f"bytes {proof.start} to {proof.stop} of {format_digest(proof.blob.digest)}"
            f" have these digests; {_entry_text(proof.entry)} and names it"
        )
    facts = {"proof": proof.KIND, "says": says, "state": state_facts(state)}
    return {**facts, "parent": parent}


def _entries(count: int) -> str:
    return count_text(count, "entry", "entries")


def _entry_text(proof: InclusionProof) -> str:
    entry = proof.entry
    body = format_digest(entry.body.digest)
    return f"entry {entry.index} ({entry.kind}, body {body}) stands in the log"


def _origin_text(proof: OriginProof) -> str:
    origin = proof.origin
    what = f"the first {_entries(origin.count)} of segment {origin.segment.hex()}"
    if proof.is_whole:
        return f"it began as {what}"
    return f"shared prefix only: it says that it began as {what}"


def state_facts(state: State) -> dict[str, object]:
    """Return what a state is, for scripts."""
    head = state if isinstance(state, Head) else None
    return {
        "store_id": state.store.hex(),
        "segment_id": state.segment.hex(),
        "count": state.count,
        "root": state.root.hex(),
        "head": hash_head(head.encode()).hex() if head else None,
        "seq": head.seq if head else None,
    }


def _state_lines(proof: Proof) -> Iterator[str]:
    inner = proof.entry if isinstance(proof, RangeProof) else proof
    if isinstance(inner, OriginProof):
        yield f"  if this is trusted: {_state_text(inner.head)}"
        if inner.parent is not None:
            yield f"  and this: {_state_text(inner.parent)}"
        return
    state = inner.second if isinstance(inner, ConsistencyProof) else inner.state
    yield f"  if this is trusted: {_state_text(state)}"


def _state_text(state: State) -> str:
    what = f"segment {state.segment.hex()}"
    if state.segment == state.store:
        what = f"store log {state.store.hex()}"
    name = "a point"
    if isinstance(state, Head):
        name = f"head {hash_head(state.encode()).hex()}"
    return f"{name}: {what}, {_entries(state.count)}, root {state.root.hex()}"
