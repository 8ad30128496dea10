"""
``castore prove`` and ``castore check``.
"""

from __future__ import annotations

import random

from pathlib import Path

import pytest

from clikit import Shop, call
from proofreference import verdict

import castore

from castore.formats.head import hash_head
from castore.proofs.decoding import check_proof


MIB = 1 << 20
SECRET = b"nobody may read this"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with a log of 11 entries, a fork of it, and a large payload."""
    shop = Shop(tmp_path)
    with castore.open(shop.store, create=True) as store:
        blob = store.put(random.Random(3).randbytes(9 * MIB))
        refs = [castore.Reference("x", blob)]
        then = [castore.NewEntry("line", SECRET + b"%d" % n) for n in range(9)]
        log = store.create_session(
            key=("by", "hand"), then=[*then, castore.NewEntry("line", b"", refs)]
        )
        log.fork(4, key=("a", "fork"), session=bytes(16))
        store.tag("large", blob)
    return shop


def checked(shop: Shop, *args: object) -> str:
    """Prove something, have it checked alone, and return what it says."""
    shop.do("prove", *args, "-o", shop.root / "proof", "--force")
    data = (shop.root / "proof").read_bytes()
    assert "ok" == verdict(data)
    found = call("--json", "check", shop.root / "proof")
    assert 0 == found.code
    (row,) = found.object["files"]
    assert SECRET not in found.data + data
    return str(row["says"])


def test_each_kind_is_written_and_checked(shop: Shop) -> None:
    """What the command writes is proven without a store, and said in words."""
    assert checked(shop, "by:hand", "3").startswith("entry 3 (line, body blake3:")
    assert checked(shop, "by:hand", "-1").startswith("entry 10 ")
    assert checked(shop, "by:hand", "3", "--at", "5").startswith("entry 3 ")
    grown = checked(shop, "by:hand", "--consistency", "4", "0")
    assert grown.startswith("the first 4 entries have the root ")
    assert checked(shop, "by:hand", "--consistency", "4", "9") == grown
    assert checked(shop, "a:fork", "--origin").startswith("it began as the first 4 ")
    with castore.open(shop.store, read_only=True) as store:
        own = store.id.hex()
    assert checked(shop, own, "0").startswith("entry 0 (start, ")


def test_the_head_is_named(shop: Shop) -> None:
    """People and scripts are told on which head a proof stands."""
    shop.do("prove", "by:hand", "3", "-o", shop.root / "proof")
    with castore.open(shop.store, read_only=True) as store:
        head = store.session(("by", "hand")).segments()[0].head
    name = hash_head(head.encode()).hex()

    text = call("check", shop.root / "proof").text
    what = f"head {name}: segment {head.segment.hex()}, 11 entries, root"
    assert f"has to be trusted: {what}" in text
    assert "somebody else has to vouch for" in text
    (row,) = call("--json", "check", shop.root / "proof").object["files"]
    (state,) = row["states"]
    found = tuple(state[key] for key in ("head", "count", "root"))
    assert (name, 11, head.root.hex()) == found


def test_a_range_comes_with_its_bytes(shop: Shop) -> None:
    """The bytes of whole slices are written beside the proof, and checked with it."""
    proof, data = shop.root / "proof", shop.root / "data"
    ends = (2 * MIB + 5, 2 * MIB + 6)
    with castore.open(shop.store, read_only=True) as store:
        ref = store.tags()["large"]
    args = (
        "prove",
        "by:hand",
        "10",
        "--range",
        ref,
        *ends,
        "-o",
        proof,
        "--data",
        data,
    )
    shop.do(*args)

    assert MIB == data.stat().st_size
    assert 0 == call("check", proof, "--data", data).code
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    refused = call("--json", "check", proof, "--data", data)
    (row,) = refused.object["files"]
    assert (1, False, "corrupt blob") == (refused.code, row["ok"], row["verdict"])


def test_what_is_refused_stands_beside_what_is_not(shop: Shop) -> None:
    """Each file has its answer; one that is refused is a finding."""
    good, bad = shop.root / "good", shop.root / "bad"
    shop.do("prove", "by:hand", "3", "-o", good)
    bad.write_bytes(good.read_bytes()[:-1] + b"\0")
    found = call("--json", "check", good, bad, shop.transcript())

    assert 1 == found.code
    verdicts = [row["verdict"] for row in found.object["files"]]
    assert [None, "bad proof", "malformed record"] == verdicts
    text = call("check", bad).text
    assert f"{bad}: REFUSED: bad proof: " in text
    assert "vouch" not in text


def test_a_shared_prefix_is_called_so(shop: Shop) -> None:
    """Where the other log is gone, nobody is told that it began alike."""
    shop("rm", "by:hand")

    assert checked(shop, "a:fork", "--origin").startswith("shared prefix only: it says")


def test_a_proof_goes_to_standard_output(shop: Shop) -> None:
    """Without -o the bytes go where a pipe takes them, and nothing else does."""
    result = shop("prove", "by:hand", "3")

    assert (0, 3) == (result.code, check_proof(result.data).index)  # type: ignore[union-attr]
    assert 2 == shop("--json", "prove", "by:hand", "3").code


@pytest.mark.parametrize(
    "args",
    [
        ["by:hand"],
        ["by:hand", "11"],
        ["by:hand", "-12"],
        ["by:hand", "3", "--at", "3"],
        ["by:hand", "3", "--origin"],
        ["by:hand", "3", "--data", "x"],
        ["by:hand", "--consistency", "0", "3"],
        ["by:hand", "--consistency", "3", "2"],
        ["by:hand", "--consistency", "3", "5", "--at", "4"],
        ["by:hand", "10", "--range", "large", "a", "b"],
        ["by:hand", "10", "--range", "large", "5", "5"],
    ],
)
def test_a_wrong_line_writes_nothing(shop: Shop, args: list[str]) -> None:
    """What cannot be meant is refused, with the code of a wrong line."""
    result = shop("prove", *args, "-o", shop.root / "proof")

    assert 2 == result.code, result.error
    assert not (shop.root / "proof").exists()


def test_what_is_not_there_is_not_proven(shop: Shop) -> None:
    """What is no fork has no origin; what an entry does not name has no range."""
    assert 5 == shop("prove", "by:hand", "--origin").code
    assert 5 == shop("prove", "by:hand", "1", "--range", "large", "0", "1").code
    assert 2 == call("check", shop.transcript(), "--data", "a", "b").code
