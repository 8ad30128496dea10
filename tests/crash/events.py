"""
What happens to a store's folder, one thing at a time.
"""

from __future__ import annotations

import attrs


FOLDER = -1  # stands for the file number of a folder


@attrs.frozen
class Created:
    """A new, empty file under a name."""

    name: str
    file: int
    inode: int


@attrs.frozen
class FolderMade:
    """A new folder."""

    name: str


@attrs.frozen
class Linked:
    """One more name for a file."""

    name: str
    file: int


@attrs.frozen
class Unlinked:
    """A name is gone."""

    name: str


@attrs.frozen
class FolderSynced:
    """What was created, linked, removed in a folder is durable."""

    name: str


@attrs.frozen
class Written:
    """Bytes in a file; not durable."""

    file: int
    offset: int
    data: bytes


@attrs.frozen
class Cut:
    """A file's new size; not durable."""

    file: int
    size: int


@attrs.frozen
class Synced:
    """What was written to a file is durable."""

    file: int


@attrs.frozen
class SyncFailed:
    """
    A sync that failed: what was not durable never will be, although reading
    shows it until the machine stops.
    """

    file: int


@attrs.frozen
class CatalogSaved:
    """The files of the catalog, as they are now."""

    files: dict[str, bytes]


Event = (
    Created
    | FolderMade
    | Linked
    | Unlinked
    | FolderSynced
    | Written
    | Cut
    | Synced
    | SyncFailed
    | CatalogSaved
)
