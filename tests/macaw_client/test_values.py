"""Objects of other libraries become JSON, as a private copy, or a clear error; nothing is guessed."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any

import pytest

from macaw_client.values import json_of, shown_json_of


class NotGiven:
    """As the libraries of model providers have it."""


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    label: str


class Model:
    """As a pydantic model answers: only the members that were set, by their names on the wire."""

    def model_dump(self, **how: Any) -> dict[str, object]:
        assert how == {"mode": "json", "by_alias": True, "exclude_unset": True}
        return {"role": "assistant", "content": None}


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another text"


def test_values_of_other_libraries_become_json() -> None:
    given = {
        "messages": [{"role": "user", "content": Text("hello")}, Model()],
        "timeout": NotGiven(),
        "colour": Colour.RED,
        "at": Point(1, "a"),
        "picture": b"\x00\x01",
        "flags": (True, None, 1.5),
    }

    assert json_of(given) == {
        "messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": None}],
        "colour": "red",
        "at": {"x": 1, "label": "a"},
        "picture": "AAE=",
        "flags": [True, None, 1.5],
    }


def test_the_copy_is_private() -> None:
    """What its program changes afterwards is not in the call."""
    given = {"messages": [{"role": "user"}]}
    made = json_of(given)
    given["messages"][0]["role"] = "system"

    assert made == {"messages": [{"role": "user"}]}


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        ({"a": [object()]}, TypeError, r"parameters\.a\[0\] is a object"),
        ({"a": {1: 2}}, TypeError, r"parameters\.a has a key of the class int"),
        ({"a": math.inf}, ValueError, r"parameters\.a is inf"),
        ({"a": {1, 2}}, TypeError, r"parameters\.a is a set"),
    ],
)
def test_what_json_cannot_say_is_a_clear_error(value: object, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        json_of(value)


def test_a_circle_ends() -> None:
    """A list that holds itself is refused before memory is gone."""
    circle: list[object] = []
    circle.append(circle)

    with pytest.raises(ValueError, match="nested more than"):
        json_of({"a": circle})


def test_no_value_stands_in_an_error() -> None:
    class Credentials:
        def __repr__(self) -> str:
            return "hunter2"

    with pytest.raises(TypeError) as told:
        json_of({"key": Credentials()})
    assert "hunter2" not in str(told.value)


def test_a_record_of_the_application_takes_anything() -> None:
    assert shown_json_of({"error": ValueError("hunter2"), 3: math.nan}) == {"error": "<ValueError>", "3": "nan"}
