"""The thread of the endpoint for logouts, with a bounded share of the process that serves logins.

The endpoint is open to anybody, and Python runs one thread at a time. So its event loop pays for its work: after each
turn it rests until its CPU time is at most SHARE of the time that has passed. Under a flood requests wait for each
other, and logins go on beside them.
"""

from __future__ import annotations

import asyncio
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from schemas.errors import StoppedError
from streams.address import LOOPBACK, Address, AddressError, address_of, check_listen
from streams.bridge.key_cache import KeyCache
from streams.bridge.logout_api import LogoutAPI, VoicesOf
from streams.http import serve, server_of

log = logging.getLogger(__name__)

SHARE = 0.2  # of a core: some 200 logouts in a second
CREDIT_SECONDS = 0.005  # of CPU that a rested loop may use at once
REST_SECONDS_MAX = 0.5  # at a time: a turn that took longer is not paid for in whole
JOIN_SECONDS = 5.0


class LogoutEndedError(StoppedError):
    """The endpoint for logouts ended unasked."""


class FrugalSelector(selectors.DefaultSelector):
    """A selector that lets its event loop use at most SHARE of a core. One thread uses it."""

    _credit = CREDIT_SECONDS
    _cpu_at = 0.0
    _at: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Rest as long as the work since the last call asks for, then wait for events."""
        cpu, now = time.thread_time(), time.monotonic()
        if self._at is not None:
            self._credit = min(CREDIT_SECONDS, self._credit + (now - self._at) * SHARE) - (cpu - self._cpu_at)
        self._cpu_at, self._at = cpu, now
        if self._credit < 0:
            time.sleep(min(-self._credit / SHARE, REST_SECONDS_MAX))
        return super().select(timeout)


def frugal_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop with a bounded share of a core."""
    return asyncio.SelectorEventLoop(FrugalSelector())


class LogoutDoor:
    """A socket at which identity providers tell of logouts, and the thread that answers there.

    Raises:
        AddressError: the host is not loopback and `url` is not an `https` URL, or nothing can listen there.
    """

    def __init__(
        self, host: str = LOOPBACK, port: int = 0, url: str | None = None, *, keys: KeyCache | None = None
    ) -> None:
        """Listen; nothing is answered before `start`. `port` 0 takes a free one; providers call `url`.

        `keys` is closed with this; by default the endpoint has keys of its own.
        """
        check_listen(host, url)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listening = socket.create_server((host, port), family=family)
        except OSError as exc:
            raise AddressError(f"nothing can listen at {host}, port {port}: {exc.strerror}; give another one") from exc
        self.address: Address = address_of(host, self._listening.getsockname()[1], url)
        self._stop: Callable[[], Any] = lambda: None
        self._thread: threading.Thread | None = None
        self._is_closed = False
        # Keys of its own: a flood of invented kids here must not delay the look at a new key that a login needs.
        self._keys = KeyCache() if keys is None else keys

    def start(self, voices: VoicesOf) -> None:
        """Answer from now on, on a thread of its own."""
        server = server_of(LogoutAPI(voices, self._keys, self.address).front())
        self._stop = lambda: setattr(server, "should_exit", True)

        def run() -> None:
            with asyncio.Runner(loop_factory=frugal_loop) as runner:
                runner.run(serve(server, self._listening, self._tell))

        self._thread = threading.Thread(target=run, name="logouts", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise LogoutEndedError if nothing is answered any more."""
        if self._thread is not None and not self._thread.is_alive() and not self._is_closed:
            raise LogoutEndedError("the endpoint for logouts ended unasked: see the log above; start the bridge again")

    def close(self) -> None:
        """Answer no more, and release the port."""
        self._is_closed = True
        self._stop()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)
        self._listening.close()
        self._keys.close()

    def _tell(self) -> None:
        log.info("logouts of providers are heard at %s/v1/tenants/TENANT/backchannel-logout", self.address.url)
