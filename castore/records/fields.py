"""
Open records: what is documented is typed, everything else stays in its place.

A record class names the fields that its system documents. `Record.decode` takes
such a field strictly (no text for a number, no 1.0 for 1) and keeps every other
member of the object as it came, so that what a newer writer added survives a
round trip. `Record.encode` gives the members back in the order in which they
stood; `unknown` tells what was not understood.

An error names the place by documented names and positions, never a value.

Why no library: cattrs and msgspec decode into classes as strictly, and drop or
refuse what a class does not name; here that is the half which must not be lost.

Spec: spec/agents.md, "Open records".
"""

from __future__ import annotations

import itertools

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import attrs

from castore.errors import FormatError


#: A value of JSON, or of the object profile of spec/encoding.md.
Value = Any

_META = "castore"
_OWN = frozenset({"rest", "order"})

#: No members: the default of a field that holds a mapping.
EMPTY: Mapping[str, Any] = MappingProxyType({})


def refuse(where: str, what: str) -> FormatError:
    """Return the error that says *what* is wrong at *where*."""
    return FormatError(what=f"{where or 'the record'}: {what}")


@attrs.frozen
class Type:
    """
    How a field is decoded and encoded.

    Attributes:
        decode: Returns the value from its encoded form and the place it has.

        encode: Returns the encoded form.

        unknown: Yields what in the value is not documented; given its place.
    """

    decode: Callable[[Value, str], Any]
    encode: Callable[[Any], Value]
    unknown: Callable[[Any, str], Iterator[str]]


def _same(value: Any) -> Value:
    return value


def _nothing(_value: Any, _where: str) -> Iterator[str]:
    return iter(())


def leaf(
    decode: Callable[[Value, str], Any], encode: Callable[[Any], Value] = _same
) -> Type:
    """Return a type whose values hold nothing that could be unknown."""
    return Type(decode, encode, _nothing)


def _plain(name: str, accept: Callable[[Value], bool]) -> Type:
    def decode(value: Value, where: str) -> Any:
        if not accept(value):
            raise refuse(where, f"not {name}")
        return value

    return leaf(decode)


def integer(low: int, high: int) -> Type:
    """Return the type of integers ``[low, high]``; true is none, 1.0 is none."""
    return _plain(
        f"an integer of {low} to {high}",
        lambda value: type(value) is int and low <= value <= high,
    )


def choice(*names: str) -> Type:
    """Return the type of texts that are one of *names*."""
    allowed = frozenset(names)
    return _plain(
        f"one of {', '.join(names)}",
        lambda value: type(value) is str and value in allowed,
    )


TEXT = _plain("text", lambda value: type(value) is str)
BOOLEAN = _plain("true or false", lambda value: type(value) is bool)
NUMBER = _plain("a number", lambda value: type(value) in (int, float))
BYTES = _plain("bytes", lambda value: type(value) is bytes)
MAPPING = _plain("an object", lambda value: type(value) is dict)
ANYTHING = _plain("a value", lambda _: True)
U32 = integer(0, (1 << 32) - 1)
U64 = integer(0, (1 << 64) - 1)
I64 = integer(-(1 << 63), (1 << 63) - 1)


def unknown_in(record: Record, where: str) -> Iterator[str]:
    """Yield what in *record*, of whatever class, is not documented."""
    yield from record.unknown(where)


def many(item: Type) -> Type:
    """Return the type of arrays of *item*, which become tuples."""

    def decode(value: Value, where: str) -> tuple[Any, ...]:
        if type(value) not in (list, tuple):
            raise refuse(where, "not an array")
        return tuple(
            [item.decode(one, f"{where}[{at}]") for at, one in enumerate(value)]
        )

    def unknown(values: Any, where: str) -> Iterator[str]:
        for at, value in enumerate(values):
            yield from item.unknown(value, f"{where}[{at}]")

    return Type(decode, lambda values: [item.encode(one) for one in values], unknown)


def named(item: Type) -> Type:
    """Return the type of objects whose members, of any name, are *item*."""

    def decode(value: Value, where: str) -> dict[str, Any]:
        if type(value) is not dict:
            raise refuse(where, "not an object")
        return {
            name: item.decode(one, f"{where}{{{at}}}")
            for at, (name, one) in enumerate(value.items())
        }

    def encode(values: Any) -> Value:
        return {name: item.encode(one) for name, one in values.items()}

    def unknown(values: Any, where: str) -> Iterator[str]:
        for at, value in enumerate(values.values()):
            yield from item.unknown(value, f"{where}{{{at}}}")

    return Type(decode, encode, unknown)


def one(kind: type[Record]) -> Type:
    """Return the type of records of the class *kind*."""
    return Type(kind.decode, Record.encode, Record.unknown)


@attrs.frozen
class _Field:
    type: Type
    needed: bool
    written: bool
    default: Any = None
    loose: bool = False


def required(type: Type) -> Any:  # noqa: A002 - a field's type
    """Return a field that every record has."""
    return attrs.field(metadata={_META: _Field(type, needed=True, written=True)})


def optional(
    type: Type,  # noqa: A002
    default: Any = None,
    *,
    written: bool = False,
    loose: bool = False,
) -> Any:
    """
    Return a field that may be absent, which means *default*; null means None.

    Args:
        type: Of its values.

        default: Its value where it is absent; immutable.

        written: Write it even if it is *default*, but where a record was read
            without it.

        loose: A value of another type, null too, counts as absent and stays among
            the members that are not documented, until the field gets a value.
    """
    field = _Field(type, needed=False, written=written, default=default, loose=loose)
    return attrs.field(default=default, metadata={_META: field})


