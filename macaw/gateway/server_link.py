"""The gateway's side of a connection to a server, in another process or in this one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from mcp.shared.dispatcher import ProgressFnT

Progress = ProgressFnT
AskBack = Callable[["ServerLink", str, Mapping[str, Any]], Awaitable[Any]]
Notify = Callable[["ServerLink", Any], Awaitable[None]]


class Introduction(NamedTuple):
    """The capabilities of a server by their names on the wire, and its instructions."""

    capabilities: dict[str, Any]
    instructions: str | None


class ServerLink(Protocol):
    """A connection to a server. All of it runs in one event loop."""

    async def introduced(self) -> Introduction:
        """Return the server's own words about itself. Raises UpstreamLostError."""

    async def request(self, method: str, params: Mapping[str, Any], progress: Progress | None = None) -> dict[str, Any]:
        """Send a request and return its result by the names on the wire. Raises MCPError, UpstreamLostError."""

    async def listed(self, method: str, member: str) -> list[dict[str, Any]]:
        """Return a whole list of the server. Raises as `request`."""


class ServerLinks(Protocol):
    """The connections to one server. Thread-safe but for `close`."""

    def open(self, principal_id: str | None, *, ask_back: AskBack, notify: Notify) -> ServerLink:
        """Return the connection of a caller, None for the common one. Raises CredentialError."""

    def of(self, principal_id: str, session_id: bytes, *, ask_back: AskBack, notify: Notify) -> ServerLink:
        """Return the connection by which a call of a caller's session goes. Raises CredentialError, ExchangeError."""

    async def ready(self, session_id: bytes) -> None:
        """Wait until a session may be served. Raises ExchangeError."""

    async def close(self) -> None:
        """End all of them."""
