"""Connections that say little, or nothing, do not stay at the gateway."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from macaw.gateway.serving import HTTPFront, _Server, _settings
from streams.http import server as http
from streams.http.server import patient_connections


async def hello(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("trickle", [b"", b"x"])
def test_a_head_that_does_not_end_ends_its_connection(monkeypatch: pytest.MonkeyPatch, trickle: bytes) -> None:
    """Also where bytes keep coming; a connection with a whole request is answered."""
    monkeypatch.setattr(http, "IDLE_SECONDS", 0.3)

    async def play() -> None:
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        server = _Server(_settings(hello, HTTPFront(port=0)), ready.set_result)
        serving = asyncio.ensure_future(server.serve())
        reader, writer = await asyncio.open_connection("127.0.0.1", await ready)
        writer.write(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 204")
        slow, says = await asyncio.open_connection("127.0.0.1", ready.result())
        says.write(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ")
        ended = asyncio.ensure_future(slow.read())
        for _ in range(600):
            if ended.done():
                break
            says.write(trickle)
            await asyncio.sleep(0.05)
        assert ended.done(), "the connection is held"
        await asyncio.gather(ended, return_exceptions=True)
        writer.close()
        says.close()
        server.should_exit = True
        await serving

    asyncio.run(play())


@dataclass(eq=False)
class _Waiting:
    address: str


def test_the_address_with_the_most_waiting_connections_loses_one() -> None:
    connections = patient_connections(idle_max=8)
    assert connections.waiting is not patient_connections().waiting
    ann, *eve = [_Waiting(one) for one in ("ann", "eve", "eve", "eve")]
    for one in (ann, *eve):
        connections.waiting[one] = None  # type: ignore[index]
    assert connections._longest_of_the_greediest(connections) is eve[0]  # type: ignore[arg-type,comparison-overlap]
