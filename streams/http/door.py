"""The door before every HTTP front: the checks of a request before it reaches an endpoint.

Each request passes these checks in this order, and the first that fails answers it:

1. The head: at most `HEAD_BYTES_MAX`, HTTP/1.1 or 1.0, one `Host` that names this server (DNS rebinding), no `Origin`
   but those that the front allows, or its own for a front that is for browsers (`origins.py`, `own_pages.py`), a plain
   path, a body of one length (request smuggling), no token in the address, and an `X-Request-ID` that can be echoed.
2. Room: at most `requests_max` requests of a front are answered at a time.
3. The route: an unknown path is 404, a known one with another method 405.
4. The token of the front, compared in constant time, or that of one of its callers, before a byte of the body is read.
5. The body: at most `body_bytes_max`, within `BODY_SECONDS`.

An endpoint that fails answers 500; the log names the endpoint and the class of the exception only, since its text and
traceback may quote the request. Every answer carries the security headers.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.home.home import HomeError
from streams.address import ON_LOOPBACK, Address
from streams.http.origins import check_origin, preflight_of
from streams.http.own_pages import check_own_page
from streams.http.refusals import BROWSER_HEADERS, CLOSE, RETRY_AFTER_SECONDS, SECURITY_HEADERS, HTTPRefusal, refusal_of

log = logging.getLogger(__name__)

HEALTH = "/healthz"
REQUEST_ID = "X-Request-ID"
HEAD_BYTES_MAX = 16 * 1024  # of the request line and the headers together
REQUEST_ID_CHARS_MAX = 256
VERSIONS = ("1.0", "1.1")  # proxies still speak 1.0
REQUESTS_MAX = 64
BODY_SECONDS = 10.0
# A token file that was cut short must not become a token that can be guessed.
TOKEN_CHARS_MIN = 16
_REQUEST_ID = re.compile(rf"[\x21-\x7e]{{1,{REQUEST_ID_CHARS_MAX}}}")
_UNPLAIN = re.compile(rb"%(?:2f|5c|2e|25)", re.IGNORECASE)  # `/`, `\`, `.` and `%`, which proxies read differently
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_TOKEN_NAMES = frozenset({"access_token", "token", "authorization", "bearer"})

_BODY = "macaw.body"  # the bounded body of a request, in its scope

Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of a front, as Starlette writes paths. `GET` also serves `HEAD`; `is_public` asks for no token.

    `body_bytes_max` is the bound of its own, below that of the front; with 0 every body is refused.
    """

    path: str
    answer: Answer
    method: str = "GET"
    is_public: bool = False
    body_bytes_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The endpoints of one server, with its token, its health check and its bounds.

    `token` returns the token that a request must carry; it is read again for each request. It raises HomeError if there
    is none, and then the request is refused. Where each caller has a token of its own, `admits` says whether a text is
    one. `token_place` tells people where to find the token. `health` returns the members of the answer at `/healthz`,
    which needs no token, or raises HTTPRefusal (`not_ready`). Pages of `origins` are answered. With `as_problem`
    refusals are problem details (RFC 9457).

    A front `is_for_browsers` answers requests of its own pages, also those that change something, and of no other
    origin's. `content_policy` is the Content-Security-Policy of its pages.
    """

    endpoints: Sequence[Endpoint]
    token: Callable[[Request], str] = field(default=lambda _: "", repr=False)
    admits: Callable[[Request, str], bool] | None = None
    token_place: str
    health: Callable[[], Mapping[str, object]]
    address: Address = ON_LOOPBACK
    requests_max: int = REQUESTS_MAX
    body_bytes_max: int = 0
    origins: frozenset[str] = frozenset()
    as_problem: bool = False
    is_for_browsers: bool = False
    content_policy: str = "default-src 'none'; frame-ancestors 'none'"


def door_of(front: Front) -> ASGIApp:
    """Return a front as an ASGI application behind its door."""
    return Door(front)


class Door:
    """Admits requests to the endpoints of a front."""

    def __init__(self, front: Front) -> None:
        async def healthz(request: Request) -> Response:  # noqa: ARG001 - Starlette passes it
            return JSONResponse(front.health())

        self._front = front
        self._room = front.requests_max
        self._decoy = secrets.token_urlsafe(32)  # compared if there is no token, so that the time reveals little

        async def refuse(request: Request, exc: Exception) -> Response:  # noqa: ARG001 - Starlette passes it
            return refusal_of(exc).response(as_problem=front.as_problem)

        self._app = Starlette(
            routes=self._routes([*front.endpoints, Endpoint(HEALTH, healthz, is_public=True)]),
            exception_handlers={HTTPException: refuse},
        )
        self._app.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        headers = Headers(scope=scope)
        ids = headers.getlist(REQUEST_ID)
        given = {REQUEST_ID: ids[0]} if len(ids) == 1 and _REQUEST_ID.fullmatch(ids[0]) else {}

        policy = {**BROWSER_HEADERS, "Content-Security-Policy": self._front.content_policy}
        secured = {**SECURITY_HEADERS, **(policy if self._front.is_for_browsers else {})}

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update({**secured, **given})
            await send(message)

        try:
            given.update(check_head(scope, self._front))
            preflight = None if self._front.is_for_browsers else preflight_of(scope, headers)
            if preflight is None and self._room == 0:
                raise _busy()
        except HTTPRefusal as refusal:
            await refusal.response(as_problem=self._front.as_problem)(scope, receive, send_secured)
            return
        if preflight is not None:
            await preflight(scope, receive, send_secured)
            return
        self._room -= 1
        try:
            body = scope[_BODY] = _BoundedBody(receive, self._front.body_bytes_max)
            await self._app(scope, body, send_secured)
        finally:
            self._room += 1

    def _routes(self, endpoints: Sequence[Endpoint]) -> list[Route]:
        """Return one route for each path, so that a refused method is told all that are served there."""
        paths: dict[str, dict[str, Answer]] = {}
        for one in endpoints:
            paths.setdefault(one.path, {})[one.method] = self._guarded(one)
        return [Route(path, _by_method(answers), methods=[*answers]) for path, answers in paths.items()]

    def _guarded(self, endpoint: Endpoint) -> Answer:
        """Return the endpoint behind the checks that depend on it: token and length."""

        async def guarded(request: Request) -> Response:
            try:
                if not endpoint.is_public:
                    self._check_token(request)
                if endpoint.body_bytes_max is not None:
                    request.scope[_BODY].narrow(endpoint.body_bytes_max)
                _check_length(request.headers, request.scope[_BODY].bytes_max)
                return await endpoint.answer(request)
            except HTTPException:
                raise
            except ClientDisconnect:
                raise HTTPRefusal(
                    HTTPStatus.BAD_REQUEST, "BODY_BROKEN", "the body broke off", "send the whole body"
                ) from None
            except Exception as exc:  # noqa: BLE001 - the last place before a server that would log all of it
                log.error("%s could not answer: %s", endpoint.path, type(exc).__name__)  # noqa: TRY400 - no traceback
                raise HTTPRefusal(
                    HTTPStatus.INTERNAL_SERVER_ERROR,
                    "INTERNAL_ERROR",
                    "the request could not be answered",
                    "treat the request as denied; the log of this server names the kind of failure",
                ) from None

        return guarded

    def _check_token(self, request: Request) -> None:
        """Check that the one Authorization header carries the front's token. Raises HTTPRefusal 401."""
        given = request.headers.getlist("authorization")
        scheme, _, value = (given[0] if len(given) == 1 else "").partition(" ")
        is_right = self._is_right(request, value.strip())
        if not (is_right and scheme.lower() == "bearer"):
            raise HTTPRefusal(
                HTTPStatus.UNAUTHORIZED,
                "TOKEN_REFUSED",
                "the request has no token, a wrong one, or several",
                f"send one header `Authorization: Bearer TOKEN` with the token in {self._front.token_place}",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _is_right(self, request: Request, value: str) -> bool:
        if self._front.admits is not None:
            return self._front.admits(request, value)
        try:
            token = self._front.token(request)
        except HomeError:
            token = ""
        is_token = len(token) >= TOKEN_CHARS_MIN
        return hmac.compare_digest(value.encode(), (token if is_token else self._decoy).encode()) and is_token


def _by_method(answers: Mapping[str, Answer]) -> Answer:
    async def answer(request: Request) -> Response:
        return await answers["GET" if request.method == "HEAD" else request.method](request)

    return answer


def check_head(scope: Scope, front: Front) -> Mapping[str, str]:
    """Check the head of a request, except its route and its token; return the headers for a page that may read on.

    Raises HTTPRefusal.
    """
    headers = Headers(scope=scope)
    size = len(scope["raw_path"]) + len(scope["query_string"])
    if size + sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > HEAD_BYTES_MAX:
        raise HTTPRefusal(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            "HEAD_TOO_LARGE",
            f"the head of the request is larger than {HEAD_BYTES_MAX} bytes",
            "send fewer or shorter headers",
            headers=CLOSE,
        )
    if scope["http_version"] not in VERSIONS:
        raise HTTPRefusal(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
            "VERSION_REFUSED",
            "the request is not HTTP/1.1 or HTTP/1.0",
            "use HTTP/1.1",
            headers=CLOSE,
        )
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not front.address.is_ours(hosts[0]):
        raise HTTPRefusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            "HOST_REFUSED",
            "the Host header does not name this server",
            "use the address that the server printed at its start, or set its option for another name",
            headers=CLOSE,
        )
    for_page: Mapping[str, str] = {}
    if front.is_for_browsers:
        check_own_page(scope["method"], headers)
    else:
        for_page = check_origin(headers, front.origins)
    _check_target(scope)
    _check_framing(headers, scope["http_version"])
    ids = headers.getlist(REQUEST_ID)
    if ids and (len(ids) > 1 or not _REQUEST_ID.fullmatch(ids[0])):
        raise HTTPRefusal(
            HTTPStatus.BAD_REQUEST,
            "REQUEST_ID_REFUSED",
            f"{REQUEST_ID} is not one text of 1 to {REQUEST_ID_CHARS_MAX} visible ASCII characters",
            f"send one such {REQUEST_ID}, or none",
            headers=CLOSE,
        )
    return for_page


