"""The text of a call's end for its report: any result as JSON, and any exception as text.

The call has had its effect by then, so nothing here fails: a part without a JSON form is named at its place, and the
call ended well all the same. Forms, one for each kind:

- texts, whole and other numbers, booleans, None, lists and dicts: as they are, and so are their subclasses;
- tuples, named ones too, and other sequences: lists; sets: lists, sorted by their JSON;
- mappings, dataclasses and objects with `model_dump`: objects; names that are whole numbers or have a text form below
  become texts;
- members of an Enum: their value;
- Decimal, and every number that JSON readers would change or refuse (beyond 2^53, NaN, infinities): its text;
- date, time, datetime: ISO 8601; UUID and paths: their text.

Everything else, as bytes, is replaced by `{"$unwritten": type, "at": JSON pointer, "why": ...}`, and so is a part that
is too deep, cyclic, or raises while it is read. A result that is too large is replaced as a whole.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from processors.policy.json_types import pointer_to
from processors.proof import jcs
from processors.text.forms import is_stream_safe, nfc
from schemas import limits

UNWRITTEN = "$unwritten"
ERROR_CHARS_MAX = 500
ERROR_CHARS_LOOKED_AT = 1000  # of an error that is masked before it is cut: half a secret is not found; at most 4 KiB
CAUSES_MAX = 3  # of an exception group that the text names
TYPE_CHARS_MAX = 120
POINTER_CHARS_MAX = 200
LOGGED_MAX = 8  # places that one line of the host's log names
DIGITS_BITS_MAX = 4096  # of a whole number that is written as text

_Place = tuple[Any, object] | None  # (of the container, name or index); None is the whole result
_TEXT_FORMS = (Decimal, UUID, PurePath)
_PLAIN_CONTAINERS = (dict, list, tuple)
_TIMES = (dt.date, dt.time)  # a datetime is a date


class _UnwritableError(Exception):
    """A value at a place has no JSON form."""

    def __init__(self, value: object, at: _Place, why: str) -> None:
        super().__init__(why)
        self.kind, self.at, self.why = type_name(value), at, why


class _TooLargeError(Exception):
    """The result takes more room than there is."""


@dataclasses.dataclass(frozen=True, slots=True)
class ResultText:
    """A result as JSON text that the log takes, and the parts of it without a JSON form, each with place and type."""

    text: str
    unwritten: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = len(self.unwritten) - LOGGED_MAX
        return "; ".join(self.unwritten[:LOGGED_MAX]) + (f"; and {more} more" if more > 0 else "")


def result_text(value: object, room: int) -> ResultText:
    """Return a result as JSON of at most `room` bytes. It may run code of the value's classes, and takes its time."""
    writer = _Writer(room)
    try:
        text = jcs.canonical(writer.whole(value)).decode()
        if len(text.encode()) <= room:
            return ResultText(text, tuple(writer.unwritten))
    except _TooLargeError:
        pass
    return unwritable_result(value, f"it takes more than {room} bytes of JSON")


def unwritable_result(value: object, why: str) -> ResultText:
    """Return the text for a result that has no form at all: its type, and why."""
    marker = _marker(_UnwritableError(value, None, why))
    return ResultText(jcs.canonical(marker).decode(), (_line(marker),))


def lost_report(why: str) -> str:
    """Return the body of a report in place of one that cannot be sent."""
    return jcs.canonical({UNWRITTEN: "report", "at": "", "why": _clean(why)[:ERROR_CHARS_MAX]}).decode()


def exception_text(raised: BaseException, chars_max: int = ERROR_CHARS_MAX) -> str:
    """Return the type and text of an exception in at most `chars_max` characters; its class cannot prevent it."""
    causes: tuple[BaseException, ...] = ()
    if issubclass(type(raised), BaseExceptionGroup):  # not `__class__`, which may be anything
        causes = vars(BaseExceptionGroup)["exceptions"].__get__(raised)[:CAUSES_MAX]
    others = "; ".join(_one_text(cause, chars_max) for cause in causes)
    text = ": ".join(filter(None, (_one_text(raised, chars_max), others)))
    return text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"


