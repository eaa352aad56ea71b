"""Servers that lie, flood, die and fall silent: each call has an end that its client can read."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from macaw.gateway import gateway as gateways
from macaw.gateway import upstream as upstreams
from macaw.gateway.definitions import INSTRUCTIONS, TOOLS_MAX, HoldReason
from macaw.gateway.transports import ServerCommandError
from macaw.gateway.upstream import UpstreamLostError
from streams.local.choose import BrokerInfo
from tests.gateway.places import allow, gateway_of, until
from tests.installation import Installation, installed

HOSTILE = Path(__file__).parent / "hostile.py"
pytestmark = [pytest.mark.broker, pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")]


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(broker, tmp_path_factory.mktemp("hostile") / "home", "mcphostile", development=True) as found:
        allow(found, {"policy_id": "service:shopper", "resources": ["tool:*/*", "mcp:**"]})
        yield found


def called(here: Installation, how: str, times: int = 1) -> list[Any]:
    """Return the results of calls of a server that behaves so; an error of the protocol as such."""

    async def play() -> list[Any]:
        words = [sys.executable, str(HOSTILE), how]
        name = "h-" + how.replace(" ", "-")
        said: list[Any] = []
        async with (
            gateway_of(here, name=name, words=words) as place,
            Client(place.front.server(), mode="legacy") as client,
        ):
            for _ in range(times):
                try:
                    said.append(await client.call_tool("do", {}))
                except MCPError as exc:
                    said.append(exc)
        return said

    return asyncio.run(play())


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("huge", "whether it has acted is not known"),
        ("other id", "mine"),
        ("twice", "first"),
        ("noise", "after noise"),
        ("no result", "the protocol does not know"),
        ("fine", "done"),
    ],
)
def test_each_call_has_an_end(here: Installation, how: str, text: str) -> None:
    for said in called(here, how, times=2):
        assert text in said.content[0].text
        assert bool(said.is_error) is (how in {"huge", "no result"})


def test_an_error_of_the_server_comes_as_it_is(here: Installation) -> None:
    [said] = called(here, "error")
    assert (said.error.code, said.error.message, said.error.data) == (-32050, "my own words", {"a": 1})


def test_a_server_that_never_answers_is_given_up(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "TOOL_SECONDS", 6.0)
    [said] = called(here, "silent")
    assert said.is_error
    assert "whether the server has acted is not known" in said.content[0].text


def test_a_server_that_never_greets_or_is_not_there_is_named(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "CONNECT_SECONDS", 1.0)
    with pytest.raises(UpstreamLostError, match="did not answer within"):
        called(here, "mute")

    async def play() -> None:
        async with gateway_of(here, name="nowhere", words=["no-such-program-here"]):
            pass

    with pytest.raises((UpstreamLostError, ServerCommandError), match="is not a program here"):
        asyncio.run(play())


def test_lists_without_an_end_are_cut_and_orders_in_instructions_are_not_passed_on(here: Installation) -> None:
    async def play() -> None:
        async with gateway_of(here, name="h-many", words=[sys.executable, str(HOSTILE), "many"]) as place:
            assert len(place.gateway.sorted.served) == TOOLS_MAX
            assert {one.why for one in place.gateway.sorted.held} == {HoldReason.TOO_MANY, HoldReason.SUSPECT}
            async with Client(place.front.server(), mode="legacy") as client:
                assert client.instructions is None
                assert [one.name for one in place.gateway.sorted.held if one.why is HoldReason.SUSPECT] == [
                    INSTRUCTIONS
                ]
                listed = await client.list_tools()
                assert listed.next_cursor == "100"
                assert len((await client.list_tools(cursor="400")).tools) == TOOLS_MAX - 400
                with pytest.raises(MCPError, match="cursor"):
                    await client.list_tools(cursor="²")
        async with gateway_of(here, name="h-endless", words=[sys.executable, str(HOSTILE), "endless"]) as place:
            assert [one.why for one in place.gateway.sorted.held if one.name == "do"] == [HoldReason.ALIKE] * 100

    asyncio.run(play())


def test_a_question_that_may_be_anothers_is_asked_of_nobody(here: Installation) -> None:
    """The server names no call in its question, so with two clients it could reach the wrong person."""
    asked: list[str] = []

    async def elicit(_: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"age": 7})

    async def play() -> None:
        async with (
            gateway_of(here, name="ask") as place,
            Client(place.front.server(), mode="legacy", elicitation_callback=elicit) as ann,
            Client(place.front.server(), mode="legacy", elicitation_callback=elicit) as bob,
        ):
            busy = asyncio.ensure_future(bob.call_tool("slow", {"seconds": 30}))
            await until(lambda: place.gateway.desk.is_busy)
            with pytest.raises(MCPError, match="several clients"):
                await ann.call_tool("ask_age", {})
            assert asked == []
            busy.cancel()
            await asyncio.wait({busy})
            await until(lambda: not place.gateway.desk.is_busy)
            assert (await ann.call_tool("ask_age", {})).content[0].text == "accept 7"

    asyncio.run(play())
