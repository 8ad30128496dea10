"""
Values and bytes changed as who knows the format would change them.

Everything is drawn from a seeded `random.Random`, so that a case can be made again.
"""

from __future__ import annotations

import io
import random
import struct

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cbor2

from castore.digest import in_context
from castore.formats import frame as frame_format


#: Numbers at which a width, a sign or a bound of the formats changes.
NUMBERS = [
    *(-(1 << 64), -(1 << 63) - 1, -(1 << 63), -(1 << 31), -256, -25, -24, -2, -1),
    *(0, 1, 2, 3, 4, 7, 8, 9, 23, 24, 63, 64, 187, 188, 189, 255, 256, 257),
    *(1024, 1025, 65_535, 65_536, 65_537, 1 << 20, (8 << 20) - 1, 8 << 20),
    *((8 << 20) + 1, (16 << 20) - 1, (16 << 20) + 1, (17 << 20) + 1, 1 << 27),
    *((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 40) + 1),
    *((1 << 63) - 2, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 200),
]
TEXTS = [
    *("", "a", "start", "fork", "../../x", "/etc/passwd", "a\0b", "\ud800", "\N{BOM}"),
    *("x" * 64, "x" * 65, "\N{EURO SIGN}" * 22, "x" * 1025, "tag", "heads", "NaN"),
]
STRINGS = [b"", b"\0", bytes(15), bytes(16), bytes(17), bytes(31), bytes(32), bytes(33)]
STRANGE: list[Any] = [
    *(None, True, False, 0.0, 1.5, float("nan"), float("inf"), {}, {"a": 1}, {1: 2}),
    *([], [[]], [[[[[]]]]], cbor2.undefined, cbor2.CBORTag(2, b"\1"), [0] * 300),
]

FRONT = struct.Struct(">4sBBHIIIQ")  # of a frame

