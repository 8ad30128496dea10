"""
`RuntimeStore` keeps the promises of a runtime store, however the store is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.runtime import RuntimeTests

import castore

from castore import Store
from castore.packing import pack
from castore.runtime import LeaseTimings, RuntimeStore
from castore.runtime import log as runtime_log


class Kept:
    """Sessions in a store, which is opened again as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store: Store = castore.open(path, create=True)

    def open(self, session: str = "s", **options: Any) -> RuntimeStore:
        """Return another handle on *session*."""
        return RuntimeStore(self.store, session, **options)

    def reopen(self) -> None:
        """Close the store, and open it."""
        self.store.close()
        self.between()
        self.store = castore.open(self.path)

    def between(self) -> None:
        """Do something to the store while it is closed."""


class Rebuilt(Kept):
    """Sessions in a store that loses its catalog between two uses."""

    def between(self) -> None:
        """Take the catalog away."""
        for path in self.path.glob("catalog-*"):
            path.unlink()


class Packed(Kept):
    """Sessions in a store that is packed between two uses."""

    def between(self) -> None:
        """Pack all that is there."""
        with castore.open(self.path) as store:
            pack(store.engine)


def kept(made: Kept) -> Iterator[Kept]:
    """Yield *made*, and close it and check its files."""
    yield made
    made.store.close()


class TestKept(RuntimeTests):
    """A store that is just closed and opened."""

    @pytest.fixture
    def place(self, folder: Path) -> Iterator[Kept]:
        """Return where sessions are kept."""
        yield from kept(Kept(folder / "store"))


class TestRebuilt(RuntimeTests):
    """
    A store whose catalog is made anew from the files: stamps and fencing numbers
    do not depend on it.
    """

    @pytest.fixture
    def place(self, folder: Path) -> Iterator[Kept]:
        """Return where sessions are kept."""
        yield from kept(Rebuilt(folder / "store"))


class TestPacked(RuntimeTests):
    """A store that is packed, with a snapshot of the fold after every entry."""

    @pytest.fixture
    def place(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
        """Return where sessions are kept."""
        monkeypatch.setattr(runtime_log, "SNAPSHOT_EVERY", 1)
        yield from kept(Packed(folder / "store"))


@pytest.mark.parametrize(("ttl", "renew"), [(29, 10), (3, 0), (0, 0), (2, 1)])
def test_lease_timings_leave_time(ttl: int, renew: int) -> None:
    """
    A lease holds for three renewals, each of a millisecond or more.

    Statements: L11.
    """
    with pytest.raises(ValueError, match="three intervals"):
        LeaseTimings(ttl, renew)

    assert (30_000, 10_000) == (LeaseTimings().ttl_ms, LeaseTimings().renew_ms)
    assert 3 == LeaseTimings(3, 1).ttl_ms
