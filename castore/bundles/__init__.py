"""
Bundles: segments in a file of their own, that anybody can check and take in.

Spec: spec/bundle.md.
"""

from __future__ import annotations

from castore.bundles.checking import Checked, check_bundle
from castore.bundles.choosing import Redaction, Wish
from castore.bundles.exporting import Exported, export_bundle
from castore.bundles.importing import Imported, TakenSegment, import_bundle
from castore.bundles.opening import is_bundle
from castore.bundles.syncing import Sent, send, shared_segments


__all__ = [
    "Checked",
    "Exported",
    "Imported",
    "Redaction",
    "Sent",
    "TakenSegment",
    "Wish",
    "check_bundle",
    "export_bundle",
    "import_bundle",
    "is_bundle",
    "send",
    "shared_segments",
]
