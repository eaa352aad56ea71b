"""Whatever a tool returns or raises, its host can say it: JSON that the log takes, and the rest by type and place."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import fractions
import json
import types
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.proof import jcs
from producers.tools.result_text import (
    ERROR_CHARS_MAX,
    UNWRITTEN,
    exception_text,
    result_text,
    type_name,
    unwritable_result,
)
from schemas import limits

ROOM = 100_000
HERE = __name__


class Colour(str, enum.Enum):  # noqa: UP042 - as older programs have them
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Odd(enum.Enum):
    THING = object()
    NESTED = ("a", 1)


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Row:
    number: int
    tags: set[str] = dataclasses.field(default_factory=set)


class Model:
    """As pydantic's."""

    def __init__(self, **members: object) -> None:
        self.members = members

    def model_dump(self) -> object:
        return self.members


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"


class Number(int):
    def __repr__(self) -> str:
        return "another"

    __str__ = __repr__


def read(text: str) -> Any:
    return jcs.parse_strict(text.encode(), nodes_max=limits.RESULT_EVENT_BYTES_MAX)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"sent": 25, "to": "bob"}, {"sent": 25, "to": "bob"}),
        ({"id": 2512292042121000001}, {"id": "2512292042121000001"}),
        (-(2**53) - 1, str(-(2**53) - 1)),
        (2**53, 2**53),
        (1e17, "100000000000000000"),
        (1e300, 1e300),
        (10**1000, str(10**1000)),
        (float("nan"), "NaN"),
        ([float("inf"), float("-inf")], ["Infinity", "-Infinity"]),
        (("sent", 1), ["sent", 1]),
        (Point(1, 2), [1, 2]),
        ({"b", "a", 3}, ["a", "b", 3]),
        (frozenset(), []),
        (collections.OrderedDict(sent=1), {"sent": 1}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.ChainMap({"a": 1}), {"a": 1}),
        (collections.deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        ({"a": 1}.items(), [["a", 1]]),
        ({1: "a", 2**60: "b"}, {"1": "a", str(2**60): "b"}),
        ({Colour.RED: Level.HIGH}, {"red": 3}),
        (Odd.NESTED, ["a", 1]),
        ({uuid.UUID(int=1): 0}, {"00000000-0000-0000-0000-000000000001": 0}),
        (Row(1, {"x"}), {"number": 1, "tags": ["x"]}),
        (Model(at=dt.date(2026, 3, 2), row=Row(2)), {"at": "2026-03-02", "row": {"number": 2, "tags": []}}),
        (Decimal("10.250"), "10.250"),
        (Decimal("NaN"), "NaN"),
        (dt.datetime(2026, 3, 2, tzinfo=dt.UTC), "2026-03-02T00:00:00+00:00"),
        (dt.time(1, 2), "01:02:00"),
        (PurePosixPath("a/b"), "a/b"),
        (Text("itself"), "itself"),
        (Number(7), 7),
        (True, True),
        (None, None),
    ],
)
def test_what_has_an_obvious_form_is_written_in_it(value: object, expected: object) -> None:
    """A type that JSON does not know is no reason to lose what was returned."""
    said = result_text(value, ROOM)

    assert said.unwritten == ()
    assert read(said.text) == expected
    assert json.dumps(read(said.text)) == json.dumps(expected)  # 1 is not True


class Hostile:
    """Raises whenever anybody looks at it."""

    def __getattribute__(self, name: str) -> object:
        raise SystemExit(f"looked at {name}")


class Quits(dict[str, int]):
    def items(self) -> Any:
        raise KeyboardInterrupt


class Liar:
    __class__ = dict  # type: ignore[assignment]


