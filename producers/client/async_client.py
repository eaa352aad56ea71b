"""The calls of a client for asyncio: no call blocks the event loop. Each method is as its twin in `Client`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Unpack

from producers.client.approvals import Answered, Narrow
from producers.client.bound import Binding, BoundClient
from producers.client.calls import Asking, Invoking, parts_of
from producers.client.cancelled import in_thread
from producers.client.client import Client
from producers.client.open_call import ANSWER_SECONDS, CallPatience, OpenCall, Waiting
from producers.client.streaming import ResultStream
from producers.home.home import Home
from producers.kafka.answers import Answer
from producers.kafka.connection import SESSION_TTL_MS
from producers.kafka.waiting import WaitingCall
from schemas.words import Status

_NO_MORE = object()


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

    async def stream(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Invoking]) -> AsyncIterator[Any]:
        """Yield the items of an operation that streams, as `Client.stream`; leaving the loop stops the tool."""
        begin = partial(self.client.stream, resource, parameters, **how)
        items = await in_thread(begin, _close_stream)
        try:
            while (item := await asyncio.to_thread(next, items, _NO_MORE)) is not _NO_MORE:
                yield item
        finally:
            await asyncio.to_thread(items.close)

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
        return begin() if self.client.knows(resource) else await in_thread(begin, lambda call: call and call.leave())

    async def finish(self, call: OpenCall, **how: Unpack[Waiting]) -> Any:
        """Wait for a call that was begun, as `Client.finish`. A task that is cancelled leaves it among `left`.

        `on_pending` is called in the event loop, `give` in another thread.
        """
        return await call.finish_async(CallPatience(**how))

    async def bind_to_user(self, user: Client, **scope: Unpack[Binding]) -> AsyncBoundClient:
        """Act for a person, as `Client.bind_to_user`; a task that is cancelled unbinds it again."""
        bind = partial(self.client.bind_to_user, user, **scope)
        return AsyncBoundClient(self, await in_thread(bind, _unbind_apart))

    async def list_attestations(self, status: str = Status.PENDING) -> list[dict[str, Any]]:
        """Return the requests to answer, or this session's attestations, as `Client.list_attestations`."""
        return await asyncio.to_thread(self.client.list_attestations, status)

    async def approve_attestation(
        self,
        attestation: Mapping[str, Any],
        *,
        reason: str = "",
        once: bool = False,
        for_seconds: float | None = None,
        uses: int | None = None,
        said_by: str | None = None,
    ) -> bool:
        """Approve a listed request, as `Client.approve_attestation`."""
        narrow: Narrow = {"once": once, "for_seconds": for_seconds, "uses": uses}
        approve = partial(self.client.approve_attestation, attestation, reason=reason, said_by=said_by, **narrow)
        return await asyncio.to_thread(approve)

    async def deny_attestation(
        self, attestation: Mapping[str, Any], *, reason: str = "", said_by: str | None = None
    ) -> bool:
        """Deny a listed request, as `Client.deny_attestation`."""
        return await asyncio.to_thread(self.client.deny_attestation, attestation, reason=reason, said_by=said_by)

    async def approve_all(
        self,
        attestations: Sequence[Mapping[str, Any]],
        *,
        reason: str = "",
        said_by: str | None = None,
        **narrow: Unpack[Narrow],
    ) -> list[Answered]:
        """Approve several listed requests, as `Client.approve_all`."""
        approve = partial(self.client.approve_all, attestations, reason=reason, said_by=said_by, **narrow)
        return await asyncio.to_thread(approve)

    async def deny_all(
        self, attestations: Sequence[Mapping[str, Any]], *, reason: str = "", said_by: str | None = None
    ) -> list[Answered]:
        """Deny several listed requests, as `Client.deny_all`."""
        return await asyncio.to_thread(self.client.deny_all, attestations, reason=reason, said_by=said_by)

    @property
    def left(self) -> list[WaitingCall]:
        """The way back to each call that was left, as `Client.left`."""
        return self.client.left

    async def close(self) -> None:
        """End the connections and the session, as `Client.close`."""
        await asyncio.to_thread(self.client.close)

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _close_stream(found: ResultStream | None) -> None:
    """Stop a stream that came after its task was cancelled."""
    if found is not None:
        threading.Thread(target=found.close, name="close-stream").start()


class AsyncBoundClient(AbstractAsyncContextManager["AsyncBoundClient"]):
    """Calls of a service for one person, for asyncio. `bound` has everything else: its vault waits in its thread."""

    def __init__(self, service: AsyncClient, bound: BoundClient) -> None:
        """Use `AsyncClient.bind_to_user`."""
        self._service, self.bound = service, bound

    @property
    def is_bound(self) -> bool:
        """Whether it may still call."""
        return self.bound.is_bound

    async def submit(
        self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Asking]
    ) -> asyncio.Future[Answer]:
        """Call for the person and return the future of the answer, as `BoundClient.submit`."""
        return await self._service.submit(resource, parameters, **self.bound.under_delegation(how))

    async def invoke(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Invoking]) -> Any:
        """Call for the person and return the result, as `BoundClient.invoke`."""
        return await self._service.invoke(resource, parameters, **self.bound.under_delegation(how))

    async def start(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float = ANSWER_SECONDS, **how: Unpack[Asking]
    ) -> WaitingCall | Answer:
        """Call for the person without waiting for people, as `BoundClient.start`."""
        return await self._service.start(resource, parameters, seconds=seconds, **self.bound.under_delegation(how))

    async def begin(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float | None = None, **how: Unpack[Asking]
    ) -> OpenCall:
        """Begin a call for the person, as `BoundClient.begin`."""
        return await self._service.begin(resource, parameters, seconds=seconds, **self.bound.under_delegation(how))

    async def finish(self, call: OpenCall, **how: Unpack[Waiting]) -> Any:
        """Wait for a call that was begun, as `BoundClient.finish`."""
        return await self._service.finish(call, **how)

    async def unbind(self) -> None:
        """End the binding, as `BoundClient.unbind`."""
        await asyncio.to_thread(self.bound.unbind)

    async def __aexit__(self, *_: object) -> None:
        await self.unbind()


def _unbind_apart(bound: BoundClient | None) -> None:
    """End a binding without waiting for it."""
    if bound is not None:
        threading.Thread(target=bound.unbind, name="unbind-client").start()


def _close_apart(client: Client | None) -> None:
    """Close a client without waiting for it: the end of a session takes a moment."""
    if client is not None:
        threading.Thread(target=client.close, name="close-client").start()
