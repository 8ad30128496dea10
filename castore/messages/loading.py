"""
Files of message sessions: lines of records, or one older document.

Pure: bytes in, a `State` out. What a file does not tell is derived from its name
and bytes, so that two loads of one file agree.

Spec: spec/messages.md.
"""

from __future__ import annotations

import re

from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

import attrs

from castore.digest import blob_digest
from castore.errors import FormatError
from castore.messages import checking, dialect
from castore.messages.checking import (
    MessageFormatError,
    Problem,
    passes,
    unsupported,
    wrong,
)
from castore.messages.state import State
from castore.records.messages import (
    VERSION,
    ConversationMessage,
    MessageRecord,
    SessionCompaction,
    SessionMeta,
    SessionPromptEntry,
)


_NAMED = re.compile(r"session-([0-9]{13})(?![0-9])")  # files by their session
_BOTH_PARTS = re.compile(r"session-([0-9]+)-.+", re.DOTALL)


@attrs.frozen
class Loaded:
    """
    What a file holds.

    Attributes:
        state: The session.

        skipped: What was left out, if that was allowed; in order.
    """

    state: State
    skipped: tuple[MessageFormatError, ...]


class Faults:
    """What to do with a fault: raise it, or keep it and leave its subject out."""

    def __init__(self, *, lenient: bool) -> None:
        self.lenient = lenient
        self.skipped: list[MessageFormatError] = []

    def take(self, error: MessageFormatError) -> None:
        """Raise *error*, or keep it."""
        if not self.lenient:
            raise error
        self.skipped.append(error)

    def try_to(
        self,
        call: Callable[[], object],
        *,
        line: int | None = None,
        message: int | None = None,
    ) -> bool:
        """Return whether *call* raised nothing; its errors get their place."""
        try:
            call()
        except MessageFormatError as error:
            self.take(attrs.evolve(error, line=line, message=message))
            return False
        return True


def load(data: bytes, name: str = "", *, lenient: bool = False) -> Loaded:
    """
    Return what *data*, a file, holds.

    Args:
        data: All of it.

        name: Its name or path, which tells what the file does not.

        lenient: Leave out what is not as it should be, and report it.

    Raises:
        MessageFormatError: The first thing that is wrong, unless *lenient*.
    """
    faults = Faults(lenient=lenient)
    document = _document(data)
    if document is not None:
        state = _load_document(document, data, name, faults)
    else:
        state = _load_lines(data, name, faults)
    return Loaded(state, tuple(faults.skipped))


def _document(data: bytes) -> dict[str, Any] | None:
    """Return the object that all of *data* is, if it has a member ``messages``."""
    try:
        value = dialect.parse(data.decode())
    except (UnicodeDecodeError, FormatError):
        return None
    return value if type(value) is dict and "messages" in value else None


# --- lines -------------------------------------------------------------------


def _load_lines(data: bytes, name: str, faults: Faults) -> State:
    state = State(meta=None)
    readers = {
        "session_meta": _take_meta,
        "message": _take_message,
        "compaction": _take_compaction,
        "prompt_history": _take_prompt,
    }
    for line, text in _lines(data, faults):

        def take(text: str = text, line: int = line) -> None:
            members = _members(text)
            kind = checking.check_text(members, "type")
            if kind not in readers:
                raise unsupported("record type", kind)
            del members["type"]
            if kind == "prompt_history" and not checking.is_prompt(members):
                # Their system passes over it without a word.
                error = wrong(Problem.MISSING, "timestamp_ms or text")
                faults.skipped.append(attrs.evolve(error, line=line))
            else:
                readers[kind](state, members)

        faults.try_to(take, line=line)
    if state.meta is None:
        told: dict[str, Any] = {"version": VERSION}
        state.meta, state.derived = _derive(told, data, name)
    return state


