"""
Which process holds the flock of a file, as far as this system tells.
"""

from __future__ import annotations

import os

from pathlib import Path


_LOCKS = Path("/proc/locks")


def flock_holder(path: Path) -> str:
    """Return the process that holds *path*'s flock; empty where nothing tells."""
    try:
        inode = os.lstat(path).st_ino
        lines = _LOCKS.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF
        fields = line.split()
        is_flock = len(fields) > 5 and fields[1] == "FLOCK" and fields[3] == "WRITE"
        if is_flock and fields[5].rpartition(":")[2] == str(inode) and fields[4] != "0":
            return f"process {fields[4]}"
    return ""
