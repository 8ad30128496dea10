"""
``check``: what proofs in files prove, and on what that stands.
"""

from __future__ import annotations

import argparse

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import attrs

from castore import limits
from castore.cli.exits import CommandError, Exit
from castore.cli.output import Output
from castore.cli.text import count_text
from castore.digest import format_digest
from castore.errors import CastoreError, CorruptionError, FormatError
from castore.formats.head import Head, hash_head
from castore.proofs.decoding import Proof, check_proof
from castore.proofs.form import Point, State, point_of
from castore.proofs.logs import ConsistencyProof, InclusionProof, OriginProof
from castore.proofs.notes import Checkpoint, PublicKey, open_checkpoint, store_of
from castore.proofs.ranges import RangeProof
from castore.proofs.seals import Contradiction, SealProof


@attrs.define
class _File:
    """
    One file and what became of it.

    Attributes:
        name: As given.

        proof: What it is, None if it was refused.

        error: Why it was.
    """

    name: str
    proof: Proof | None = None
    error: CastoreError | None = None


def check(options: argparse.Namespace, out: Output) -> Exit:
    """Say of each file what it proves, and on what that stands."""
    if options.data and len(options.files) > 1:
        raise CommandError(Exit.USAGE, "--data belongs to one proof of a range")
    trusted = _trusted_by_note(options)
    files = [_checked(name, options.data) for name in options.files]
    proofs = [file.proof for file in files if file.proof is not None]
    trusted = _spread(trusted, proofs)
    rows = [_row(file, trusted) for file in files]
    for file, row in zip(files, rows, strict=True):
        if file.proof is None:
            out.answer(f"{file.name}: REFUSED: {file.error}")
        else:
            out.line(f"{file.name}: {row['says']}")
            out.lines(_state_lines(file.proof, trusted))
    ok = all(row["ok"] for row in rows)
    if any(row["ok"] and row["against"] == NOTHING for row in rows):
        out.line("What has to be trusted, somebody else has to vouch for: a note,")
        out.line("or a copy of the store (castore check --note NOTE --key PUB).")
    out.object({"ok": ok, "files": rows})
    return Exit.DONE if ok else Exit.FINDINGS


NOTHING = "nothing"
SIGNED = "matches signed head"
KEY = "signatures"


def read_key(text: str | None) -> PublicKey:
    """
    Return the public key that *text* is, or that stands in that file.

    Raises:
        CommandError: There is none.
    """
    if text is None:
        raise CommandError(Exit.USAGE, "say whose signatures count: --key PUB")
    path = Path(text)
    found = text
    if path.exists():
        with path.open("rb") as file:
            found = file.read(4096).decode("ascii", "replace").removesuffix("\n")
    try:
        return PublicKey.parse(found)
    except FormatError as error:
        raise CommandError(Exit.USAGE, f"{error.what}; --key PUB") from error


def read_note(name: str) -> bytes:
    """Return the bytes of a note, one more than it may have at most."""
    with Path(name).open("rb") as file:
        return file.read(limits.NOTE_SIZE_MAX + 1)


def _trusted_by_note(options: argparse.Namespace) -> set[Point]:
    if options.note is None:
        if options.key is not None:
            raise CommandError(Exit.USAGE, "--key belongs to --note")
        return set()
    note = open_checkpoint(read_note(options.note), [read_key(options.key)])
    return {_point(note)}


def _point(note: Checkpoint) -> Point:
    store = store_of(note.origin)
    return Point(store, store, note.count, note.root)


def _checked(name: str, data: str | None) -> _File:
    with Path(name).open("rb") as file:
        content = file.read(limits.PROOF_SIZE_MAX + 1)
    try:
        proof = check_proof(content)
        if data:
            _check_range(proof, Path(data))
    except CorruptionError as error:
        return _File(name, error=error)
    return _File(name, proof)


def _check_range(proof: Proof, path: Path) -> None:
    if not isinstance(proof, RangeProof):
        raise CommandError(Exit.USAGE, "--data belongs to the proof of a range")
    with path.open("rb") as file:
        proof.check_bytes(_slices_of(file))


