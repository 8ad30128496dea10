"""
Every statement about the four systems is checked, or a decision replaces it.
"""

from __future__ import annotations

import subprocess
import sys

from pathlib import Path

import statements


def test_every_statement_is_cited() -> None:
    """
    A statement is cited by a test that checks it or by a decision; nothing is cited
    that there is not.
    """
    found = statements.coverage()
    assert found.unknown == []
    assert found.gaps == []


def test_the_script_tells_gaps() -> None:
    """The script prints each statement on a line and fails where one has nothing."""
    script = Path(statements.__file__)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == statements.STATEMENTS
    assert done.returncode == int(any("NOTHING" in line for line in lines))
    assert done.returncode == int(bool(statements.coverage().gaps))