def _check_target(scope: Scope) -> None:
    """Check that path and query mean the same to every reader, and carry no token. Raises HTTPRefusal."""
    path: str = scope["path"]
    is_plain = path.startswith("/") and not _CONTROL.search(path) and not {".", ".."} & set(path.split("/"))
    if not is_plain or _UNPLAIN.search(scope["raw_path"]):
        raise HTTPRefusal(
            HTTPStatus.BAD_REQUEST,
            "PATH_REFUSED",
            "the path is not plain: it has dot segments, control characters, or an encoded `/`, `\\`, `.` or `%`",
            "send the path as the documentation of this server writes it",
            headers=CLOSE,
        )
    names = {name.lower() for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)}
    if names & _TOKEN_NAMES:
        raise HTTPRefusal(
            HTTPStatus.BAD_REQUEST,
            "TOKEN_IN_ADDRESS",
            "the query has a parameter for a token, and addresses end up in logs",
            "send the token in the Authorization header; replace it if it was real",
            headers=CLOSE,
        )


def _check_framing(headers: Headers, version: str) -> None:
    """Check that a proxy before this server cannot see another end of the body. Raises HTTPRefusal."""
    lengths, codings = headers.getlist("content-length"), headers.getlist("transfer-encoding")
    if len(lengths) + len(codings) > 1 or (codings and version != "1.1"):
        raise HTTPRefusal(
            HTTPStatus.BAD_REQUEST,
            "FRAMING_REFUSED",
            "the request states the length of its body twice, or in a way that its HTTP version does not know",
            "send one Content-Length, or `Transfer-Encoding: chunked` with HTTP/1.1",
            headers=CLOSE,
        )


