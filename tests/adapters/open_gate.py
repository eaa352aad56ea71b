"""A gate without a log, for what happens before and after its decision."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from openai import OpenAI

from macaw.adapters.openai import governed_openai
from macaw.adapters.tickets import HeldCall, Ticket
from tests.frameworks.model_stub import Stub
from tests.frameworks.model_wires import Chat

ASKING = Chat().asking()
KEY = "sk-of-the-test"


class OpenGate:
    """A gate that allows every call at once, and keeps it with its end."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.ends: list[Any] = []
        self._lock = threading.Lock()

    def offer(self, *_: Any, **__: Any) -> None: ...

    def run(self, resource: str, parameters: Any, function: Callable[[], Any], **_: Any) -> Any:
        with self._lock:
            self.asked.append((resource, dict(parameters)))
        return function()

    async def run_async(self, resource: str, parameters: Any, function: Callable[[], Awaitable[Any]], **_: Any) -> Any:
        self.asked.append((resource, dict(parameters)))
        return await function()

    @contextmanager
    def held(self, resource: str, parameters: Any, **_: Any) -> Iterator[HeldCall]:
        ticket = Ticket()
        self.asked.append((resource, dict(parameters)))
        try:
            yield HeldCall(ticket)
        except BaseException as exc:
            self.ends.append(exc)
            raise
        assert ticket.outcome.done()
        self.ends.append(ticket.outcome.exception() or ticket.outcome.result())

    @asynccontextmanager
    async def held_async(self, resource: str, parameters: Any, **how: Any) -> AsyncIterator[HeldCall]:
        with self.held(resource, parameters, **how) as held:
            yield held


def client_of(gate: OpenGate, stub: Stub, **how: Any) -> OpenAI:
    """Return a client of OpenAI that asks this gate, and sends to the local server."""
    plain = OpenAI(base_url=f"{stub.url}/v1", api_key=KEY, max_retries=0)
    return governed_openai(gate, plain, app="shop", **how)  # type: ignore[arg-type]
