"""
A copy of a store in use, made in a folder and renewed there.

`castore.backup` takes what the store is at one commit, file by file; the folder
shows it at once and as a whole, or what was there before. `backup_in` is the same for
who has an engine.

Spec: spec/backup.md.
"""

from castore.backups.running import Backup, Progress, backup, backup_in
from castore.backups.target import is_backup


__all__ = ["Backup", "Progress", "backup", "backup_in", "is_backup"]
