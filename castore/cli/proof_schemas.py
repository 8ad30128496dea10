"""
What the commands about proofs print with ``--json``, as in `castore.cli.schemas`.
"""

from __future__ import annotations


PROOFS: dict[str, dict[str, str]] = {
    "prove": {
        "output": "file",
        "size": "bytes of the proof",
        "proof": "inclusion, consistency, origin, range, seal or contradiction",
        "says": "text: what it proves",
        "against": "nothing; of check with a note: matches signed head; signatures",
        "states": "list of what has to be trusted for that",
        "states[].store_id": "32 hex digits",
        "states[].segment_id": "32 hex digits; the store's own for the store log",
        "states[].count": "entries",
        "states[].root": "of the tree over them",
        "states[].head": "hash of the head, or null",
        "states[].seq": "of its commit, or null",
    },
    "check": {
        "ok": "whether no file is refused",
        "files": "list",
        "files[].path": "which",
        "files[].ok": "whether it proves what it says, to whoever trusts its states",
        "files[].verdict": "null, or why it is refused",
        "files[].proof": "as of prove; null if it is refused, as what follows",
        "files[].says": "as of prove",
        "files[].against": "as of prove",
        "files[].states": "as of prove",
    },
    "key": {
        "path": "file with the private key",
        "key": "the public key",
        "name": "of the key: the origin of the store's notes",
    },
    "seal": {
        "output": "file with the note",
        "origin": "of the note",
        "count": "entries of the store log that it is over",
        "root": "of the tree over them",
        "segments": "heads that the seal covers",
    },
    "recover": {
        "output": "as of seal",
        "origin": "as of seal",
        "count": "as of seal",
        "root": "as of seal",
        "segments": "as of seal",
    },
    "evidence": {
        "output": "file, or null: the notes do not contradict each other",
        "proof": "as of prove",
        "says": "as of prove",
        "against": "as of prove",
        "states": "as of prove",
    },
}
