"""The level of log lines is each client's own: one that wants none does not keep them from the others."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from macaw.adapters.mcp_functions import FunctionServer
from macaw.gateway.client_relay import LEVELS, ClientRelay
from macaw.gateway.front import GatewayFront
from macaw.gateway.gateway import Gateway


class Client:
    """A client that keeps its connection and notes the lines that it gets."""

    def __init__(self) -> None:
        self.got: list[str] = []
        session = SimpleNamespace(_connection=_Connection(), send_log_message=self._take)
        self.context: Any = SimpleNamespace(session=session, protocol_version="2025-06-18", request_id=1, params={})

    async def _take(self, level: str, *_: object, **__: object) -> None:
        self.got.append(level)

    async def _unused(self, *_: object) -> None:
        raise AssertionError("nobody asks")

    def all_lines(self) -> list[str]:
        self.got.clear()
        relay = ClientRelay(self.context, self, self._unused)
        for level in LEVELS:
            asyncio.run(relay.log(types.LoggingMessageNotificationParams(level=level, data="x")))  # type: ignore[arg-type]
        return self.got


class _Connection:
    def __init__(self) -> None:
        self.state: dict[str, Any] = {}


def sets(client: Client, level: Any) -> None:
    server = FunctionServer("calc", None, None)

    async def request(method: str, params: dict[str, Any]) -> dict[str, Any]:
        return await server.answer(method, params, None)

    gateway: Any = SimpleNamespace(spec=Gateway, upstream=SimpleNamespace(request=request))
    client.context.params = {"level": level}
    asyncio.run(GatewayFront(gateway, lambda _: SimpleNamespace())._set_level(client.context))  # type: ignore[arg-type, return-value]


def test_a_client_sets_its_own_level_alone() -> None:
    one, other = Client(), Client()
    assert one.all_lines() == list(LEVELS)
    sets(one, "emergency")
    assert one.all_lines() == ["emergency"]
    assert other.all_lines() == list(LEVELS)
    sets(one, "error")
    assert one.all_lines() == ["error", "critical", "alert", "emergency"]


@pytest.mark.parametrize("level", ["loud", "", None, 5, ["error"]])
def test_what_is_no_level_changes_nothing(level: Any) -> None:
    client = Client()
    with pytest.raises(MCPError, match="a level is one of"):
        sets(client, level)
    assert client.all_lines() == list(LEVELS)
