"""
Files of message sessions: what is read, what is refused, where, and what is told.

Spec: spec/messages.md.
"""

from __future__ import annotations

import json

from typing import Any

import attrs
import pytest

from hypothesis import given
from hypothesis import strategies as st

from castore.errors import FormatError
from castore.messages import MessageFormatError, Transcript, checking
from castore.messages.checking import Problem
from castore.messages.dialect import DEPTH_MAX, _Parser, parse, render
from castore.records.messages import (
    ConversationMessage,
    SessionCompaction,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)


META = {
    "type": "session_meta",
    "version": 1,
    "session_id": "s",
    "created_at_ms": 10,
    "updated_at_ms": 20,
}
TEXT = {"type": "text", "text": "hello"}
USER: dict[str, Any] = {"role": "user", "blocks": [TEXT]}
USAGE: dict[str, Any] = {
    "input_tokens": 10,
    "output_tokens": 4,
    "cache_creation_input_tokens": 1,
    "cache_read_input_tokens": 2,
}
RESULT = {
    "type": "tool_result",
    "tool_use_id": "t",
    "tool_name": "bash",
    "output": "out",
    "is_error": False,
}
USE = {"type": "tool_use", "id": "t", "name": "bash", "input": "{}"}
COMPACTION: dict[str, Any] = {
    "count": 1,
    "removed_message_count": 4,
    "summary": "so far",
}