def _lines(data: bytes, faults: Faults) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not blank."""
    if not faults.lenient:
        # All of a file is text, before any of its records is looked at.
        _text(data)
    for line, raw in enumerate(data.split(b"\n"), 1):
        texts: list[str] = []

        def read(raw: bytes = raw, texts: list[str] = texts) -> None:
            texts.append(_text(raw).strip())

        if faults.try_to(read, line=line) and texts[0]:
            yield line, texts[0]


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise attrs.evolve(wrong(Problem.NOT_TEXT, "file"), line=line) from None


def _members(text: str) -> dict[str, Any]:
    try:
        value = dialect.parse(text)
    except FormatError as error:
        raise wrong(Problem.NOT_JSON, "record", error.what) from None
    return checking.check_object(value, "record")


def _take_meta(state: State, members: dict[str, Any]) -> None:
    checking.check_version(members)
    session_id = checking.check_text(members, "session_id")
    told = dict(members)
    if "created_at_ms" not in members and (made := _made_by_id(session_id)) is not None:
        told["created_at_ms"] = made
        checking.check_number(told, "created_at_ms")
        checking.check_number(members, "updated_at_ms")
        state.derived = ("created_at_ms",)
    else:
        checking.check_number(members, "created_at_ms")
        checking.check_number(members, "updated_at_ms")
        state.derived = ()
    checking.check_fork(members)
    state.meta = SessionMeta.decode(told)


def _take_message(state: State, members: dict[str, Any]) -> None:
    if "message" not in members:
        raise wrong(Problem.MISSING, "message")
    checking.check_message(members["message"])
    state.records.append(MessageRecord.decode(members))


def _take_compaction(state: State, members: dict[str, Any]) -> None:
    checking.check_compaction(members)
    state.compaction = SessionCompaction.decode(members)


def _take_prompt(state: State, members: dict[str, Any]) -> None:
    state.prompts.append(SessionPromptEntry.decode(members))


# --- documents ---------------------------------------------------------------


def _load_document(
    document: dict[str, Any], data: bytes, name: str, faults: Faults
) -> State:
    told = dict(document)
    state = State(meta=None)
    if not faults.try_to(lambda: checking.check_version(told)):
        told["version"] = VERSION
    messages = told.pop("messages")
    if type(messages) is not list:
        faults.take(wrong(Problem.MISSING, "messages"))
        messages = []
    for number, message in enumerate(messages):

        def check(message: Any = message) -> None:
            checking.check_message(message)

        if faults.try_to(check, message=number):
            taken = ConversationMessage.decode(message)
            state.records.append(MessageRecord(message=taken))
    for member in ("created_at_ms", "updated_at_ms"):
        _drop_unless(told, member, faults, _check_told_number(told, member))
    compaction = told.get("compaction")
    if _drop_unless(
        told, "compaction", faults, lambda: checking.check_compaction(compaction)
    ):
        state.compaction = SessionCompaction.decode(told.pop("compaction"))
    _drop_unless(told, "fork", faults, lambda: checking.check_fork(told))
    for prompt in _prompts(told):
        state.prompts.append(SessionPromptEntry.decode(prompt))
    if type(told.get("session_id")) is not str:
        told.pop("session_id", None)
    state.meta, state.derived = _derive(told, data, name)
    return state


def _check_told_number(told: dict[str, Any], name: str) -> Callable[[], object]:
    return lambda: checking.check_number(told, name)


def _drop_unless(
    told: dict[str, Any], name: str, faults: Faults, check: Callable[[], object]
) -> bool:
    """Return whether the member *name* is there; drop it if *check* fails."""
    if name not in told:
        return False
    if faults.try_to(check):
        return True
    del told[name]
    return False


def _prompts(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the prompts in a document, without what tells their kind in lines."""
    prompts = told.pop("prompt_history", [])
    if type(prompts) is not list:
        return []
    return [
        {name: one for name, one in prompt.items() if name != "type"}
        for prompt in prompts
        if checking.is_prompt(prompt)
    ]


# --- what a file does not tell ------------------------------------------------


def _derive(
    told: dict[str, Any], data: bytes, name: str
) -> tuple[SessionMeta, tuple[str, ...]]:
    """
    Return what a session says of itself, and which of it was not told.

    The session's name is that of its file, or comes from its bytes; its beginning
    stands in its name or in its file's; it changed last when it began.
    """
    by_name = _NAMED.match(PurePath(name).stem)
    found = dict(told)
    if "session_id" not in told:
        by_bytes = f"session-{blob_digest(data).hex()[:16]}"
        found["session_id"] = PurePath(name).stem if by_name else by_bytes
    if "created_at_ms" not in told:
        made = _made_by_id(found["session_id"])
        if made is None:
            made = int(by_name[1]) if by_name else told.get("updated_at_ms", 0)
        found["created_at_ms"] = made
    if "updated_at_ms" not in told:
        found["updated_at_ms"] = found["created_at_ms"]
    derived = tuple(
        member
        for member in ("session_id", "created_at_ms", "updated_at_ms")
        if member not in told
    )
    return SessionMeta.decode(found), derived


def _made_by_id(session_id: str) -> int | None:
    """Return the time in ``session-<ms>-<n>``; None unless it has both parts."""
    match = _BOTH_PARTS.fullmatch(session_id)
    if match is None:
        return None
    made = {"created_at_ms": int(match[1]) if len(match[1]) < 20 else -1}
    told = passes(lambda: checking.check_number(made, "created_at_ms"))
    return made["created_at_ms"] if told else None