def _slices_of(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(limits.SLICE_SIZE):
        yield data


# --- what is trusted ---------------------------------------------------------


def _spread(trusted: set[Point], proofs: Iterable[Proof]) -> set[Point]:
    """Add what proofs lead to from what is *trusted*, however they are ordered."""
    left = list(proofs)
    found = set(trusted)
    while True:
        more = {
            point
            for proof in left
            if all(point_of(state) in found for state in states_of(proof))
            for point in _vouched(proof)
        }
        if more <= found:
            return found
        found |= more


def _vouched(proof: Proof) -> list[Point]:
    """Return what can be trusted if what *proof* stands on can be."""
    if isinstance(proof, ConsistencyProof):
        return [point_of(proof.first)]
    return [point_of(proof.head)] if isinstance(proof, SealProof) else []


def states_of(proof: Proof) -> Sequence[State]:
    """Return what has to be trusted for *proof*; nothing but a key if empty."""
    if isinstance(proof, InclusionProof):
        return [proof.state]
    if isinstance(proof, ConsistencyProof):
        return [proof.second]
    if isinstance(proof, OriginProof):
        return [proof.head, *([proof.parent] if proof.parent else [])]
    if isinstance(proof, Contradiction):
        return []
    return [proof.entry.state]


def _stands(proof: Proof, trusted: set[Point]) -> str:
    states = states_of(proof)
    if not states:
        return KEY
    return SIGNED if all(point_of(each) in trusted for each in states) else NOTHING


# --- words -------------------------------------------------------------------


def _row(file: _File, trusted: set[Point]) -> dict[str, object]:
    verdict = file.error.verdict if isinstance(file.error, CorruptionError) else None
    row: dict[str, object] = {"path": file.name, "ok": verdict is None}
    row["verdict"] = verdict
    if file.proof is None:
        return row | dict.fromkeys(("proof", "says", "against", "states"))
    return row | facts_of(file.proof, _stands(file.proof, trusted))


def facts_of(proof: Proof, against: str) -> dict[str, object]:
    """Return what *proof* says, for scripts."""
    states = [state_facts(state) for state in states_of(proof)]
    says = says_of(proof)
    return {"proof": proof.KIND, "says": says, "against": against, "states": states}


def says_of(proof: Proof) -> str:
    """Return what *proof* says, in words."""
    if isinstance(proof, InclusionProof):
        return _entry_text(proof)
    if isinstance(proof, ConsistencyProof):
        first = proof.first
        return f"the first {_entries(first.count)} have the root {first.root.hex()}"
    if isinstance(proof, OriginProof):
        return _origin_text(proof)
    if isinstance(proof, SealProof):
        what = f"segment {proof.head.segment.hex()} had {_entries(proof.head.count)}"
        name = hash_head(proof.head.encode()).hex()
        return f"{what}, head {name}, at seal {proof.entry.index}"
    if isinstance(proof, Contradiction):
        older, newer = proof.checkpoints()
        counts = f"over {_entries(older.count)} and over {newer.count}"
        return f"{proof.key.name} signed notes of two histories, {counts}"
    name = format_digest(proof.blob.digest)
    what = f"bytes {proof.start} to {proof.stop} of {name} have these digests"
    return f"{what}; {_entry_text(proof.entry)} and names it"


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


def _state_lines(proof: Proof, trusted: set[Point]) -> Iterator[str]:
    if isinstance(proof, Contradiction):
        yield f"  whoever holds this key signed both: {proof.key}"
    for state in states_of(proof):
        is_signed = point_of(state) in trusted
        stands = "signed" if is_signed else "has to be trusted"
        yield f"  {stands}: {_state_text(state)}"


def _state_text(state: State) -> str:
    what = f"segment {state.segment.hex()}"
    if state.segment == state.store:
        what = f"store log {state.store.hex()}"
    name = "point"
    if isinstance(state, Head):
        name = f"head {hash_head(state.encode()).hex()}"
    return f"{name}: {what}, {_entries(state.count)}, root {state.root.hex()}"
