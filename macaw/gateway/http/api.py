"""The gateway of one tenant over HTTP and JSON: programs in any language log in, call, stream and answer approvals.

`operations.py` has the table of endpoints; here are the functions behind it.

**Access.** A program logs in with a token of the tenant's identity provider. It gets a handle, which opens its own
session and nothing else. Handles travel in the Authorization header alone; there are no cookies, so no page of a
browser can use one that it was not given.

**Trust.** The gateway has the key of each session for as long as the session lives, and signs with it. The other
checks of a request are in `streams/http/door.py`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

import jsonschema_rs
from confluent_kafka import KafkaException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from macaw.gateway.http import bounds
from macaw.gateway.http.openapi import openapi
from macaw.gateway.http.operations import JSON, OPERATIONS, HTTPOperation
from macaw.gateway.http.refusing import busy, log_unavailable, malformed, refusal_for, refusal_for_login, token_refused
from macaw.gateway.http.sessions import HeldSession, Sessions
from macaw.gateway.http.shapes import fault_in
from macaw.gateway.http.streaming import EventStream
from macaw.gateway.http.tools import tools_page
from macaw.gateway.logins import TokenLogins
from processors.proof import jcs
from producers.home.home import Home
from schemas.errors import MacawError
from streams.address import Address
from streams.http import Endpoint, Front, HTTPRefusal, not_ready
from streams.http.bodies import PublicBodies
from streams.http.refusals import CLOSE

_LOGIN = "macaw.login"  # where the door leaves the login of a request
_CALL_OPTIONS = ("idempotency_key", "delegation", "secrets")
_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)  # also one without its end
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that was admitted: its login, its body, and its parameters."""

    login: HeldSession
    body: Mapping[str, Any] = field(repr=False)
    parameters: Mapping[str, Any]


