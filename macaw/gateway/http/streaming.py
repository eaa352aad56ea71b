"""Streams as server-sent events (HTML standard, 9.2): the items as they come, and the end that the tool has signed.

    event: call      {"call_id", "request"}
    event: pending   the call waits for people or verifiers
    event: item      {"index", "value"}
    event: end       {"outcome", "items", "bytes", "sha256"}: count and digest are those of the tool's signed report
    event: problem   problem details: how the stream ended badly; nothing follows

A program that leaves early ends its call: the tool is told to stop, and its report says so on the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Final

from confluent_kafka import KafkaException
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from macaw.gateway.http import bounds
from macaw.gateway.http.calls import failure_of, ids_of, waits
from macaw.gateway.http.refusing import log_unavailable, refusal_for, result_unreadable
from producers.client import Client
from producers.client.open_call import CallPatience, OpenCall
from producers.client.streaming import ResultStream
from producers.kafka.appending import Fate
from producers.kafka.outcomes import FailedError
from producers.kafka.waiting import WaitingCall
from schemas.errors import MacawError
from schemas.words import Outcome

_OVER: Final = object()
MEDIA_TYPE: Final = "text/event-stream"


class EventStream:
    """One call that streams, as the lines of an answer. One thread of the pool reads its items."""

    def __init__(self, pool: Executor) -> None:
        """Read with a thread of the pool, once the call is begun (`begin`)."""
        self._pool, self._loop = pool, asyncio.get_running_loop()
        self._items: ResultStream | None = None
        self._call: OpenCall | None = None
        self._next: asyncio.Future[Any] | None = None
        self._told: deque[WaitingCall] = deque()
        self._heard = asyncio.Event()

    def begin(self, caller: Client, call: OpenCall) -> None:
        """Follow a call that was begun."""
        patience = CallPatience(seconds=bounds.STREAM_SECONDS, on_pending=self._on_pending)
        self._items, self._call = ResultStream(caller.connection, call, patience), call

    async def first(self) -> None:
        """Wait until something is known of the call, so that a denial is an answer of its own.

        Raises:
            MacawError, KafkaException: it has ended badly before its first item, as `ResultStream` raises it; a
                tool's signed failure is an end of its stream, and no error.
            HTTPRefusal: 503, it was not sent, and never will be.
        """
        await self._look()
        assert self._next is not None
        assert self._call is not None
        if self._next.done():
            if not isinstance(self._next.exception(), FailedError | None):
                self._next.result()
        elif not self._told and self._call.sent.fate is not Fate.APPENDED:
            self._call.sent.take_back()
            if await asyncio.to_thread(self._call.sent.settle) is Fate.NEVER_SENT:
                raise log_unavailable()

    def answer(self, on_end: Callable[[], Awaitable[None]]) -> Response:
        """Return the answer; `on_end` is called when it has ended, or its reader has left."""
        return _Answer(self._lines(), on_end)

    async def close(self) -> None:
        """End the call if it goes on: its tool is told to stop."""
        if self._items is None:
            return
        self._items.leave()
        if self._next is not None:
            await asyncio.wait({self._next})
            self._next.exception()  # looked at: nobody else will
        await self._loop.run_in_executor(self._pool, self._items.close)

    @property
    def ids(self) -> dict[str, str]:
        """The members of an answer that name the call."""
        return {} if self._call is None else ids_of(self._call)

    def _on_pending(self, kept: WaitingCall) -> None:
        self._told.append(kept)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits in it
            self._loop.call_soon_threadsafe(self._heard.set)

    async def _look(self) -> None:
        """Wait for the next item, the end, or a note that the call waits; at most until a line is due."""
        assert self._items is not None
        if self._next is None:
            self._heard.clear()
            self._next = self._loop.run_in_executor(self._pool, next, self._items, _OVER)
            self._next.add_done_callback(lambda _: self._heard.set())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), bounds.KEEP_ALIVE_SECONDS)
        if not self._next.done():
            self._heard.clear()

    async def _lines(self) -> AsyncIterator[bytes]:
        yield event("call", self.ids)
        index = 0
        while True:
            await self._look()
            is_silent = not self._told
            while self._told:
                yield event(Outcome.PENDING, waits(self.ids, self._told.popleft()))
            if self._next is None or not self._next.done():
                if is_silent:
                    yield b": the call goes on\n\n"
                continue
            name, data = self._line(self._next, index)
            self._next = None
            yield event(name, data)
            if name != "item":
                return
            index += 1

    def _line(self, ended: asyncio.Future[Any], index: int) -> tuple[str, Mapping[str, Any]]:
        """Return the event for the next item, or for the end of the call."""
        try:
            item = ended.result()
            if item is _OVER:
                return "end", {**self.ids, "outcome": Outcome.OK, **self._counted()}
            json.dumps(item, allow_nan=False).encode()  # `NaN` has no place in JSON
        except FailedError as exc:
            return "end", {**self.ids, "outcome": Outcome.FAILED, **failure_of(exc), **self._counted()}
        except (MacawError, KafkaException) as exc:
            return "problem", refusal_for(exc, self.ids).problem()
        except ValueError:
            return "problem", result_unreadable(self.ids).problem()
        return "item", {"index": index, "value": item}

    def _counted(self) -> dict[str, Any]:
        """Return the count and digest of the tool's report; one result of a tool that does not stream has none."""
        answer = None if self._items is None else self._items.answer
        stream = None if answer is None else answer.stream
        if stream is None:
            return {"items": None, "bytes": None, "sha256": None}
        return {"items": stream.chunks, "bytes": stream.size, "sha256": stream.digest.hex()}


class _Answer(StreamingResponse):
    """An answer that tells of its end, also where its reader leaves before its first line."""

    def __init__(self, lines: AsyncIterator[bytes], on_end: Callable[[], Awaitable[None]]) -> None:
        super().__init__(lines, media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await asyncio.shield(asyncio.ensure_future(self._on_end()))


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
