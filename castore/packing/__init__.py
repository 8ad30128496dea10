"""
Packing: closed files rewritten as packs, with or without what is dead.

`rewrite` is the one way in which files of a store are replaced; `pack`, `gc` and
`erase` end in it.
"""

from castore.packing.pack import pack
from castore.packing.rewrite import Packing, rewrite


__all__ = ["Packing", "pack", "rewrite"]
