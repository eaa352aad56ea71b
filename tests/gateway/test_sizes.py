"""Large arguments and results, and what a client is told of those that are too large."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import Client

from schemas import limits
from streams.local.choose import BrokerInfo
from tests.gateway.places import ALL, allow, gateway_of
from tests.installation import Installation, installed

pytestmark = [pytest.mark.broker, pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")]

SERVER = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("sizes")
@server.tool()
def repeat(text: str, times: int) -> str:
    return text * times
@server.tool()
def count(numbers: list[int]) -> int:
    return len(numbers)
server.run("stdio")
"""


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(broker, tmp_path_factory.mktemp("sizes") / "home", "mcpsizes", development=True) as found:
        allow(found, ALL)
        yield found


def test_large_texts_come_whole_and_too_many_values_are_refused_by_name(here: Installation, tmp_path: Path) -> None:
    script = tmp_path / "sizes.py"
    script.write_text(SERVER)

    async def play() -> None:
        async with (
            gateway_of(here, words=[sys.executable, str(script)]) as place,
            Client(place.front.server(), mode="legacy") as client,
        ):
            large = await client.call_tool("repeat", {"text": "0123456789", "times": 100_000})
            assert not large.is_error, large.content
            assert large.content[0].text == "0123456789" * 100_000
            text = "x" * (2 * limits.EVENT_BYTES_MAX)
            assert (await client.call_tool("repeat", {"text": text, "times": 1})).content[0].text == text
            numbers = [1] * (limits.PARAMETERS_NODES_MAX + 1)
            refused = await client.call_tool("count", {"numbers": numbers})
            assert refused.is_error
            assert "MALFORMED_PARAMETERS" in refused.content[0].text, refused.content[0].text
            again = await client.call_tool("repeat", {"text": "x", "times": 1})
            assert again.content[0].text == "x"

    asyncio.run(play())
