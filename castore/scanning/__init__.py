"""
How much of transcript files is repeated, and what they would shrink to.

Needs no store, writes nothing, and keeps of what it reads hashes and lengths
only. Repetition is found as an import finds it: lines, the messages of documents,
and large strings inside them. What is left is compressed as packing compresses
it, or every so-manieth block of it, and thrown away.
"""

from castore.scanning.scanner import Scan, ScannedFile, scan


__all__ = ["Scan", "ScannedFile", "scan"]
