"""
The checker of the package and the one that was written from the spec alone.
"""

from __future__ import annotations

import functools
import importlib.util

from collections.abc import Callable
from pathlib import Path
from typing import Any

from castore import Store
from castore.formats.file import file_name
from castore.reading.survey import survey
from castore.verify import verify


REFERENCE = Path(__file__).parents[2] / "spec" / "reference.py"

#: Verdict and place of each fault.
Faults = list[tuple[str, str]]


@functools.cache
def reference() -> Any:
    """Return ``spec/reference.py`` as a module."""
    spec = importlib.util.spec_from_file_location("castore_reference", REFERENCE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(REFERENCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def faults_by_verify(root: Path) -> Faults:
    """Return the faults that `castore.verify` finds in the store at *root*."""
    findings = verify(root).findings
    return [(one.verdict, one.where) for one in findings if one.severity == "fault"]


def faults_by_reference(root: Path) -> Faults:
    """Return the faults that ``spec/reference.py`` finds in the store at *root*."""
    findings = reference().check(root)["findings"]
    return [
        (one["verdict"], one["where"]) for one in findings if one["severity"] == "fault"
    ]


def files_left(store: Store) -> list[str]:
    """Return the files of *store* that are garbage."""
    return [
        file_name(file) for file in survey(store.engine.files, store=store.id).garbage
    ]


CHECKERS: dict[str, Callable[[Path], Faults]] = {
    "verify": faults_by_verify,
    "reference": faults_by_reference,
}
