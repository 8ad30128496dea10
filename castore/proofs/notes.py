"""
Signed notes and checkpoints, as C2SP has them: text, signed by keys with names.

The only caller of `cryptography`, which is imported when a signature is made or
looked at: stores need none.

Spec: spec/notes.md; c2sp.org/signed-note; c2sp.org/tlog-checkpoint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os

from collections.abc import Sequence
from typing import Any

import attrs

from castore import limits
from castore.errors import FormatError, UnsupportedError
from castore.formats.refuse import is_count, need, refusal


BAD_SIGNATURE = "bad signature"
_ED25519 = b"\x01"  # type of a signature, and what stands before a key
_PRIVATE = "PRIVATE+KEY+"
_DASH = "— "  # an em dash and a space: a signature's line
_ID_SIZE = 4
_ORIGIN = "castore/"


def origin_of(store: bytes) -> str:
    """Return the origin line of a store's checkpoints, which names its key too."""
    return _ORIGIN + store.hex()


def store_of(origin: str) -> bytes:
    """
    Return the store id in an origin line; empty for one of somebody else's.
    """
    digits = origin.removeprefix(_ORIGIN)
    is_ours = len(digits) == 32 and set(digits) <= set("0123456789abcdef")
    return bytes.fromhex(digits) if is_ours and origin != digits else b""


# --- keys --------------------------------------------------------------------


def _key_id(name: str, public: bytes) -> bytes:
    data = name.encode() + b"\n" + _ED25519 + public
    return hashlib.sha256(data).digest()[:_ID_SIZE]


def _check_name(name: str) -> None:
    if not name or "+" in name or any(map(str.isspace, name)):
        raise FormatError("a key's name has no spaces, no '+', and is not empty")


