"""
Signed notes: those of others verify, and what is no note is refused.
"""

from __future__ import annotations

import json
import subprocess
import sys

from pathlib import Path
from typing import Any

import pytest

from hypothesis import given
from hypothesis import strategies as st
from make_vectors import FOLDER
from proofkit import OTHER_SIGNER, SIGNER, STORE, note_of, store_log
from proofreference import PATH, REFERENCE
from vectors.form import unhex

from castore.errors import CorruptionError, FormatError, UnsupportedError
from castore.proofs.notes import (
    Checkpoint,
    Note,
    PrivateKey,
    PublicKey,
    open_checkpoint,
    origin_of,
    sign,
    store_of,
)


CASES = json.loads((FOLDER / "notes.json").read_text("utf-8"))["cases"]

# The example of golang.org/x/mod/sumdb/note (documentation of the package), with the
# private key that it gives.
NEUMANN_PRIVATE = (
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
)
NEUMANN_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
NEUMANN_NOTE = (
    f"{NEUMANN_TEXT}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGU"
    "gYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

# A checkpoint of the Go checksum database, as sum.golang.org answered
# /lookup/sigsum.org/sigsum-go@v0.14.1-0.20260122082554-78c70772b806, and the key that
# the go command carries (cmd/go/internal/modfetch/key.go).
GOLANG_PUBLIC = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
GOLANG_NOTE = (
    "go.sum database tree\n49189689\nftjbAOzaupaIvaPo/G+Dk63nxOZ2s1OPOKIaPtXs7S4=\n\n"
    "— sum.golang.org Az3grlKZssqRoMNPpZfKt0TphbbcF+pzXqElURJKRNFKfaUAgqeI5k2AORH0QAhg"
    "/ebRwyIqD/OqP4oLtLnNumvOBAM=\n"
)

# The first example of c2sp.org/signed-note, whose key the page does not give.
SALVATORE_NOTE = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\n"
    "ed è subito sera.\n\n— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5Q"
    "Q2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)


# --- notes of others ---------------------------------------------------------


def test_a_checkpoint_of_a_public_log() -> None:
    """The Go checksum database's checkpoint is what its key signed; both agree."""
    key = PublicKey.parse(GOLANG_PUBLIC)
    found = open_checkpoint(GOLANG_NOTE.encode(), [key])

    assert GOLANG_PUBLIC == str(key)
    assert ("go.sum database tree", 49189689) == (found.origin, found.count)
    assert "7ed8db00ecdaba9688bda3e8fc6f8393ade7c4e676b3538f38a21a3ed5eced2e" == (
        found.root.hex()
    )
    said = REFERENCE.signed(GOLANG_NOTE.encode(), GOLANG_PUBLIC)
    assert (found.count, found.root) == (said["count"], said["root"])


def test_no_byte_of_a_public_note_can_change() -> None:
    """Any other text, name, id or signature is refused."""
    key = PublicKey.parse(GOLANG_PUBLIC)
    data = GOLANG_NOTE.encode()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(CorruptionError):
            open_checkpoint(bytes(changed), [key])
        with pytest.raises(REFERENCE.Refused):
            REFERENCE.signed(bytes(changed), GOLANG_PUBLIC)


def test_the_example_of_another_implementation() -> None:
    """Its note is signed to the same bytes, and its keys come back."""
    key = PrivateKey.parse(NEUMANN_PRIVATE)

    assert NEUMANN_NOTE.encode() == sign(NEUMANN_TEXT, key)
    assert (NEUMANN_PRIVATE, NEUMANN_PUBLIC) == (key.encode(), str(key.public_key))
    note = Note.parse(NEUMANN_NOTE.encode())
    assert (PublicKey.parse(NEUMANN_PUBLIC),) == note.verify([key.public_key])
    assert NEUMANN_TEXT == note.text


def test_a_note_with_empty_lines() -> None:
    """The last empty line ends the text; without its key nothing is believed."""
    note = Note.parse(SALVATORE_NOTE.encode())

    assert 4 == note.text.count("\n")
    assert ["quasimodo.example/salvatore"] == [each.name for each in note.signatures]
    with pytest.raises(CorruptionError, match="bad signature"):
        note.verify([PublicKey.parse(GOLANG_PUBLIC)])


# --- vectors and keys --------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_reference_gives_what_a_vector_expects(case: dict[str, Any]) -> None:
    """The reference opens and refuses what the vectors say, with that verdict."""
    data, key = unhex(case["input"]["data"]), case["input"]["key"]
    try:
        found, value = "ok", REFERENCE.signed(data, key)
    except REFERENCE.Refused as refused:
        found, value = str(refused), None

    assert case["expect"] == found
    if value is not None:
        assert case["value"] == value | {"root": value["root"].hex()}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        NEUMANN_PRIVATE,
        NEUMANN_PUBLIC[1:],
        NEUMANN_PUBLIC[:-1],
        NEUMANN_PUBLIC.replace("c74f", "c74e"),
        NEUMANN_PUBLIC.replace("+AR", "+Ag"),
        NEUMANN_PUBLIC.replace("c74f", "C74F"),
        f" {NEUMANN_PUBLIC}",
        f"{NEUMANN_PUBLIC}\n",
    ],
)
def test_what_is_no_public_key(text: str) -> None:
    """A key whose id, type, size or form is another is refused, by both."""
    with pytest.raises(FormatError):
        PublicKey.parse(text)
    with pytest.raises(REFERENCE.Refused):
        REFERENCE.public(text)


