"""
What every test may use: hypothesis profiles, the budget, the real inputs.
"""

from __future__ import annotations

import os

from pathlib import Path

import hypothesis
import pytest


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


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real inputs, or skip where there is none."""
    folder = os.environ.get("CASTORE_TEST_DATA")
    if not folder:
        pytest.skip("CASTORE_TEST_DATA names no folder of real inputs")
    return Path(folder)