Path = tuple[Any, ...]


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Yield where each value inside of *value* stands, itself first."""
    yield at
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, (*at, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*at, key))


def copied(value: Any) -> Any:
    """Return *value* with containers of its own."""
    if isinstance(value, list):
        return [copied(item) for item in value]
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return value


def changed(value: Any, dice: random.Random, pool: Sequence[Any] = ()) -> Any:
    """
    Return *value* with one to three changes somewhere in it.

    Args:
        value: Decoded CBOR or JSON; it is left as it is.

        dice: What decides.

        pool: Values that stand elsewhere and would look right here.
    """
    made = copied(value)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        *above, last = dice.choice([*paths(made)]) or (None,)
        if last is None:
            made = _other(made, dice, pool)
            continue
        inside = made
        for step in above:
            inside = inside[step]
        if isinstance(inside, list) and dice.random() < 0.3:
            _reorder(inside, last, dice)
        elif isinstance(inside, dict) and dice.random() < 0.3:
            item = inside.pop(last)
            if dice.random() < 0.7:  # else it is gone
                inside[dice.choice((last, "other", f"{last} "))] = item
        else:
            inside[last] = _other(inside[last], dice, pool)
    return made


def _reorder(items: list[Any], at: int, dice: random.Random) -> None:
    match dice.randrange(4):
        case 0:
            del items[at]
        case 1:
            items.insert(at, copied(items[at]))
        case 2:
            other = dice.randrange(len(items))
            items[at], items[other] = items[other], items[at]
        case _:
            items.insert(at, copied(dice.choice(STRANGE)))


def _other(value: Any, dice: random.Random, pool: Sequence[Any]) -> Any:
    chance = dice.random()
    if chance < 0.15:
        return copied(dice.choice([*STRANGE, *TEXTS, *NUMBERS, *STRINGS]))
    alike = [item for item in pool if type(item) is type(value)]
    if alike and chance < 0.5:
        return copied(dice.choice(alike))
    if type(value) is int:
        near = value + dice.choice((-1, 1)), value ^ 1 << dice.randrange(64), -value
        return dice.choice((*near, dice.choice(NUMBERS)))
    if type(value) is bytes:
        choices = (flipped(value, dice), value[:-1], value + b"\0", value * 2)
        return dice.choice((*choices, dice.choice(STRINGS), bytes(len(value))))
    if type(value) is str:
        return dice.choice((value + "x", value[:-1], value.upper(), dice.choice(TEXTS)))
    return copied(dice.choice(STRANGE))


def encoded(value: Any, dice: random.Random) -> bytes:
    """Return *value* as CBOR; now and then not in the one encoding that it has."""
    try:
        data = cbor2.dumps(value, canonical=False)
    except (UnicodeEncodeError, cbor2.CBOREncodeError):
        data = b"\x62\xed\xa0"  # text that is no UTF-8
    chance = dice.random()
    if chance < 0.1:
        return noisy(data, dice)
    return _longer(data, dice) if chance < 0.2 else data


def _longer(data: bytes, dice: random.Random) -> bytes:
    """Return the CBOR *data* with one front that is longer than it need be."""
    fronts = [at for at, byte in enumerate(data) if byte & 31 < 24 and byte < 0xE0]
    if not fronts:
        return data
    at = dice.choice(fronts)
    size = dice.choice((1, 2, 4, 8))
    front = bytes([data[at] & 0xE0 | 23 + size.bit_length()])
    return data[:at] + front + (data[at] & 31).to_bytes(size) + data[at + 1 :]


def flipped(data: bytes, dice: random.Random) -> bytes:
    """Return *data* with one bit flipped."""
    if not data:
        return b"\1"
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def noisy(data: bytes, dice: random.Random) -> bytes:
    """Return *data* with bytes flipped, cut, put in, repeated or set to extremes."""
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(data) + 1)
        more = dice.randrange(1, 17)
        match dice.randrange(7):
            case 0 | 1:
                data = flipped(data, dice)
            case 2:
                data = data[:at]
            case 3:
                data = data[:at] + dice.randbytes(more) + data[at:]
            case 4:
                data = data[:at] + data[at + more :]
            case 5:
                data = data[:at] + data[max(at - more, 0) : at] * 2 + data[at:]
            case _:
                extreme = dice.choice((b"\xff", b"\0", b"\x80", b"\x9b", b"\x5f"))
                data = data[:at] + extreme * more + data[at + more :]
    return data


def with_fields(data: bytes, widths: Sequence[int], dice: random.Random) -> bytes:
    """Return *data*, fields of fixed *widths*, with one of them changed."""
    at = 0
    number = dice.randrange(len(widths))
    at = sum(widths[:number])
    width = widths[number]
    field = data[at : at + width]
    choices: list[Callable[[], bytes]] = [
        lambda: flipped(field, dice),
        lambda: (dice.choice(NUMBERS) % (1 << 8 * width)).to_bytes(width),
        lambda: ((int.from_bytes(field) + 1) % (1 << 8 * width)).to_bytes(width),
        lambda: dice.randbytes(width),
    ]
    return data[:at] + dice.choice(choices)() + data[at + width :]


def loaded(data: bytes) -> Any:
    """Return what the CBOR *data* says, whatever it is."""
    return cbor2.load(io.BytesIO(data))


def frame_of(
    records: Sequence[tuple[Any, bytes]], made: bytes, dice: random.Random
) -> bytes:
    """
    Return a frame of *records*, whatever they are, its hash right behind *made*.

    Now and then its table is not in its only encoding.
    """
    raw = b"".join(payload for _, payload in records)
    part = frame_format.seal_part(raw, 3)
    table = encoded([descriptor for descriptor, _ in records], dice)
    sizes = len(records), len(table), len(raw), len(part.data), len(made)
    front = FRONT.pack(frame_format.MAGIC, part.codec, 0, *sizes)
    return rehashed(front + table, part.data, made)


def rehashed(front: bytes, stored: bytes, made: bytes) -> bytes:
    """Return the frame of header and table *front*, its hash right behind *made*."""
    place = len(made).to_bytes(8)
    part = in_context["stored"](stored)
    digest = in_context["frame"](front, part, made[156:188], place, made[-32:])
    return front + stored + digest
