"""
Writing a bundle: frames in order, into a stream.

Spec: spec/bundle.md, "Made the same each time".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from castore.bundles.manifest import Manifest, bundle_id
from castore.formats import file as file_format
from castore.formats.file import FileHeader, encode_header
from castore.formats.frame import finish, seal_part


LEVEL = 9  # of zstd

Descriptor = list[Any]


class Sink(Protocol):
    """What takes bytes one behind the other."""

    def write(self, data: bytes, /) -> object:
        """Take *data*."""


class BundleWriter:
    """
    Writes one bundle; it has no end of its own.

    Attributes:
        id: Bundle id.

        size: Bytes so far.
    """

    def __init__(self, sink: Sink, manifest: Manifest, store: bytes) -> None:
        """Write header and manifest; *store* is whose heads these are."""
        table, payloads = manifest.records()
        self.id = bundle_id(table, payloads)
        header = encode_header(FileHeader(file_format.BUNDLE, store, self.id))
        self._sink = sink
        self._hash = self._last = header[-32:]
        self.size = len(header)
        sink.write(header)
        self.write(table, payloads)

    def write(
        self, table: Sequence[Descriptor], payloads: Sequence[bytes | memoryview]
    ) -> None:
        """Append one frame."""
        data = finish(
            seal_part(b"".join(payloads), LEVEL, long=True),
            table,
            offset=self.size,
            group_start=file_format.SIZE,
            file_hash=self._hash,
            prev=self._last,
        )
        self._sink.write(data)
        self._last = data[-32:]
        self.size += len(data)