def holding_itself() -> object:
    value: dict[str, object] = {}
    value["me"] = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {"b/c": b"x"}}, {"a": {"b/c": ("bytes", "/a/b~1c")}}),
        ([1, object(), 2], [1, ("object", "/1"), 2]),
        ({"~": 1j}, {"~": ("complex", "/~0")}),
        (fractions.Fraction(1, 3), ("fractions.Fraction", "")),
        (dt.timedelta(1), ("datetime.timedelta", "")),
        ({"at": (n for n in ())}, {"at": ("generator", "/at")}),
        ({"n": 1, "big": 2**5000}, {"n": 1, "big": ("int", "/big")}),
        ({"n": 1, "text": "\ud800"}, {"n": 1, "text": ("str", "/text")}),
        ({"n": 1, "in": {"\ud800": 1}}, {"n": 1, "in": ("str", "/in")}),
        ({"in": {(1, 2): 3}}, {"in": ("tuple", "/in")}),
        ({"in": {True: 3}}, {"in": ("bool", "/in")}),
        ({"in": {None: 3}}, {"in": ("NoneType", "/in")}),
        ({"in": {1: 3, "1": 4}}, {"in": ("dict", "/in")}),
        ({"in": {"\u00e9": 3, "e\u0301": 4}}, {"in": ("dict", "/in")}),
        ({"in": {"a" + "\u0301" * 40: 3}}, {"in": ("dict", "/in")}),
        ({"x": Odd.THING}, {"x": ("object", "/x")}),
        (holding_itself(), {"me": [("dict", "/me/0")]}),
        ([Hostile(), 1], [(f"{HERE}.Hostile", "/0"), 1]),
        ([Quits(a=1), 1], [(f"{HERE}.Quits", "/0"), 1]),
        ([Liar(), 1], [(f"{HERE}.Liar", "/0"), 1]),
        ([Hostile, 1], [("type", "/0"), 1]),
    ],
)
def test_the_rest_is_named_with_type_and_place(value: object, expected: Any) -> None:
    """What stands beside it is written."""
    said = result_text(value, ROOM)

    def marked(found: Any, want: Any) -> Any:
        if isinstance(want, tuple):
            return (found[UNWRITTEN], found["at"])
        if isinstance(want, dict):
            return {name: marked(found[name], want[name]) for name in want} if found.keys() == want.keys() else found
        return [marked(*pair) for pair in zip(found, want, strict=True)] if isinstance(want, list) else found

    assert marked(read(said.text), expected) == expected
    assert len(said.unwritten) == 1
    assert str(said)


def nested(depth: int, inner: Any = ()) -> Any:
    return list(inner) if depth == 1 else [nested(depth - 1, inner)]


@pytest.mark.parametrize("inner", [(), (1, "x"), (b"x",), ([],), (1j, 2)])
@pytest.mark.parametrize("depth", [30, 31, 32, 33, 500, 900])
def test_what_is_too_deep_for_readers_is_named(depth: int, inner: Any) -> None:
    """The limit is the reader's own, and a marker counts too."""
    said = result_text(nested(depth, inner), ROOM)

    fits = depth + ([] in inner) <= 32 and not any(isinstance(one, bytes | complex) for one in inner)
    assert (said.unwritten == ()) == fits
    read(said.text)


def doubling(times: int) -> Any:
    value: Any = ["x"]
    for _ in range(times):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        "x" * 2_000_000,
        "\u20ac" * 40_000,
        list(range(ROOM)),
        doubling(30),
        [object()] * 2000,
        range(2**62),
        ["\n" * 60_000],
    ],
)
def test_a_result_that_is_too_large_is_named_as_a_whole(value: object) -> None:
    """Of whatever shape, in bounded time; counted in bytes, and told in bytes."""
    said = result_text(value, ROOM)

    found = read(said.text)
    assert (found[UNWRITTEN], found["at"]) == (type(value).__name__, "")
    assert found["why"] == f"it takes more than {ROOM} bytes of JSON"
    assert len(said.text) < 500


def test_a_bound_is_one_of_bytes() -> None:
    """As many as fit, and one more."""
    assert result_text("\u20ac" * 4, 14).unwritten == ()
    assert result_text("\u20ac" * 4, 13).unwritten != ()


