"""The way to an MCP server that consists of functions of this process: no message is written, and no process started.

Each call has a connection of its own here. So a question of a function to its client is attributed exactly, also while
calls of many clients run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, Final, Protocol

from pydantic import TypeAdapter

from macaw.gateway.functions import Functions, Lifespan
from macaw.gateway.server_link import AskBack, Introduction, Notify, Progress
from macaw.gateway.transports import MESSAGE_BYTES_MAX
from macaw.gateway.upstream import UpstreamLostError
from producers.agent.lasting import LastingAgent
from producers.agent.running import RunningCall, running_call
from schemas.errors import OutcomeError

LIST_SECONDS: Final = 30.0
_RAW: Final[TypeAdapter[Any]] = TypeAdapter(dict[str, Any])


class ResultTooLargeError(OutcomeError):
    """A function has returned more than one message of MCP may hold."""


class InsideServer(Protocol):
    """A server of this process."""

    @property
    def introduction(self) -> Introduction:
        """Its capabilities and instructions."""

    @property
    def lifespan(self) -> Lifespan | None:
        """The resources that its functions share while it serves."""

    def seconds_of(self, method: str, params: Mapping[str, Any]) -> float:
        """Return the time that a request may take."""

    async def answer(self, method: str, params: Mapping[str, Any], call: InsideCall | None) -> dict[str, Any]:
        """Answer a request; lists and levels are asked outside of any call. Raises MCPError."""


class InsideCall:
    """A call that a function executes: its caller, and the ways to its client and to the log.

    `agent` is that of the session which executes the call, so that its calls are within this one.
    """

    def __init__(self, running: RunningCall, links: InsideLinks, link: InsideLink, progress: Progress | None) -> None:
        """Raises UpstreamLostError where that session has ended."""
        agent = links.agent.in_session(running.executor)  # the newest one may be another by now
        if agent is None:
            raise UpstreamLostError("the session that executes this call has ended")
        self.running, self.agent, self.functions = running, agent, links.functions
        self._links, self._link, self._progress = links, link, progress

    async def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """Ask the client, by a governed call of its user. Raises MCPError."""
        return await asyncio.wrap_future(self._in_gateway(self._link.ask_back(self._link, method, params)))

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Tell the client how far the call is, if it wants to know."""
        if self._progress is not None:
            await asyncio.wrap_future(self._in_gateway(self._progress(progress, total, message)))

    def notify(self, message: Any) -> None:
        """Send a notification of the server, without waiting for it: a line of its log goes to this call's client."""
        self._in_gateway(self._link.notify(self._link, message))

    def _in_gateway(self, doing: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(doing, self._links.loop)


class InsideLink:
    """The connection of one call, or of none (`server_link.ServerLink`)."""

    def __init__(self, links: InsideLinks, ask_back: AskBack, notify: Notify) -> None:
        self.ask_back, self.notify, self._links = ask_back, notify, links

    async def introduced(self) -> Introduction:
        """Begin to serve. Raises UpstreamLostError for a lifespan that cannot be entered."""
        try:
            await self._links.functions.start(self._links.server.lifespan)
        except Exception as exc:
            raise UpstreamLostError(f"the lifespan of the server raised {type(exc).__name__}") from exc
        return self._links.server.introduction

    async def request(self, method: str, params: Mapping[str, Any], progress: Progress | None = None) -> dict[str, Any]:
        """Answer a request within its time.

        Raises:
            MCPError: the server answers with an error.
            ResultTooLargeError: its answer has more than MESSAGE_BYTES_MAX bytes.
            UpstreamLostError: it had not ended in time.
        """
        running, server = running_call(), self._links.server
        call = None if running is None else InsideCall(running, self._links, self, progress)
        seconds = server.seconds_of(method, params)
        doing = self._links.functions.submit(_bounded(server.answer(method, params, call)))
        try:
            answer: dict[str, Any] = await asyncio.wait_for(asyncio.wrap_future(doing), seconds)
        except TimeoutError:
            raise UpstreamLostError(f"no end within {seconds:g} s; whether it has acted is not known") from None
        return answer

    async def listed(self, method: str, member: str) -> list[dict[str, Any]]:
        """Return a whole list."""
        found: list[dict[str, Any]] = (await self.request(method, {}))[member]
        return found


class InsideLinks:
    """The connections to a server of this process (`server_link.ServerLinks`)."""

    def __init__(self, server: InsideServer, agent: LastingAgent) -> None:
        """Serve in the running event loop, by the program `agent`."""
        self.server, self.agent = server, agent
        self.loop = asyncio.get_running_loop()
        own = agent.client.connection.principal_id
        self.functions = Functions(own, own=own)

    def open(self, principal_id: str | None, *, ask_back: AskBack, notify: Notify) -> InsideLink:
        """Return a connection."""
        del principal_id  # a call knows its caller
        return InsideLink(self, ask_back, notify)

    def of(self, principal_id: str, session_id: bytes, *, ask_back: AskBack, notify: Notify) -> InsideLink:
        """Return a connection for one call."""
        del session_id
        return self.open(principal_id, ask_back=ask_back, notify=notify)

    async def ready(self, session_id: bytes) -> None:
        """Return at once: a function of this process wants no token."""

    async def close(self) -> None:
        """Serve no more."""
        await self.functions.close()


async def _bounded(answering: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    answer = await answering
    size = len(_RAW.dump_json(answer))
    if size > MESSAGE_BYTES_MAX:
        raise ResultTooLargeError(f"the result has {size} bytes, at most {MESSAGE_BYTES_MAX} are taken: return less")
    return answer