@attrs.frozen(kw_only=True, repr=False)
class Record:
    """
    Base of all records. Frozen; equal if all fields are, in whatever order.

    Attributes:
        rest: Members that are not documented, as they came.

        order: The names of all members as they stood when read; None if it was not.
    """

    rest: Mapping[str, Value] = attrs.field(factory=dict)
    order: tuple[str, ...] | None = attrs.field(default=None, eq=False)
    _fields: ClassVar[Mapping[str, _Field]] = EMPTY

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        cls._fields = {
            field.name: field.metadata[_META]
            for field in attrs.fields(cls)
            if field.name not in _OWN
        }

    @classmethod
    def decode(cls, value: Value, where: str = "", *, tag: str | None = None) -> Self:
        """
        Return the record that *value*, a decoded object, is.

        Args:
            value: It.

            where: Its place, for errors.

            tag: A member that is none of the record's, but tells what it is.

        Raises:
            FormatError: A documented field is missing or of another type.
        """
        if type(value) is not dict:
            raise refuse(where, "not an object")
        given: dict[str, Any] = {}
        absent = set()
        for name, field in cls._fields.items():
            place = f"{where}.{name}" if where else name
            if name not in value:
                if field.needed:
                    raise refuse(place, "missing")
            elif field.loose:
                try:
                    given[name] = field.type.decode(value[name], place)
                except FormatError:
                    absent.add(name)
            elif value[name] is None and not field.needed:
                given[name] = None
            else:
                given[name] = field.type.decode(value[name], place)
        known = {*cls._fields, tag} - absent
        rest = {name: one for name, one in value.items() if name not in known}
        record = cls(rest=rest, order=tuple(value), **given)
        record.check(where)
        return record

    def check(self, where: str) -> None:
        """
        Refuse what no single field tells; done by `decode`. By default all is right.

        Raises:
            FormatError: The fields are no record together.
        """

    def encode(self) -> dict[str, Value]:
        """Return the object: members in the order read, new ones behind."""
        fields = self._fields
        members = {
            name: _encoded(field, getattr(self, name))
            for name, field in fields.items()
            if self._is_written(name, field)
        }
        members.update(
            (name, one) for name, one in self.rest.items() if name not in members
        )
        order = self.order or ()
        placed = {name: members.pop(name) for name in order if name in members}
        return {**placed, **members}

    def unknown(self, where: str = "") -> Iterator[str]:
        """Yield the place of each thing in here that is not documented."""
        if self.rest:
            yield f"{where or 'the record'}: {len(self.rest)} unknown members"
        for name, field in self._fields.items():
            value = getattr(self, name)
            if value is not None:
                place = f"{where}.{name}" if where else name
                yield from field.type.unknown(value, place)

    def _is_written(self, name: str, field: _Field) -> bool:
        if self.order is None:
            stood = field.written
        else:
            stood = name in self.order and name not in self.rest
        if field.needed or stood:
            return True
        return bool(getattr(self, name) != field.default)

    def __repr__(self) -> str:
        # Errors and logs must not show contents.
        return f"<{type(self).__name__}>"


def _encoded(field: _Field, value: Any) -> Value:
    if value is None and not field.needed:
        return None
    return field.type.encode(value)


@attrs.frozen(kw_only=True, repr=False)
class Unknown(Record):
    """A record of a kind that is not documented: all of it is `rest`."""

    def unknown(self, where: str = "") -> Iterator[str]:
        """Yield that the kind is unknown."""
        yield f"{where or 'the record'}: unknown kind"


class Tagged:
    """
    Records of several classes, told apart by one member.

    Attributes:
        tag: The name of that member, which no class names as a field.

        classes: The class for each of its values.
    """

    def __init__(self, tag: str, classes: Mapping[str, type[Record]]) -> None:
        self.tag = tag
        self.classes = dict(classes)
        self._tags = {kind: name for name, kind in reversed(self.classes.items())}

    @property
    def type(self) -> Type:
        """The type of fields that hold one of these records."""
        return Type(self.decode, self.encode, unknown_in)

    def kind_of(self, record: Record) -> str:
        """Return the tag's value for *record*."""
        if isinstance(record, Unknown):
            return str(record.rest[self.tag])
        return self._tags[type(record)]

    def decode(self, value: Value, where: str = "") -> Record:
        """
        Return the record that *value* is; of an unknown kind: `Unknown`.

        Raises:
            FormatError: It is no object, has no tag, or is not as documented.
        """
        if type(value) is not dict:
            raise refuse(where, "not an object")
        kind = value.get(self.tag)
        if type(kind) is not str:
            raise refuse(where, f"no text {self.tag!r}")
        known = self.classes.get(kind)
        if known is None:
            return Unknown(rest=value, order=tuple(value))
        return known.decode(value, where, tag=self.tag)

    def encode(self, record: Record) -> dict[str, Value]:
        """Return the object with its tag, where it stood or else first."""
        members = record.encode()
        if isinstance(record, Unknown):
            return members
        tagged = {self.tag: self.kind_of(record), **members}
        order = record.order or ()
        before = itertools.takewhile(lambda name: name != self.tag, order)
        if self.tag not in order:
            return tagged
        placed = {name: tagged.pop(name) for name in before if name in tagged}
        return {**placed, **tagged}
