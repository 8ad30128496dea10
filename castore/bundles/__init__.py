"""
Bundles: segments in a file of their own, that anybody can check and take in.

Spec: spec/bundle.md.
"""

from __future__ import annotations

from castore.bundles.checking import Checked, check_bundle
from castore.bundles.choosing import Redaction, Wish
from castore.bundles.exporting import Exported, export_bundle
from castore.bundles.opening import is_bundle


__all__ = [
    "Checked",
    "Exported",
    "Redaction",
    "Wish",
    "check_bundle",
    "export_bundle",
    "is_bundle",
]
