"""The console's process: the follower of a tenant's log on a thread, and the pages beside it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from producers.home.home import Home, TenantHome
from streams.address import LOOPBACK, address_of
from streams.console.approving import ApprovalDesk
from streams.console.follower import Follower
from streams.console.front import ConsoleFront, ConsoleOf
from streams.console.live import Live
from streams.console.questions import Questions
from streams.console.store import CallStore
from streams.http import Server, serve, server_of

FOLDER = "console"
TOKEN = "console"  # noqa: S105 - the front's name


def store_path(folder: TenantHome) -> Path:
    """Return the place of a tenant's store."""
    return folder.path / FOLDER / "calls.sqlite"


def run_console(
    home: Home,
    folder: TenantHome,
    *,
    port: int,
    on_listening: Callable[[str], None],
    desk: ApprovalDesk | None = None,
) -> None:
    """Serve the console of a tenant on loopback until SIGTERM or SIGINT; `on_listening` gets its address.

    Without a `desk` the console signs nothing.

    Raises:
        HomeError, SecurityError, CallStoreError, AssetError: it cannot begin.
        OSError: the port is taken.
    """
    path = store_path(folder)
    with socket.create_server((LOOPBACK, port)) as listening:
        follower, live = Follower(home, folder, CallStore(path, folder.genesis)), Live()
        address = address_of(LOOPBACK, listening.getsockname()[1], None)
        console = ConsoleOf(
            tenant=folder.tenant,
            questions=Questions(path),
            freshness=follower.freshness,
            live=live,
            token=lambda: folder.token(TOKEN),
            token_place=str(folder.token_file(TOKEN)),
            desk=desk,
        )
        server = server_of(ConsoleFront(console, address).front())
        follower.start(live.tell)
        try:
            asyncio.run(_serve(server, listening, live, lambda: on_listening(address.url)))
        finally:
            follower.close()


async def _serve(server: Server, listening: socket.socket, live: Live, tell: Callable[[], None]) -> None:
    def stop() -> None:
        server.should_exit = True
        live.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await serve(server, listening, tell)
