"""Annotations are met before a function runs: what fits is given as what they say, the rest is named with its place."""

from __future__ import annotations

import dataclasses
import enum
import typing
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, Required, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.tools import ToolArgumentError, ToolDeclarationError, arguments, bind_arguments, collect_tools, tool


class Colour(str, enum.Enum):  # noqa: UP042 - as older programs have them
    RED = "red"
    BLUE = "blue"


class Level(enum.Enum):
    LOW = 1
    OFF = False
    HALF = 0.5


class Thing(enum.Enum):
    ONE = object()


class Options(TypedDict, total=False):
    loud: bool
    name: Required[str]


class Address(TypedDict):
    street: str
    number: NotRequired[int]


@dataclasses.dataclass
class Line:
    text: str
    amount: float = 0
    tags: list[str] = dataclasses.field(default_factory=list)
    made: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError("an amount below 0")


@dataclasses.dataclass
class Tree:
    children: list[Tree] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Either:
    to: Either | Other | int


@dataclasses.dataclass
class Other:
    to: Either | Other | int


class WrongError(ValueError):
    """As pydantic's."""

    def errors(self) -> list[dict[str, object]]:
        return [{"loc": ("rows", 0), "msg": "Input should be a valid number", "input": "a secret"}]


class Model:
    """As pydantic's."""

    def __init__(self, text: bytes, strict: bool) -> None:
        self.asked = text, strict

    @classmethod
    def model_validate_json(cls, text: bytes, *, strict: bool) -> Model:
        if b"wrong" in text:
            raise WrongError
        if b"bad" in text:
            raise ValueError("bad it is")
        return cls(text, strict)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.asked == self.asked

    __hash__ = None  # type: ignore[assignment]


class Pair(NamedTuple):
    x: int


Cents = NewType("Cents", int)


def binding(annotation: Any, *, default: Any = ...) -> Callable[[Any], Any]:
    """Return what reads one JSON value as a parameter of this annotation."""

    def function(it: Any) -> None: ...

    function.__annotations__["it"] = annotation
    if default is not ...:
        function.__defaults__ = (default,)
    [found] = collect_tools(tool(function))
    return lambda value: bind_arguments(found, {"it": value}).arguments["it"]


FITS = [
    (str, "bob", "bob"),
    (int, 3, 3),
    (int, 1e22, 10**22),
    (float, 3, 3.0),
    (float, 2.5, 2.5),
    (bool, True, True),
    (None, None, None),
    (Any, {"a": [1]}, {"a": [1]}),
    (object, None, None),
    (Decimal, 10.25, Decimal("10.25")),
    (str | None, None, None),
    (Optional[int], 3, 3),  # noqa: UP045 - as older programs have it
    (int | str, "x", "x"),
    ("str | None", None, None),
    (Literal["a", 1, True], True, True),
    (Literal["a", None], None, None),  # noqa: PYI061 - as it may be written
    (Literal["a", 1], 1, 1),
    (Literal[Colour.RED], "red", Colour.RED),
    (Colour, "blue", Colour.BLUE),
    (Level, 1, Level.LOW),
    (Level, False, Level.OFF),
    (Level, 0.5, Level.HALF),
    (list, [1, "a"], [1, "a"]),
    (list[str], ["a"], ["a"]),
    (Sequence[float], [1], [1.0]),
    (Iterable[int], [], []),
    (tuple, [1], (1,)),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[()], [], ()),
    (dict, {"a": 1}, {"a": 1}),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (Mapping[Literal["a"], Any], {"a": 1}, {"a": 1}),
    (Options, {"name": "x"}, {"name": "x"}),
    (Options, {"name": "x", "loud": True}, {"name": "x", "loud": True}),
    (Address, {"street": "x"}, {"street": "x"}),
    (Line, {"text": "x"}, Line("x")),
    (list[Line], [{"text": "x", "amount": 2, "tags": ["a"]}], [Line("x", 2.0, ["a"])]),
    (Tree, {"children": [{"children": []}, {}]}, Tree([Tree(), Tree()])),
    (Either, {"to": {"to": 3}}, Either(Either(3))),
    (Model, {"a": 1}, Model(b'{"a":1}', strict=True)),
    (Annotated[int, "whole"], 3, 3),
    (Cents, 3, 3),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), FITS)
