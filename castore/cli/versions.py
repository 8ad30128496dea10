"""
Which versions are installed.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def version_of(name: str) -> str | None:
    """Return the version of an installed distribution, None if it is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def own_version() -> str:
    """Return castore's own."""
    return version_of("castore") or "(not installed, run from its source)"
