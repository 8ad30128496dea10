"""
The process that a demo kills: appends to a segment and says so, until then.
"""

from __future__ import annotations

import sys

from itertools import count

from castore.store import open as open_store
from castore.writing import NewEntry


def append_until_killed(path: str, segment: str) -> None:
    """Append one line after another; print a line for each that is durable."""
    with open_store(path) as store:
        log = store.segment(segment)
        for number in count():
            log.append([NewEntry("line", f"line {number}\n".encode())])
            print(number, flush=True)


if __name__ == "__main__":
    append_until_killed(*sys.argv[1:])
