"""
Vectors of spec/notes.md.
"""

from __future__ import annotations

import base64

from proofkit import OTHER_SIGNER, SIGNER, STORE, note_of, store_log
from vectors.form import BAD_SIGNATURE, MALFORMED, Case

from castore.proofs.notes import Checkpoint, PublicKey, open_checkpoint, origin_of, sign


KEY = SIGNER.public_key
DASH = "— "
Rows = dict[str, tuple[str, bytes]]


def note_cases() -> list[Case]:
    """Return notes, and what is to be refused."""
    cases = []
    for name, (desc, data) in _good().items():
        value = open_checkpoint(data, [KEY])
        cases.append(Case(name, desc, _input(data), value=value))
    for verdict, rows in (
        (MALFORMED, _malformed() | _malformed_lines()),
        (BAD_SIGNATURE, _unsigned()),
    ):
        for name, (desc, data) in rows.items():
            cases.append(Case(name, desc, _input(data), verdict))
    return cases


def _input(data: bytes, key: PublicKey = KEY) -> dict[str, object]:
    return {"data": data, "key": str(key)}


def _parts(count: int = 3) -> tuple[str, str]:
    """Return text and signature of a note."""
    text, _, line = note_of(store_log(7), count).decode().rpartition("\n\n")
    return f"{text}\n", line


def _signed(text: str) -> bytes:
    return sign(text, SIGNER)


def _below(*lines: str) -> bytes:
    text, _ = _parts()
    return f"{text}\n{''.join(lines)}".encode()


def _text(*, origin: str = SIGNER.name, count: object = 3, root: str = "") -> str:
    root = root or base64.b64encode(bytes(32)).decode()
    return f"{origin}\n{count}\n{root}\n"


def _good() -> Rows:
    text, line = _parts()
    _, other = note_of(store_log(7), 3, OTHER_SIGNER).decode().rsplit("\n\n", 1)
    same_name = f"{DASH}{SIGNER.name} {base64.b64encode(bytes(70)).decode()}\n"
    same_id = base64.b64encode(KEY.id + bytes(64)).decode()
    most = (1 << 63) - 1
    return {
        "note": ("one signature", _below(line)),
        "extended": ("a line behind the root", _signed(f"{text}more\n")),
        "elsewhere": ("another origin than the key's name", _signed(_text(origin="x"))),
        "empty_log": ("over no entries", _signed(_text(count=0))),
        "count_most": ("2^63 - 1 entries", _signed(_text(count=most))),
        "unknown_before": ("a signature of another key first", _below(other, line)),
        "unknown_behind": ("a signature of another key last", _below(line, other)),
        "unknown_id": ("the same name, another id", _below(same_name, line)),
        "unknown_name": (
            "the same id, another name",
            _below(f"{DASH}other {same_id}\n", line),
        ),
        "unknown_short": ("one of 1 byte", _below(f"{DASH}x AAAAAAA=\n", line)),
        "twice": ("the same signature twice", _below(line, line)),
        "lines_100": ("100 signatures", _below(*[other] * 99, line)),
    }


def _malformed() -> Rows:
    text, line = _parts()
    short = base64.b64encode(bytes(31)).decode()
    root = base64.b64encode(bytes(32)).decode()
    return {
        "empty": ("no bytes", b""),
        "no_signature": ("a text", text.encode()),
        "nothing_below": ("an empty line at the end", f"{text}\n".encode()),
        "no_end": ("a signature without its end", _below(line[:-1])),
        "no_end_other": ("another end of it", _below(f"{line[:-1]}x")),
        "only_line": ("a signature alone", line.encode()),
        "no_utf8": ("no UTF-8", _below(line) + b"\xff\n"),
        "tab": ("a tab in the text", _signed(text.replace("e/", "e\t"))),
        "return": ("a carriage return", _signed(_text(origin="x\ry"))),
        "too_large": ("more than 131,072 bytes", _signed(text + "z" * 131_072 + "\n")),
        "two_lines": ("no root", _signed(f"{SIGNER.name}\n3\n")),
        "empty_line": ("an empty line in the text", _signed(f"\n{text}")),
        "empty_behind": ("an empty line at its end", _signed(f"{text}\n")),
        "count_zero": ("a leading zero", _signed(_text(count="03"))),
        "count_sign": ("a sign", _signed(_text(count="+3"))),
        "count_negative": ("below 0", _signed(_text(count=-3))),
        "count_wide": ("other digits", _signed(_text(count="\u0663"))),
        "count_large": ("2^63 entries", _signed(_text(count=1 << 63))),
        "count_long": ("20 digits", _signed(_text(count=10**19))),
        "count_text": ("no digits", _signed(_text(count="three"))),
        "root_short": ("a root of 31 bytes", _signed(_text(root=short))),
        "root_hex": ("a root in hex", _signed(_text(root="00" * 32))),
        "root_bits": ("bits behind the root", _signed(_text(root=root[:-2] + "B="))),
        "root_open": ("no padding", _signed(_text(root=root[:-1]))),
    }


def _malformed_lines() -> Rows:
    _, line = _parts()
    code = line.split(" ")[2][:-1]
    return {
        "line_text": ("a line that is no signature", _below(line, "more\n")),
        "line_no_dash": ("no dash before a name", _below(line, "x AAAAAAA=\n")),
        "line_hyphen": ("a hyphen", _below(line.replace(DASH, "- "))),
        "line_no_name": ("no name", _below(line, f"{DASH} {code}\n")),
        "line_no_code": ("no signature", _below(line, f"{DASH}x\n")),
        "line_empty_code": ("an empty one", _below(line, f"{DASH}x \n")),
        "line_plus": ("a plus in a name", _below(line, f"{DASH}x+y {code}\n")),
        "line_space": (
            "a wide space in a name",
            _below(line, f"{DASH}x\u2003y {code}\n"),
        ),
        "line_more": ("a word too many", _below(line, f"{DASH}x {code} y\n")),
        "line_code": ("no base64", _below(line, f"{DASH}x {code[:-2]}-=\n")),
        "line_bits": ("bits behind the bytes", _below(line, f"{DASH}x AAAAAAB=\n")),
        "line_short": ("four bytes", _below(line, f"{DASH}x AAAAAA==\n")),
        "lines_101": ("101 signatures", _below(*[line] * 101)),
    }


def _unsigned() -> Rows:
    _, line = _parts()
    _, other = _parts(4)
    _, unknown = note_of(store_log(7), 3, OTHER_SIGNER).decode().rsplit("\n\n", 1)
    key_id = base64.b64encode(KEY.id + bytes(63)).decode()
    checkpoint = Checkpoint(origin_of(STORE), 4, bytes(32))
    return {
        "unknown": ("only by another key", _below(unknown)),
        "other_text": ("the signature of another text", _below(other)),
        "root_changed": (
            "another text above a signature",
            f"{checkpoint.text()}\n{line}".encode(),
        ),
        "one_is_bad": ("a right one and a wrong one", _below(line, other)),
        "signature_short": ("63 bytes", _below(f"{DASH}{SIGNER.name} {key_id}\n")),
        "no_checkpoint": ("a text that is none, not signed", f"x\n\n{line}".encode()),
    }
