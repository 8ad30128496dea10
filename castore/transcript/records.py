"""
What a span says of itself: its kind, its time and its name.

A record is the top of a JSON object, whole from `json` where it is small, else
as a `Sketch` of what matters. Both give the same facts: texts above
`NAME_SIZE_MAX` characters count as absent in both, and of doubled keys the last
one holds in both.
"""

from __future__ import annotations

import re

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import attrs

from castore.errors import FormatError
from castore.limits import KIND_SIZE_MAX, NAME_SIZE_MAX
from castore.transcript.tokens import DECODER, KEY, VALUE, Token, tokens


Record = Mapping[str, object]

# Every name that is looked up in this package, at whatever depth.
KEPT = frozenset(
    {
        "$rewindTo",
        "$set",
        "agentId",
        "blocks",
        "branchedFrom",
        "call_id",
        "content",
        "created_at",
        "created_at_ms",
        "cwd",
        "event",
        "fork",
        "at_hash",
        "compacted_from",
        "forkedFrom",
        "forked_from",
        "forked_from_id",
        "git",
        "hash",
        "id",
        "instructions",
        "isSidechain",
        "kind",
        "lastUpdated",
        "leafUuid",
        "message",
        "messages",
        "parentSession",
        "parent_session_id",
        "parent_thread_id",
        "payload",
        "prev_hash",
        "projectHash",
        "record_type",
        "removed_message_count",
        "role",
        "segment_id",
        "sessionId",
        "session_id",
        "source",
        "startTime",
        "subagent",
        "thread_spawn",
        "time",
        "timestamp",
        "timestamp_ms",
        "trajectory",
        "ts",
        "turn",
        "type",
        "uuid",
        "version",
    }
)
RECORD_DEPTH = 2  # the object and what lies in its fields, as message.role
RESERVED_KINDS = frozenset(
    {"start", "tail", "blank", "broken", "altered", "before", "after"}
)
TIMES = (
    "timestamp",
    "ts",
    "timestamp_ms",
    "created_at_ms",
    "created_at",
    "time",
    "startTime",
    "lastUpdated",
)
# Types of records that only carry another one, which says what it is.
_ENVELOPES = frozenset({"response_item", "event_msg"})
_UPDATES = ("$set", "$rewindTo")  # records that are named by their one field
TIME_MS_MAX = 253_402_300_799_999  # the end of the year 9999


@attrs.frozen
class Span:
    """
    Bytes ``[start, stop)`` of a file, and what they say of themselves.

    Attributes:
        start: Offset of the first byte.

        stop: Offset behind the last byte.

        kind: 1 to `KIND_SIZE_MAX` of ``a-z0-9._-``: what the record calls itself,
            or a reserved kind for what is no record. See `lines` and
            `documents`.

        time_ms: The record's own time in ms since 1970 UTC, None if it says
            none; ``0 <= time_ms <= TIME_MS_MAX``. Never a clock's.

        native_id: The record's own name, if it has one.

        bad: The bytes are not what should stand there; kept all the same.
    """

    start: int
    stop: int
    kind: str
    time_ms: int | None
    native_id: str | None
    bad: bool


class Sketch:
    """
    A JSON value put together from tokens as they come, good at every moment.

    Of objects only names in `KEPT`, of arrays the first item, of what lies
    deeper than the tokens go nothing. So it is small whatever the value.

    Attributes:
        value: What came so far; None before anything did.
    """

    def __init__(self) -> None:
        self.value: object = None
        self._open: list[dict[str, object] | list[object]] = []
        self._key: object = None

    def take(self, token: Token) -> bool:
        """Add *token*, the next one; return whether the value is complete."""
        if token.name == KEY:
            self._key = value_of(token)
        elif token.name in "]}":
            self._open.pop()
        else:
            value = self._put(token)
            if isinstance(value, dict | list):
                self._open.append(value)
        return not self._open

    def _put(self, token: Token) -> object:
        value: object
        if token.name == VALUE:
            value = value_of(token)
        else:
            value = {} if token.name == "{" else []
        parent = self._open[-1] if self._open else None
        if isinstance(parent, dict):
            if self._key in KEPT:
                parent[str(self._key)] = value
        elif parent is None:
            self.value = value
        elif not parent:
            parent.append(value)
        return value


