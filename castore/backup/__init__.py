"""
A copy of a store in use, made in a folder and renewed there.

`backup` takes what the store is at one commit, file by file; the folder shows it
at once and as a whole, or what was there before.

Spec: spec/backup.md.
"""

from castore.backup.running import Backup, Progress, backup
from castore.backup.target import is_backup


__all__ = ["Backup", "Progress", "backup", "is_backup"]
