"""How this project serves HTTP: one server for all fronts, which nobody can occupy by being slow.

uvicorn has no bound for a head that never ends, and its `limit_concurrency` counts connections: 64 of them with half a
request line, sent by anybody, would keep everybody else out. Here only requests count, and a connection without one is
no more than a place in a bounded line:

- a connection whose client owes a whole request is closed after `IDLE_SECONDS`, however many bytes have come;
- of such connections at most `IDLE_MAX` are held; one more closes the one that has waited longest;
- a client that does not read its answer loses the connection after `UNREAD_SECONDS`;
- of requests at most `requests_max` are answered at a time, and others get 503 at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import ClassVar, cast

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from streams.address import Address

IDLE_SECONDS = 5.0
IDLE_MAX = 256
UNREAD_SECONDS = 5.0
STOP_SECONDS = 2
RETRY_AFTER_SECONDS = 1
SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Server(uvicorn.Server):
    """A server that leaves the signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_of(app: ASGIApp, *, requests_max: int) -> Server:
    """Return a server of `app` that answers at most `requests_max` requests at a time."""

    class Connection(PatientConnection):
        waiting: ClassVar[dict[PatientConnection, None]] = {}  # of this server, longest first

    return Server(
        uvicorn.Config(
            RequestLimit(app, requests_max),
            http=Connection,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_keep_alive=IDLE_SECONDS,  # type: ignore[arg-type]  # a number of seconds for `call_later`
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )


class PatientConnection(H11Protocol):
    """One connection, with an end to its patience. A subclass has the line of those that wait, one a server."""

    waiting: ClassVar[dict[PatientConnection, None]]
    _patience: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._note()

    def handle_events(self) -> None:
        super().handle_events()
        self._note()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()
        self._stop_watching()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def _note(self) -> None:
        """Let the connection wait, or no longer. How long it has waited does not depend on what trickles in."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # uvicorn's own annotation forgets the time before
        if cycle is not None and not cycle.response_complete:
            self._forget()
        elif self._patience is None and not self.transport.is_closing():
            self._patience = self.loop.call_later(IDLE_SECONDS, self.transport.abort)
            self.waiting[self] = None
            if len(self.waiting) > IDLE_MAX:
                next(iter(self.waiting)).transport.abort()

    def _forget(self) -> None:
        self.waiting.pop(self, None)
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class RequestLimit:
    """Answers so many requests at a time, and any other with 503."""

    def __init__(self, app: ASGIApp, requests_max: int) -> None:
        self._app = app
        self._room = requests_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._room == 0:
            sentence = "too many requests at a time; ask again in a moment"
            headers = {**SECURITY_HEADERS, "Retry-After": str(RETRY_AFTER_SECONDS)}
            await JSONResponse({"error": sentence}, 503, headers)(scope, receive, send)
            return
        self._room -= 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._room += 1


class Door:
    """Refuses what a page of a browser sends: any `Origin`, and a `Host` that leads here by somebody else's name."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        hosts, refusal = headers.getlist("host"), None
        if len(hosts) != 1 or not self._address.is_ours(hosts[0]):
            refusal = JSONResponse({"error": "Host: want the address of this server"}, 421)
        elif "origin" in headers:
            refusal = JSONResponse({"error": "Origin: no page may ask"}, 403)
        await (refusal or self._app)(scope, receive, send)


class SecureHeaders:
    """Puts the security headers on every response. There is no CORS: no page of another origin reads an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_secured)
