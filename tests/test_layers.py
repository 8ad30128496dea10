"""
The import graph is the architecture: every arrow points down.

Imports inside functions and for typing only count like all others. A unit is a
module or a package right below ``castore``; inside a package all is allowed.
"""

from __future__ import annotations

import ast
import sys

from collections.abc import Iterator
from pathlib import Path

import castore.errors


# Bottom to top. Units of one layer may not import each other.
LAYERS = [
    {"errors", "limits"},
    {"digest", "shortest"},
    {"chunker", "codec", "compress", "merkle"},
    {"formats"},
    {"catalog", "clock", "proofs", "records", "storage", "transcript"},
    {"reading"},
    {"engine"},
    {"blobfile", "proving", "retention", "writing"},
    {"policies", "segment"},
    {"session"},
    {"store"},
    {"bodies", "tracing"},
    {
        "agreeing",
        "conversation",
        "importer",
        "marking",
        "messages",
        "packing",
        "verify",
    },
    {"bundles", "collecting"},
    {
        "backups",
        "comparing",
        "erasing",
        "explaining",
        "gc",
        "repairing",
        "report",
        "scanning",
        "sealing",
        "sweeping",
    },
    {"maintain", "runtime"},
    {"aio"},
    {"cli"},
    {"__init__", "__main__"},
]
RANK = {unit: rank for rank, units in enumerate(LAYERS) for unit in units}

# Units that may import only these: a storage or a catalog could hold anything,
# and a verifier that trusts the index of the code it checks proves nothing.
VOCABULARY = {"errors", "limits"}
FROM_FILES = set().union(*LAYERS[:4]) | {"proofs", "storage"}
ALLOWED = {
    "proofs": set().union(*LAYERS[:4]),
    "storage": VOCABULARY,
    "catalog": VOCABULARY,
    "records": VOCABULARY,
    "transcript": VOCABULARY,
    "reading": FROM_FILES,
    "verify": FROM_FILES | {"reading"},
}

# Modules from outside and the units that call each.
OWNERS = {
    "backports": {"compress"},
    "blake3": {"digest"},
    "cbor2": {"codec"},
    "compression": {"compress"},
    "cryptography": {"proofs"},  # an extra
    "pyfastcdc": {"chunker"},
    "sqlite3": {"catalog", "cli"},  # the command says its version
    "zstandard": {"compress"},
}
OUTSIDE = {"attrs", "castore", *OWNERS, *sys.stdlib_module_names}


PACKAGE = Path(castore.errors.__file__).parent  # as imported, built or not
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield each name that *path* imports, wherever in the file it does so."""
    package = ("castore", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            keep = len(package) - node.level + 1 if node.level else 0
            module = ".".join((*package[:keep], *filter(None, [node.module])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def unit_of(path: Path) -> str:
    """Return the unit that *path* belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def inner_imports() -> Iterator[tuple[str, str]]:
    """Yield (importing unit, imported unit) for each arrow between two units."""
    for path in MODULES:
        for name in imports(path):
            top, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            target = target if target in RANK else "__init__"
            if top == "castore" and target != unit_of(path):
                yield unit_of(path), target


def test_modules_are_found() -> None:
    """The rules below look at the package that the other tests import."""
    assert {"errors", "limits"} <= {unit_of(path) for path in MODULES}


def test_every_arrow_points_down() -> None:
    """A unit imports strictly lower layers only."""
    bad = {(a, b) for a, b in inner_imports() if RANK[b] >= RANK[a]}

    assert set() == bad


def test_narrow_units_stay_narrow() -> None:
    """Storage and catalog know no formats; verify knows no index and no engine."""
    bad = {(a, b) for a, b in inner_imports() if b not in ALLOWED.get(a, RANK)}

    assert set() == bad


def test_each_outside_module_has_its_callers() -> None:
    """What others wrote is called in one place, with every safety option."""
    tops = {
        (unit_of(path), name.partition(".")[0])
        for path in MODULES
        for name in imports(path)
    }
    bad = {(unit, top) for unit, top in tops if unit not in OWNERS.get(top, {unit})}

    assert set() == bad


def test_every_layer_is_built() -> None:
    """
    A new unit is placed in LAYERS by the one who adds it, and LAYERS names nothing
    that is not there.
    """
    assert set(RANK) == {unit_of(path) for path in MODULES}


def test_nothing_else_from_outside() -> None:
    """A module from outside is an entry in OUTSIDE before it is an import."""
    tops = {name.partition(".")[0] for path in MODULES for name in imports(path)}

    assert set() == tops - OUTSIDE
