"""
Erasing: payloads, and bodies of entries, removed because somebody asked.

`castore.erase` does it and returns the `Receipt`; `finish` goes on where one was
stopped. `erase_in` is the same for who has an engine.
"""

from castore.erasing.asking import erase, target_of
from castore.erasing.erase import erase as erase_in
from castore.erasing.erase import finish
from castore.erasing.receipt import Erased, Receipt
from castore.erasing.scope import Target, Wish


__all__ = [
    "Erased",
    "Receipt",
    "Target",
    "Wish",
    "erase",
    "erase_in",
    "finish",
    "target_of",
]
