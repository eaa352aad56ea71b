"""The process of `macaw gateway`: the endpoints, the ends of sessions, and the look at whether the log is followed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import KafkaException

from macaw.gateway.http import bounds
from macaw.gateway.http.api import GatewayAPI
from producers.home.home import Home, TenantHome
from producers.kafka.link import TenantLink
from schemas.errors import MacawError
from streams.address import LOOPBACK, Address, address_of, check_listen
from streams.http import serve, server_of

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
STALE_SECONDS = 15.0  # a look that fails is tried again meanwhile


class FollowedLog:
    """Whether the log of the tenant is followed: the last time at which its registry was read to its end."""

    def __init__(self, link: TenantLink) -> None:
        self._link, self._at = link, -STALE_SECONDS
        self._thread = ThreadPoolExecutor(1, "look")  # its own: calls may hold all others

    async def look(self) -> None:
        """Look once."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._link.registry.refresh)
            self._at = time.monotonic()
        except (MacawError, KafkaException) as exc:
            log.warning("the log cannot be followed: %s", type(exc).__name__)

    async def keep_looking(self) -> None:
        """Look every few seconds, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    def close(self) -> None:
        """Look no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def is_now(self) -> bool:
        """Whether it was read a moment ago."""
        return time.monotonic() - self._at < STALE_SECONDS


def run_gateway(
    home: Home,
    folder: TenantHome,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    url: str | None = None,
    origins: frozenset[str] = frozenset(),
    provider: str | None = None,
    on_listening: Callable[[Address], None] | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT, then end every session. `port` 0 takes a free one.

    Raises:
        AddressError: the host is not loopback and `url` is not an `https` URL.
        HomeError, SecurityError: the configuration is missing or wrong.
        OSError: the port is taken.
    """
    check_listen(host, url)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listening:
        address = address_of(host, listening.getsockname()[1], url)
        asyncio.run(
            serve_gateway(
                home, folder, listening, address, origins=origins, provider=provider, on_listening=on_listening
            )
        )


async def serve_gateway(
    home: Home,
    folder: TenantHome,
    listening: socket.socket,
    address: Address,
    *,
    origins: frozenset[str] = frozenset(),
    provider: str | None = None,
    on_listening: Callable[[Address], None] | None = None,
    has_signals: bool = True,
) -> None:
    """Serve on a socket until a signal, or until the task is cancelled; then end every session."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(bounds.CALL_THREADS, "gateway"))
    link = TenantLink.of(home, folder)  # for as long as it serves: logins find its connections open
    followed = FollowedLog(link)
    api = GatewayAPI(folder.tenant, home, address, is_followed=followed.is_now, origins=origins, provider=provider)
    server = server_of(api.front())
    if has_signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, setattr, server, "should_exit", True)
    await followed.look()
    beside = [asyncio.create_task(followed.keep_looking()), asyncio.create_task(api.sessions.sweep())]
    tell = (lambda: on_listening(address)) if on_listening is not None else (lambda: None)
    serving = asyncio.create_task(serve(server, listening, tell))
    try:
        await asyncio.wait([serving, *beside], return_when=asyncio.FIRST_COMPLETED)
        for task in beside:
            if task.done():
                task.result()  # raises: without a failure they run for ever
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        for task in beside:
            task.cancel()
        await api.close()
        followed.close()
        await asyncio.to_thread(link.release)
