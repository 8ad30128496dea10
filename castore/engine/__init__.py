"""
The engine: commits, recovery, and what is where.

`Engine` is the one door. Below it: `journal` (the file that takes commits),
`recovery`, `side` (large blobs), `building` (a commit's bytes), `fold` (what a
commit means to the catalog), `view` (catalog and what it lacks), `blobs`
(reading payloads), `logs` (reading entries).
"""

from castore.engine.engine import Engine


__all__ = ["Engine"]
