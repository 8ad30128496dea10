"""
Mending a damaged store with good copies from elsewhere; never in place.

Spec: spec/repair.md.
"""

from castore.repairing.names import Lost
from castore.repairing.repair import Repaired, repair
from castore.repairing.sources import Source, open_source


__all__ = ["Lost", "Repaired", "Source", "open_source", "repair"]
