"""
Hashing: the only caller of blake3.

A blob is named by the plain BLAKE3-256 of its bytes, so that ``b3sum`` can
check it. Everything structural is hashed under a context of its own, so that a
payload can never pass for an entry nor a leaf for a node.

Spec: spec/suite.md.
"""

from __future__ import annotations

import hashlib

from collections.abc import Callable
from typing import Protocol

from blake3 import blake3

from castore.errors import FormatError


SIZE = 32  # bytes of every digest
PREFIX = "blake3:"  # of a blob's name outside the store
CONTEXT_NAMES = (
    "bundle",
    "chunks",
    "commit",
    "content",
    "empty",
    "entry",
    "file",
    "frame",
    "genesis",
    "head",
    "leaf",
    "mark",
    "node",
    "plan",
    "refs",
    "slices",
    "stored",
)


class Hash(Protocol):
    """A hash being computed."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Add *data*."""

    def digest(self) -> bytes:
        """Return the 32 bytes for what was added so far."""


def blob_digest(data: bytes | bytearray | memoryview) -> bytes:
    """
    Return the name of the blob *data*: 32 bytes, plain BLAKE3-256.

    Above 1 MiB all cores are used; below, starting threads costs more than it
    saves.
    """
    if len(data) > 1 << 20:
        return blake3(data, max_threads=blake3.AUTO).digest()
    return blake3(data).digest()


def blob_hash() -> Hash:
    """Return a hash for a blob that comes in parts."""
    return blake3()


def _context(name: str) -> Callable[..., bytes]:
    # Preparing the hasher costs more than hashing 200 bytes; copying it does not.
    prepared = blake3(derive_key_context=f"castore v1 2026-11 {name}")

    def digest(*parts: bytes | bytearray | memoryview) -> bytes:
        state = prepared.copy()
        for part in parts:
            state.update(part)
        return state.digest()

    digest.__doc__ = f"Return the 32-byte digest of the parts, context *{name}*."
    return digest


in_context = {name: _context(name) for name in CONTEXT_NAMES}


def sha256(data: bytes) -> bytes:
    """Return SHA-256 of *data*; only the store log's tree uses it."""
    return hashlib.sha256(data).digest()


def format_digest(digest: bytes) -> str:
    """Return the text form of a blob's name, ``blake3:`` and 64 hex digits."""
    return PREFIX + digest.hex()


def parse_digest(text: str) -> bytes:
    """
    Return the 32 bytes of a blob's name given as text.

    Raises:
        FormatError: Not exactly ``blake3:`` and 64 lower-case hex digits.
    """
    digits = text.removeprefix(PREFIX)
    if (
        text[: len(PREFIX)] != PREFIX
        or len(digits) != 2 * SIZE
        or not set(digits) <= set("0123456789abcdef")
    ):
        raise FormatError(
            "not a blob name: want 'blake3:' and 64 lower-case hex digits"
        )
    return bytes.fromhex(digits)
