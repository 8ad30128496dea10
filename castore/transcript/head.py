"""
The first records of a file, from its first MiB.
"""

from __future__ import annotations

from collections.abc import Iterator

from castore.errors import FormatError
from castore.transcript.records import Record, Sketch, parse_record
from castore.transcript.tokens import tokens


RECORD_COUNT = 256  # lines that are looked at
DEPTH = 3  # the object, its messages, the first of them, its fields


def first_value(head: bytes) -> tuple[Record, bool]:
    """
    Return the object that *head* begins with, as far as it goes, and whether
    something stands behind it. Empty if it begins with nothing like that.
    """
    sketch = Sketch()
    complete = False
    more = False
    try:
        for token in tokens([head], shallow=DEPTH):
            complete = sketch.take(token)
    except FormatError:
        more = complete
    return (sketch.value if isinstance(sketch.value, dict) else {}), more


def first_records(head: bytes) -> Iterator[Record]:
    """
    Yield the objects on the first lines of *head*, broken ones as far as they go.
    """
    for line in head.split(b"\n", RECORD_COUNT)[:RECORD_COUNT]:
        yield parse_record(line) or first_value(line)[0]
