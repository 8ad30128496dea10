"""
Which statement of the four systems is checked where.

``python tests/statements.py`` prints a line for each statement: the tests whose
docstrings end in ``Statements: A3, B12.``, and the decision that replaces it, if one
does (spec/agents.md, "Decisions"). Exit code 1 if a statement has neither, or if one
is cited that there is not.
"""

from __future__ import annotations

import ast
import re
import sys

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import attrs


ROOT = Path(__file__).parents[1]
#: How many statements there are under each letter.
COUNTS = {"A": 25, "B": 33, "C": 22, "L": 11, "D": 17}
STATEMENTS = [f"{x}{n}" for x, count in COUNTS.items() for n in range(1, count + 1)]

_CITED = re.compile(r"^\s*Statements: ([A-Z0-9, \n]+)\.\s*\Z", re.MULTILINE)
_ROW = re.compile(r"^\| ((?:[A-Z][0-9]+(?:, )?)+) \| ([^|]+) \|", re.MULTILINE)


@attrs.frozen
class Coverage:
    """
    What is cited.

    Attributes:
        tests: By statement, ``file::test`` of each that checks it.

        decisions: By statement, what replaces it, or a part of it.
    """

    tests: dict[str, list[str]]
    decisions: dict[str, str]

    @property
    def gaps(self) -> list[str]:
        """Statements with neither."""
        return [
            s for s in STATEMENTS if s not in self.tests and s not in self.decisions
        ]

    @property
    def unknown(self) -> list[str]:
        """What is cited and is no statement."""
        return sorted({*self.tests, *self.decisions} - set(STATEMENTS))


def coverage() -> Coverage:
    """Return what the tests and the page cite."""
    tests: dict[str, list[str]] = defaultdict(list)
    folder = ROOT / "tests"
    for path in sorted([*folder.glob("test_*.py"), *folder.glob("conformance/*.py")]):
        for name, statements in cited(path):
            for statement in statements:
                tests[statement].append(f"{path.name}::{name}")
    page = (ROOT / "spec" / "agents.md").read_text("utf-8")
    _, _, decided = page.partition("## Decisions")
    decisions = {
        statement: what.strip()
        for found, what in _ROW.findall(decided)
        for statement in found.split(", ")
    }
    return Coverage(dict(tests), decisions)


def cited(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each test of a file that cites statements, and which."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node) or ""
            found = _CITED.search(docstring)
            if found and node.name.startswith("test_"):
                yield node.name, re.split(r",\s*", found[1])
            elif "Statements:" in docstring:
                yield node.name, [f"{path.name}::{node.name}"]  # written otherwise


def main() -> int:
    """Print the table."""
    found = coverage()
    for statement in STATEMENTS:
        what = list(found.tests.get(statement, []))
        if statement in found.decisions:
            what.append(f"decided: {found.decisions[statement]}")
        print(f"{statement:4} {'; '.join(what) or 'NOTHING'}")
    for statement in found.unknown:
        print(f"{statement:4} is no statement")
    told = len(STATEMENTS) - len(found.gaps)
    print(f"{told} of {len(STATEMENTS)} statements are checked or decided")
    return 1 if found.gaps or found.unknown else 0


if __name__ == "__main__":
    sys.exit(main())
