"""The AuthZEN endpoints of one tenant: ask before you act.

    POST /access/v1/evaluation                  {"subject", "action", "resource"} -> {"decision", "context"}
    POST /access/v1/evaluations                 the same with "evaluations" and "options" -> {"evaluations": [...]}
    GET  /.well-known/authzen-configuration
    GET  /healthz

**Access.** Callers need the bearer token in `authzen.token` of the tenant's folder. It opens nothing else, and the
token of the views does not open these endpoints. Metadata and health need no token. The other checks of a request are
in `streams/http/door.py`.

**Answers.** A well-formed question has the answer 200, a denial included. 400 names the member that is wrong, and no
value. In a batch a malformed evaluation is denied by itself. While policies and subjects are not known to be current,
the answer is 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from processors.proof.jcs import JSONValue
from producers.home.clock import clock_ms
from producers.home.home import TenantHome
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
from streams.http import Endpoint, Front, HTTPRefusal, not_ready
from streams.http.refusals import CLOSE

EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"
METADATA = "/.well-known/authzen-configuration"
_JSON_TYPE = "application/json"
TOKEN_FRONT = "authzen"  # noqa: S105 - the front's name: its token stands in `authzen.token`


class DecisionAPI:
    """Answers questions from the newest snapshot of `kept`, for callers with the token in `folder`."""

    def __init__(
        self,
        folder: TenantHome,
        kept: Kept,
        address: Address,
        clock_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self._folder = folder
        self._kept = kept
        self._address = address
        self._clock_ms = clock_ms

    def front(self) -> Front:
        """Return the endpoints, their token and their bounds."""
        return Front(
            endpoints=[
                Endpoint(EVALUATION, self._evaluation, "POST"),
                Endpoint(EVALUATIONS, self._evaluations, "POST"),
                Endpoint(METADATA, self._metadata, is_public=True),
            ],
            token=lambda _: self._folder.token(TOKEN_FRONT),
            token_place="authzen.token of the tenant's folder",  # noqa: S106 - a file's name
            health=self._health,
            address=self._address,
            body_bytes_max=limits.BODY_BYTES_MAX,
        )

    async def _evaluation(self, request: Request) -> Response:
        standing, body = await self._admit(request)
        return JSONResponse(self._single(standing, body))

    async def _evaluations(self, request: Request) -> Response:
        standing, body = await self._admit(request)
        try:
            batch = read_batch(body)
        except MalformedRequestError as exc:
            raise _malformed(exc) from None
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

    def _health(self) -> Mapping[str, object]:
        self._current()
        return {"ready": True}

    async def _admit(self, request: Request) -> tuple[Snapshot, Object]:
        """Return the present snapshot and the body of the request. Raises HTTPRefusal."""
        types = request.headers.getlist("content-type")
        if len(types) != 1 or types[0].partition(";")[0].strip().lower() != _JSON_TYPE:
            raise HTTPRefusal(
                HTTPStatus.BAD_REQUEST,
                "CONTENT_TYPE_REFUSED",
                f"the Content-Type is not {_JSON_TYPE}",
                f"send one header `Content-Type: {_JSON_TYPE}`",
                headers=CLOSE,
            )
        text = await request.body()
        try:
            body = read_body(text)
        except MalformedRequestError as exc:
            raise _malformed(exc) from None
        return self._current(), body

    def _current(self) -> Snapshot:
        standing = self._kept.current()
        if standing is None:
            raise not_ready("policies and subjects could not be read for too long")
        return standing

    def _single(self, standing: Snapshot, body: Object) -> Mapping[str, JSONValue]:
        try:
            question = read_question(body)
        except MalformedRequestError as exc:
            raise _malformed(exc) from None
        return self._answer(standing, question)

    async def _batch(self, standing: Snapshot, batch: QuestionBatch) -> list[Mapping[str, JSONValue]]:
        """Answer one question after the other from one snapshot, and let other requests run in between."""
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


def _malformed(error: MalformedRequestError) -> HTTPRefusal:
    return HTTPRefusal(HTTPStatus.BAD_REQUEST, "QUESTION_MALFORMED", str(error), "correct the member and ask again")
