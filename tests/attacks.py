"""
All attacks, by name.
"""

from __future__ import annotations

import attackkit
import attacks_entries
import attacks_files
import attacks_folder
import attacks_logs
import attacks_payloads


MODULES = (
    attacks_entries,
    attacks_files,
    attacks_folder,
    attacks_logs,
    attacks_payloads,
)
ATTACKS = attackkit.ATTACKS  # each module has put its own there
