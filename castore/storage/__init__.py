"""
The file seam: every file access of the engine goes through `Files`.

A storage knows names and bytes only. Tests put a `Files` of their own in its
place, to record, fail or lose what is written.
"""

from castore.storage.files import Files
from castore.storage.locks import FileLock


__all__ = ["FileLock", "Files"]
