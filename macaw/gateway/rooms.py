"""The room of each user at a gateway over HTTP: requests under way, open streams, sessions, and bytes of bodies.

The one door before the SDK's own application, behind the check of the token. A request beyond its user's room gets
429 with `Retry-After` and an error of the protocol as its body; other users have their room all the same. A client at
standard input has no other beside it, so it does not come here.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import INVALID_REQUEST, ErrorData, JSONRPCError
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from macaw.gateway.stream_events import EventShelf

BODY_BYTES_MAX: Final = 16 * 1024 * 1024
BODY_SECONDS: Final = 30.0
BUSY: Final = -32000  # JSON-RPC leaves it to servers
RETRY_SECONDS: Final = 1
SESSIONS_RETRY_SECONDS: Final = 60
LISTEN: Final = b"subscriptions/listen"
LISTEN_BYTES_MAX: Final = 1024 * 1024  # a larger one counts as any other request


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRoom:
    """The most that one user has at once. A session of the older revisions holds one stream open as a rule."""

    sessions: int
    requests: int
    streams: int
    body_bytes: int  # of requests under way


OF_A_USER: Final = UserRoom(sessions=256, requests=64, streams=320, body_bytes=64 * 1024 * 1024)
# All clients on this machine are one program, or one person.
OF_ALL_CLIENTS: Final = UserRoom(sessions=1024, requests=512, streams=1280, body_bytes=256 * 1024 * 1024)


class _RefusedRequestError(Exception):
    """A request that is not served, with the answer."""

    def __init__(self, status: HTTPStatus, said: str, *, retry: int | None = None) -> None:
        super().__init__(said)
        error = JSONRPCError(
            jsonrpc="2.0", id=None, error=ErrorData(code=BUSY if retry else INVALID_REQUEST, message=said)
        )
        headers = {"connection": "close"} | ({"retry-after": str(retry)} if retry else {})
        self.response = Response(
            error.model_dump_json(by_alias=True, exclude_unset=True), status, headers, media_type="application/json"
        )


def user_of(scope: Scope) -> str | None:
    """Return the user that a token names, None for a request without a verified one."""
    user = scope.get("user")
    if not isinstance(user, AuthenticatedUser):
        return None
    return user.access_token.subject or user.access_token.client_id


class UserRooms:
    """The application behind its users' rooms. For one event loop."""

    def __init__(self, app: ASGIApp, room: UserRoom, find_user: Callable[[Scope], str | None] = user_of) -> None:
        """`find_user` names the user of a request, None for one that the application refuses by itself."""
        self._app, self._room, self._find_user = app, room, find_user
        self._requests: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._arriving: Counter[str] = Counter()  # bodies
        self._messages: Counter[str] = Counter()  # that came beside as many requests as there may be
        self._bytes: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI has it."""
        user = self._find_user(scope) if scope["type"] == "http" else None
        if user is None:
            await self._app(scope, receive, send)
            return
        try:
            if scope["method"] == "POST":
                await self._post(user, scope, receive, send)
            elif scope["method"] == "GET":
                with self._one_more(user, self._streams):
                    await self._app(scope, receive, send)
            else:  # it ends a session
                await self._app(scope, receive, send)
        except _RefusedRequestError as refused:
            await refused.response(scope, receive, send)

    async def _post(self, user: str, scope: Scope, receive: Receive, send: Send) -> None:
        says_so = any(name == b"mcp-method" and value == LISTEN for name, value in scope["headers"])
        with self._body(user) as read:
            with self._one_more(user, self._arriving):
                body = await read(receive)
            # The header is the client's word, and older revisions do not hold it against the body.
            counter = self._streams if says_so and _listens(body) else self._requests
            if self._is_full(user, counter) and _is_message(body):
                counter = self._messages
            with self._one_more(user, counter):
                await self._app(scope, _again(body, receive), _telling_when(send))

    def _is_full(self, user: str, counter: Counter[str]) -> bool:
        return counter[user] >= (self._room.streams if counter is self._streams else self._room.requests)

    @contextmanager
    def _one_more(self, user: str, counter: Counter[str]) -> Iterator[None]:
        if self._is_full(user, counter):
            what = "streams are open" if counter is self._streams else "requests are under way"
            raise _RefusedRequestError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{counter[user]} {what} for this user: end one of them, or wait for it",
                retry=RETRY_SECONDS,
            )
        counter[user] += 1
        try:
            yield
        finally:
            _change(counter, user, -1)

    @contextmanager
    def _body(self, user: str) -> Iterator[Callable[[Receive], Any]]:
        """Give a function that reads a body within the room of its user, which has it back at the end."""
        held = 0

        async def read(receive: Receive) -> bytes:
            nonlocal held
            parts: list[bytes] = []
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    while True:
                        message = await receive()
                        if message["type"] != "http.request":  # the client has gone
                            raise _RefusedRequestError(HTTPStatus.BAD_REQUEST, "the body broke off")
                        part = message.get("body", b"")
                        held += len(part)
                        self._bytes[user] += len(part)
                        self._check_bytes(user, held)
                        parts.append(part)
                        if not message.get("more_body", False):
                            return b"".join(parts)
            except TimeoutError:
                raise _RefusedRequestError(
                    HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {BODY_SECONDS:g} s: send it at once"
                ) from None

        try:
            yield read
        finally:
            _change(self._bytes, user, -held)

    def _check_bytes(self, user: str, held: int) -> None:
        if held > BODY_BYTES_MAX:
            raise _RefusedRequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {BODY_BYTES_MAX} bytes: send less"
            )
        if self._bytes[user] > self._room.body_bytes:
            raise _RefusedRequestError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"requests of {self._room.body_bytes} bytes are under way for this user: wait for their answers",
                retry=RETRY_SECONDS,
            )


def _change(counter: Counter[str], user: str, change: int) -> None:
    counter[user] += change
    if not counter[user]:
        del counter[user]


def _is_message(body: bytes) -> bool:
    """Whether a body is an answer or a notification, which is taken at once: calls may wait for it."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and ("method" not in found or "id" not in found)


