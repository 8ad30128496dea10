"""
The parts of a collection: which plan it follows, in which order files go, what it
reports.

Spec: spec/ordering.md, "Packing and deleting".
"""