def _check_length(headers: Headers, bytes_max: int) -> None:
    """Refuse a body that is stated as too large, and any body if none is accepted. Raises HTTPRefusal."""
    length = headers.get("content-length", "0")
    if int(length) > bytes_max or (bytes_max == 0 and "transfer-encoding" in headers):
        raise _too_large(bytes_max)


def _too_large(bytes_max: int) -> HTTPRefusal:
    return HTTPRefusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "BODY_TOO_LARGE",
        f"the body is larger than {bytes_max} bytes" if bytes_max else "this endpoint takes no body",
        "send less" if bytes_max else "send the request without a body",
        headers=CLOSE,
    )


def _busy() -> HTTPRefusal:
    return HTTPRefusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "BUSY",
        "the server is answering the largest number of requests that it answers at a time",
        "ask again in a moment",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


class _BoundedBody:
    """The body of one request within its bounds. Reading it raises HTTPRefusal 413 or 408 above them."""

    def __init__(self, receive: Receive, bytes_max: int) -> None:
        self._receive = receive
        self.bytes_max = self._left = bytes_max
        self._until: float | None = None
        self._is_whole = False

    def narrow(self, bytes_max: int) -> None:
        """Lower the bound, before a byte is read."""
        self.bytes_max = self._left = min(bytes_max, self.bytes_max)

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()  # Starlette waits here for the client to disconnect
        if self._until is None:
            self._until = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise HTTPRefusal(
                HTTPStatus.REQUEST_TIMEOUT,
                "BODY_TOO_SLOW",
                f"the body did not come within {BODY_SECONDS:g} s",
                "send the body at once",
                headers=CLOSE,
            ) from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_large(self.bytes_max)
        self._is_whole = not message.get("more_body", False)
        return message
