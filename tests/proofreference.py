"""
`spec/reference_proofs.py`, loaded from its file, and what it makes of bytes.
"""

from __future__ import annotations

import importlib.util

from pathlib import Path
from types import ModuleType

from castore.errors import CorruptionError
from castore.proofs.decoding import check_proof


PATH = Path(__file__).parents[1] / "spec" / "reference_proofs.py"


def load() -> ModuleType:
    """Return the module; it imports nothing of the package."""
    spec = importlib.util.spec_from_file_location("reference_proofs", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = load()


def verdict_of_package(data: bytes) -> str:
    """Return ``ok`` or the verdict with which the package refuses a proof."""
    try:
        check_proof(data)
    except CorruptionError as error:
        return error.verdict if error.where else "nowhere"
    return "ok"


def verdict_of_reference(data: bytes) -> str:
    """Return ``ok`` or the verdict with which the reference refuses a proof."""
    try:
        REFERENCE.check(data)
    except REFERENCE.Refused as refused:
        return str(refused)
    return "ok"


def verdict(data: bytes) -> str:
    """Return what both say, which has to be the same."""
    found = verdict_of_package(data)
    assert found == verdict_of_reference(data), data.hex()
    return found
