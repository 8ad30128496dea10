"""
Proofs that stand alone: bytes in, a claim out, checked without any store.

`castore.segment` makes them. Whoever checks one trusts the head, or the point, that
it leads to, and nothing else; that trust comes from elsewhere: a copy, or a note.

Spec: spec/proofs.md.
"""
