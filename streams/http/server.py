"""The server: slow clients do not take the place of others.

uvicorn has no time-out for a head that never ends, and its `limit_concurrency` counts connections: 64 clients with half
a request line each would keep all other clients out. Here only whole requests count (`door.py`), and connections
without a request wait in a bounded line:

- a connection without a whole request is closed after `IDLE_SECONDS`, even if bytes keep arriving;
- at most `IDLE_MAX` such connections are held; one more closes the connection that has waited longest, of those from
  the address that holds the most;
- a client that does not read its answer loses the connection after `UNREAD_SECONDS`;
- bytes that are not HTTP get the same kind of refusal as a request that the door refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import ClassVar, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from streams.http.door import HEAD_BYTES_MAX, Front, door_of
from streams.http.refusals import CLOSE, SECURITY_HEADERS, HTTPRefusal

IDLE_SECONDS = 5.0
IDLE_MAX = 256
UNREAD_SECONDS = 5.0
STOP_SECONDS = 2
HEAD_MALFORMED = HTTPRefusal(
    HTTPStatus.BAD_REQUEST,
    "HEAD_MALFORMED",
    f"the request is not well-formed HTTP/1.1, or its head is larger than {HEAD_BYTES_MAX} bytes",
    "send the request with an HTTP library",
    headers=CLOSE,
)


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_of(front: Front) -> Server:
    """Return a server of a front, behind its door."""
    return Server(
        uvicorn.Config(
            door_of(front),
            http=patient_connections(idle_max=IDLE_MAX, unread_seconds=UNREAD_SECONDS, as_problem=front.as_problem),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
            timeout_keep_alive=IDLE_SECONDS,  # type: ignore[arg-type]  # a number of seconds for `call_later`
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )


def patient_connections(
    *, idle_max: int = IDLE_MAX, unread_seconds: float = UNREAD_SECONDS, as_problem: bool = False
) -> type[PatientConnection]:
    """Return the class of one server's connections; `waiting` is its own."""

    class Connection(PatientConnection):
        waiting: ClassVar[dict[PatientConnection, None]] = {}

    Connection.idle_max, Connection.unread_seconds, Connection.as_problem = idle_max, unread_seconds, as_problem
    return Connection


async def serve(server: Server, listening: socket.socket, on_listening: Callable[[], None]) -> None:
    """Serve on a socket until `server.should_exit` is set; `on_listening` is called once requests are answered."""
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has a flag, no event
        await asyncio.sleep(0.01)
    if server.started:
        on_listening()
    await serving


class PatientConnection(H11Protocol):
    """One connection that waits for its client for a bounded time.

    Each server has a subclass of its own, with `waiting`: its connections without a request, the longest wait first.
    """

    waiting: ClassVar[dict[PatientConnection, None]]
    idle_max: ClassVar[int] = IDLE_MAX
    unread_seconds: ClassVar[float] = UNREAD_SECONDS
    as_problem: ClassVar[bool] = False
    _patience: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.access_log = False  # uvicorn sets it for each connection, and would log addresses with their queries
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

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own sentence
        """Refuse bytes that are not HTTP. If an answer to their request is under way, it is dropped."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            response = HEAD_MALFORMED.response(as_problem=self.as_problem)
            response.headers.update(SECURITY_HEADERS)
            start = h11.Response(status_code=response.status_code, headers=response.raw_headers, reason=b"Bad Request")
            for event in (start, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def _note(self) -> None:
        """Begin or end the wait for a request. Bytes that trickle in do not prolong a wait."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        if cycle is not None and not cycle.response_complete:
            self._forget()
        elif self._patience is None and not self.transport.is_closing():
            self._patience = self.loop.call_later(IDLE_SECONDS, self.transport.abort)
            self.waiting[self] = None
            if len(self.waiting) > self.idle_max:
                self._longest_of_the_greediest().transport.abort()

    def _longest_of_the_greediest(self) -> PatientConnection:
        """Return the connection that has waited longest, of those from the address with the most that wait."""
        held = Counter(one.address for one in self.waiting)
        most = max(held.values())
        return next(one for one in self.waiting if held[one.address] == most)

    @property
    def address(self) -> str:
        """The host at the other end; empty where it has none."""
        return self.client[0] if self.client else ""

    def _forget(self) -> None:
        self.waiting.pop(self, None)
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
