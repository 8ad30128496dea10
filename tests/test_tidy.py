"""
What keeps the code readable, checked instead of hoped for.
"""

from __future__ import annotations

import ast
import re
import subprocess

from collections.abc import Iterator
from pathlib import Path

import pytest

import castore.errors


ROOT = Path(__file__).parents[1]
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 400
LINE_SIZE_MAX = 88
REFERENCES = ("reference", "reference_bundle", "reference_proofs")
WIDE = {f"spec/{name}.py" for name in REFERENCES}  # for paper
WIDE_SIZE_MAX = 100
TEST_LINES_MAX = 600  # a state machine or a battery stands in one file
PRAGMA = re.compile(r"  # (?:type|noqa): .*")  # cannot be broken
SPEAKERS = {"cli", "demo"}  # units that print, exit and read the environment
TEXT_SUFFIXES = {".cfg", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yaml"}

# Written in pieces, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")
MACHINE_PATH = re.compile(r"(?<![\w.}/-])/(?:work|tmp|root)/")


PACKAGE = Path(castore.errors.__file__).parent  # as imported, built or not
PACKAGE_FILES = {
    f"castore/{path.relative_to(PACKAGE).as_posix()}": path
    for path in sorted(PACKAGE.rglob("*.py"))
}
PYTHON_FILES = PACKAGE_FILES | {
    path.relative_to(ROOT).as_posix(): path
    for folder in ("tests", "benches", "spec")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
TEXT_FILES = PYTHON_FILES | {
    path.relative_to(ROOT).as_posix(): path
    for pattern in ("*", ".ci/*", "spec/**/*", "tests/**/*", "benches/**/*")
    for path in sorted(ROOT.glob(pattern))
    if path.suffix in TEXT_SUFFIXES or path.parent.name == ".ci"
}
TREES = {name: ast.parse(path.read_text()) for name, path in PYTHON_FILES.items()}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> Iterator[Function]:
    """Yield every function and method of *tree*."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def lines(files: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield (file:number, line) for every line of *files*."""
    for name, path in files.items():
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            yield f"{name}:{number}", line


def test_functions_are_short() -> None:
    """A function fits on a screen, its docstring included."""
    bad = [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in TREES.items()
        for node in functions(tree)
        if (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]

    assert [] == bad


def test_modules_are_short() -> None:
    """A module holds one idea."""
    bad = [
        name
        for name, path in PYTHON_FILES.items()
        if len(path.read_text("utf-8").splitlines())
        > (TEST_LINES_MAX if name.startswith("tests/") else MODULE_LINES_MAX)
    ]

    assert [] == bad


def test_lines_are_short() -> None:
    """Two files fit beside each other."""
    bad = [
        where
        for where, line in lines(PYTHON_FILES)
        if len(PRAGMA.sub("", line))
        > (WIDE_SIZE_MAX if where.partition(":")[0] in WIDE else LINE_SIZE_MAX)
    ]

    assert [] == bad


def test_nothing_is_left_for_later() -> None:
    """What is not done is an issue, not a comment."""
    assert [] == [where for where, line in lines(TEXT_FILES) if UNFINISHED.search(line)]


def test_no_path_of_one_machine() -> None:
    """What works only where it was written does not work."""
    bad = [where for where, line in lines(TEXT_FILES) if MACHINE_PATH.search(line)]

    assert [] == bad


def is_speech(node: ast.AST) -> bool:
    """Whether *node* prints, exits or reads the environment."""
    match node:
        case ast.Call(func=ast.Name(id="print" | "input" | "exit" | "quit")):
            return True
        case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "getenv"):
            return True
        case ast.Attribute(value=ast.Name(id="sys"), attr="exit" | "argv"):
            return True
        case ast.ImportFrom(module="os" | "sys", names=names):
            return not {"environ", "getenv", "exit"}.isdisjoint(n.name for n in names)
    return False


def test_only_commands_speak() -> None:
    """A library prints nothing, ends no process, reads no environment."""
    bad = [
        f"{name}:{getattr(node, 'lineno', 0)}"
        for name in PACKAGE_FILES
        if Path(name).with_suffix("").parts[1] not in SPEAKERS
        for node in ast.walk(TREES[name])
        if is_speech(node)
    ]

    assert [] == bad


def is_swallowed(node: ast.AST) -> bool:
    """Whether *node* catches everything and does not raise again."""
    if not isinstance(node, ast.ExceptHandler):
        return False
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    broad = any(
        kind is None
        or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})
        for kind in kinds
    )
    return broad and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))


def test_no_error_is_swallowed() -> None:
    """Who catches everything raises it again."""
    bad = [
        f"{name}:{getattr(node, 'lineno', 0)}"
        for name, tree in TREES.items()
        if name.startswith("castore/")  # a harness reports what it catches
        for node in ast.walk(tree)
        if is_swallowed(node)
    ]

    assert [] == bad


def test_every_test_states_its_rule() -> None:
    """A test's docstring is the rule that it checks."""
    bad = [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in TREES.items()
        if Path(name).name.startswith("test_")
        for node in functions(tree)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert [] == bad


def test_every_module_is_under_git() -> None:
    """What a built wheel and a clone hold is the same."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip(f"git cannot read this checkout: {listing.stderr.strip()}")

    assert set() == set(PYTHON_FILES) - set(listing.stdout.splitlines())