def parse_record(text: bytes) -> Record | None:
    """
    Return the JSON object *text*, or None if it is not one.

    Takes several times the memory of *text*.
    """
    value: object
    try:
        value = DECODER.decode(text.decode())
    except (ValueError, RecursionError):
        # Deep nesting and integers of thousands of digits are JSON too.
        return scan_record([text])
    return value if isinstance(value, dict) else None


def scan_record(chunks: Iterable[bytes]) -> Record | None:
    """
    Return what matters of a JSON object, or None if it is not one.

    Bounded memory whatever the size; slower than `parse_record`.
    """
    sketch = Sketch()
    try:
        for token in tokens(chunks, shallow=RECORD_DEPTH):
            sketch.take(token)
    except FormatError:
        return None
    return sketch.value if isinstance(sketch.value, dict) else None


def kind_of(record: Record) -> str:
    """
    Return what *record* calls itself: its type, the role for a message.

    What Codex puts into an envelope is called by what is in it. Then its event,
    as ledgers have, its role, or the field that makes it an update; else, of what
    has a ``ts``, its kind; else ``line``.
    """
    kind = text_of(record, "type")
    payload = inner(record, "payload")
    if kind in _ENVELOPES and "type" in payload:
        record, kind = payload, text_of(payload, "type")
    if kind == "message":
        kind = text_of(inner(record, "message"), "role") or text_of(record, "role")
        return slug(kind or "message", "line")
    kind = kind or text_of(record, "event") or text_of(record, "role")
    kind = kind or text_of(record, "record_type")
    kind = kind or (text_of(record, "kind") if "ts" in record else None)
    kind = kind or next((name for name in _UPDATES if name in record), None)
    return slug(kind or "", "line")


@lru_cache(maxsize=1024)
def slug(text: str, default: str) -> str:
    """
    Return *text* as a kind: ``toolResult`` as ``tool-result``, ``start``, which
    is reserved, as ``x-start``, *default* if nothing is left of it.
    """
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", text).lower()
    text = re.sub(r"[^a-z0-9._-]+", "-", text).strip("-")[:KIND_SIZE_MAX]
    return f"x-{text}" if text in RESERVED_KINDS else text or default


def native_id_of(record: Record) -> str | None:
    """
    Return the name that *record* gives itself: ``uuid``, ``id``, its message's,
    that of the item in it, or of the call that it is a part of.
    """
    own = name_of(record, "uuid") or name_of(record, "id")
    if own is None and record.get("type") == "message":
        own = name_of(inner(record, "message"), "id")
    if own is None:
        item = inner(record, "payload") or record
        own = name_of(item, "id") or name_of(item, "call_id")
    return own


def time_of(record: Record) -> int | None:
    """
    Return the first time that *record* tells, in ms since 1970 UTC.

    ISO 8601 date and time with a zone (without one it could be any hour of
    the day), or a number: of ms in a field named so and from 1e11 on, else of
    seconds. What lies outside 1970 to 9999 is no time.
    """
    for name in TIMES:
        value = record.get(name)
        time_ms: int | None = None
        if isinstance(value, str):
            time_ms = _parse_time(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            is_ms = name.endswith("_ms") or value >= 1e11
            # The bound comes first: infinity has no integer.
            if 0 <= value <= TIME_MS_MAX:
                time_ms = round(value if is_ms else value * 1000)
        if time_ms is not None and 0 <= time_ms <= TIME_MS_MAX:
            return time_ms
    update = inner(record, "$set")
    return time_of(update) if update else None


def inner(record: Record, name: str) -> Record:
    """Return the object in field *name*, an empty one if there is none."""
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def text_of(record: Record, name: str) -> str | None:
    """Return the text in field *name*, None if there is none or a huge one."""
    value = record.get(name)
    if isinstance(value, str) and 0 < len(value) <= NAME_SIZE_MAX:
        return value
    return None


def name_of(record: Record, name: str) -> str | None:
    """Return a text fit to be stored as a name: at most `NAME_SIZE_MAX` bytes."""
    text = text_of(record, name)
    try:
        fits = text is not None and len(text.encode()) <= NAME_SIZE_MAX
    except UnicodeEncodeError:  # a lone surrogate, which JSON can escape
        return None
    return text if fits else None


def value_of(token: Token) -> object:
    """
    Return the value of a key or scalar; None for what was too long to be kept.
    """
    if token.text is None:
        return None
    try:
        return DECODER.decode(token.text.decode())
    except ValueError:  # an integer of thousands of digits
        return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:[.,][0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})"
)


def _parse_time(text: str) -> int | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
    except ValueError:  # the 31st of February
        return None
