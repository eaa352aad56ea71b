"""The AuthZEN endpoints of one tenant: ask before you act.

    POST /access/v1/evaluation                  {"subject", "action", "resource"} -> {"decision", "context"}
    POST /access/v1/evaluations                 the same with "evaluations" and "options" -> {"evaluations": [...]}
    GET  /.well-known/authzen-configuration
    GET  /healthz

**Who may ask.** Who has the bearer token in the tenant's folder. Without it every question has one answer, 401, given
before a byte of the body is read. No page of a browser asks: a request with an `Origin`, or with a `Host` that is not
ours, is refused before that.

**What is answered.** A question that is well put has the answer 200, a denial included; 400 says which member is
wrong, and names no value. In a batch a malformed evaluation is denied for itself. While policies and subjects are not
known to be current, the answer is 503.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from processors.proof.jcs import JSONValue
from producers.home import HomeError, TenantHome
from streams.address import Address
from streams.authzen import limits
from streams.authzen.answers import answer
from streams.authzen.questions import (
    MalformedRequestError,
    Object,
    Question,
    QuestionBatch,
    read_batch,
    read_body,
    read_question,
)
from streams.authzen.standing import Kept, Snapshot
from streams.http import RETRY_AFTER_SECONDS, Door, SecureHeaders
from streams.views.api import TOKEN_CHARS_MIN

log = logging.getLogger(__name__)

EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"
METADATA = "/.well-known/authzen-configuration"
REQUEST_ID = "X-Request-ID"
_REQUEST_ID = re.compile(rf"[\x21-\x7e]{{1,{limits.REQUEST_ID_CHARS_MAX}}}")
_JSON_TYPE = "application/json"

Endpoint = Callable[[Request], Awaitable[Response]]


class DecisionAPI:
    """Answers from what is kept, for those who have the token in `folder`."""

    def __init__(
        self,
        folder: TenantHome,
        kept: Kept,
        address: Address,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._folder = folder
        self._kept = kept
        self._address = address
        self._clock_ms = clock_ms
        self._nobodys_token = secrets.token_urlsafe(32)

    def build(self) -> ASGIApp:
        """Return the application, its headers on every answer, errors included."""
        routes = [
            Route(EVALUATION, _quiet(self._evaluation), methods=["POST"]),
            Route(EVALUATIONS, _quiet(self._evaluations), methods=["POST"]),
            Route(METADATA, self._metadata, methods=["GET"]),
            Route("/healthz", self._healthz, methods=["GET"]),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
        app.router.redirect_slashes = False
        return SecureHeaders(RequestIds(Door(app, self._address)))

    async def _evaluation(self, request: Request) -> Response:
        standing, body = await self._admit(request)
        return JSONResponse(self._single(standing, body))

    async def _evaluations(self, request: Request) -> Response:
        standing, body = await self._admit(request)
        try:
            batch = read_batch(body)
        except MalformedRequestError as exc:
            raise HTTPException(400, str(exc)) from None
        if batch is None:
            return JSONResponse(self._single(standing, body))
        return JSONResponse({"evaluations": await self._batch(standing, batch)})

    async def _metadata(self, request: Request) -> Response:  # noqa: ARG002 - Starlette passes it
        url = self._address.url
        return JSONResponse(
            {
                "policy_decision_point": url,
                "access_evaluation_endpoint": f"{url}{EVALUATION}",
                "access_evaluations_endpoint": f"{url}{EVALUATIONS}",
            }
        )

    async def _healthz(self, request: Request) -> Response:  # noqa: ARG002 - Starlette passes it
        self._current()
        return JSONResponse({"ready": True})

    async def _admit(self, request: Request) -> tuple[Snapshot, Object]:
        """Return what to answer from, and the body. Raises HTTPException."""
        if not self._may_ask(request.headers.getlist("authorization")):
            raise HTTPException(401, "want the bearer token of this tenant", {"WWW-Authenticate": "Bearer"})
        types = request.headers.getlist("content-type")
        if len(types) != 1 or types[0].partition(";")[0].strip().lower() != _JSON_TYPE:
            raise HTTPException(400, f"Content-Type: want {_JSON_TYPE}")
        text = await _read(request)
        try:
            body = read_body(text)
        except MalformedRequestError as exc:
            raise HTTPException(400, str(exc)) from None
        return self._current(), body

    def _current(self) -> Snapshot:
        standing = self._kept.current()
        if standing is None:
            sentence = "policies and subjects could not be read for too long; ask again in a moment"
            raise HTTPException(503, sentence, {"Retry-After": str(RETRY_AFTER_SECONDS)})
        return standing

    def _may_ask(self, authorizations: list[str]) -> bool:
        """Whether the one Authorization header carries the token. Read each time: a token may be replaced."""
        try:
            token = self._folder.token()
        except (HomeError, UnicodeDecodeError):
            token = ""
        # A file that was cut short is no token.
        expected = token if len(token) >= TOKEN_CHARS_MIN else self._nobodys_token
        scheme, _, given = (authorizations[0] if len(authorizations) == 1 else "").partition(" ")
        return hmac.compare_digest(given.strip().encode(), expected.encode()) and scheme.lower() == "bearer"

    def _single(self, standing: Snapshot, body: Object) -> Mapping[str, JSONValue]:
        try:
            question = read_question(body)
        except MalformedRequestError as exc:
            raise HTTPException(400, str(exc)) from None
        return self._answer(standing, question)

    async def _batch(self, standing: Snapshot, batch: QuestionBatch) -> list[Mapping[str, JSONValue]]:
        """Answer one after the other, all from one standing, and let others have their turn between them."""
        answers: list[Mapping[str, JSONValue]] = []
        for question in batch.questions():
            found = self._answer(standing, question)
            answers.append(found)
            if batch.semantic.ends_with(decision=found["decision"] is True):
                break
            await asyncio.sleep(0)
        return answers

    def _answer(self, standing: Snapshot, asked: Question | MalformedRequestError) -> Mapping[str, JSONValue]:
        return answer(standing, asked, self._clock_ms()).as_json()


def _quiet(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint whose failures tell their kind and nothing more: text and traceback may quote a question."""

    async def quietly(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPException:
            raise
        except Exception as exc:  # noqa: BLE001 - the last place before a server that would print all of it
            log.error("a question could not be answered: %s", type(exc).__name__)  # noqa: TRY400 - no traceback
            raise HTTPException(500, "the question could not be answered: take it as denied") from None

    return quietly


async def _read(request: Request) -> bytes:
    """Return the body. Raises HTTPException 413 for one that is too large, 408 for one that comes too slowly."""
    body = bytearray()
    try:
        async with asyncio.timeout(limits.BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.BODY_BYTES_MAX:
                    raise HTTPException(413, f"want at most {limits.BODY_BYTES_MAX} bytes", {"Connection": "close"})
    except TimeoutError:
        raise HTTPException(408, "the body came too slowly", {"Connection": "close"}) from None
    except ClientDisconnect:
        raise HTTPException(400, "the body broke off") from None
    return bytes(body)


async def _refuse(request: Request, exc: Exception) -> Response:  # noqa: ARG001 - Starlette passes it
    assert isinstance(exc, HTTPException)
    return JSONResponse({"error": exc.detail}, exc.status_code, exc.headers)


class RequestIds:
    """Gives each answer the `X-Request-ID` of its request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).getlist(REQUEST_ID)
        if not given:
            await self._app(scope, receive, send)
            return
        if len(given) != 1 or not _REQUEST_ID.fullmatch(given[0]):
            sentence = f"{REQUEST_ID}: want 1 to {limits.REQUEST_ID_CHARS_MAX} visible ASCII characters, once"
            await JSONResponse({"error": sentence}, 400)(scope, receive, send)
            return

        async def send_identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = given[0]
            await send(message)

        await self._app(scope, receive, send_identified)