def _listens(body: bytes) -> bool:
    """Whether a body asks for a stream of changes."""
    if len(body) > LISTEN_BYTES_MAX:
        return False
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("method") == LISTEN.decode()


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body which was read, and then the end of the client."""
    waiting = [body]

    async def give() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return give


def _telling_when(send: Send) -> Send:
    """Return a `send` that says when to ask again, where the SDK has no room for another session."""

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == HTTPStatus.SERVICE_UNAVAILABLE:
            when = (b"retry-after", str(SESSIONS_RETRY_SECONDS).encode())
            message = {**message, "headers": [*message.get("headers", ()), when]}
        await send(message)

    return tell


def bound_sessions(manager: StreamableHTTPSessionManager, room: UserRoom, shelf: EventShelf) -> None:
    """Hold each user to its room for sessions, and give each session a store for the events of its streams.

    The SDK decides about a session under its own lock, in `_admit_session`, and has no other place for this. It answers
    503 where there is no room.
    """
    admit = manager._admit_session  # noqa: SLF001
    owners, sessions = manager._session_owners, manager._server_instances  # noqa: SLF001

    def admit_within(requestor: Any) -> Any:
        user = None if requestor is None else requestor["subject"] or requestor["client_id"]
        open_now = len(sessions)
        if requestor is not None:
            open_now = sum((one["subject"] or one["client_id"]) == user for one in owners.values())
        if open_now >= room.sessions:
            return None
        manager.event_store = shelf.session(user or "")
        try:
            return admit(requestor)
        finally:
            manager.event_store = None

    manager._admit_session = admit_within  # type: ignore[method-assign] # noqa: SLF001


def with_rooms(app: Starlette, server: Server[Any], path: str, *, has_users: bool) -> None:
    """Put rooms before the endpoint of a server at a path of its application. Without users all have one room."""
    room = OF_A_USER if has_users else OF_ALL_CLIENTS
    bound_sessions(server.session_manager, room, EventShelf())
    [route] = [one for one in app.routes if isinstance(one, Route) and one.path == path]
    route.app = UserRooms(route.app, room, user_of if has_users else lambda _: "")