HOSTILE_MAKERS = st.sampled_from([Hostile, Liar, object, Model, lambda: 1j, lambda: Odd.THING, lambda: Quits(a=1)])
HOSTILE = HOSTILE_MAKERS.flatmap(st.builds)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec=None), max_size=20),
    st.decimals(),
    st.uuids(),
    st.datetimes(),
    st.sampled_from([Colour.RED, Level.HIGH, Point(1, 2)]),
    st.binary(max_size=3),
    st.timedeltas(),
    HOSTILE,
)
KEYS = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none(), st.floats(), st.tuples(st.integers()))
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=5),
        inner.map(lambda one: Model(one=one)),
        inner.map(lambda one: collections.deque([one])),
    ),
    max_leaves=30,
)


@given(ANYTHING, st.integers(40, 5000))
def test_whatever_is_returned_can_be_reported(value: object, room: int) -> None:
    """The log's own reader takes it, it fits, and nothing is replaced in silence."""
    said = result_text(value, room)

    found = read(said.text)
    assert len(said.text.encode()) <= max(room, 500)
    assert len(said.unwritten) == sum(1 for _ in markers(found))


def markers(found: Any) -> Any:
    if isinstance(found, dict):
        if UNWRITTEN in found:
            yield found
        found = list(found.values())
    if isinstance(found, list):
        for one in found:
            yield from markers(one)


PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=9), st.floats(-1e9, 1e9)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
)


@given(PLAIN)
def test_what_is_json_already_is_written_as_it_is(value: Any) -> None:
    """To the byte."""
    assert result_text(value, ROOM).text.encode() == jcs.canonical(value)


class LazyError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoTextError(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307 - its fault


class QuittingError(Exception):
    def __str__(self) -> str:
        raise SystemExit


class NamelessMeta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no name")


class NamelessError(Exception, metaclass=NamelessMeta):
    __class__ = property(lambda _: 1 / 0)  # type: ignore[assignment]


class CountlessError(ExceptionGroup[ValueError]):
    exceptions = property(lambda _: 1 / 0)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RuntimeError("the ledger is closed"), "RuntimeError: the ledger is closed"),
        (lambda: ValueError("bad \ud800 name"), r"ValueError: bad \ud800 name"),
        (LazyError, "LazyError, of which str() raised RuntimeError"),
        (NoTextError, "NoTextError, of which str() raised TypeError"),
        (QuittingError, "QuittingError, of which str() raised SystemExit"),
        (lambda: NamelessError("x"), "NamelessError: x"),
        (lambda: SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt, "KeyboardInterrupt: "),
        (
            lambda: ExceptionGroup("both", [ValueError("a"), LazyError()]),
            "ExceptionGroup: both (2 sub-exceptions): ValueError: a; L",
        ),
        (lambda: CountlessError("both", [ValueError("a")]), "CountlessError: both (1 sub-exception): ValueError: a"),
    ],
)
def test_an_exception_is_told_by_its_type_at_least(make: Callable[[], BaseException], says: str) -> None:
    """Whatever its class does when it is asked for its text."""
    assert exception_text(make()).startswith(says)


def test_a_huge_text_is_cut() -> None:
    """Its beginning is told."""
    text = exception_text(ValueError("x" * 10_000_000))

    assert len(text) == ERROR_CHARS_MAX
    assert text.startswith("ValueError: xxx")


def test_a_class_without_a_module_has_a_name_still() -> None:
    """Nothing of a class need be what it is elsewhere."""
    made = type("Made", (), {"__module__": 7})

    assert type_name(made()) == "?.Made"
    assert json.loads(unwritable_result(made(), "why").text) == {UNWRITTEN: "?.Made", "at": "", "why": "why"}


def test_numbers_that_are_no_pythons_own_are_written() -> None:
    """As of numpy: what is registered as a whole or real number."""
    import numbers

    class Int64:
        def __index__(self) -> int:
            return 7

    class Float32:
        def __float__(self) -> float:
            return 0.5

    numbers.Integral.register(Int64)
    numbers.Real.register(Float32)

    assert result_text([Int64(), Float32()], ROOM).text == "[7,0.5]"