def lines(*records: Any) -> bytes:
    """Return a file of lines."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def message(body: Any) -> dict[str, Any]:
    """Return the record of a message."""
    return {"type": "message", "message": body}


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    """Return *record* without a member."""
    return {one: value for one, value in record.items() if one != name}


def blocks(*found: Any) -> dict[str, Any]:
    """Return the record of a message with such blocks."""
    return message({"role": "user", "blocks": list(found)})


# --- refused -----------------------------------------------------------------

RECORDS: dict[str, tuple[Any, Problem, str]] = {
    "no json": (None, Problem.NOT_JSON, "record"),
    "an array": ([1], Problem.NOT_AN_OBJECT, "record"),
    "no type": ({"message": USER}, Problem.MISSING, "type"),
    "type no text": ({"type": 1}, Problem.MISSING, "type"),
    "no message": ({"type": "message"}, Problem.MISSING, "message"),
    "other type": ({"type": "event"}, Problem.UNSUPPORTED, "record type"),
    "message no object": (message([]), Problem.NOT_AN_OBJECT, "message"),
    "no role": (message({"blocks": []}), Problem.MISSING, "role"),
    "other role": (
        message({"role": "x", "blocks": []}),
        Problem.UNSUPPORTED,
        "message role",
    ),
    "no blocks": (message({"role": "user"}), Problem.MISSING, "blocks"),
    "blocks no array": (
        message({"role": "user", "blocks": {}}),
        Problem.MISSING,
        "blocks",
    ),
    "block no object": (blocks("x"), Problem.NOT_AN_OBJECT, "block"),
    "block no type": (blocks({"text": "x"}), Problem.MISSING, "block type"),
    "other block": (blocks({"type": "image"}), Problem.UNSUPPORTED, "block type"),
    "no is_error": (blocks(without(RESULT, "is_error")), Problem.MISSING, "is_error"),
    "is_error a number": (
        blocks({**RESULT, "is_error": 0}),
        Problem.MISSING,
        "is_error",
    ),
    "usage no object": (
        message({**USER, "usage": None}),
        Problem.NOT_AN_OBJECT,
        "usage",
    ),
    "compaction no count": (
        {"type": "compaction", **without(COMPACTION, "count")},
        Problem.MISSING,
        "count",
    ),
    "compaction no summary": (
        {"type": "compaction", **COMPACTION, "summary": 5},
        Problem.MISSING,
        "summary",
    ),
    "compaction count": (
        {"type": "compaction", **COMPACTION, "count": 1 << 32},
        Problem.OUT_OF_RANGE,
        "count",
    ),
    "compaction removed": (
        {"type": "compaction", **COMPACTION, "removed_message_count": -1},
        Problem.OUT_OF_RANGE,
        "removed_message_count",
    ),
    "meta no version": (without(META, "version"), Problem.MISSING, "version"),
    "meta version": ({**META, "version": 1 << 32}, Problem.OUT_OF_RANGE, "version"),
    "meta no id": (without(META, "session_id"), Problem.MISSING, "session_id"),
    "meta no creation": (
        without(META, "created_at_ms"),
        Problem.MISSING,
        "created_at_ms",
    ),
    "meta creation": (
        {**META, "created_at_ms": -1},
        Problem.OUT_OF_RANGE,
        "created_at_ms",
    ),
    "meta no update": (
        without(META, "updated_at_ms"),
        Problem.MISSING,
        "updated_at_ms",
    ),
    "fork no object": ({**META, "fork": []}, Problem.NOT_AN_OBJECT, "fork metadata"),
    "fork no parent": ({**META, "fork": {}}, Problem.MISSING, "parent_session_id"),
}
THINKING = {"type": "thinking", "thinking": "x"}
_blocks: list[dict[str, Any]] = [TEXT, USE, RESULT, THINKING]
for _block in _blocks:
    for _name in _block:
        if _name not in ("type", "is_error"):
            _record = blocks({**_block, _name: 7})
            RECORDS[f"{_block['type']}.{_name}"] = (_record, Problem.MISSING, _name)
for _name in USAGE:
    _usage = {**USER, "usage": without(USAGE, _name)}
    RECORDS[f"usage no {_name}"] = (message(_usage), Problem.MISSING, _name)
    _usage = {**USER, "usage": {**USAGE, _name: 1 << 32}}
    RECORDS[f"usage {_name}"] = (message(_usage), Problem.OUT_OF_RANGE, _name)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_refused_with_its_line(name: str) -> None:
    """
    Each fault has its problem and subject, and its line, blank ones counted.

    Statements: D7.
    """
    record, problem, subject = RECORDS[name]
    bad = b"{oops\n" if record is None else lines(record)
    data = lines(META) + b"\n   \n" + lines(message(USER)) + bad + lines(message(USER))

    with pytest.raises(MessageFormatError) as caught:
        Transcript.parse(data)

    error = caught.value
    assert (error.problem, error.subject, error.line) == (problem, subject, 5)
    assert str(error).startswith("record at line 5: ")


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_refused_can_be_left_out(name: str) -> None:
    """
    Leniently, a bad record is skipped and reported; all others are there.

    Statements: D7.
    """
    record, problem, subject = RECORDS[name]
    bad = b"{oops\n" if record is None else lines(record)
    data = lines(META) + bad + lines(message(USER))

    found = Transcript.parse(data, lenient=True)

    assert [(e.problem, e.subject, e.line) for e in found.skipped] == [
        (problem, subject, 2)
    ]
    assert (found.session_id, len(found)) == ("s", 1)


DOCUMENTS: dict[str, tuple[dict[str, Any], Problem, str, int | None]] = {
    "no version": ({"messages": [1]}, Problem.MISSING, "version", None),
    "version no number": (
        {"version": "1", "messages": 1},
        Problem.MISSING,
        "version",
        None,
    ),
    "version": ({"version": -1, "messages": 1}, Problem.OUT_OF_RANGE, "version", None),
    "no messages": ({"version": 1, "messages": {}}, Problem.MISSING, "messages", None),
    "message": (
        {"version": 1, "messages": [USER, 1]},
        Problem.NOT_AN_OBJECT,
        "message",
        1,
    ),
    "creation": ({"created_at_ms": None}, Problem.MISSING, "created_at_ms", None),
    "creation early": (
        {"created_at_ms": -5},
        Problem.OUT_OF_RANGE,
        "created_at_ms",
        None,
    ),
    "update": ({"updated_at_ms": "1"}, Problem.MISSING, "updated_at_ms", None),
    "compaction": ({"compaction": None}, Problem.NOT_AN_OBJECT, "compaction", None),
    "compaction empty": ({"compaction": {}}, Problem.MISSING, "count", None),
    "fork": ({"fork": 3}, Problem.NOT_AN_OBJECT, "fork metadata", None),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_refused(name: str) -> None:
    """
    A document is checked in order: version, messages, then the rest.

    Statements: D7.
    """
    members, problem, subject, index = DOCUMENTS[name]
    whole = members if "messages" in members else {"version": 1, "messages": []}
    data = json.dumps({**whole, **members}).encode()

    with pytest.raises(MessageFormatError) as caught:
        Transcript.parse(data)
    found = Transcript.parse(data, lenient=True)

    error = caught.value
    assert (error.problem, error.subject) == (problem, subject)
    assert (error.line, error.message) == (None, index)
    assert (problem, subject) in [(one.problem, one.subject) for one in found.skipped]


def test_a_file_that_is_no_text_is_refused() -> None:
    """What is not UTF-8 is refused with its line, leniently only that line."""
    data = lines(META) + b'{"type":"message\xff"}\n' + lines(message(USER))

    with pytest.raises(MessageFormatError) as caught:
        Transcript.parse(data)

    assert (caught.value.problem, caught.value.line) == (Problem.NOT_TEXT, 2)
    assert len(Transcript.parse(data, lenient=True)) == 1


def test_no_error_shows_what_a_file_holds() -> None:
    """A long or odd name is counted and not shown, nor is what is no JSON."""
    words = "what stands in a place for a type"
    for record in ({"type": words}, blocks({"type": words})):
        with pytest.raises(MessageFormatError) as caught:
            Transcript.parse(lines(record))
        assert words not in str(caught.value)
    with pytest.raises(MessageFormatError) as caught:
        Transcript.parse(words.encode())

    assert words not in str(caught.value)


# --- read --------------------------------------------------------------------


def test_a_file_of_lines_is_read() -> None:
    """
    Roles, blocks and usage come back; usage counts all four numbers.

    Statements: D1.
    """
    answer = {"role": "assistant", "blocks": [TEXT, USE], "usage": USAGE}
    tool = {"role": "tool", "blocks": [RESULT]}
    found = Transcript.parse(lines(META, *map(message, (USER, answer, tool))))

    assert [one.role for one in found.messages] == ["user", "assistant", "tool"]
    assert [[type(block) for block in one.blocks] for one in found.messages] == [
        [TextBlock],
        [TextBlock, ToolUseBlock],
        [ToolResultBlock],
    ]
    assert found.messages[1].usage is not None
    assert found.messages[1].usage.total == 17
    assert found.usage().total == 17


def test_a_document_is_read() -> None:
    """
    A document without a name or times gets both, from its file's name.

    Statements: D2, D15.
    """
    data = json.dumps({"version": 1, "messages": [USER]}).encode()
    found = Transcript.parse(data, "session-1775010047738.json")

    assert len(found) == 1
    assert found.session_id == "session-1775010047738"
    assert found.created_at_ms == found.updated_at_ms == 1775010047738
    assert found.derived == ("session_id", "created_at_ms", "updated_at_ms")


@pytest.mark.parametrize("name", ["", "notes.json", "session-1775010047738.jsonl"])
@pytest.mark.parametrize(
    "data", [b"", b'{"version":1,"messages":[]}', lines(message(USER))]
)
def test_two_loads_of_a_file_agree(name: str, data: bytes) -> None:
    """
    What a file does not tell is derived, so that each load finds the same.

    Statements: D2.
    """
    first, second = (Transcript.parse(data, name) for _ in range(2))

    assert first == second
    assert first.session_id.startswith("session-")


def test_a_name_that_is_no_text_is_none() -> None:
    """A document's session_id of another type counts as absent."""
    data = json.dumps({"version": 1, "messages": [], "session_id": 5}).encode()

    assert "session_id" in Transcript.parse(data).derived