def test_what_fits_is_given_as_the_annotation_says(annotation: Any, value: Any, expected: Any) -> None:
    """Of its very type."""
    found = binding(annotation)(value)

    assert found == expected
    assert repr(found) == repr(expected) or isinstance(found, Model)


MISFITS = [
    (float, True, "/it: want a number, got a boolean"),
    (int, True, "/it: want a whole number, got a boolean"),
    (int, 2.5, "/it: want a whole number, got a number"),
    (int, "5", "/it: want a whole number, got a text"),
    (float, "2.5", "/it: want a number, got a text"),
    (float, None, "/it: want a number, got null"),
    (bool, 1, "/it: want a boolean, got a number"),
    (str, ["bob"], "/it: want a text, got a list"),
    (str, {"to": "bob"}, "/it: want a text, got an object"),
    (str, 5, "/it: want a text, got a number"),
    (None, 0, "/it: want null, got a number"),
    (Decimal, "10.25", "/it: want a number, got a text"),
    (Decimal, True, "/it: want a number, got a boolean"),
    (int | None, "x", "/it: want a whole number or null, got a text"),
    (Literal["a", 1], True, '/it: want one of "a", 1'),
    (Literal["a", True], 1, '/it: want one of "a", true'),
    (Literal["a"], ["a"], '/it: want one of "a", got a list'),
    (Colour, "RED", '/it: want one of "red", "blue"'),
    (Colour, None, '/it: want one of "red", "blue"'),
    (Level, True, "/it: want one of 1, false, 0.5"),
    (Level, 0, "/it: want one of 1, false, 0.5"),
    (list[str], "ab", "/it: want a list, got a text"),
    (list[str], ["a", 1], "/it/1: want a text, got a number"),
    (tuple[int, str], [1], "/it: want a list of 2"),
    (tuple[int, str], [1, 2], "/it/1: want a text, got a number"),
    (dict[str, int], {"a/b": "x"}, "/it/a~1b: want a whole number, got a text"),
    (dict[str, int], [], "/it: want an object, got a list"),
    (Mapping[Literal["a"], Any], {"b": 1}, '/it/b: want one of "a"'),
    (Options, {}, "/it/name: missing"),
    (Options, {"name": "x", "NAME": "y"}, "/it/NAME: unexpected"),
    (Address, {"street": "x", "number": "7"}, "/it/number: want a whole number, got a text"),
    (Line, {"text": "x", "made": 3}, "/it/made: unexpected"),
    (Line, {"text": "x", "amount": -1}, "/it: it is refused (ValueError: an amount below 0)"),
    (list[Line], [{"text": "x"}, {"text": 1}], "/it/1/text: want a text, got a number"),
    (Tree, {"children": [{"children": [3]}]}, "/it/children/0/children/0: want an object that is a Tree, got a number"),
    (Line | None, {"text": 1}, "/it/text: want a text, got a number"),
    (Model, "wrong", "/it/rows/0: Input should be a valid number"),
    (Model, "bad", "/it: it is refused (ValueError: bad it is)"),
]


@pytest.mark.parametrize(("annotation", "value", "problem"), MISFITS)
def test_what_does_not_fit_is_named_with_its_place(annotation: Any, value: Any, problem: str) -> None:
    """The function does not see it."""
    with pytest.raises(ToolArgumentError) as caught:
        binding(annotation)(value)

    assert str(caught.value) == f"tool 'function': {problem}"


def test_a_parameter_whose_default_is_none_may_be_null() -> None:
    """As annotations once said."""
    assert binding(int, default=None)(None) is None
    with pytest.raises(ToolArgumentError):
        binding(int, default=3)(None)


