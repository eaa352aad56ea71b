"""The server of every HTTP front: slow and silent clients take no place from others."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from streams.address import LOOPBACK
from streams.http import Endpoint, Front, server_of
from streams.http import server as front
from tests.waiting import PATIENCE_SECONDS, wait_until

HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


class Served:
    """A server on a thread of its own, and connections to it."""

    def __init__(self, port: int, held: threading.Event) -> None:
        self.port = port
        self.held = held  # what /held waits for

    def connect(self, *sent: bytes) -> socket.socket:
        connection = socket.create_connection((LOOPBACK, self.port), timeout=PATIENCE_SECONDS)
        for data in sent:
            connection.sendall(data)
        return connection

    def get(self, path: str = "/", **headers: str) -> tuple[int, str]:
        with closing(http.client.HTTPConnection(LOOPBACK, self.port, timeout=PATIENCE_SECONDS)) as client:
            client.request("GET", path, headers=headers)
            answer = client.getresponse()
            return answer.status, answer.read().decode()

    def is_closed(self, connection: socket.socket) -> bool:
        """Wait until the server has closed a connection; False where it still stands after the test's patience."""
        try:
            return connection.recv(1 << 20) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


@contextmanager
def served(requests_max: int = 64) -> Iterator[Served]:
    held = threading.Event()

    async def root(request: Request) -> Response:
        return PlainTextResponse("here")

    async def wait(request: Request) -> Response:
        await asyncio.to_thread(held.wait, PATIENCE_SECONDS)
        return PlainTextResponse("at last")

    async def large(request: Request) -> Response:
        return PlainTextResponse("x" * 1_000_000)

    server = server_of(
        Front(
            endpoints=[
                Endpoint("/", root, is_public=True),
                Endpoint("/held", wait, is_public=True),
                Endpoint("/large", large, is_public=True),
            ],
            token=lambda _: "",
            token_place="nowhere",
            health=dict,
            requests_max=requests_max,
        )
    )
    with socket.create_server((LOOPBACK, 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        try:
            yield Served(listening.getsockname()[1], held)
        finally:
            held.set()
            server.should_exit = True
            thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def test_half_open_connections_keep_nobody_out() -> None:
    """More of them than the server answers requests at a time, or holds connections."""
    with served(requests_max=4) as server:
        held = [server.connect(HALF) for _ in range(front.IDLE_MAX + 20)]

        assert server.get() == (200, "here")
        for connection in held:
            connection.close()


def test_the_longest_waiting_connection_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "IDLE_MAX", 3)
    monkeypatch.setattr(front, "IDLE_SECONDS", 2 * PATIENCE_SECONDS)
    with served() as server:
        first = server.connect(HALF)
        others = [server.connect(HALF) for _ in range(3)]

        assert server.is_closed(first)
        others[-1].sendall(b"no\r\n\r\n")
        assert others[-1].recv(15) == b"HTTP/1.1 200 OK"
        for connection in (first, *others):
            connection.close()


@pytest.mark.parametrize("sent", [b"", HALF, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n"])
def test_who_owes_a_request_is_let_go(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """Also with a whole head before: the answer is given, and the body that never comes is not waited for."""
    monkeypatch.setattr(front, "IDLE_SECONDS", 0.2)
    with served() as server, server.connect(sent) as connection:
        while connection.recv(4096):
            pass


def test_bytes_that_trickle_in_buy_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "IDLE_SECONDS", 0.5)
    with served() as server, server.connect(HALF) as connection:

        def drip() -> bool:
            try:
                connection.sendall(b"x")
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        wait_until(drip)


def test_a_request_under_way_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patience is with heads: an answer may take longer, and the next request begins a new patience."""
    monkeypatch.setattr(front, "IDLE_SECONDS", 0.3)
    with (
        served() as server,
        closing(http.client.HTTPConnection(LOOPBACK, server.port, timeout=PATIENCE_SECONDS)) as client,
    ):
        for _ in range(2):
            client.request("GET", "/held")
            threading.Timer(0.6, server.held.set).start()
            assert client.getresponse().read() == b"at last"
            server.held.clear()


def test_answers_that_nobody_reads_end_their_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "UNREAD_SECONDS", 0.2)
    with served(requests_max=1) as server:
        request = b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        with server.connect(request * 20) as connection:
            wait_until(lambda: server.get()[0] == 200)
            wait_until(lambda: server.is_closed(connection))


def test_more_requests_than_places_are_told_so() -> None:
    with served(requests_max=2) as server:
        request = b"GET /held HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        busy = [server.connect(request) for _ in range(2)]

        wait_until(lambda: server.get()[0] == 503)
        server.held.set()
        assert all(connection.recv(15) == b"HTTP/1.1 200 OK" for connection in busy)
        wait_until(lambda: server.get()[0] == 200)
        for connection in busy:
            connection.close()


def test_requests_that_come_together_are_answered_in_order() -> None:
    request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n"
    with served() as server, server.connect(request % b"" * 3 + request % b"Connection: close\r\n") as connection:
        answers = b""
        while data := connection.recv(4096):
            answers += data

    assert answers.count(b"HTTP/1.1 200 OK") == 4
