"""The process of `macaw decide --serve`: the endpoints, and the reading that keeps policies and subjects current."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

from producers.home.home import TenantHome
from streams.address import LOOPBACK, Address, address_of, check_listen
from streams.authzen.api import DecisionAPI
from streams.authzen.standing import Kept
from streams.http import serve, server_of

OnListening = Callable[[Address], None]


def run_decisions(
    folder: TenantHome,
    kept: Kept,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    url: str | None = None,
    on_listening: OnListening | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT. `port` 0 takes a free port; `on_listening` is called with the address.

    Raises:
        AddressError: the host is not loopback and `url` is not an `https` URL.
        OSError: the port is taken.
    """
    check_listen(host, url)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listening:
        address = address_of(host, listening.getsockname()[1], url)
        asyncio.run(_run(DecisionAPI(folder, kept, address), kept, listening, lambda: _tell(address, on_listening)))


def _tell(address: Address, on_listening: OnListening | None) -> None:
    if on_listening is not None:
        on_listening(address)


async def _run(api: DecisionAPI, kept: Kept, listening: socket.socket, tell: Callable[[], None]) -> None:
    server = server_of(api.front())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, setattr, server, "should_exit", True)
    serving = asyncio.create_task(serve(server, listening, tell))
    keeping = asyncio.create_task(kept.keep())
    await asyncio.wait([serving, keeping], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    if keeping.done():
        keeping.result()  # raises: without a failure it runs for ever
    keeping.cancel()