def test_a_later_record_overrides() -> None:
    """
    The last meta and compaction count; a meta without a fork clears it.

    Statements: D12.
    """
    fork = {"parent_session_id": "p", "branch_name": 5}
    first = {**META, "fork": fork}
    one = {"type": "compaction", **COMPACTION}
    two = {**one, "count": 2}

    assert Transcript.parse(lines(first, one)).origin is not None
    found = Transcript.parse(lines(first, one, {**META, "session_id": "t"}, two))
    assert (found.session_id, found.origin) == ("t", None)
    assert found.compaction is not None
    assert found.compaction.count == 2


def test_a_meta_line_alone_is_no_document() -> None:
    """
    One object without messages is a file of lines; with messages, a document.

    Statements: D14.
    """
    assert Transcript.parse(lines(META)).session_id == "s"
    with pytest.raises(MessageFormatError, match="missing version"):
        Transcript.parse(b'{"messages": []}')


@pytest.mark.parametrize(
    ("session_id", "made"),
    [
        ("session-123-0", 123),
        ("session-123-a-b", 123),
        ("session-123", None),
        ("session-123-", None),
        ("session--1", None),
        ("s-123-0", None),
    ],
)
def test_the_beginning_is_told_by_a_name_of_two_parts(
    session_id: str, made: int | None
) -> None:
    """
    Without created_at_ms the name tells it, if it is ``session-<ms>-<n>``.

    Statements: D15.
    """
    data = lines(without({**META, "session_id": session_id}, "created_at_ms"))
    if made is None:
        with pytest.raises(MessageFormatError, match="missing created_at_ms"):
            Transcript.parse(data)
    else:
        assert Transcript.parse(data).created_at_ms == made


def test_what_is_not_documented_survives() -> None:
    """Unknown members of every record come out again, and are no error."""
    answer = {
        "role": "assistant",
        "blocks": [{**TEXT, "mood": 1}, {"type": "thinking", "thinking": "x"}],
        "usage": {**USAGE, "tier": "a"},
        "incomplete": "yes",
    }
    data = lines(
        {**META, "workspace_root": "/w", "goal": None},
        {"type": "compaction", **COMPACTION, "by": "me"},
        {"type": "prompt_history", "timestamp_ms": 1, "text": "x", "n": []},
        {**message(answer), "uuid": "u"},
    )
    found = Transcript.parse(data)

    assert isinstance(found.messages[0].blocks[1], ThinkingBlock)
    assert found.messages[0].incomplete is False
    assert [json.loads(line) for line in found.to_jsonl().splitlines()] == [
        json.loads(line) for line in data.splitlines()
    ]