def test_every_extra_parameter_is_what_their_annotation_says() -> None:
    """Of `**rest`."""

    @tool
    def function(**rest: int) -> None: ...

    [found] = collect_tools(function)
    assert bind_arguments(found, {"a": 1, "rest": 2}).kwargs == {"a": 1, "rest": 2}
    with pytest.raises(ToolArgumentError, match="/b: want a whole number"):
        bind_arguments(found, {"a": 1, "b": "x"})


def test_unions_inside_each_other_are_not_tried_for_ever() -> None:
    """Both classes fit at each level, and neither at the last."""
    value: Any = "end"
    for _ in range(30):
        value = {"to": value}

    with pytest.raises(ToolArgumentError, match="too many ways"):
        binding(Either)(value)


def test_what_is_told_is_bounded() -> None:
    """However many parameters are wrong, however long their names."""

    @tool
    def function(**rest: int) -> None: ...

    [found] = collect_tools(function)
    with pytest.raises(ToolArgumentError) as caught:
        bind_arguments(found, {f"{'x' * 10_000}{n}": "x" for n in range(100)})

    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (datetime, "JSON has no form for a datetime"),
        (bytes, "JSON has no form for a bytes"),
        (set[str], "JSON has no form for"),
        (Pair, "JSON has no form for a Pair"),
        (Thing, "JSON has no form for the value"),
        (Literal[b"x"], "JSON has no form for the value"),
        (Callable[[], int], "JSON has no form for"),
        (dict[int, str], "texts"),
        (list[datetime], "JSON has no form for a datetime"),
        (str | Path, "JSON has no form for a Path"),
        ("Nowhere", "cannot be read: NameError"),
        ([int], "JSON has no form for"),
        (typing.TypeVar("T"), "JSON has no form for"),
        (Generator[int], "JSON has no form for"),
    ],
)
def test_an_annotation_that_no_json_meets_is_refused_when_it_is_declared(annotation: Any, why: str) -> None:
    """Unchecked it would only look checked."""
    with pytest.raises(ToolDeclarationError, match=f"tool 'function': the parameter 'it': .*{why}"):
        binding(annotation)


# ---- any annotation and any value, against a slow and obvious judge

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.sampled_from(["a", "b", "red"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
ANNOTATIONS = st.recursive(
    st.sampled_from([str, int, float, bool, None, Any, Literal["a", 1], Colour]),
    lambda inner: st.one_of(
        st.builds(lambda one: list[one], inner),  # type: ignore[valid-type]
        st.builds(lambda one: dict[str, one], inner),  # type: ignore[valid-type]
        st.builds(lambda one, other: one | other if one and other else Optional[other], inner, inner),  # noqa: UP045
        st.builds(lambda one, other: tuple[one, other], inner, inner),  # type: ignore[valid-type]
    ),
    max_leaves=5,
)


def fits(annotation: Any, value: Any) -> bool:  # noqa: PLR0911 - one line a kind
    kind, parts = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if annotation is Any:
        return True
    if annotation is None or annotation is type(None):
        return value is None
    if kind is float:
        return type(value) in {int, float}
    if kind is int:
        return type(value) is int or (type(value) is float and value == int(value))
    if kind in {str, bool}:
        return type(value) is kind
    if kind is Literal:
        return type(value) in {str, int, float} and value in {"a", 1}
    if kind is Colour:
        return value in ("red", "blue")
    if kind is list:
        return type(value) is list and all(fits(parts[0], one) for one in value)
    if kind is dict:
        return type(value) is dict and all(fits(parts[1], one) for one in value.values())
    if kind is tuple:
        return type(value) is list and len(value) == len(parts) and all(map(fits, parts, value))
    return any(fits(part, value) for part in parts)


@given(ANNOTATIONS, JSON)
def test_any_value_is_read_exactly_where_it_fits(annotation: Any, value: Any) -> None:
    """And else named, in words of a bounded length."""
    try:
        binding(annotation)(value)
    except ToolArgumentError as exc:
        read = False
        problems = exc.problems
    else:
        read, problems = True, []

    assert read == fits(annotation, value)
    assert read == (problems == [])
    assert all(at.startswith("/it") and 0 < len(why) <= arguments.WHY_CHARS_MAX for at, why in problems)
