"""
What every test may use: hypothesis profiles, the budget, a store, the real inputs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import castore


MEMORY = Path("/dev/shm")  # where there is one, many small files are put there

hypothesis.settings.register_profile("dev", max_examples=50, deadline=None)
hypothesis.settings.register_profile(
    "ci", max_examples=200, derandomize=True, deadline=None
)
hypothesis.settings.register_profile("deep", max_examples=5000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what this suite knows of the command line."""
    parser.addoption(
        "--budget",
        type=float,
        default=1.0,
        help="multiply the work of long campaigns by this (default: 1.0)",
    )


@pytest.fixture(scope="session")
def budget(request: pytest.FixtureRequest) -> float:
    """Return the factor by which a long campaign multiplies its work."""
    return float(request.config.getoption("--budget"))


@contextlib.contextmanager
def new_folder() -> Iterator[Path]:
    """Give a folder for many small files, in memory if that is possible."""
    is_there = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
    room = MEMORY if is_there else None
    made = Path(tempfile.mkdtemp(prefix="castore-", dir=room))
    try:
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder for many small files, in memory if that is possible."""
    with new_folder() as made:
        yield made


@pytest.fixture
def store(folder: Path) -> Iterator[castore.Store]:
    """Return a new store."""
    with castore.open(folder / "store", create=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real inputs, or skip where there is none."""
    folder = os.environ.get("CASTORE_TEST_DATA")
    if not folder:
        pytest.skip("CASTORE_TEST_DATA names no folder of real inputs")
    return Path(folder)
