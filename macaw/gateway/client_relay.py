"""The way back to one client for one call of it, in either of the two ways in which clients can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, get_args

import mcp_types as types
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ConfigDict

LEVELS: Final[tuple[str, ...]] = get_args(types.LoggingLevel)  # the least urgent first
LEVEL: Final = "macaw.level"  # of a client's connection: others of the same server have levels of their own
QUESTIONS_MAX = 64  # of the server in one call; each is a call of the user on the log

GONE = "the call has ended, so its client is not asked any more"

Context = ServerRequestContext[Any, Any]
AskedBack = Callable[[str, Mapping[str, Any], "ClientRelay"], Awaitable[Any]]
Question = tuple[str, Mapping[str, Any], "asyncio.Future[Any]"]


class _Asked(types.Request[dict[str, Any], str]):
    """A question to a client, as the server has put it."""


class _Answer(types.Result):
    """A client's answer, as it is."""

    model_config = ConfigDict(extra="allow")


def connection_of(context: Context) -> Connection:
    """Return the connection of a client: the same object for all its requests, if it began with a handshake."""
    return context.session._connection  # noqa: SLF001 - the SDK names it by no other way


def is_modern(context: Context) -> bool:
    """Whether a client asks by the revision in which servers cannot ask back, and has no connection of its own."""
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


class ClientRelay:
    """One call's way back (`relays.Relay`). `asked_back` makes the governed call that lets a question through."""

    def __init__(self, context: Context, session: object, asked_back: AskedBack) -> None:
        self.session, self._context, self._asked_back = session, context, asked_back
        self.is_modern = is_modern(context)
        self.questions: asyncio.Queue[Question] = asyncio.Queue()
        self._waiting: set[asyncio.Future[Any]] = set()  # for answers of the client
        self._asked, self._is_left = 0, False

    def goes_on_with(self, context: Context) -> None:
        """Go on with the request by which the client has brought its answers."""
        self._context = context

    def leave(self) -> None:
        """Ask the client no more: its call has ended. A question that waits for an answer gets an error."""
        self._is_left = True
        for one in list(self._waiting):
            one.cancel()

    async def asked_back(self, method: str, params: Mapping[str, Any]) -> Any:
        """Ask the client by a governed call of its user. Raises MCPError, also for a server that asks without end."""
        self._asked += 1
        if self._asked > QUESTIONS_MAX:
            raise MCPError(types.INVALID_REQUEST, f"a server may ask {QUESTIONS_MAX} questions in one call")
        return await self._asked_back(method, params, self)

    async def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """Ask the client, and wait for its answer. Raises MCPError, also once the call has ended."""
        if self._is_left:
            raise MCPError(types.INVALID_REQUEST, GONE)
        asking = asyncio.ensure_future(self._ask(method, params))
        self._waiting.add(asking)
        try:
            return await asking
        except asyncio.CancelledError:
            if self._is_left:
                raise MCPError(types.INVALID_REQUEST, GONE) from None
            raise
        finally:
            self._waiting.discard(asking)

    async def _ask(self, method: str, params: Mapping[str, Any]) -> Any:
        if self.is_modern:
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            await self.questions.put((method, params, answer))
            return await answer
        asked = _Asked(method=method, params=dict(params))
        related = ServerMessageMetadata(related_request_id=self._context.request_id)
        said = await self._context.session.send_request(asked, _Answer, metadata=related)  # type: ignore[arg-type]
        return said.model_dump(by_alias=True, mode="json", exclude_none=True, exclude_unset=True)

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Tell the client how far its call is, if it wants to know."""
        await self._context.session.report_progress(progress, total, message)

    async def log(self, params: Any) -> None:
        """Pass a line of the server's log on, unless it is below the level that this client has set."""
        least = connection_of(self._context).state.get(LEVEL)
        if least in LEVELS and params.level in LEVELS[: LEVELS.index(least)]:
            return
        await self._context.session.send_log_message(
            params.level, params.data, params.logger, related_request_id=self._context.request_id
        )
