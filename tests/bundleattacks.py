"""
All attacks on bundles, and bundles that are good, by name.
"""

from __future__ import annotations

import attacks_bundle_bombs
import attacks_bundle_frames
import attacks_bundle_rules
import attacks_bundles
import bundlescenes


MODULES = (
    attacks_bundle_bombs,
    attacks_bundle_frames,
    attacks_bundle_rules,
    attacks_bundles,
)
ATTACKS = bundlescenes.ATTACKS  # each module has put its own there
GOOD = bundlescenes.GOOD
