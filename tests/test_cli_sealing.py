"""
``castore key``, ``seal``, ``recover``, ``evidence``, and what holds a store to a note.
"""

from __future__ import annotations

import shutil
import stat

from pathlib import Path

import pytest

from clikit import Result, Shop, call
from proofreference import verdict

import castore

from castore.cli.schemas import SCHEMAS


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with a log, a key, and a note."""
    shop = Shop(tmp_path)
    with castore.open(shop.store, create=True) as store:
        then = [castore.NewEntry("line", b"%d" % n) for n in range(9)]
        store.create_session(key=("by", "hand"), then=then)
    shop.do("key", "new", shop.root / "key")
    seal(shop, "note")
    return shop


def seal(shop: Shop, name: str, key: str = "key") -> Result:
    """Seal the store and write the note to a file."""
    place = shop.root / name
    return shop("--json", "seal", "--key", shop.root / key, "-o", place)


def grow(shop: Shop) -> None:
    """Let the store log and a session go on."""
    with castore.open(shop.store) as store:
        store.session(("by", "hand")).segments()[0].append([castore.NewEntry("x", b"")])
        store.tag("x", store.put(b"x"))


def held(shop: Shop, name: str) -> Result:
    """Verify the store against a note."""
    key = shop.root / "key.pub"
    return shop("--json", "verify", "--against", shop.root / name, "--key", key)


def roll_back(shop: Shop) -> None:
    """Seal once more, and put the state before that in the store's place."""
    copy = shutil.copytree(shop.store, shop.root / "copy")
    grow(shop)
    assert 0 == seal(shop, "newer").code
    shutil.rmtree(shop.store)
    copy.rename(shop.store)


def test_a_key_is_made_and_shown(shop: Shop) -> None:
    """The public key is printed; the private one is its owner's alone."""
    path = shop.root / "key"
    public = (shop.root / "key.pub").read_text()

    assert public == shop("key", "show", path).text == call("key", "show", path).text
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert "PRIVATE" not in public
    assert 5 == shop("key", "new", path).code


def test_a_store_is_held_to_its_note(shop: Shop) -> None:
    """What matches and what extends is said; the key may be given as text."""
    assert "matches signed head" == held(shop, "note").object["against"]
    grow(shop)
    assert "extends pinned head" == held(shop, "note").object["against"]
    key = (shop.root / "key.pub").read_text().strip()
    args = ("verify", "--against", shop.root / "note", "--key", key)
    assert "ok: extends pinned head up to commit" in shop(*args).text


def test_an_older_store_is_found_and_not_signed(shop: Shop) -> None:
    """The note finds it; sealing is refused for safety and says what to do."""
    roll_back(shop)
    found = held(shop, "newer")

    assert 1 == found.code
    assert ["rolled back"] == [each["verdict"] for each in found.object["findings"]]
    refused = seal(shop, "third")
    assert (4, True) == (refused.code, "castore recover" in refused.error)
    assert not (shop.root / "third").exists()


def test_a_restore_is_said(shop: Shop) -> None:
    """After that the store is signed again, and says which note it does not extend."""
    roll_back(shop)
    shop.do("recover", "--key", shop.root / "key", "-o", shop.root / "third")

    assert "matches signed head" == held(shop, "third").object["against"]
    assert "extends pinned head" == held(shop, "note").object["against"]
    (finding,) = held(shop, "newer").object["findings"]
    assert "says that an older state was restored" in finding["detail"]
    again = shop("recover", "--key", shop.root / "key", "-o", shop.root / "fourth")
    assert (5, False) == (again.code, (shop.root / "fourth").exists())