def test_a_prompt_that_is_none_is_passed_over_and_told() -> None:
    """A bad record of the prompt's history is never an error, but reported."""
    found = Transcript.parse(lines(META, {"type": "prompt_history", "text": 1}))

    assert found.prompt_history == []
    assert [one.line for one in found.skipped] == [2]


# --- the dialect -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":[1,2,],}', {"a": [1, 2]}),
        ('{"a":1,"a":2,}', {"a": 2}),
        ('{"a":1,"a":2}', {"a": 2}),
        ('"\x01\n"', "\x01\n"),
        ('["\x01\n",]', ["\x01\n"]),
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'["\ud83d\ude00\u00e9",]', ["\U0001f600é"]),
        ("[007,-0,]", [7, 0]),
        ("00", 0),
        ("-9223372036854775808", -(1 << 63)),
        (" [ true , false , null , ] \r\n", [True, False, None]),
        (r'["\"\\\/\b\f\n\r\t",]', ['"\\/\b\f\n\r\t']),
    ],
)
def test_the_dialect_takes_what_its_system_takes(text: str, value: Any) -> None:
    """Commas trail, the last name counts, control characters stand in texts."""
    assert parse(text) == value


NUMBERS = ["1.0", "[1.5,]", "1e3", "NaN", "Infinity", "-", "9223372036854775808"]
BROKEN = ["[,]", '{"a":1,,}', "[1 2]", '{"a" 1}', "{1:2}", '"x', "nul", "1 2", "", "["]
TEXTS = [r'"\x"', r'"\u12"', r'"\ud800"', r'"\ud800\u0041"', r'"\udc00"']


@pytest.mark.parametrize("text", [*NUMBERS, *BROKEN, *TEXTS, "[" * 5000, "9" * 6000])
def test_the_dialect_refuses(text: str) -> None:
    """Floats, numbers beyond 64 bits, lone surrogates and no JSON are refused."""
    with pytest.raises(FormatError):
        parse(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_what_is_rendered_is_read_again(value: Any) -> None:
    """Any value of the dialect comes back, and no control character is bare."""
    text = render(value)

    assert parse(text) == value
    assert not any(sign < " " or "\x7f" <= sign <= "\x9f" for sign in text)


signs = st.text('{}[]",:0123456789-e.\\\\uDd8CcE/nltrfas \n\x01', max_size=30)


@given(signs | values.map(render) | st.builds("{}{}".format, values.map(render), signs))
def test_both_ways_to_read_agree(text: str) -> None:
    """What is read at C speed is what the slow reader reads, fault or value."""

    def slow() -> Any:
        parser = _Parser(text)
        value = parser.value(DEPTH_MAX)
        if parser.at < len(text):
            raise parser.fault("more")
        return value

    try:
        found = slow()
    except FormatError:
        with pytest.raises(FormatError):
            parse(text)
    else:
        assert parse(text) == found


deep: list[Any] = []
for _ in range(DEPTH_MAX):
    deep = [deep]


@pytest.mark.parametrize("value", [1 << 63, 1.5, "\ud800", b"x", deep])
def test_what_the_dialect_has_not_is_not_rendered(value: Any) -> None:
    """A number beyond i64, a float, a lone surrogate, a tower: refused when written."""
    with pytest.raises(FormatError):
        render([value])


messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "tool", "x", 1]), "blocks": st.none()}
) | st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant"]),
        "blocks": st.lists(
            st.sampled_from([TEXT, USE, RESULT, {"type": "text"}, {"type": "z"}, 1])
        ),
    },
    optional={
        "usage": st.sampled_from([USAGE, None, {}, {**USAGE, "input_tokens": -1}]),
        "incomplete": values,
        "incomplete_reason": values,
        "more": values,
    },
)


@given(messages)
def test_what_passes_is_what_decodes(value: Any) -> None:
    """What the checks let through the class decodes, and gives back whole."""
    try:
        checking.check_message(value)
    except MessageFormatError:
        return
    assert ConversationMessage.decode(value).encode() == value


@given(st.fixed_dictionaries(dict.fromkeys(COMPACTION, values)))
def test_a_compaction_that_passes_decodes(value: Any) -> None:
    """What the checks let through the class decodes."""
    try:
        checking.check_compaction(value)
    except MessageFormatError:
        return
    assert SessionCompaction.decode(value).encode() == value


def test_a_loose_member_can_be_set() -> None:
    """A member of another type stays until the field gets a value."""
    found = ConversationMessage.decode({**USER, "incomplete_reason": 5})
    changed = attrs.evolve(found, incomplete_reason="why")

    assert found.incomplete_reason is None
    assert found.encode() == {**USER, "incomplete_reason": 5}
    assert changed.encode() == {**USER, "incomplete_reason": "why"}
