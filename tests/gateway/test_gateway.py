"""A gateway before an unmodified server, for unmodified clients of both kinds: each request is a governed call."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from macaw.gateway.serving import Served
from macaw.gateway.transports import ServerCommand
from streams.local.choose import BrokerInfo
from tests.gateway.places import ALL, EVERYTHING, allow, gateway_of, served_to, until
from tests.installation import Installation, installed

pytestmark = [pytest.mark.broker, pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")]


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(broker, tmp_path_factory.mktemp("gateway") / "home", "mcpgate", development=True) as found:
        allow(found, ALL)
        yield found


SHORT_LIFE_MS = 8_000
BOTH = pytest.mark.parametrize("mode", ["legacy", "auto"])


@BOTH
def test_a_client_gets_what_the_server_says(here: Installation, mode: str) -> None:
    async def play() -> None:
        async with gateway_of(here) as place, Client(place.front.server(), mode=mode) as client:
            listed = await client.list_tools()
            assert {"add", "fail", "blocks", "slow"} <= {one.name for one in listed.tools}
            assert (await client.call_tool("add", {"a": 2, "b": 3})).structured_content == {"result": 5}
            failed = await client.call_tool("fail", {})
            assert failed.is_error
            assert "no insurance policy" in failed.content[0].text
            both = await client.call_tool("blocks", {})
            assert [one.type for one in both.content] == ["text", "image"]
            assert (await client.read_resource("text://fixed")).contents[0].text == "fixed text"
            assert (await client.read_resource("note://a")).contents[0].text == "note a"
            assert (await client.get_prompt("greet_prompt", {"who": "Ann"})).messages[0].content.text == "Greet Ann."
            assert [str(one.uri) for one in (await client.list_resources()).resources] == ["text://fixed"]
            assert len((await client.list_resource_templates()).resource_templates) == 1
            assert [one.name for one in (await client.list_prompts()).prompts] == ["greet_prompt"]
            with pytest.raises(MCPError):
                await client.call_tool("nothing", {})

    asyncio.run(play())


@BOTH
def test_a_server_may_ask_back(here: Installation, mode: str) -> None:
    async def sample(_: object, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        text = params.messages[0].content.text
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text=text.upper()), model="m"
        )

    async def elicit(_: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert params.message == "How old are you?"
        return types.ElicitResult(action="accept", content={"age": 7})

    async def play() -> None:
        async with (
            gateway_of(here) as place,
            Client(place.front.server(), mode=mode, sampling_callback=sample, elicitation_callback=elicit) as client,
        ):
            assert (await client.call_tool("ask_age", {})).content[0].text == "accept 7"
            assert (await client.call_tool("summarise", {"text": "abc"})).content[0].text == "ABC"

    asyncio.run(play())


def test_progress_comes_and_a_cancelled_call_is_cancelled_at_the_server(here: Installation, tmp_path: Path) -> None:
    heard: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async def play() -> None:
        marks = tmp_path / "marks"
        async with (
            gateway_of(here, MACAW_TEST_MARKS=str(marks)) as place,
            Client(place.front.server(), mode="legacy") as client,
        ):
            said = await client.call_tool("slow", {"seconds": 0.5}, progress_callback=on_progress)
            assert said.content[0].text == "done"
            assert heard == list(range(10))
            assert marks.read_text() == "ended"
            marks.unlink()
            asking = asyncio.ensure_future(client.call_tool("slow", {"seconds": 60}, progress_callback=on_progress))
            await until(lambda: len(heard) >= 11)
            asking.cancel()
            await until(marks.exists)
            assert marks.read_text() == "cancelled"

    asyncio.run(play())


def test_a_server_that_was_lost_is_started_again_and_the_call_is_not_repeated(here: Installation) -> None:
    async def play() -> None:
        async with gateway_of(here) as place, Client(place.front.server(), mode="legacy") as client:
            died = await client.call_tool("die", {})
            assert died.is_error
            assert "whether it has acted is not known" in died.content[0].text
            assert (await client.call_tool("add", {"a": 1, "b": 1})).structured_content == {"result": 2}
            assert place.gateway.upstream.connected == 2

    asyncio.run(play())


def test_a_caller_sees_and_calls_only_what_the_policies_allow(here: Installation) -> None:
    allow(here, {"policy_id": "service:reader", "resources": ["tool:every/add"]})

    async def play() -> None:
        async with gateway_of(here, who="reader") as place, Client(place.front.server(), mode="legacy") as client:
            assert [one.name for one in (await client.list_tools()).tools] == ["add"]
            assert (await client.list_resources()).resources == []
            denied = await client.call_tool("blocks", {})
            assert denied.is_error, denied
            assert "Denied: " in denied.content[0].text, denied
            with pytest.raises(MCPError, match="Denied"):
                await client.read_resource("text://fixed")

    asyncio.run(play())


def test_the_gateways_own_session_is_followed_by_the_next(here: Installation) -> None:
    """It would end after a day; here after seconds."""

    async def play() -> None:
        command = ServerCommand([sys.executable, str(EVERYTHING)])
        served = Served(
            name="every", server=command, tenant=here.folder.tenant, home=here.home, session_ttl_ms=SHORT_LIFE_MS
        )
        async with served_to(served, "shopper") as place, Client(place.front.server()) as client:
            agent = place.gateway._agent
            first = agent.session_id
            assert (await client.call_tool("add", {"a": 2, "b": 3})).structured_content == {"result": 5}
            await until(lambda: agent.session_id != first)
            assert (await client.call_tool("add", {"a": 3, "b": 3})).structured_content == {"result": 6}

    asyncio.run(play())
