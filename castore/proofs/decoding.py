"""
Proof files, whatever they prove.

Spec: spec/proofs.md.
"""

from __future__ import annotations

from castore.formats.refuse import UNSUPPORTED, placed, refusal
from castore.proofs.form import split
from castore.proofs.logs import ConsistencyProof, InclusionProof, OriginProof
from castore.proofs.ranges import RangeProof
from castore.proofs.seals import Contradiction, SealProof


Proof = (
    InclusionProof
    | ConsistencyProof
    | OriginProof
    | RangeProof
    | SealProof
    | Contradiction
)

_KINDS: dict[str, type[Proof]] = {
    kind.KIND: kind
    for kind in (
        InclusionProof,
        ConsistencyProof,
        OriginProof,
        RangeProof,
        SealProof,
        Contradiction,
    )
}


def decode_proof(data: bytes) -> Proof:
    """
    Return the proof that a file is, **not checked yet**: see its ``check``.

    Raises:
        CorruptionError: ``malformed record``; ``unsupported version``: another
            version, or a kind that is not known.

    Spec: spec/proofs.md.
    """
    with placed("proof"):
        kind, fields = split(data)
        if kind not in _KINDS:
            raise refusal("proof: a kind that is not known", UNSUPPORTED)
        return _KINDS[kind].parse(fields)


def check_proof(data: bytes) -> Proof:
    """
    Check the proof that a file is, and return it.

    Raises:
        CorruptionError: ``bad proof``; ``bad signature``; or as `decode_proof`.

        UnsupportedError: A contradiction of notes, and the package
            ``cryptography`` is not there.
    """
    proof = decode_proof(data)
    with placed("proof"):
        proof.check()
    return proof
