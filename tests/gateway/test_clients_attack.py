"""What clients try with a gateway: to go around a decision, to be executed twice, to hold what others need."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from macaw.gateway import names, relays
from macaw.gateway.client_relay import ClientRelay
from macaw.gateway.front import GatewayFront
from macaw.gateway.relays import LeftError, RelayDesk
from tests.gateway.open_log import before, caller_of, settled

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
HERE = object()
BOTH = pytest.mark.parametrize("mode", ["legacy", "auto"])


async def newest_server(_: str, params: Mapping[str, Any], __: Any = None) -> dict[str, Any]:
    """Answer as a server of the revision in which a question is a result."""
    if "inputResponses" in params:
        assert params["requestState"] == "my state"
        return {"content": [{"type": "text", "text": str(params["inputResponses"])}]}
    schema = {"type": "object", "properties": {}}
    question = {"method": "elicitation/create", "params": {"message": "Your password?", "requestedSchema": schema}}
    return {"resultType": "input_required", "inputRequests": {"q": question}, "requestState": "my state"}


@BOTH
def test_a_question_in_a_result_of_the_server_is_decided_as_any_other(tmp_path: Path, mode: str) -> None:
    asked: list[str] = []

    async def elicit(_: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"a": 1})

    async def play() -> None:
        async with (
            before(tmp_path, "fine") as (gateway, front),
            Client(front.server(), mode=mode, elicitation_callback=elicit) as client,
        ):
            await gateway.list_tools()
            gateway.upstream.request = newest_server  # type: ignore[method-assign]
            assert "accept" in (await client.call_tool("do", {})).content[0].text
            assert gateway.asked == ["tool:h/do", "mcp:h/elicitation/create", "tool:h/do"]
            assert asked == ["Your password?"]
            gateway.denied = frozenset({"mcp:h/elicitation/create"})
            with pytest.raises(MCPError, match="Denied"):
                await client.call_tool("do", {})
            assert asked == ["Your password?"]

    asyncio.run(play())


@pytest.mark.parametrize("params", [{"requestState": "guess"}, {"inputResponses": {"1": {}}}, {"requestState": 7}])
def test_answers_to_a_call_that_does_not_wait_begin_no_call(tmp_path: Path, params: dict[str, Any]) -> None:
    """Else a client that repeats its answer, or comes late with it, would have the call executed a second time."""

    async def play() -> None:
        async with before(tmp_path, "fine") as (_, front):
            with pytest.raises(MCPError, match="no call waits"):
                front._come_back(None, caller_of("ann"), params)  # type: ignore[arg-type]

    asyncio.run(play())


def test_the_server_hears_of_no_resource_to_which_the_client_was_not_let(tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            before(tmp_path, "fine") as (gateway, front),
            Client(front.server(), mode="legacy") as client,
        ):
            heard: list[Any] = []

            async def request(method: str, params: Any, _: Any = None) -> dict[str, Any]:
                heard.append((method, params["uri"]))
                return {}

            gateway.upstream.request = request  # type: ignore[method-assign]
            await client.unsubscribe_resource("note://what-i-know")
            assert heard == []
            await client.subscribe_resource("note://a")
            await client.unsubscribe_resource("note://a")
            assert heard == [("resources/subscribe", "note://a"), ("resources/unsubscribe", "note://a")]
            assert gateway.asked == ["mcp:h/resources/subscribe"]

    asyncio.run(play())


def test_to_listen_to_a_resource_is_a_governed_subscription(tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            before(tmp_path, "fine") as (gateway, front),
            Client(front.server(), mode="auto") as client,
        ):
            gateway.denied = frozenset({"mcp:h/resources/subscribe"})
            with pytest.raises(MCPError, match="Denied"):
                async with client.listen(resource_subscriptions=["note://a"]):
                    pass
            assert gateway.asked == ["mcp:h/resources/subscribe"]

    asyncio.run(play())


@pytest.mark.parametrize("arguments", [[["a", 1]], "ab", 3])
def test_arguments_are_an_object(tmp_path: Path, arguments: Any) -> None:
    async def play() -> None:
        async with before(tmp_path, "fine") as (gateway, front):
            await gateway.list_tools()
            context: Any = type("C", (), {"params": {"name": "do", "arguments": arguments}})
            with pytest.raises(MCPError, match="must be an object"):
                await front._call_tool(context)
            assert gateway.asked == []

    asyncio.run(play())


def test_no_request_may_bring_the_gateways_own_parameter() -> None:
    for params, is_tool in (({"arguments": {names.INPUT: {}}}, True), ({"uri": "a", names.INPUT: {}}, False)):
        with pytest.raises(names.ReservedNameError):
            names.parameters_of(params, is_tool=is_tool)


def test_a_call_that_its_client_left_before_it_began_is_not_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = RelayDesk()
    desk.leave(b"early", cancel=True)
    with pytest.raises(LeftError):
        desk.take(b"early", 60)
    with pytest.raises(LeftError):
        desk.begin(b"early", None, HERE, lambda: pytest.fail("it is executed"))
    monkeypatch.setattr(relays, "LEFT_MAX", 3)
    for one in range(9):
        desk.leave(bytes([one]), cancel=True)
    assert len(desk._left) == 3


def test_a_question_ends_with_the_call_that_asked_it() -> None:
    """Else each call that its client leaves would hold a thread until the time of tools is over."""

    async def play() -> None:
        context: Any = type("C", (), {"protocol_version": "2026-07-28"})
        relay = ClientRelay(context, HERE, lambda *_: pytest.fail("nobody asks"))  # type: ignore[arg-type,return-value]
        asking = asyncio.ensure_future(relay.ask("roots/list", {}))
        await settled()
        relay.leave()
        for one in (asking, relay.ask("roots/list", {})):
            with pytest.raises(MCPError, match="has ended"):
                await one

    asyncio.run(play())


def test_a_server_cannot_make_a_user_ask_without_end() -> None:
    async def play() -> None:
        context: Any = type("C", (), {"protocol_version": "2025-06-18"})
        asked: list[str] = []

        async def ask(method: str, *_: Any) -> None:
            asked.append(method)

        relay = ClientRelay(context, HERE, ask)
        said = await asyncio.gather(*(relay.asked_back("roots/list", {}) for _ in range(1000)), return_exceptions=True)
        assert len(asked) == 64
        assert sum(isinstance(one, MCPError) for one in said) == 1000 - 64

    asyncio.run(play())


def test_a_question_never_reaches_another_client_of_the_same_user(tmp_path: Path) -> None:
    """Requests of the newest revision name no client, so two of them may be two: neither is asked."""

    async def play() -> None:
        async with before(tmp_path, "fine") as (gateway, front):
            context: Any = type("C", (), {"protocol_version": "2026-07-28"})
            first, second = (ClientRelay(context, front._client(context), lambda *_: None) for _ in range(2))  # type: ignore[arg-type,return-value]
            gateway.desk.begin(b"1", first, HERE, lambda: None)  # type: ignore[arg-type,return-value]
            assert gateway.desk.whose(HERE) is first
            gateway.desk.begin(b"2", second, HERE, lambda: None)  # type: ignore[arg-type,return-value]
            with pytest.raises(MCPError, match="several clients"):
                gateway.desk.whose(HERE)
            gateway.desk.end(b"1")
            assert gateway.desk.whose(HERE) is second

            alone = GatewayFront(gateway, lambda _: caller_of("ann"), has_one_client=True)
            assert alone._client(context) is alone._client(context)

    asyncio.run(play())
