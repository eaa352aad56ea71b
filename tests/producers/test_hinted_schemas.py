"""Schemas that type hints give: they take exactly the parameters that the host takes, and stand in the declaration."""

import dataclasses
import datetime as dt
import json
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.content.parameter_schemas import check_schema, compiled
from producers.tools import (
    FROM_HINTS,
    HintedSchemaError,
    ToolArgumentError,
    ToolDeclarationError,
    bind_arguments,
    collect_tools,
    result_schema_of,
    schema_of,
    tool,
)
from producers.tools.registration import declared_by


class Colour(Enum):
    RED = "red"
    BLUE = 2


class Place(TypedDict, total=False):
    street: str
    zip: NotRequired[int]


class Marked(TypedDict):
    name: str
    note: NotRequired[str | None]


@dataclasses.dataclass
class Order:
    item: str
    count: int = 1
    where: Place | None = None


@dataclasses.dataclass
class Chain:
    next: "Chain | None" = None


@tool(input_schema=FROM_HINTS, output_schema=FROM_HINTS)
def everything(
    text: str,
    whole: int,
    number: float,
    flag: bool,
    nothing: None,
    texts: list[str],
    table: dict[str, int],
    pair: tuple[int, str],
    several: tuple[bool, ...],
    word: Literal["a", "b"],
    colour: Colour,
    either: int | str | None,
    mixed: list[int] | Marked,
    order: Order,
    price: Decimal,
    free: Any,
    late: str = "x",
    maybe: int = None,  # type: ignore[assignment]  # noqa: RUF013 - the reader takes null here too
    **rest: float,
) -> dict[str, list[int]]:
    return {}


[EVERYTHING] = collect_tools(everything)
FITS: dict[str, Any] = {
    "text": "t", "whole": 1, "number": 1.5, "flag": True, "nothing": None, "texts": ["a"], "table": {"a": 1},
    "pair": [1, "a"], "several": [True], "word": "a", "colour": "red", "either": None, "mixed": {"name": "n"},
    "order": {"item": "i", "where": {"street": "s"}}, "price": 2, "free": [{}],
}  # fmt: skip


def test_the_schema_is_one_that_calls_are_judged_by():
    text = schema_of(everything)
    check_schema(text)
    schema = json.loads(text)

    assert sorted(schema["required"]) == sorted(FITS)
    assert schema["additionalProperties"] == {"type": "number"}
    assert schema["properties"]["either"] == {"type": ["integer", "null", "string"]}
    assert schema["properties"]["maybe"] == {"type": ["integer", "null"]}
    assert schema["properties"]["colour"] == {"enum": ["red", 2]}
    assert compiled(text).faults(FITS) == ()
    bind_arguments(EVERYTHING, FITS)


VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 2, 1.5, 1e22, "", "a", "red"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["item", "count", "where", "name", "note", "street", "zip", "x"]), inner)
    ),
    max_leaves=6,
)


@given(st.sampled_from([*FITS, "late", "maybe", "rest2"]), VALUES)
def test_schema_and_host_take_the_same_values(name, value):
    """A call that the monitor lets through is not refused by the host for its types, and the other way round."""
    parameters = {**FITS, name: value}
    try:
        bind_arguments(EVERYTHING, parameters)
        binds = True
    except ToolArgumentError:
        binds = False

    assert (compiled(schema_of(everything)).faults(parameters) == ()) == binds


def test_constraints_stand_where_they_are_found():
    def pay(
        amount: Annotated[int, {"minimum": 1, "x-macaw-risk": "money"}],
        to: Annotated[str | None, {"x-macaw-risk": "mail"}],
        files: list[Annotated[str, {"x-macaw-risk": "files"}]],
        how: Annotated[Literal["a", "b"], {"x-macaw-risk": "shell"}] = None,  # type: ignore[assignment]  # noqa: RUF013
    ) -> None: ...

    assert compiled(schema_of(pay)).annotated == (
        (("amount",), "money"),
        (("files", "*"), "files"),
        (("how",), "shell"),
        (("to",), "mail"),
    )
    assert compiled(schema_of(pay)).faults({"amount": 0, "to": None, "files": []})[0].keyword == "minimum"


def takes_bytes(body: bytes) -> None: ...
def takes_itself(chain: Chain) -> None: ...
def takes_odd_names(table: dict[int, str]) -> None: ...
def takes_doubled(amount: Annotated[int, {"type": "string"}]) -> None: ...
def takes_a_tuple(amount: Annotated[int, {"enum": (1, 2)}]) -> None: ...
def takes_a_set(amount: set[int]) -> None: ...
def takes_unknown(amount: "Unknown") -> None: ...  # noqa: F821
def takes_any_names(*amount: int) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        takes_bytes, takes_itself, takes_odd_names, takes_doubled, takes_a_tuple, takes_a_set, takes_unknown,
        takes_any_names,
    ],
)  # fmt: skip
def test_a_hint_without_a_schema_is_named(function):
    [name] = function.__annotations__.keys() - {"return"}
    with pytest.raises(TypeError, match=f"the parameter '{name}'|the schema is not JSON") as caught:
        schema_of(function)
    assert isinstance(caught.value, HintedSchemaError)


def test_a_result_is_described_as_it_is_written():
    def report() -> tuple[Decimal, dt.datetime, set[int], Order]: ...

    schema = json.loads(result_schema_of(report))
    assert schema["prefixItems"][:3] == [
        {"type": "string"},
        {"type": "string"},
        {"type": "array", "items": {"type": "integer"}},
    ]
    assert schema["prefixItems"][3]["required"] == ["count", "item", "where"]
    with pytest.raises(HintedSchemaError, match="annotat"):
        result_schema_of(lambda: None)


def test_the_declaration_carries_the_schemas_and_by_default_none():
    [declared] = declared_by("bank", [EVERYTHING])
    assert declared.input_schema == schema_of(everything)
    assert (
        declared.output_schema == '{"additionalProperties":{"items":{"type":"integer"},"type":"array"},"type":"object"}'
    )

    @tool(input_schema={"type": "object"}, output_schema='{ "type": "null" }')
    def written(**_all: Any) -> None: ...

    @tool
    def plain() -> None: ...

    [declared] = declared_by("bank", collect_tools(written))
    assert (declared.input_schema, declared.output_schema) == ('{"type":"object"}', '{"type":"null"}')
    [declared] = declared_by("bank", collect_tools(plain))
    assert (declared.input_schema, declared.output_schema) == (None, None)


@pytest.mark.parametrize("given", ["[]", "{", '{"a":1,"a":2}', {"a": object()}, "\ud800", {"enum": ["x" * 20_000]}])
def test_a_schema_that_is_not_json_is_not_declared(given):
    @tool(input_schema=given)
    def written() -> None: ...

    with pytest.raises(ToolDeclarationError, match="schema"):
        collect_tools(written)
