"""
Vectors of spec/bundle.md.
"""

from __future__ import annotations

import attacks_bundle_bombs

from bundleattacks import ATTACKS, GOOD
from bundlekit import example
from bundlescenes import Attack
from vectors.form import OK, Case, hexed

from castore.digest import blob_digest


def bundle_cases() -> list[Case]:
    """Return bundles: good ones, and the attacks of which one thing is said."""
    withheld = f"withheld by bundle {example().id.hex()}"
    shown = {(withheld, f"blob:{blob_digest(b'abc').hex()}")}
    cases = [_good("example", "that of the page", (example().data(), shown))]
    cases += [_good(name, _text(make), make()) for name, make in GOOD.items()]
    for name, make in ATTACKS.items():
        # What is packed would depend on the version of a library.
        if make.__module__ == attacks_bundle_bombs.__name__:
            continue
        data, found = make()
        if len(found) == 1:
            ((verdict, _),) = found
            cases.append(Case(name, _text(make), {"data": hexed(data)}, verdict))
    return cases


def _good(name: str, desc: str, made: Attack) -> Case:
    data, found = made
    value = {"found": sorted(map(list, found))}
    return Case(name, desc, {"data": hexed(data)}, OK, value)


def _text(make: object) -> str:
    return (make.__doc__ or "").strip().rstrip(".")
