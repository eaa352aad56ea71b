"""The calls of a client for asyncio: no call blocks the event loop. Each method is as its twin in `Client`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Unpack

from producers.client.calls import Asking, Invoking, parts_of
from producers.client.cancelled import in_thread
from producers.client.client import Client
from producers.client.open_call import ANSWER_SECONDS, CallPatience, OpenCall, Waiting
from producers.home.home import Home
from producers.kafka.answers import Answer
from producers.kafka.connection import SESSION_TTL_MS
from producers.kafka.waiting import WaitingCall


class AsyncClient(AbstractAsyncContextManager["AsyncClient"]):
    """Calls for asyncio. `client` has everything else, and waits in the thread that calls it.

    For example:

        async with await AsyncClient.connect("acme", "shopper") as agent:
            print(await agent.invoke("tool:bank/get_balance", {}))
            await asyncio.to_thread(agent.client.delegate, "clerk", operations=["balance"])
    """

    def __init__(self, client: Client) -> None:
        """Call with a client, as of `Client.for_person`; it is closed with this one."""
        self.client = client

    @classmethod
    async def connect(
        cls, tenant: str | None, name: str, *, home: Home | None = None, session_ttl_ms: int = SESSION_TTL_MS
    ) -> AsyncClient:
        """Open a session, as `Client.connect`; one that comes after its task was cancelled ends at once."""
        connect = partial(Client.connect, tenant, name, home=home, session_ttl_ms=session_ttl_ms)
        return cls(await in_thread(connect, _close_apart))

    @classmethod
    async def resume(
        cls, tenant: str | None, event_id: str, *, home: Home | None = None, **how: Unpack[Waiting]
    ) -> Any:
        """Come back for a result, as `Client.resume`; a task that is cancelled leaves the call once more."""
        patience = CallPatience(**how)
        come_back = partial(Client.come_back, tenant, event_id, home=home)
        client, call = await in_thread(come_back, lambda found: _close_apart(found[0] if found else None))
        async with cls(client):
            return await call.finish_async(patience)

    async def submit(
        self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Asking]
    ) -> asyncio.Future[Answer]:
        """Ask for an operation and return the future of its answer, as `Client.submit`."""
        return asyncio.wrap_future((await self.begin(resource, parameters, **how)).sent.answer)

    async def invoke(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Invoking]) -> Any:
        """Ask for an operation and return its result, as `Client.invoke`. `on_pending` is called in the event loop."""
        asking, patience = parts_of(how)
        call = await self.begin(resource, parameters, seconds=patience.seconds, **asking)
        return await call.finish_async(patience)

    async def start(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float = ANSWER_SECONDS, **how: Unpack[Asking]
    ) -> WaitingCall | Answer:
        """Ask without waiting for people, as `Client.start`."""
        return await (await self.begin(resource, parameters, seconds=seconds, **how)).detach_async(seconds)

    async def begin(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float | None = None, **how: Unpack[Asking]
    ) -> OpenCall:
        """Ask for an operation and return the open call, as `Client.begin`. A task that is cancelled leaves it."""
        begin = partial(self.client.begin, resource, parameters, seconds=seconds, **how)
        asks_no_broker = how.get("prompts") is not None or self.client.knows(resource)
        return begin() if asks_no_broker else await in_thread(begin, lambda call: call and call.leave())

    async def finish(self, call: OpenCall, **how: Unpack[Waiting]) -> Any:
        """Wait for a call that was begun, as `Client.finish`. A task that is cancelled leaves it among `left`.

        `on_pending` is called in the event loop, `give` in another thread.
        """
        return await call.finish_async(CallPatience(**how))

    @property
    def left(self) -> list[WaitingCall]:
        """The way back to each call that was left, as `Client.left`."""
        return self.client.left

    async def close(self) -> None:
        """End the connections and the session, as `Client.close`."""
        await asyncio.to_thread(self.client.close)

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _close_apart(client: Client | None) -> None:
    """Close a client without waiting for it: the end of a session takes a moment."""
    if client is not None:
        threading.Thread(target=client.close, name="close-client").start()
