"""The way back to the client of a running call: for progress, for questions of the server, and for cancelling.

A server's question names no call. It is passed on only where every call that the server executes at the time comes from
one client; else it could reach another person, and it is refused.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST

from schemas.errors import OutcomeError

AMBIGUOUS = "several clients wait for this server, so the gateway cannot tell whose answer it asks for"
NOBODY = "no client waits for this server, so nobody can answer it"
LEFT_MAX = 4096  # calls that were left before they began, and are remembered; the oldest is forgotten


class LeftError(OutcomeError):
    """The client has left a call before it began, so it is not executed."""


class Relay(Protocol):
    """One call's way back to its client. `session` is the same for all calls of one client."""

    session: object

    async def asked_back(self, method: str, params: Mapping[str, Any]) -> Any:
        """Ask the client by a governed call of its user. Raises MCPError."""

    async def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """Ask the client: that call was allowed. Raises MCPError."""

    async def log(self, params: Any) -> None:
        """Pass a line of the server's log on."""

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Tell the client how far its call is."""


class RelayDesk:
    """The relays of the calls under way, by the leaf of their event. Thread-safe.

    A call comes back from the log to be executed in a thread of this process, which finds its relay here.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._relays: dict[bytes, Relay] = {}
        self._executed: dict[bytes, tuple[object, Future[Any]]] = {}  # with the connection that executes it
        self._running: dict[bytes, Relay] = {}
        self._left: OrderedDict[bytes, None] = OrderedDict()

    def put(self, leaf: bytes, relay: Relay) -> None:
        """Take in the relay of a call that was sent."""
        with self._changed:
            self._relays[leaf] = relay
            self._changed.notify_all()

    def take(self, leaf: bytes, seconds: float) -> Relay | None:
        """Return the relay of a call that is about to be executed; it may be put a moment later than it comes back.

        Raises:
            LeftError: its client has left it.
        """
        with self._changed:
            self._changed.wait_for(lambda: leaf in self._relays or leaf in self._left, seconds)
            self._check_not_left(leaf)
            return self._relays.get(leaf)

    def begin(
        self, leaf: bytes, relay: Relay | None, connection: object, execute: Callable[[], Future[Any]]
    ) -> Future[Any]:
        """Let a connection to the server execute a call now. `execute` must not block. Raises LeftError."""
        with self._changed:
            self._check_not_left(leaf)
            execution = execute()  # under the lock: a question of the server finds its call, and so does its end
            self._executed[leaf] = connection, execution
            if relay is not None:
                self._running[leaf] = relay
            return execution

    def _check_not_left(self, leaf: bytes) -> None:
        if leaf in self._left:
            raise LeftError("NOT_RUN: its client has left the call before it began")

    def end(self, leaf: bytes) -> None:
        """Note that the server has executed a call."""
        with self._changed:
            self._executed.pop(leaf, None)
            self._running.pop(leaf, None)

    def leave(self, leaf: bytes, *, cancel: bool) -> None:
        """Forget the relay of a call; with `cancel` its client has gone, and the server is told to stop.

        A call that has not begun by then does not begin.
        """
        with self._changed:
            self._relays.pop(leaf, None)
            executed = self._executed.get(leaf) if cancel else None
            if cancel and executed is None:
                self._left[leaf] = None
                while len(self._left) > LEFT_MAX:
                    self._left.popitem(last=False)
                self._changed.notify_all()
        if executed is not None:
            executed[1].cancel()

    @property
    def is_busy(self) -> bool:
        """Whether the server executes a call."""
        return bool(self._executed)

    def whose(self, connection: object) -> Relay:
        """Return the relay for a question that came by a connection. Raises MCPError where that is not known."""
        with self._changed:
            leaves = [leaf for leaf, (by, _) in self._executed.items() if by is connection]
            running = [self._running[leaf] for leaf in leaves if leaf in self._running]
        if not running:
            raise MCPError(INVALID_REQUEST, NOBODY)
        if len(running) < len(leaves) or any(one.session is not running[0].session for one in running):
            raise MCPError(INVALID_REQUEST, AMBIGUOUS)
        return running[-1]
