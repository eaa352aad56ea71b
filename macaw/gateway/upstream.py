"""One connection to one MCP server: made once for many calls, and made anew when it is lost.

All of it runs in one event loop. A request that is under way when the connection is lost fails: whether the server has
done it is not known, so it is never sent a second time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import mcp_types as types
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter, ValidationError

from macaw.gateway.server_link import AskBack, Introduction, Notify, Progress
from macaw.gateway.transports import ServerAddress, ServerCommand, transport_of
from schemas.errors import UnavailableError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 30.0
CLOSE_SECONDS = 10.0
REQUEST_SECONDS = 3600.0
RETRY_SECONDS = 1.0  # between two attempts to connect
LISTED_MAX = 4096  # entries of one list of a server
LISTED_BYTES_MAX = 32 * 1024 * 1024  # of one list
PAGES_MAX = 100
CLOSED: Final = "Connection closed"  # as the SDK says it
BROKEN: Final = "SSE stream"  # begins what the SDK says of a request whose answer cannot come any more

_RAW: Final[TypeAdapter[Any]] = TypeAdapter(dict[str, Any])  # results as they are: the client judges them
REQUESTS: Final[Mapping[str, type[types.Request[Any, Any]]]] = {
    "tools/list": types.ListToolsRequest,
    "tools/call": types.CallToolRequest,
    "resources/list": types.ListResourcesRequest,
    "resources/templates/list": types.ListResourceTemplatesRequest,
    "resources/read": types.ReadResourceRequest,
    "resources/subscribe": types.SubscribeRequest,
    "resources/unsubscribe": types.UnsubscribeRequest,
    "prompts/list": types.ListPromptsRequest,
    "prompts/get": types.GetPromptRequest,
    "completion/complete": types.CompleteRequest,
    "logging/setLevel": types.SetLevelRequest,
}

_ANSWERS: Final[Mapping[str, type[types.Result]]] = {
    "sampling/createMessage": types.CreateMessageResult,
    "elicitation/create": types.ElicitResult,
    "roots/list": types.ListRootsResult,
}


class UpstreamLostError(UnavailableError):
    """The server cannot be reached, or was lost during a request: whether that had an effect is not known then."""


class Upstream:
    """A connection to a server. `ask_back` answers its own requests, `notify` gets its notifications."""

    def __init__(
        self, server: ServerCommand | ServerAddress, *, ask_back: AskBack, notify: Notify, mode: str = "first"
    ) -> None:
        """Speak to a server. `mode` is the protocol's: `legacy` with a handshake, `auto` without, `first` both in turn.

        With a handshake a server can ask in the middle of a request, as most do; so `first` tries it first.
        """
        self._server, self._ask_back, self._notify = server, ask_back, notify
        self._modes = ("legacy", "auto") if mode == "first" else (mode,)
        self._client: Client | None = None
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._tried_at = 0.0
        self.connected = 0  # how often a connection was made
        self._requests = 0  # under way

    @property
    def told(self) -> str:
        """The server, for people, without anything that may be secret."""
        return self._server.told

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return self._requests > 0

    async def client(self) -> Client:
        """Return the live connection, made anew if it was lost. Raises UpstreamLostError."""
        async with self._lock:
            if self._client is None or self._task is None or self._task.done():
                await self._connect()
            assert self._client is not None
            return self._client

    async def introduced(self) -> Introduction:
        """Return the capabilities and instructions of the server. Raises UpstreamLostError."""
        client = await self.client()
        capabilities = client.server_capabilities.model_dump(by_alias=True, mode="json", exclude_none=True)
        return Introduction(capabilities, client.instructions)

    async def request(self, method: str, params: Mapping[str, Any], progress: Progress | None = None) -> dict[str, Any]:
        """Send a request and return its result by the names on the wire.

        Raises:
            MCPError: the server answered with an error, or these are no parameters of such a request.
            UpstreamLostError: it cannot be reached, was lost meanwhile, or its answer is not one of the protocol.
        """
        try:
            request = REQUESTS[method].model_validate({"method": method, "params": dict(params)}, by_name=False)
        except ValidationError as exc:
            faults = exc.error_count()
            raise MCPError(types.INVALID_PARAMS, f"these are no parameters of {method} ({faults} faults)") from None
        self._requests += 1
        try:
            return await self._answer(method, request, progress)
        finally:
            self._requests -= 1

    async def _answer(self, method: str, request: Any, progress: Progress | None) -> dict[str, Any]:
        client = await self.client()
        task, leave = self._task, self._leave
        assert task is not None
        asking = asyncio.ensure_future(
            client.session.send_request(
                request, _RAW, request_read_timeout_seconds=REQUEST_SECONDS, progress_callback=progress
            )
        )
        try:
            await asyncio.wait({asking, task}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise UpstreamLostError(f"{self.told} was lost while it was asked; whether it has acted is not known")
            return dict(asking.result())
        except ValidationError as exc:
            raise UpstreamLostError(
                f"{self.told} gave an answer to {method} that the protocol does not know ({exc.error_count()} faults)"
            ) from exc
        except MCPError as exc:
            if _is_of_connection(exc.error):
                leave.set()
                raise UpstreamLostError(
                    f"{self.told} was lost while it was asked; whether it has acted is not known"
                ) from exc
            raise
        finally:
            asking.cancel()

    async def listed(self, method: str, member: str) -> list[dict[str, Any]]:
        """Return a whole list of the server, all pages. Raises as `request`."""
        found: list[dict[str, Any]] = []
        cursor, room = None, LISTED_BYTES_MAX
        for _ in range(PAGES_MAX):
            page = await self.request(method, {} if cursor is None else {"cursor": cursor})
            room -= len(_RAW.dump_json(page))
            if room < 0:
                log.warning("a list of %s has more than %d bytes and is cut", self.told, LISTED_BYTES_MAX)
                return found
            entries = page.get(member)
            found += [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str) or len(found) > LISTED_MAX:
                return found[:LISTED_MAX]
        return found

    async def close(self) -> None:
        """End the connection."""
        self._leave.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)  # else its program outlives the event loop

    # --- the connection, in a task of its own, which enters and leaves it

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._tried_at + RETRY_SECONDS - loop.time()))
        self._tried_at = loop.time()
        for mode in self._modes:
            try:
                self._client = await self._connected(mode)
            except UpstreamLostError:
                if mode == self._modes[-1]:
                    raise
            else:
                self._modes = (mode,)
                self.connected += 1
                return

    async def _connected(self, mode: str) -> Client:
        self._leave = asyncio.Event()
        made: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        made.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait for it any more
        self._task = asyncio.create_task(self._hold(mode, made, self._leave))
        try:
            return await asyncio.wait_for(asyncio.shield(made), CONNECT_SECONDS)
        except TimeoutError:
            self._task.cancel()
            raise UpstreamLostError(f"{self.told} did not answer within {CONNECT_SECONDS:g} s") from None

    async def _hold(self, mode: str, made: asyncio.Future[Client], leave: asyncio.Event) -> None:
        try:
            async with AsyncExitStack() as stack:
                client = Client(
                    transport_of(self._server),
                    mode=mode,
                    cache=None,
                    sampling_callback=self._sample,
                    sampling_capabilities=types.SamplingCapability(tools=types.SamplingToolsCapability()),
                    elicitation_callback=self._elicit,
                    list_roots_callback=self._roots,
                    message_handler=self._on_message,
                    read_timeout_seconds=None,
                )
                made.set_result(await stack.enter_async_context(client))
                await leave.wait()
        except BaseException as exc:  # the end of the connection, however it came; what ends a process is raised again
            if not made.done():
                is_late = isinstance(exc, asyncio.CancelledError)
                why = f"did not answer within {CONNECT_SECONDS:g} s" if is_late else f"cannot be reached: {said(exc)}"
                made.set_exception(UpstreamLostError(f"{self.told} {why}"))
            elif not isinstance(exc, asyncio.CancelledError):
                log.warning("the connection to %s has ended: %s", self.told, said(exc))
            if not isinstance(exc, Exception | asyncio.CancelledError):
                raise

    async def _on_message(self, message: Any) -> None:
        if isinstance(message, Exception):
            log.warning("the connection to %s has a fault: %s", self.told, said(message))
            return
        await self._notify(self, message)

    async def _sample(self, context: Any, params: Any) -> Any:
        del context  # it names no call
        return await self._answered("sampling/createMessage", params)

    async def _elicit(self, context: Any, params: Any) -> Any:
        del context  # it names no call
        return await self._answered("elicitation/create", params)

    async def _roots(self, context: Any) -> Any:
        del context  # it names no call
        return await self._answered("roots/list", None)

    async def _answered(self, method: str, params: Any) -> Any:
        given = {} if params is None else params.model_dump(by_alias=True, mode="json", exclude_none=True)
        form = _ANSWERS[method]
        if method == "sampling/createMessage" and given.get("tools"):
            form = types.CreateMessageResultWithTools
        try:
            return form.model_validate(await self._ask_back(self, method, given), by_name=False)
        except MCPError as exc:
            return exc.error
        except ValidationError:
            return types.ErrorData(code=types.INTERNAL_ERROR, message="the client's answer is not one of the protocol")


def _is_of_connection(error: types.ErrorData) -> bool:
    """Whether an error is the SDK's own, for a connection that has ended: servers use its code for errors as well."""
    return (
        error.code == types.CONNECTION_CLOSED
        and error.data is None
        and (error.message == CLOSED or error.message.startswith(BROKEN))
    )


def said(exc: BaseException) -> str:
    """Return the first cause of a group of errors, in one line."""
    while isinstance(exc, BaseExceptionGroup) and exc.exceptions:
        exc = exc.exceptions[0]
    return f"{type(exc).__name__}: {str(exc)[:200]}" if str(exc) else type(exc).__name__
