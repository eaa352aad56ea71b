"""The connections to one server: one for all callers, or one for each caller with a credential of its own there.

Where tokens are exchanged a connection belongs to one session: two tokens of one person may have different scopes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from macaw.gateway.credentials import Credentials
from macaw.gateway.exchanged import ExchangedTokens
from macaw.gateway.server_link import AskBack, Notify
from macaw.gateway.transports import ServerAddress, ServerCommand
from macaw.gateway.upstream import Upstream

CALLERS_MAX = 256  # connections of callers; of those without a request the one used least recently gives way


class Upstreams:
    """Connections to a server. Thread-safe but for `close`; the connections themselves belong to one event loop."""

    def __init__(
        self,
        server: ServerCommand | ServerAddress,
        credentials: Credentials | None = None,
        *,
        exchanged: ExchangedTokens | None = None,
        mode: str = "first",
    ) -> None:
        """With `credentials` the requests of each caller go by a connection of its own, and lists by a common one.

        So do those of each session with `exchanged`.
        """
        self._server, self._credentials, self._mode = server, credentials, mode
        self._exchanged = exchanged
        self._lock = threading.Lock()
        self._open: OrderedDict[str | None, Upstream] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._closing: set[Future[None]] = set()

    def open(self, principal_id: str | None, *, ask_back: AskBack, notify: Notify) -> Upstream:
        """Return the connection of a caller, None for the common one; it is made when it is first used.

        Raises:
            CredentialError: the caller has no credential at the server.
        """
        with self._lock:
            found = self._open.get(principal_id)
            if found is None:
                found = Upstream(self._of(principal_id), ask_back=ask_back, notify=notify, mode=self._mode)
                self._open[principal_id] = found
                callers = [one for one in self._open if one is not None]
                idle = [one for one in callers if one != principal_id and not self._open[one].is_busy]
                for one in idle[: max(0, len(callers) - CALLERS_MAX)]:
                    self._end(self._open.pop(one))
            self._open.move_to_end(principal_id)
            return found

    def of(self, principal_id: str, session_id: bytes, *, ask_back: AskBack, notify: Notify) -> Upstream:
        """Return the connection by which the requests of a caller go. Raises as `open`, and ExchangeError."""
        if self._exchanged is not None:
            self._exchanged.header(session_id)  # there is one
            return self.open(session_id.hex(), ask_back=ask_back, notify=notify)
        return self.open(None if self._credentials is None else principal_id, ask_back=ask_back, notify=notify)

    async def ready(self, session_id: bytes) -> None:
        """Wait until a session may be served. Raises ExchangeError."""
        if self._exchanged is not None:
            await self._exchanged.ready(session_id)

    def _of(self, principal_id: str | None) -> ServerCommand | ServerAddress:
        if principal_id is None or not isinstance(self._server, ServerAddress):
            return self._server
        if self._exchanged is not None:
            return replace(self._server, fresh_headers=partial(self._exchanged.header, bytes.fromhex(principal_id)))
        if self._credentials is None:
            return self._server
        return replace(self._server, headers={**self._server.headers, **self._credentials.header(principal_id)})

    def _end(self, one: Upstream) -> None:
        ending = asyncio.run_coroutine_threadsafe(one.close(), self._loop)
        self._closing.add(ending)
        ending.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all of them."""
        with self._lock:
            ending = list(self._open.values())
            self._open.clear()
        closing = [asyncio.wrap_future(one) for one in list(self._closing)]
        await asyncio.gather(*(one.close() for one in ending), *closing, return_exceptions=True)