def test_two_histories_are_shown(shop: Shop) -> None:
    """Two notes that contradict each other become a file that convicts the key."""
    roll_back(shop)
    shop.do("recover", "--key", shop.root / "key", "-o", shop.root / "third")
    grow(shop)
    seal(shop, "fourth")
    place, key = shop.root / "evidence", shop.root / "key.pub"
    notes = (shop.root / "newer", shop.root / "fourth")
    made = shop("--json", "evidence", *notes, "--key", key, "-o", place)

    assert (1, "contradiction") == (made.code, made.object["proof"])
    assert SCHEMAS["evidence"].keys() == made.object.keys()
    assert "ok" == verdict(place.read_bytes())
    shown = call("check", place)
    assert 0 == shown.code
    assert "signed notes of two histories" in shown.text
    assert "whoever holds this key signed both: castore/" in shown.text
    same = shop("evidence", shop.root / "note", notes[1], "--key", key)
    assert (0, True) == (same.code, "of one history" in same.text)


def test_an_entry_is_proven_up_to_the_note(shop: Shop) -> None:
    """Whoever trusts the key trusts the entry, through files given in any order."""
    shop.do("prove", "by:hand", "3", "-o", shop.root / "entry")
    grow(shop)
    shop.do("prove", "by:hand", "--sealed", "-o", shop.root / "seal")
    shop.do("prove", "by:hand", "--consistency", "5", "10", "-o", shop.root / "grown")
    shop.do("prove", "by:hand", "3", "--at", "5", "-o", shop.root / "older")
    shop.do("prove", "by:hand", "10", "-o", shop.root / "newer")
    files = [shop.root / name for name in ("older", "entry", "grown", "seal", "newer")]
    note = ("--note", shop.root / "note", "--key", shop.root / "key.pub")

    alone = call("--json", "check", *files).object["files"]
    assert ["nothing"] * 5 == [row["against"] for row in alone]
    rows = call("--json", "check", *files, *note).object["files"]
    signed, nothing = "matches signed head", "nothing"
    assert [signed] * 4 + [nothing] == [row["against"] for row in rows]
    text = call("check", *files[:4], *note).text
    assert "signed: head" in text
    assert "vouch" not in text


def test_a_note_is_signed_or_nothing(shop: Shop) -> None:
    """A note of another key, or a changed one, holds nothing."""
    shop.do("prove", "by:hand", "3", "-o", shop.root / "entry")
    note = (shop.root / "note").read_bytes()
    (shop.root / "note").write_bytes(note.replace(b"\n2\n", b"\n3\n"))
    key = ("--key", shop.root / "key.pub")

    args = ("check", shop.root / "entry", "--note", shop.root / "note")
    assert (5, True) == (
        call(*args, *key).code,
        "bad signature" in call(*args, *key).error,
    )
    assert ["bad signature"] == [
        each["verdict"] for each in held(shop, "note").object["findings"]
    ]


@pytest.mark.parametrize(
    "args",
    [
        ["verify", "--against", "{root}/note"],
        ["verify", "--key", "{root}/key.pub"],
        ["verify", "--against", "{root}/note", "--key", "nobody"],
        ["verify", "--against", "{root}/note", "--key", "{root}/key"],
        ["check", "{root}/note", "--key", "{root}/key.pub"],
        ["check", "{root}/note", "--note", "{root}/note"],
        ["evidence", "{root}/note", "{root}/note"],
        ["seal"],
        ["key", "new"],
    ],
)
def test_a_wrong_line(shop: Shop, args: list[str]) -> None:
    """What cannot be meant is refused, with the code of a wrong line."""
    assert 2 == shop(*[text.format(root=shop.root) for text in args]).code


def test_the_secret_is_never_printed(shop: Shop) -> None:
    """No command shows the private key, also not one that was given it wrongly."""
    secret = (shop.root / "key").read_text().split("+", 4)[4].strip()
    results = [
        shop("key", "show", shop.root / "key"),
        shop("verify", "--against", shop.root / "note", "--key", shop.root / "key"),
        shop("evidence", shop.root / "note", shop.root / "note", "--key", secret),
        shop("doctor"),
    ]

    for result in results:
        assert secret not in result.text + result.error
