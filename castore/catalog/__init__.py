"""
The catalog: an index of what the files hold, as plain rows.

It is never the truth. Whatever is in it can be made again from the files, and
whoever finds it damaged throws it away.

Spec: spec/ordering.md, "The catalog".
"""

from castore.catalog.memory import MemoryCatalog
from castore.catalog.overlay import Overlay
from castore.catalog.rows import Catalog, Facts, Position
from castore.catalog.sqlite import SqliteCatalog


__all__ = [
    "Catalog",
    "Facts",
    "MemoryCatalog",
    "Overlay",
    "Position",
    "SqliteCatalog",
]
