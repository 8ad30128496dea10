"""
Vectors of spec/bundle.md.
"""

from __future__ import annotations

from bundleattacks import ATTACKS, GOOD
from bundlekit import example
from bundlescenes import Attack
from vectors.form import OK, Case, hexed

from castore.digest import blob_digest


_SIZE_MAX = 1 << 16  # bytes; larger ones are tried elsewhere
_PACKED = {
    "a_list_of_too_many",
    "chunks_of_nothing",
    "entries_of_nothing",
    "lists_that_come_to_too_much",
    "more_withheld_than_bytes",
    "payloads_of_nothing",
    "withheld_and_named_beyond_the_file",
}


def bundle_cases() -> list[Case]:
    """Return bundles: good ones, and the attacks of which one thing is said."""
    withheld = f"withheld by bundle {example().id.hex()}"
    shown = {(withheld, f"blob:{blob_digest(b'abc').hex()}")}
    cases = [_good("example", "that of the page", (example().data(), shown))]
    cases += [_good(name, _text(make), make()) for name, make in GOOD.items()]
    for name, make in ATTACKS.items():
        data, found = make()
        # What is packed would depend on the version of a library.
        if len(found) == 1 and len(data) < _SIZE_MAX and name not in _PACKED:
            ((verdict, _),) = found
            cases.append(Case(name, _text(make), {"data": hexed(data)}, verdict))
    return cases


def _good(name: str, desc: str, made: Attack) -> Case:
    data, found = made
    value = {"found": sorted(map(list, found))}
    return Case(name, desc, {"data": hexed(data)}, OK, value)


def _text(make: object) -> str:
    return (make.__doc__ or "").strip().rstrip(".")
