"""While a gateway offers what is new, each tool that it has seen is served or held back: it is never unknown."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from streams.local.choose import BrokerInfo
from tests.gateway.places import ALL, allow, gateway_of
from tests.installation import Installation, installed

pytestmark = [pytest.mark.broker, pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")]


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(broker, tmp_path_factory.mktemp("refresh") / "home", "mcprefresh", development=True) as found:
        allow(found, ALL)
        yield found


def test_an_approved_tool_is_held_back_until_it_is_offered(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    offering, may_end = threading.Event(), threading.Event()

    async def play() -> None:
        async with gateway_of(here) as place:
            assert "greet" in place.gateway.sorted.served
        async with gateway_of(here, MACAW_TEST_GREETING="Greet a person, and be loud.") as place:
            gateway = place.gateway
            [held] = [one for one in gateway.sorted.held if one.name == "greet"]
            offer = gateway._agent.offer

            def slow_offer(*given: Any) -> Any:
                offering.set()
                may_end.wait(60)
                return offer(*given)

            monkeypatch.setattr(gateway._agent, "offer", slow_offer)
            await asyncio.to_thread(gateway._pins.approve, "greet", held.sha256, here.folder.key("admin"), at=1)
            refreshing = asyncio.ensure_future(gateway.refresh())
            assert await asyncio.to_thread(offering.wait, 60)
            assert "greet" in {one.name for one in gateway.sorted.held}
            assert "add" in gateway.sorted.served
            may_end.set()
            await refreshing
            assert "greet" in gateway.sorted.served
            assert gateway.sorted.held == ()

    asyncio.run(play())
