"""A gateway behind a log that allows everything but what is denied by name: for what clients and servers try."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mcp.shared.exceptions import MCPError

from macaw.gateway.callers import Caller
from macaw.gateway.definitions import sorted_out
from macaw.gateway.front import GatewayFront
from macaw.gateway.gateway import Gateway
from macaw.gateway.pins import Pins
from macaw.gateway.relays import Relay
from macaw.gateway.transports import ServerCommand
from macaw.gateway.upstreams import Upstreams
from producers.home.home import Home

HOSTILE = Path(__file__).parent / "hostile.py"


class OpenGateway(Gateway):
    """A gateway whose calls are decided here: `asked` has their resources, `denied` those that are not executed."""

    denied: frozenset[str] = frozenset()

    def __init__(self, server: str, pins: Pins, upstreams: Upstreams) -> None:
        agent: Any = SimpleNamespace(close=lambda: None, offer=lambda _: None)
        super().__init__(server, agent, pins, upstreams)
        self.asked: list[str] = []
        self.capabilities = {"tools": {}, "resources": {"subscribe": True}}

    async def list_tools(self) -> None:
        """Serve whatever the server lists."""
        self.sorted = sorted_out(self.server, await self.upstream.listed("tools/list", "tools"), lambda _: None)

    async def governed(self, caller: Caller, resource: str, parameters: Mapping[str, Any], relay: Relay) -> Any:
        """Execute an operation, unless it is denied."""
        self.asked.append(resource)
        if resource in self.denied:
            raise MCPError(-32003, "Denied")
        kind, _, name = resource.partition(f":{self.server}/")
        if name in {"elicitation/create", "sampling/createMessage", "roots/list"}:
            return await self._ask_client(name, parameters, relay)
        tool = name if kind == "tool" else None
        execution: Future[Any] = Future()
        leaf = str(len(self.asked)).encode()
        self.desk.begin(leaf, relay, self.upstream, lambda: execution)
        try:
            return await self._ask_server(self.upstream, "tools/call" if tool else name, tool, parameters, relay)
        finally:
            self.desk.end(leaf)


def caller_of(principal_id: str, *, expires_at: int | None = None) -> Any:
    """Return a caller that may see every name."""

    async def close() -> None:
        return None

    client = SimpleNamespace(session_id=principal_id.encode(), expires_at=expires_at, callable=set)
    return Caller(SimpleNamespace(client=client, close=close), principal_id)  # type: ignore[arg-type]


def folder(path: Path) -> Any:
    """Return the folder of a tenant without a broker."""
    found = Home.create(path / "home", {"bootstrap": "127.0.0.1:1", "deployment": "test"}).tenant("acme")
    found.path.mkdir(parents=True)
    (found.path / "genesis").write_text("ab" * 32)
    return found


@asynccontextmanager
async def before(path: Path, how: str) -> AsyncIterator[tuple[OpenGateway, GatewayFront]]:
    """Open a gateway before the hostile server."""
    command = ServerCommand([sys.executable, str(HOSTILE), how])
    gateway = OpenGateway("h", Pins(folder(path), "h"), Upstreams(command))
    caller = caller_of("ann")
    try:
        yield gateway, GatewayFront(gateway, lambda _: caller)
    finally:
        await gateway.close()


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)