def test_what_is_no_private_key() -> None:
    """A private key of another form is refused, and not repeated in the error."""
    for text in (
        NEUMANN_PUBLIC,
        NEUMANN_PRIVATE[:-4],
        NEUMANN_PRIVATE.replace("c74f", "c74e"),
        NEUMANN_PRIVATE + "\n",
        "PRIVATE+KEY+",
    ):
        with pytest.raises(FormatError) as caught:
            PrivateKey.parse(text)
        assert "AYEK" not in str(caught.value)


def test_a_secret_is_not_shown() -> None:
    """Who prints a key does not print the secret."""
    key = PrivateKey.new("somebody")

    assert key.seed.hex() not in repr(key)
    assert repr(key.seed) not in repr(key)
    assert key == PrivateKey.parse(key.encode())
    assert key != PrivateKey.new("somebody")
    for name in ("", "a b", "a+b", "a\u2003b", "a\nb"):
        with pytest.raises(FormatError, match="name"):
            PrivateKey.new(name)


def test_an_origin_is_a_store() -> None:
    """The origin of a checkpoint gives the store's id back, and no other text one."""
    assert STORE == store_of(origin_of(STORE))
    for text in (
        "",
        "castore/",
        STORE.hex(),
        f"x/{STORE.hex()}",
        "castore/" + "A" * 32,
    ):
        assert b"" == store_of(text)


def test_who_signed_is_told() -> None:
    """Of the known keys those are named that signed; a note may have several."""
    data = note_of(store_log(5), 4)
    _, _, line = note_of(store_log(5), 4, OTHER_SIGNER).partition(b"\n\n")
    both = Note.parse(data + line)
    keys = [OTHER_SIGNER.public_key, SIGNER.public_key]

    assert (SIGNER.public_key, OTHER_SIGNER.public_key) == both.verify(keys)
    assert (OTHER_SIGNER.public_key,) == both.verify(keys[:1])
    with pytest.raises(CorruptionError, match="bad signature"):
        both.verify([])


def test_without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, the error says what to install."""
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    data = GOLANG_NOTE.encode()

    with pytest.raises(UnsupportedError, match=r"castore\[notes\]"):
        open_checkpoint(data, [PublicKey.parse(GOLANG_PUBLIC)])
    assert 49189689 == Checkpoint.parse(Note.parse(data).text).count


def test_the_reference_is_a_command(tmp_path: Path) -> None:
    """It says what a note says, and with its exit code whether the key signed that."""
    place = tmp_path / "note"
    place.write_text(GOLANG_NOTE, "utf-8")

    def run(key: str) -> tuple[int, Any]:
        command = [sys.executable, "-I", str(PATH), str(place), "--key", key]
        done = subprocess.run(command, capture_output=True, check=False)
        assert b"" == done.stderr
        return done.returncode, json.loads(done.stdout)

    code, found = run(GOLANG_PUBLIC)
    assert (0, True, 49189689) == (code, found["ok"], found["count"])
    assert (1, {"ok": False, "verdict": "bad signature"}) == run(NEUMANN_PUBLIC)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    """What is no note is refused as malformed, by both."""
    with pytest.raises(CorruptionError, match="malformed record"):
        open_checkpoint(data, [SIGNER.public_key])
    with pytest.raises(REFERENCE.Refused, match="malformed record"):
        REFERENCE.signed(data, str(SIGNER.public_key))


@given(st.data())
def test_pieces_of_notes(data: st.DataObject) -> None:
    """Notes cut and put together otherwise are refused by both alike, or right."""
    whole = note_of(store_log(5), 4).decode()
    pieces = st.sampled_from([*whole.split("\n"), "", "\n", "— ", " ", "x", whole])
    text = "\n".join(data.draw(st.lists(pieces, max_size=8)))
    try:
        found = open_checkpoint(text.encode(), [SIGNER.public_key]).root.hex()
    except CorruptionError as error:
        found = error.verdict
    try:
        said = REFERENCE.signed(text.encode(), str(SIGNER.public_key))["root"].hex()
    except REFERENCE.Refused as refused:
        said = str(refused)

    assert found == said