class GatewayAPI:
    """Answers programs for one tenant. One event loop uses it."""

    def __init__(
        self,
        tenant: str,
        home: Home,
        address: Address,
        *,
        is_followed: Callable[[], bool],
        origins: frozenset[str] = frozenset(),
        provider: str | None = None,
    ) -> None:
        """Answer for a tenant, as long as its log `is_followed`; `provider` is as in `Client.login`.

        Pages of `origins` may ask.
        """
        self._address, self._is_followed, self._origins = address, is_followed, origins
        self._logins = TokenLogins(
            tenant, home, provider=provider, keeps_calls=False, waiting_max=bounds.LOGINS_WAITING_MAX
        )
        self._bodies = PublicBodies(bounds.READING_SECONDS, bounds.READING_MAX)
        self._streams = ThreadPoolExecutor(bounds.STREAMS_MAX, "stream")
        self._questions = ThreadPoolExecutor(bounds.QUESTION_THREADS, "question")
        self._streaming = 0
        self.sessions = Sessions()

    def front(self) -> Front:
        """Return the endpoints, their handles and their bounds."""
        public: Mapping[str, Callable[[Request], Awaitable[Response]]] = {
            "login": self._login,
            "document": self._document,
        }
        admitted: Mapping[str, Callable[[Admitted], Awaitable[Response]]] = {
            "session": self._session,
            "logout": self._logout,
            "tools": self._tools,
            "call": self._call,
            "stream": self._stream,
            "come_back": self._come_back,
            "approvals": self._approvals,
            "show_approval": self._show_approval,
            "answer_approval": self._answer_approval,
        }
        return Front(
            endpoints=[
                Endpoint(
                    one.path,
                    public[one.name] if one.is_public else self._admitted(one, admitted[one.name]),
                    one.method,
                    one.is_public,
                    body_bytes_max=one.body_bytes_max,
                )
                for one in OPERATIONS
            ],
            admits=self._admits,
            token_place="the answer of POST /v1/sessions",  # noqa: S106 - a sentence
            health=self._health,
            address=self._address,
            requests_max=bounds.REQUESTS_MAX,
            body_bytes_max=bounds.BODY_BYTES_MAX,
            origins=self._origins,
            as_problem=True,
        )

    async def close(self) -> None:
        """End every session."""
        await self.sessions.close()
        self._logins.close()
        for pool in (self._streams, self._questions):
            pool.shutdown(wait=False, cancel_futures=True)

    def _health(self) -> Mapping[str, object]:
        if not self._is_followed():
            raise not_ready("the log of the tenant does not answer")
        return {"ready": True}

    # ---- the way to an operation

    def _admits(self, request: Request, handle: str) -> bool:
        login = self.sessions.find(handle)
        request.scope[_LOGIN] = login
        return login is not None

    def _admitted(
        self, operation: HTTPOperation, answer: Callable[[Admitted], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def admitted(request: Request) -> Response:
            login: HeldSession = request.scope[_LOGIN]
            with login.used(), login.share.body(_size_of(request, operation)) as correct:
                text = b"" if operation.body is None else await request.body()
                correct(len(text))
                body = {} if operation.body is None else _body(operation.body, request, text)
                asked = Admitted(login, body, _parameters(operation, request))
                if operation.needs_log and not self._is_followed():
                    raise log_unavailable()
                try:
                    if not operation.is_question:
                        return await answer(asked)
                    with login.share.taken("questions"):
                        return await answer(asked)
                except (MacawError, KafkaException) as exc:
                    refusal = refusal_for(exc)
                except HTTPRefusal as exc:
                    refusal = exc
            if refusal.code == "SESSION_OVER":
                self.sessions.end(login)
            raise refusal

        return admitted

    async def _asking(self, question: Callable[[], T]) -> T:
        """Ask the log a question in a thread of its own, and return the answer."""
        return await asyncio.get_running_loop().run_in_executor(self._questions, question)

    # ---- sessions

    async def _login(self, request: Request) -> Response:
        token = _bearer(request)
        text = await self._bodies.read(request)
        if token is None or text:
            body = _body("Login", request, text)
            if token is not None:
                raise malformed("the token is given twice: in the Authorization header and in the body")
            token = str(body["token"])
        if len(token) > bounds.TOKEN_CHARS_MAX:
            raise malformed(f"token: it has more than {bounds.TOKEN_CHARS_MAX} characters")
        if not self._is_followed():
            raise log_unavailable()
        if self.sessions.is_full:
            raise busy()
        try:
            client = await self._logins.open(token)
        except (MacawError, KafkaException) as exc:
            raise refusal_for_login(exc) from None
        handle, login = self.sessions.keep(client)
        told = {"session": handle, **_state(login), "idle_seconds": int(bounds.IDLE_SECONDS)}
        return JSONResponse(told, HTTPStatus.CREATED)

    async def _session(self, asked: Admitted) -> Response:
        return JSONResponse(_state(asked.login))

    async def _logout(self, asked: Admitted) -> Response:
        await self.sessions.close_session(asked.login)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    # ---- calls

    async def _tools(self, asked: Admitted) -> Response:
        after = str(asked.parameters.get("after", ""))
        return JSONResponse(await self._asking(partial(tools_page, asked.login.client, after)))

    async def _call(self, asked: Admitted) -> Response:
        seconds = float(asked.body.get("wait_seconds", bounds.WAIT_SECONDS))
        login = asked.login
        login.share.take("calls")
        try:
            call = await login.caller.begin(**_call_of(asked.body), seconds=seconds)
        except BaseException:
            login.share.give_back("calls")
            raise
        held = await login.calls.hold(call, seconds)
        return await held.wait(seconds)

    async def _come_back(self, asked: Admitted) -> Response:
        held = asked.login.calls.find(str(asked.parameters["call_id"]))
        return await held.wait(float(asked.parameters.get("wait_seconds", 0)), for_end=True)

    async def _stream(self, asked: Admitted) -> Response:
        login = asked.login
        if self._streaming >= bounds.STREAMS_MAX:
            raise busy()
        login.share.take("streams")
        self._streaming, login.under_way = self._streaming + 1, login.under_way + 1
        stream = EventStream(self._streams)

        async def on_end() -> None:
            try:
                await stream.close()
            finally:
                login.share.give_back("streams")
                self._streaming, login.under_way = self._streaming - 1, login.under_way - 1

        try:
            call = await login.caller.begin(**_call_of(asked.body), seconds=bounds.WAIT_SECONDS)
            stream.begin(login.client, call)
            await stream.first()
        except BaseException as exc:
            await on_end()
            if isinstance(exc, MacawError | KafkaException):
                raise refusal_for(exc, stream.ids or None) from None
            raise
        return stream.answer(on_end)

    # ---- approvals

    async def _approvals(self, asked: Admitted) -> Response:
        return JSONResponse({"requests": await self._asking(asked.login.client.list_attestations)})

    async def _show_approval(self, asked: Admitted) -> Response:
        shown = await self._asking(partial(asked.login.client.show_call, str(asked.parameters["request"])))
        return JSONResponse(shown.as_json())

    async def _answer_approval(self, asked: Admitted) -> Response:
        client, body, request = asked.login.client, asked.body, str(asked.parameters["request"])
        key = body.get("key")
        if key is None:
            keys = [one.get("key") for one in (await self._asking(partial(client.show_call, request))).requests]
            if len(keys) != 1:
                raise malformed(f"key: the call has {len(keys)} requests, so the answer must name one")
            key = keys[0]
        # The call is fetched once more, and nothing is signed unless it has the parameters that were shown.
        listed = {"request": request, "key": key, "parameters_sha256": body["parameters_sha256"]}
        says = client.approve_attestation if body["answer"] == "approve" else client.deny_attestation
        await self._asking(partial(says, listed, reason=str(body.get("reason", ""))))
        return JSONResponse({"request": request, "key": key, "answer": body["answer"]})

    # ---- the document

    async def _document(self, request: Request) -> Response:  # noqa: ARG002 - Starlette passes it
        return JSONResponse(openapi(self._address.url))


def _size_of(request: Request, operation: HTTPOperation) -> int:
    """Return the bytes that the body of a request may have; the door has checked a length that is stated."""
    return int(request.headers.get("content-length", 0 if operation.body is None else operation.body_bytes_max))


def _holds_too_much(text: bytes) -> bool:
    """Whether a text has more JSON values than a body may, seen by its commas: to read them all would hold up others.

    A text with more strings than names and values could have is none of JSON, or has too many as well.
    """
    most, commas, at = bounds.BODY_NODES_MAX, 0, 0
    if text.count(b",") <= most:
        return False
    for number, one in enumerate(_TEXTS.finditer(text)):
        commas, at = commas + text.count(b",", at, one.start()), one.end()
        if commas > most or number > 2 * most:
            return True
    return commas + text.count(b",", at) > most


def _body(schema: str, request: Request, text: bytes) -> Mapping[str, Any]:
    """Return the body of a request. Raises HTTPRefusal 400."""
    types = request.headers.getlist("content-type")
    if len(types) != 1 or types[0].partition(";")[0].strip().lower() != JSON:
        raise HTTPRefusal(
            HTTPStatus.BAD_REQUEST,
            "CONTENT_TYPE_REFUSED",
            f"the Content-Type is not {JSON}",
            f"send one header `Content-Type: {JSON}`",
            headers=CLOSE,
        )
    if _holds_too_much(text):
        raise malformed("the body is not strict JSON: nodes")
    try:
        value = jcs.parse_strict(text, depth_max=bounds.BODY_DEPTH_MAX, nodes_max=bounds.BODY_NODES_MAX)
    except jcs.MalformedJSONError as exc:
        raise malformed(f"the body is not strict JSON: {exc.cause}") from None
    if (fault := fault_in(schema, value)) is not None:
        raise malformed(fault)
    assert isinstance(value, dict)
    return value


def _parameters(operation: HTTPOperation, request: Request) -> Mapping[str, Any]:
    """Return the parameters of path and query, held against their schemas. Raises HTTPRefusal 400."""
    known = {one.name: one for one in operation.parameters}
    queried = request.query_params.multi_items()
    names = [name for name, _ in queried]
    if len(set(names)) < len(names) or not set(names) <= {one.name for one in known.values() if one.place == "query"}:
        raise malformed("the query has a parameter that is not described, or one twice")
    found: dict[str, Any] = {}
    for name, text in [*request.path_params.items(), *queried]:
        schema = known[name].schema
        value: Any = text
        if schema["type"] == "number":
            try:
                value = jcs.parse_strict(text.encode())
            except jcs.MalformedJSONError:
                value = None
        if not jsonschema_rs.is_valid(dict(schema), value):
            raise malformed(f"{name}: the value is not as /openapi.json describes it")
        found[name] = value
    return found


def _bearer(request: Request) -> str | None:
    """Return the token in the Authorization header, None without one. Raises HTTPRefusal 401."""
    given = request.headers.getlist("authorization")
    if not given:
        return None
    scheme, _, token = given[0].partition(" ")
    if len(given) != 1 or scheme.lower() != "bearer" or not token.strip():
        raise token_refused()
    return token.strip()


def _call_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call as `Client.begin` takes it."""
    found = {name: body[name] for name in ("resource", "parameters", *_CALL_OPTIONS) if name in body}
    if "target" in body:
        found["target"] = bytes.fromhex(body["target"])
    if "deadline_seconds" in body:
        found["deadline"] = body["deadline_seconds"]
    return found


def _state(login: HeldSession) -> dict[str, Any]:
    return {"principal": login.principal_id, "expires_at": login.expires_at}
