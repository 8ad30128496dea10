"""
Packing: closed files rewritten as packs, with or without what is dead.

`rewrite` is the one way in which files of a store are replaced; `pack` and
`gc` both end in it.
"""

from castore.packing.rewrite import Rewrite, pack, rewrite


__all__ = ["Rewrite", "pack", "rewrite"]
