"""Functions as parts of an MCP server: schemas of hints, exact arguments, and what cannot be a part."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.server.mcpserver import Context as SDKContext
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from macaw.adapters.mcp import Context, MCPCallerError, MCPDeclarationError, SecureMCP
from macaw.adapters.mcp_declared import (
    UnfitArgumentsError,
    declared_function,
    declared_resource,
    declared_tool,
    messages_of,
)
from macaw.gateway.functions import FUNCTIONS_OF_ONE_MAX, FunctionEndedError, Functions
from macaw.gateway.names import ServerNameError
from processors.content.parameter_schemas import compiled
from processors.proof import jcs
from producers.agent.threads import BusyError
from producers.home.home import Home


class Colour(Enum):
    RED = "red"


class Item(BaseModel):
    sku: str
    count: Annotated[int, Field(ge=1, le=9)] = 1


def order(
    to: str | list[str],
    amount: float,
    items: list[Item] | None = None,
    colour: Colour = Colour.RED,
    day: dt.date | None = None,
    urgent: bool = False,
) -> str:
    return ""


ORDER = declared_function(order, None, None)
SCHEMA = declared_tool(ORDER, title=None, annotations=None, seconds=1).listed["inputSchema"]
JUDGE = compiled(json.dumps(SCHEMA))

# Values that have tempted readers before: texts that look like JSON, numbers as texts, and the like.
TEMPTING = st.sampled_from(
    ['["eve"]', '{"sku": "x"}', "1", "true", "null", "red", "RED", "2026-01-01", "", 0, 1, 1.0, 2.5, True, None, [], {}]
)
VALUES = st.recursive(
    TEMPTING | st.text(max_size=3) | st.integers(-3, 12),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["sku", "count", "x"]), inner, max_size=2)
    ),
)
CALLS = st.dictionaries(st.sampled_from([*SCHEMA["properties"], "extra"]), VALUES, max_size=5)


@settings(deadline=None)
@given(CALLS)
def test_a_function_gets_the_arguments_that_the_log_has_judged(asked: dict[str, Any]) -> None:
    """Arguments that are read are those of the schema, and say in JSON what the caller said: nothing is converted."""
    try:
        found = ORDER.arguments(asked)
    except UnfitArgumentsError:
        return
    assert JUDGE.faults(json.loads(jcs.canonical(asked))) == []
    written = ORDER.metadata.arg_model.model_construct(**found).model_dump(mode="json")
    for name, value in asked.items():
        if name != "items":  # a model fills in its defaults
            assert jcs.canonical(written[name]) == jcs.canonical(value)


def test_a_refusal_names_places_and_quotes_nothing() -> None:
    with pytest.raises(UnfitArgumentsError) as refused:
        ORDER.arguments({"to": 5, "amount": "hunter2", "items": [{"sku": "s", "count": 10}], "more": "hunter2"})
    assert "amount: float_type" in str(refused.value)
    assert "items.0.count: less_than_equal" in str(refused.value)
    assert "more: extra_forbidden" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_the_context_is_no_argument() -> None:
    def ours(a: int, ctx: Context) -> int: ...
    def theirs(a: int, ctx: SDKContext | None = None) -> int: ...
    def named(a: int, context) -> int: ...  # type: ignore[no-untyped-def]
    def none(a: int, context: str) -> int: ...

    for function, name in ((ours, "ctx"), (theirs, "ctx"), (named, "context"), (none, None)):
        declared = declared_function(function, None, None)
        assert declared.context == name
        if name:
            with pytest.raises(UnfitArgumentsError, match=f"{name}: extra_forbidden"):
                declared.arguments({"a": 1, name: "forged"})


def generator() -> Iterator[int]:
    yield 1


def positional(a: int, /) -> None: ...
def many(*a: int) -> None: ...
def rest(**a: int) -> None: ...
def receiver(self: object) -> None: ...
def hidden(_a: int) -> None: ...
def untold(a: threading.Thread) -> None: ...
def unknown(a: "Nowhere") -> None: ...  # type: ignore[name-defined] # noqa: F821, UP037


UNFIT = [generator, positional, many, rest, receiver, hidden, untold, unknown, lambda: 1]


@pytest.mark.parametrize("function", UNFIT, ids=lambda one: one.__name__)
def test_a_function_that_cannot_be_named_by_its_parameters_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(MCPDeclarationError):
        declared_function(function, None, None)


def nothing() -> str:
    return ""


LOOKS = ["add", "ADD", "\N{CYRILLIC SMALL LETTER A}dd", "\uff41dd", "add\u200b", "a/../add", "a b", "x" * 129]


@pytest.mark.parametrize("name", LOOKS)
def test_a_name_that_looks_like_another_or_is_none_is_refused(name: str) -> None:
    mcp = SecureMCP("calc")
    mcp.tool(name="add")(nothing)
    with pytest.raises(MCPDeclarationError):
        mcp.tool(name=name)(nothing)


def test_parts_are_added_once_and_before_the_server_is_served(tmp_path: Path) -> None:
    mcp = SecureMCP("calc", tenant="acme", home=Home.create(tmp_path, {"bootstrap": "127.0.0.1:1", "deployment": "t"}))
    mcp.resource("a://b")(nothing)
    mcp.prompt(nothing)
    for again in (lambda: mcp.resource("a://b")(nothing), lambda: mcp.prompt(nothing)):
        with pytest.raises(MCPDeclarationError, match="is there already"):
            again()
    with pytest.raises(MCPDeclarationError, match="the same"):
        mcp.resource("a://{b}")(nothing)
    with pytest.raises(MCPDeclarationError, match="no template"):
        mcp.resource("a://{b")(nothing)
    with pytest.raises(MCPDeclarationError, match="up to"):
        mcp.tool(timeout_seconds=0)(nothing)
    mcp.served()
    with pytest.raises(MCPDeclarationError, match="before `run`"):
        mcp.tool(nothing)
    with pytest.raises(ServerNameError):
        SecureMCP("Calc/..")


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"transport": "sse", "caller": "ann"},
        {"transport": "http", "issuer": "https://i"},
        {"transport": "http", "issuer": "https://i", "resource": "https://r", "caller": "ann"},
        {"issuer": "https://i", "resource": "https://r"},
    ],
)
def test_a_server_that_does_not_know_its_callers_does_not_begin(
    how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MACAW_MCP_CALLER", raising=False)
    with pytest.raises(MCPCallerError):
        SecureMCP("calc").run(**how)


@pytest.mark.parametrize(
    ("template", "uri", "aliases"),
    [
        ("note://{name}", "note://secret", ["note://%73ecret", "note://secre%74"]),
        ("note://{name}", "note://a%2Fb", ["note://a%2fb", "note://%61%2Fb"]),
        ("note://{name}", "note://%C3%A9", ["note://\u00e9", "note://%c3%a9"]),
        ("file:///{+name}", "file:///a/b", ["file:///a%2Fb", "file:///%61/b"]),
        ("s://x{?name}", "s://x?name=1", ["s://x?name=1&z=2", "s://x?name=1&name=2", "s://x?name=1#z"]),
    ],
)
def test_a_resource_has_one_uri(template: str, uri: str, aliases: list[str]) -> None:
    """A policy that forbids `note://secret` judges the text: another spelling must not read the same note."""

    def read(name: str) -> str:
        return name

    found = declared_resource(declared_function(read, None, None), template, None)
    assert found.matched(uri) is not None
    for alias in aliases:
        with pytest.raises(UnfitArgumentsError, match="another way"):
            found.matched(alias)


def test_a_path_of_a_resource_stays_in_its_place() -> None:
    def read(name: str) -> str:
        return name

    found = declared_resource(declared_function(read, None, None), "file://{name}", None)
    assert found.matched("file://a.txt") == {"name": "a.txt"}
    assert found.matched("other://a") is None
    for bad in ("file://..%2f..%2fetc", "file://%2Fetc", "file://a%00"):
        with pytest.raises(UnfitArgumentsError, match="leaves its place"):
            found.matched(bad)


def test_a_parameter_may_have_a_name_that_pydantic_needs() -> None:
    def copy(json: str, schema: int = 1) -> str: ...

    declared = declared_function(copy, None, None)
    assert list(declared.parameters) == ["json", "schema"]
    assert declared.arguments({"json": "[1]", "schema": 2}) == {"json": "[1]", "schema": 2}


class Bought(BaseModel):
    model_config = ConfigDict(populate_by_name=True, alias_generator=to_camel)
    item_name: str = "nothing"


class Chosen(BaseModel):
    amount: int = Field(0, validation_alias=AliasChoices("amount", "total"))


class Deep(BaseModel):
    amount: int = Field(0, validation_alias=AliasPath("amounts", 0))


def buy(item: Bought) -> str: ...


def pay_chosen(payments: list[Chosen] | None = None) -> str: ...


def pay_deep(payment: Deep) -> str: ...


def pay_one(amount: Annotated[int, Field(validation_alias=AliasChoices("amount", "total"))] = 0) -> str: ...


def test_a_value_has_one_name() -> None:
    """A policy bounds `item.itemName`: the same value under another name would pass it unseen."""
    declared = declared_function(buy, None, None)
    assert declared.arguments({"item": {"itemName": "gold"}}) == {"item": Bought(item_name="gold")}
    for texts in (False, True):
        assert declared.arguments({"item": {"item_name": "gold"}}, texts=texts) == {"item": Bought()}


@pytest.mark.parametrize("function", [pay_chosen, pay_deep, pay_one])
def test_a_value_with_several_names_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(MCPDeclarationError, match="several names"):
        declared_function(function, None, None)


def test_a_prompt_is_a_text_or_messages() -> None:
    assert messages_of("hi") == [{"role": "user", "content": {"type": "text", "text": "hi"}}]
    assert [one["role"] for one in messages_of(["hi", {"role": "assistant", "content": "ho"}])] == ["user", "assistant"]


# --- running them


def test_one_caller_cannot_hold_every_thread_and_the_loop_survives_an_exit() -> None:
    may_end = threading.Event()

    async def leave() -> None:
        raise SystemExit(3)

    def stop() -> None:
        raise StopIteration

    async def play() -> None:
        functions = Functions("test", own="test")

        def run(function: Callable[..., Any], who: str) -> asyncio.Future[Any]:
            return asyncio.wrap_future(functions.submit(functions.run(function, {}, who)))

        try:
            held = [run(lambda: may_end.wait(60), "eve") for _ in range(FUNCTIONS_OF_ONE_MAX)]
            await asyncio.sleep(0)
            until = time.monotonic() + 60
            while len(functions._callers._running) == 0 or functions._callers._running["eve"] < FUNCTIONS_OF_ONE_MAX:
                assert time.monotonic() < until
                await asyncio.sleep(0.01)
            with pytest.raises(BusyError):
                await run(lambda: 1, "eve")
            assert await run(lambda: 1, "ann") == 1
            for one in held:
                one.cancel()  # a thread that was left counts until it has ended
            with pytest.raises(BusyError):
                await run(lambda: 1, "eve")
            for function in (leave, stop):
                with pytest.raises(FunctionEndedError):
                    await run(function, "ann")
            assert await run(lambda: 2, "ann") == 2
        finally:
            may_end.set()
            await functions.close()

    asyncio.run(play())


def test_a_lifespan_that_cannot_be_entered_is_told_at_the_start() -> None:
    @asynccontextmanager
    async def life() -> Any:
        raise OSError("no database")
        yield

    async def play() -> None:
        functions = Functions("test", own="test")
        try:
            with pytest.raises(OSError, match="no database"):
                await functions.start(life)
        finally:
            await functions.close()

    asyncio.run(play())
