"""The side of a gateway that clients see: an MCP server with the upstream's lists; each request is a governed call.

Clients of every revision come here. One that can be asked in the middle of its request is asked; one of the revision
2026-07-28 gets the question as the result of its request, and sends the request again with its answer.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import weakref
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, get_args

import mcp_types as types
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.connection import Connection
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated, ToolsListChanged
from pydantic import ConfigDict

from macaw.gateway import names, outcomes
from macaw.gateway.callers import Caller
from macaw.gateway.client_relay import LEVEL, ClientRelay, Context, connection_of, is_modern
from macaw.gateway.gateway import Gateway
from macaw.gateway.known_names import KNOWN_SECONDS, KnownNames
from macaw.gateway.upstream import UpstreamLostError
from schemas.errors import MacawError

PAGE: Final = 100  # entries of a list
ROUNDS_MAX: Final = 10  # of questions in one request
ASKED_SECONDS: Final = 600.0  # for a client to come back with its answers
ASKED_MAX: Final = 1024  # requests that wait for answers; the oldest of the user with the most gives way
WATCHED_MAX: Final = 256  # resources to which one client may subscribe
TELL_SECONDS: Final = 5.0  # for a client to take a notification

_UNCACHED: Final = dict.fromkeys(get_args(CacheableMethod), CacheHint(ttl_ms=0, scope="private"))

CallerOf = Callable[[Context], Caller]


class _Params(types.RequestParams):
    """Parameters of a request as they come: the gateway passes them on, and the server judges them."""

    model_config = ConfigDict(extra="allow")


class _Open:
    """A call that waits for answers of its client, which brings them with another request."""

    def __init__(self, doing: asyncio.Task[Any], relay: ClientRelay, caller: Caller) -> None:
        self.doing, self.relay, self.caller = doing, relay, caller
        self.asked: dict[str, asyncio.Future[Any]] = {}
        self.until = time.monotonic() + ASKED_SECONDS


class GatewayFront:
    """Makes the server that clients speak to. `caller_of` gives the session by which a request is signed.

    With `has_one_client` all requests are one client's, as at standard input.
    """

    def __init__(self, gateway: Gateway, caller_of: CallerOf, *, has_one_client: bool = False) -> None:
        self.gateway, self._caller_of, self._has_one_client = gateway, caller_of, has_one_client
        self._bus = InMemorySubscriptionBus()
        self._listening = ListenHandler(self._bus)
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._names = KnownNames()
        self._connections: weakref.WeakKeyDictionary[Connection, Caller] = weakref.WeakKeyDictionary()  # with handshake
        self._watched: weakref.WeakKeyDictionary[Connection, set[str]] = weakref.WeakKeyDictionary()

    def server(self) -> Server[Any]:
        """Return the server, with a handler for each method that the upstream has."""
        gateway, has = self.gateway, self.gateway.capabilities
        server: Server[Any] = Server(
            f"{gateway.server} (governed)", instructions=gateway.instructions, cache_hints=_UNCACHED
        )
        server.get_tool_input_schema = self._schema_of
        handlers: dict[str, Callable[[Context], Awaitable[Any]]] = {}
        if "tools" in has:
            handlers |= {"tools/list": self._tools, names.CALL_TOOL: self._call_tool}
        if "prompts" in has:
            handlers |= {"prompts/list": self._lister("prompts", names.GET_PROMPT), names.GET_PROMPT: self._asked}
        if "resources" in has:
            handlers |= {
                "resources/list": self._lister("resources", names.READ_RESOURCE),
                "resources/templates/list": self._lister("resourceTemplates", names.READ_RESOURCE),
                names.READ_RESOURCE: self._asked,
            }
            if has["resources"].get("subscribe"):
                handlers |= {names.SUBSCRIBE: self._subscribe, "resources/unsubscribe": self._unsubscribe}
        if "completions" in has:
            handlers[names.COMPLETE] = self._asked
        if "logging" in has:
            handlers["logging/setLevel"] = self._set_level
        for method, handler in handlers.items():
            server.add_request_handler(method, _Params, _taking_context(handler))
        server.add_request_handler("subscriptions/listen", types.SubscriptionsListenRequestParams, self._listen)
        gateway.listeners.add(self._on_change)
        return server

    @staticmethod
    def options(server: Server[Any]) -> Any:
        """Return how the server introduces itself to clients with a handshake."""
        changes = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
        return server.create_initialization_options(changes)

    # --- lists

    async def _tools(self, context: Context) -> dict[str, Any]:
        caller = self._caller(context)
        served = {names.tool_resource(self.gateway.server, k): one for k, one in self.gateway.sorted.served.items()}
        allowed = await self._allowed(caller, list(served))
        return _page(context, "tools", [dict(one.listed) for name, one in served.items() if name in allowed])

    def _lister(self, member: str, needs: str) -> Callable[[Context], Awaitable[Any]]:
        method = {"resourceTemplates": "resources/templates/list"}.get(member, f"{member}/list")
        resource = names.method_resource(self.gateway.server, needs)

        async def lister(context: Context) -> dict[str, Any]:
            caller = self._caller(context)
            if resource not in await self._allowed(caller, [resource]):
                return _page(context, member, [])
            try:
                return _page(context, member, await self.gateway.upstream.listed(method, member))
            except UpstreamLostError as exc:
                raise MCPError(types.INTERNAL_ERROR, str(exc)) from exc

        return lister

    async def _allowed(self, caller: Caller, resources: Sequence[str]) -> frozenset[str]:
        """Return which of these a caller may call at all. Nothing where the log does not say it."""
        asked_at = time.monotonic() - KNOWN_SECONDS  # an answer that is remembered is no older
        try:
            known = await self._names.callable(caller, resources)
        except MacawError as exc:
            raise MCPError(types.INTERNAL_ERROR, f"the log cannot be asked: {type(exc).__name__}") from exc
        if self.gateway.gaps is not None:
            self.gateway.gaps.hear(caller, resources, known, asked_at)
        return known

    def _schema_of(self, tool: str) -> Mapping[str, Any] | None:
        found = self.gateway.sorted.served.get(tool)
        schema = None if found is None else found.listed.get("inputSchema")
        return schema if isinstance(schema, Mapping) else None

    # --- governed requests

    async def _call_tool(self, context: Context) -> Any:
        name = (context.params or {}).get("name")
        if not isinstance(name, str):
            raise MCPError(types.INVALID_PARAMS, "tools/call needs the name of a tool")
        _mapping((context.params or {}).get("arguments"), "the arguments of a tool")
        held = next((one for one in self.gateway.sorted.held if one.name == name), None)
        if held is not None:
            text = f"Held back: {held.why}. The tool's definition must be approved by an administrator first."
            return {"content": [{"type": "text", "text": text}], "isError": True}
        if name not in self.gateway.sorted.served:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {name[:128]}")
        return await self._governed(context, names.tool_resource(self.gateway.server, name), is_tool=True)

    async def _asked(self, context: Context) -> Any:
        return await self._governed(context, names.method_resource(self.gateway.server, context.method))

    async def _governed(self, context: Context, resource: str, *, is_tool: bool = False) -> Any:
        """Answer a request by a governed call, or by a question that its client must answer first."""
        caller = self._caller(context)
        params = dict(context.params or {})
        opened = self._come_back(context, caller, params)
        if opened is None:
            try:
                parameters = names.parameters_of(params, is_tool=is_tool)
            except names.ReservedNameError as exc:
                raise MCPError(types.INVALID_PARAMS, str(exc)) from exc
            relay = ClientRelay(context, self._client(context), self._asker(caller))
            doing = asyncio.ensure_future(self._done(caller, resource, parameters, relay))
            doing.add_done_callback(lambda _: relay.leave())
            opened = _Open(doing, relay, caller)
        try:
            return await self._until_asked(opened, is_tool=is_tool)
        except asyncio.CancelledError:
            opened.doing.cancel()
            raise

    async def _done(self, caller: Caller, resource: str, parameters: dict[str, Any], relay: ClientRelay) -> Any:
        """Return the result of a call. Questions in a result of the server are asked as those in the middle of a call.

        So each is a governed call of its own: a server cannot choose the form that no policy decides.
        """
        asked = dict(parameters)
        for _ in range(ROUNDS_MAX):
            result = await self.gateway.governed(caller, resource, asked, relay)
            if not isinstance(result, dict) or result.get("resultType") != "input_required":
                return result
            questions = result.get("inputRequests") or {}
            if not isinstance(questions, Mapping) or not all(isinstance(one, Mapping) for one in questions.values()):
                raise MCPError(types.INTERNAL_ERROR, "the server asked in a form that the protocol does not know")
            answers = {
                key: await relay.asked_back(str(one.get("method")), _mapping(one.get("params"), "a question"))
                for key, one in questions.items()
            }
            state = {} if result.get("requestState") is None else {"requestState": result["requestState"]}
            asked = {**parameters, names.INPUT: {"inputResponses": answers, **state}}
        raise MCPError(types.INTERNAL_ERROR, f"the server asked more than {ROUNDS_MAX} times")

    async def _until_asked(self, opened: _Open, *, is_tool: bool) -> Any:
        asking = asyncio.ensure_future(opened.relay.questions.get())
        try:
            await asyncio.wait({opened.doing, asking}, return_when=asyncio.FIRST_COMPLETED)
            if opened.doing.done():
                return _result_of(opened.doing, is_tool=is_tool)
            method, params, answer = asking.result()
        finally:
            asking.cancel()
        token, key = secrets.token_urlsafe(32), "1"
        opened.asked, opened.until = {key: answer}, time.monotonic() + ASKED_SECONDS
        self._open[token] = opened
        self._drop_old()
        return {
            "resultType": "input_required",
            "inputRequests": {key: {"method": method, "params": dict(params)}},
            "requestState": token,
        }

    def _come_back(self, context: Context, caller: Caller, params: Mapping[str, Any]) -> _Open | None:
        """Return the call that a request brings answers for; None if it is a new one.

        Raises MCPError for answers to a call that does not wait for them, or is another caller's: to begin the call
        anew would execute it twice.
        """
        self._drop_old()
        token, given = params.get("requestState"), params.get("inputResponses")
        if token is None and given is None:
            return None
        answers = _mapping(given, "inputResponses")
        opened = self._open.get(token) if isinstance(token, str) else None
        if opened is None or opened.caller is not caller:
            raise MCPError(types.INVALID_PARAMS, "no call waits for these answers: look for its effect, then ask anew")
        del self._open[str(token)]
        opened.relay.goes_on_with(context)
        for key, future in opened.asked.items():
            if not future.done():
                future.set_result(answers.get(key) or {})
        return opened

    def _drop_old(self) -> None:
        now = time.monotonic()
        while self._open and next(iter(self._open.values())).until < now:
            self._open.popitem(last=False)[1].doing.cancel()
        while len(self._open) > ASKED_MAX:
            held = Counter(one.caller.principal_id for one in self._open.values())
            most = max(held.values())
            oldest = next(token for token, one in self._open.items() if held[one.caller.principal_id] == most)
            self._open.pop(oldest).doing.cancel()

    def _asker(self, caller: Caller) -> Callable[[str, Mapping[str, Any], ClientRelay], Awaitable[Any]]:
        async def ask(method: str, params: Mapping[str, Any], relay: ClientRelay) -> Any:
            if method not in names.ASKED_BACK:
                raise MCPError(types.METHOD_NOT_FOUND, "a server cannot ask this")
            resource = names.method_resource(self.gateway.server, method)
            try:
                return await self.gateway.governed(caller, resource, params, relay)
            except MacawError as exc:
                return outcomes.told(exc, is_tool=False)  # raises: it is no tool

        return ask

    # --- what is not governed by itself

    async def _subscribe(self, context: Context) -> Any:
        watched = self._watched.setdefault(connection_of(context), set())
        if len(watched) >= WATCHED_MAX:
            raise MCPError(types.INVALID_REQUEST, f"a client may subscribe to {WATCHED_MAX} resources")
        await self._governed(context, names.method_resource(self.gateway.server, names.SUBSCRIBE))
        watched.add(str((context.params or {}).get("uri")))
        return {}

    async def _unsubscribe(self, context: Context) -> Any:
        """Tell this client no more of a resource; the server is told once no client wants to hear of it.

        The server hears of nothing to which this client was not allowed to subscribe: no decision stands before it.
        """
        caller = self._caller(context)
        uri, watched = str((context.params or {}).get("uri")), self._watched.get(connection_of(context), set())
        if uri in watched:
            watched.discard(uri)
            if not any(uri in one for one in self._watched.values()):
                await self.gateway.unsubscribe(caller, uri)
        return {}

    async def _listen(self, context: Context, params: types.SubscriptionsListenRequestParams) -> Any:
        """Tell a client of changes until its session ends. Each resource that it names is a governed subscription."""
        caller = self._caller_of(context)
        uris = list(dict.fromkeys(params.notifications.resource_subscriptions or ()))
        if len(uris) > WATCHED_MAX:
            raise MCPError(types.INVALID_REQUEST, f"a client may subscribe to {WATCHED_MAX} resources")
        relay = ClientRelay(context, self._client(context), self._asker(caller))
        watched = self._watched.setdefault(connection_of(context), set())
        try:
            for uri in uris:
                resource = names.method_resource(self.gateway.server, names.SUBSCRIBE)
                await self.gateway.governed(caller, resource, {"uri": uri}, relay)
                watched.add(uri)
            return await caller.while_open(self._listening(context, params))
        except MacawError as exc:
            return outcomes.told(exc, is_tool=False)  # raises: it is no tool
        except TimeoutError:
            raise MCPError(types.INVALID_REQUEST, "the session of this client has ended") from None
        finally:
            relay.leave()
            watched.difference_update(uris)

    async def _set_level(self, context: Context) -> Any:
        self._caller(context)
        level = (context.params or {}).get("level")
        answer = await self.gateway.upstream.request("logging/setLevel", {"level": level})
        connection_of(context).state[LEVEL] = level
        return answer

    # --- changes

    async def _on_change(self, message: Any) -> None:
        """Tell every client of a change, in its own way."""
        event: Any
        match message:
            case types.ToolListChangedNotification():
                self._names.clear()
                event = ToolsListChanged()
            case types.PromptListChangedNotification():
                event = PromptsListChanged()
            case types.ResourceListChangedNotification():
                event = ResourcesListChanged()
            case _:
                event = ResourceUpdated(uri=str(message.params.uri))
        await self._bus.publish(event)
        told = message.model_dump(by_alias=True, mode="json", exclude_none=True)
        telling = [
            asyncio.wait_for(connection.notify(told["method"], told.get("params")), TELL_SECONDS)
            for connection, caller in list(self._connections.items())
            if caller.seconds_left != 0
            and (not isinstance(event, ResourceUpdated) or event.uri in self._watched.get(connection, ()))
        ]
        await asyncio.gather(*telling, return_exceptions=True)  # a client that does not read misses it, and no other

    # --- who asks

    def _caller(self, context: Context) -> Caller:
        caller = self._caller_of(context)
        if not is_modern(context):
            self._connections[connection_of(context)] = caller
        return caller

    def _client(self, context: Context) -> object:
        """Return an object of one client alone. By HTTP a request of the newest revision names none: it is its own."""
        if self._has_one_client:
            return self
        return object() if is_modern(context) else connection_of(context)


def _result_of(doing: asyncio.Task[Any], *, is_tool: bool) -> Any:
    try:
        return doing.result()
    except MacawError as exc:
        return outcomes.told(exc, is_tool=is_tool)


def _taking_context(handler: Callable[[Context], Awaitable[Any]]) -> Callable[[Context, Any], Awaitable[Any]]:
    async def handle(context: Context, _: Any) -> Any:
        answer = await handler(context)
        # A result of an older server has no type, and clients of the newest revision want one.
        return {"resultType": "complete", **answer} if is_modern(context) and isinstance(answer, dict) else answer

    return handle


def _mapping(given: Any, what: str) -> Mapping[str, Any]:
    """Return an object of JSON, an empty one for none. Raises MCPError for anything else."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise MCPError(types.INVALID_PARAMS, f"{what} must be an object")
    return given


def _page(context: Context, member: str, entries: Sequence[Any]) -> dict[str, Any]:
    """Return the page of a list that a request asks for. Raises MCPError for a cursor that is not ours."""
    cursor = (context.params or {}).get("cursor")
    if cursor is not None and not (
        isinstance(cursor, str) and cursor.isascii() and cursor.isdigit() and len(cursor) < 6
    ):
        raise MCPError(types.INVALID_PARAMS, "the cursor is not one of this list")
    at = int(cursor or 0)
    page: dict[str, Any] = {member: list(entries[at : at + PAGE])}
    if len(entries) > at + PAGE:
        page["nextCursor"] = str(at + PAGE)
    return page
