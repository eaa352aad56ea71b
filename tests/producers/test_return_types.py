"""What a function says it returns: what can never be JSON is refused when the tool is declared, before any effect."""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest

from producers.tools import ToolDeclarationError, collect_tools, tool
from tests.producers.test_arguments import Cents, Colour, Line, Options, Pair, Thing


class Plain:
    """Nothing of JSON."""


class Speaks(typing.Protocol):
    def speak(self) -> str: ...


NEVER = [
    bytes,
    list[bytes],
    dict[str, complex],
    bytes | timedelta,
    Plain,
    list[Plain],
    Callable[[], int],
    Iterator[int],
]
MAYBE = [
    *(None, Any, object, str, bytes | None, dict[str, Any], list[dict[str, object]], tuple[int, ...], set[str]),
    *(datetime, Decimal, Path, Line, Options, Pair, Colour, Thing, Speaks, Iterable[int], Mapping[str, int], Cents),
    *(Awaitable[int], "Nowhere", Annotated[str, "x"], type("Dumps", (), {"model_dump": lambda _: {}})),
]


@pytest.mark.parametrize("annotation", [*NEVER, *MAYBE], ids=str)
def test_what_is_never_json_is_refused_when_it_is_declared(annotation: Any) -> None:
    """Before any effect; what may be JSON is not."""

    def function() -> Any: ...

    function.__annotations__["return"] = annotation
    if annotation in MAYBE:
        assert collect_tools(tool(function))
    else:
        with pytest.raises(ToolDeclarationError, match="which has no JSON form"):
            collect_tools(tool(function))


def test_a_function_that_yields_is_refused() -> None:
    """Calling it does nothing yet."""

    def function() -> Any:
        yield 1

    async def stream() -> Any:
        yield 1

    for one in (function, stream):
        with pytest.raises(ToolDeclarationError, match="it is a generator"):
            collect_tools(tool(one))