@attrs.frozen
class PublicKey:
    """
    Who may have signed a note.

    Attributes:
        name: As it stands in the signature's line.

        public: Ed25519, 32 bytes.
    """

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The key's id, 4 bytes."""
        return _key_id(self.name, self.public)

    def __str__(self) -> str:
        text = base64.b64encode(_ED25519 + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{text}"

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """
        Return the key that ``name+id+base64`` is.

        Raises:
            FormatError: It is none, or its id is not that of name and key.
        """
        return cls(*_parse_key(text))

    def verify(self, signature: bytes, text: bytes) -> None:
        """
        Check a signature.

        Raises:
            CorruptionError: ``bad signature``.

            UnsupportedError: The package ``cryptography`` is not there.
        """
        ed25519, invalid = _cryptography()
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(self.public).verify(
                signature, text
            )
        except (invalid, ValueError):
            what = f"the signature of {self.name} is not one of this text"
            raise refusal(what, BAD_SIGNATURE) from None


@attrs.frozen
class PrivateKey:
    """
    Who signs notes.

    Attributes:
        name: As it stands in the signature's line.

        seed: Ed25519, 32 bytes; the secret.
    """

    name: str
    seed: bytes = attrs.field(repr=False)

    @classmethod
    def new(cls, name: str) -> PrivateKey:
        """Return a new key of that name."""
        _check_name(name)
        return cls(name, os.urandom(32))

    @property
    def public_key(self) -> PublicKey:
        """The key to check with."""
        return PublicKey(self.name, self._key().public_key().public_bytes_raw())

    def encode(self) -> str:
        """Return the line of a key file, without its end. It is the secret."""
        text = base64.b64encode(_ED25519 + self.seed).decode()
        return f"{_PRIVATE}{self.name}+{self.public_key.id.hex()}+{text}"

    @classmethod
    def parse(cls, text: str) -> PrivateKey:
        """
        Return the key that a key file's line is.

        Raises:
            FormatError: It is none; the text is not repeated.
        """
        if not text.startswith(_PRIVATE):
            raise FormatError("no private key")
        parts = text.removeprefix(_PRIVATE)
        name, _, rest = parts.partition("+")
        seed = _key_bytes(rest.partition("+")[2])
        key = cls(name, seed)
        if key.encode() != text:
            raise FormatError("a private key whose id is not its own")
        return key

    def sign(self, text: bytes) -> bytes:
        """Return the signature of *text*, 64 bytes."""
        signature: bytes = self._key().sign(text)
        return signature

    def _key(self) -> Any:
        ed25519, _ = _cryptography()
        return ed25519.Ed25519PrivateKey.from_private_bytes(self.seed)


def _parse_key(text: str) -> tuple[str, bytes]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    _check_name(name)
    public = _key_bytes(encoded)
    if _key_id(name, public).hex() != key_id:
        raise FormatError("a key whose id is not that of its name and bytes")
    return name, public


def _key_bytes(encoded: str) -> bytes:
    data = _from_base64(encoded)
    if data is None or len(data) != 33 or data[:1] != _ED25519:
        raise FormatError("no key for Ed25519 (name+id+base64)")
    return data[1:]


def _from_base64(text: str) -> bytes | None:
    """Return what *text* encodes, None unless it is the one encoding of that."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def _cryptography() -> tuple[Any, type[Exception]]:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        what = "notes want the package cryptography: pip install 'castore[notes]'"
        raise UnsupportedError(what) from None
    return ed25519, InvalidSignature


# --- notes -------------------------------------------------------------------


@attrs.frozen
class Signature:
    """One line below a note: a key's name and id, and the bytes."""

    name: str
    id: bytes
    data: bytes


@attrs.frozen
class Note:
    """
    A text and its signatures; **nothing of it counts before** `verify`.

    Attributes:
        text: With the end of its last line.

        signatures: In order, of known and of unknown keys.
    """

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """
        Return the note that *data* is.

        Raises:
            CorruptionError: ``malformed record``.
        """
        need(len(data) <= limits.NOTE_SIZE_MAX, "note: too large")
        try:
            whole = data.decode()
        except UnicodeDecodeError:
            raise refusal("note: no UTF-8") from None
        plain = all(each >= " " or each == "\n" for each in whole)
        need(plain, "note: control characters")
        text, blank, lines = whole.rpartition("\n\n")
        need(blank and lines.endswith("\n"), "note: no text, or no signatures")
        count_max = limits.NOTE_SIGNATURE_COUNT_MAX
        signed = lines[:-1].split("\n")
        need(len(signed) <= count_max, "note: too many signatures")
        return cls(text + "\n", tuple(map(_parse_signature, signed)))

    def verify(self, keys: Sequence[PublicKey]) -> tuple[PublicKey, ...]:
        """
        Return who of *keys* signed this; lines of other keys are ignored.

        Raises:
            CorruptionError: ``bad signature``: a line of one of *keys* that is not
                its signature, or no line of any of them.
        """
        known = {(key.name, key.id): key for key in keys}
        found = []
        for line in self.signatures:
            key = known.get((line.name, line.id))
            if key is not None:
                key.verify(line.data, self.text.encode())
                found.append(key)
        need(found, "note: not signed by a key that is known here", BAD_SIGNATURE)
        return tuple(dict.fromkeys(found))


def _parse_signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    need(line.startswith(_DASH), "note: a line below it that is no signature")
    need(name and "+" not in name, "note: a signature without a name")
    need(not any(map(str.isspace, name)), "note: a name with spaces")
    data = _from_base64(encoded)
    if data is None or len(data) <= _ID_SIZE:
        raise refusal("note: a signature that is no base64, or too short")
    return Signature(name, data[:_ID_SIZE], data[_ID_SIZE:])


def sign(text: str, key: PrivateKey) -> bytes:
    """Return the note of *text*, signed by *key*."""
    signed = key.public_key.id + key.sign(text.encode())
    line = f"{_DASH}{key.name} {base64.b64encode(signed).decode()}\n"
    return f"{text}\n{line}".encode()


# --- checkpoints -------------------------------------------------------------


@attrs.frozen
class Checkpoint:
    """
    What a log says of itself: its origin, how many leaves, and the root over them.
    """

    origin: str
    count: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed."""
        root = base64.b64encode(self.root).decode()
        return f"{self.origin}\n{self.count}\n{root}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """
        Return the checkpoint that a note's text is; further lines are ignored.

        Raises:
            CorruptionError: ``malformed record``.
        """
        lines = text.removesuffix("\n").split("\n")
        need(len(lines) >= 3 and all(lines), "checkpoint: lines")
        origin, digits, encoded = lines[:3]
        right = digits.isascii() and digits.isdecimal() and len(digits) < 20
        need(right and str(int(digits)) == digits, "checkpoint: count")
        need(is_count(int(digits)), "checkpoint: count")
        root = _from_base64(encoded)
        if root is None or len(root) != 32:
            raise refusal("checkpoint: root")
        return cls(origin, int(digits), root)


def open_checkpoint(data: bytes, keys: Sequence[PublicKey]) -> Checkpoint:
    """
    Return the checkpoint in a note that one of *keys* signed.

    Raises:
        CorruptionError: ``bad signature``; ``malformed record``.
    """
    note = Note.parse(data)
    note.verify(keys)
    return Checkpoint.parse(note.text)