def _one_text(raised: BaseException, chars_max: int) -> str:
    name = type_name(raised).rpartition(".")[2]
    try:
        text = str.__str__(str(raised))[: chars_max + 1]
    except BaseException as exc:  # noqa: BLE001 - a class of anybody's; what it raised is told instead
        return f"{name}, of which str() raised {type_name(exc)}"
    return f"{name}: {_clean(text)}"


def type_name(value: object) -> str:
    """Return the name of a value's class, with its module unless it is a builtin one. Runs none of its code."""
    module, name = _said_of(type(value), "__module__"), _said_of(type(value), "__qualname__")
    return _clean(name if module == "builtins" else f"{module}.{name}")[:TYPE_CHARS_MAX]


def _said_of(cls: type, name: str) -> str:
    try:
        said = vars(type)[name].__get__(cls)
    except AttributeError:
        return "?"
    return said if type(said) is str else "?"


def _clean(text: str) -> str:
    """Return a text that every reader takes: half a surrogate pair is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


class _Writer:
    """Makes plain JSON values of one result."""

    def __init__(self, room: int) -> None:
        self._left = room
        self._open: set[int] = set()  # the containers around the present place
        self.unwritten: list[str] = []

    def whole(self, value: object) -> jcs.JSONValue:
        return self._value(value, None, 1)

    def _value(self, value: object, at: _Place, depth: int) -> jcs.JSONValue:
        """Return a value as JSON, or its replacement. `depth` is that of a container here."""
        before = len(self.unwritten)
        try:
            return self._form(value, at, depth)
        except _UnwritableError as exc:
            if depth > jcs.DEPTH_MAX:
                raise  # there is no room for a marker: it stands for the container around
            marker = _marker(exc)
            self._spend(sum(map(len, map(str, marker.values()))))
            self.unwritten[before:] = [_line(marker)]
            return marker

    def _spend(self, count: int) -> None:
        self._left -= count + 1
        if self._left < 0:
            raise _TooLargeError

    def _form(self, value: object, at: _Place, depth: int) -> jcs.JSONValue:
        kind = type(value)
        if kind is str:
            return self._text(value, at)
        if value is None or kind is bool:
            self._spend(0)
            return value  # type: ignore[return-value]
        if kind is int or kind is float:
            return self._number(value, at)  # type: ignore[arg-type]
        try:
            return self._form_of_class(value, at, depth)
        except (_UnwritableError, _TooLargeError):
            raise
        except BaseException as exc:
            # The code of a foreign class may raise anything; the call has ended all the same, and that is reported.
            raise _UnwritableError(value, at, f"looking at it raised {type_name(exc)}") from exc

    def _form_of_class(self, value: object, at: _Place, depth: int) -> jcs.JSONValue:
        plain = value if type(value) in _PLAIN_CONTAINERS else _plain(value)
        if plain is not value:
            return self._form(plain, at, depth)
        if isinstance(value, int | float):
            return self._number(value, at)
        if isinstance(value, str):
            return self._text(value, at)
        if isinstance(value, bytes | bytearray | memoryview):
            raise _UnwritableError(value, at, "bytes have no one form in JSON")
        return self._container(value, at, depth)

    def _text(self, value: object, at: _Place) -> str:
        text = str.__str__(value)  # exactly a str, also of a subclass
        self._spend(len(text))
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise _UnwritableError(value, at, "it holds half a surrogate pair and is not a text") from None
        return text

    def _number(self, number: float, at: _Place) -> jcs.JSONValue:
        """Return a number, or its digits where a reader would change or refuse it."""
        self._spend(0)
        if isinstance(number, int):
            exact = int.__int__(number)
            if -limits.INTEGER_MAX <= exact <= limits.INTEGER_MAX:
                return exact
            if exact.bit_length() > DIGITS_BITS_MAX:
                raise _UnwritableError(number, at, "it has too many digits")
            return self._text(str(exact), at)
        double = float.__float__(number)
        if not math.isfinite(double):
            return "NaN" if math.isnan(double) else ("Infinity" if double > 0 else "-Infinity")
        if double.is_integer() and limits.INTEGER_MAX < abs(double) < jcs.EXPONENT_FORM_MIN:
            return self._text(str(int(double)), at)
        return double

    def _container(self, value: object, at: _Place, depth: int) -> jcs.JSONValue:
        if id(value) in self._open:
            raise _UnwritableError(value, at, "it holds itself")
        if depth > jcs.DEPTH_MAX:
            raise _UnwritableError(value, at, f"more than {jcs.DEPTH_MAX} containers stand inside each other")
        self._spend(1)
        self._open.add(id(value))
        try:
            return self._opened(value, at, depth)
        finally:
            self._open.discard(id(value))

    def _opened(self, value: object, at: _Place, depth: int) -> jcs.JSONValue:
        dump = getattr(type(value), "model_dump", None)
        if callable(dump):
            return self._value(dump(value), at, depth)
        if isinstance(value, Mapping):
            return self._object(value, value.items(), at, depth)
        if dataclasses.is_dataclass(value):
            pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
            return self._object(value, pairs, at, depth)
        if isinstance(value, AbstractSet):
            return sorted((self._value(one, at, depth + 1) for one in value), key=jcs.canonical)
        if isinstance(value, Sequence | ValuesView):
            return [self._value(one, (at, n), depth + 1) for n, one in enumerate(value)]
        raise _UnwritableError(value, at, "it has no JSON form")

    def _object(
        self, value: object, pairs: Iterable[tuple[object, object]], at: _Place, depth: int
    ) -> dict[str, jcs.JSONValue]:
        members: dict[str, jcs.JSONValue] = {}
        ascii_only = True
        for key, member in pairs:
            name = self._name(key, at)
            ascii_only = ascii_only and name.isascii()
            if name in members:
                raise _UnwritableError(value, at, f"two of its names are {name[:TYPE_CHARS_MAX]!r}")
            members[name] = self._value(member, (at, name), depth + 1)
        if not ascii_only:
            if not all(map(is_stream_safe, members)):
                raise _UnwritableError(value, at, "one of its names has too many marks in a row")
            if len({nfc(name) for name in members}) < len(members):
                raise _UnwritableError(value, at, "two of its names are the same text")
        return members

    def _name(self, key: object, at: _Place) -> str:
        if type(key) is not str:
            plain = _plain(key)
            if isinstance(plain, int) and not isinstance(plain, bool) and plain.bit_length() <= DIGITS_BITS_MAX:
                return self._text(str(int.__int__(plain)), at)
            if not isinstance(plain, str):
                raise _UnwritableError(key, at, "it is not the name of a member")
            key = plain
        return self._text(key, at)


def _plain(value: object) -> object:
    """Return the plain form of a value that is not one of JSON's own types, else the value itself."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _TEXT_FORMS):
        return str(value)
    if isinstance(value, _TIMES):
        return value.isoformat()
    if isinstance(value, numbers.Integral) and not isinstance(value, int):
        return operator.index(value)
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational | float):
        return float(value)
    return value


def _marker(exc: _UnwritableError) -> dict[str, jcs.JSONValue]:
    return {UNWRITTEN: exc.kind, "at": _pointer(exc.at), "why": exc.why}


def _line(marker: Mapping[str, jcs.JSONValue]) -> str:
    return f"{marker['at'] or 'the result'} ({marker[UNWRITTEN]}): {marker['why']}"


def _pointer(at: _Place) -> str:
    steps: list[object] = []
    while at is not None:
        at, step = at
        steps.append(step)
    return place_text(steps[::-1])


def place_text(steps: Iterable[object]) -> str:
    """Return a place as a JSON pointer (RFC 6901), its end where it is too long."""
    text = "".join(_clean(pointer_to("", str(step))) for step in steps)
    return text if len(text) <= POINTER_CHARS_MAX else f"…{text[-POINTER_CHARS_MAX + 1 :]}"
