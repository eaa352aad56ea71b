"""A gateway in this process, before a real server in another one, with a real log between."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from macaw.gateway.callers import Caller
from macaw.gateway.front import GatewayFront
from macaw.gateway.gateway import Gateway
from macaw.gateway.serving import Served, opened, session_of_program
from macaw.gateway.transports import ServerCommand
from macaw.installation.tenancy import publish_policies
from producers.client.async_client import AsyncClient
from tests.installation import Installation
from tests.waiting import PATIENCE_SECONDS

EVERYTHING = Path(__file__).parent / "everything.py"
ALL = {"policy_id": "service:shopper", "resources": ["tool:every/*", "mcp:every/**"]}


def allow(here: Installation, *documents: Mapping[str, Any]) -> None:
    """Put policies into force."""
    publish_policies(here.home, here.folder, [json.dumps(one) for one in documents], {})


@dataclass
class Place:
    """A gateway, and its front."""

    gateway: Gateway
    front: GatewayFront
    caller: Caller


@asynccontextmanager
async def gateway_of(
    here: Installation, *, name: str = "every", who: str = "shopper", words: list[str] | None = None, **environment: str
) -> AsyncIterator[Place]:
    """Open a gateway before the server of this folder, or another command."""
    command = ServerCommand(words or [sys.executable, str(EVERYTHING)], environment)
    async with served_to(Served(name=name, server=command, tenant=here.folder.tenant, home=here.home), who) as place:
        yield place


@asynccontextmanager
async def served_to(served: Served, who: str) -> AsyncIterator[Place]:
    """Open a gateway for one program."""
    client = await asyncio.to_thread(session_of_program, served.home, served.tenant, who)
    caller = Caller(AsyncClient(client), client.connection.principal_id)
    try:
        async with opened(served) as gateway:
            yield Place(gateway, GatewayFront(gateway, lambda _: caller), caller)
    finally:
        await caller.client.close()


async def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so, as long as a busy machine needs."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - other threads and processes make it so
            await asyncio.sleep(0.02)
