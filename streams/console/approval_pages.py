"""The pages of approvals: the calls that wait, one of them with its exact parameters, and the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from producers.client.approvals import ShownCall
from schemas.errors import MacawError
from schemas.words import Outcome
from streams.console.approving import REASON_CHARS_MAX, ApprovalDesk, GivenAnswer, terms_of
from streams.console.questions import CallsAsked, Questions
from streams.http import HTTPRefusal

HERE = "/approvals"
FIELDS_MAX = 8
_DIGEST = re.compile(r"[0-9a-f]{64}")

Page = Callable[..., Response]


class ApprovalPages:
    """The endpoints of approvals. Without a desk the pages show that calls wait, and the command to answer them."""

    def __init__(self, desk: ApprovalDesk | None, questions: Questions, page: Page) -> None:
        self._desk, self._questions, self._page = desk, questions, page

    async def listed(self, request: Request) -> Response:  # noqa: ARG002 - Starlette passes it
        """Answer the list of calls that wait."""
        if self._desk is None:
            waiting = await run_in_threadpool(self._questions.calls, CallsAsked(filters={"outcome": Outcome.PENDING}))
            return self._page("approvals.html", HERE, desk=None, rows=waiting.rows, trouble="")
        rows, trouble = [], ""
        try:
            rows = await run_in_threadpool(self._desk.waiting)
        except MacawError as exc:
            trouble = str(exc)
        return self._page("approvals.html", HERE, desk=self._desk.name, rows=rows, trouble=trouble)

    async def one(self, request: Request) -> Response:
        """Answer the page of one call."""
        return await self._shown(_call_in(request))

    async def answered(self, request: Request) -> Response:
        """Sign an answer, and show what became of it."""
        if self._desk is None:
            raise _malformed("this console signs nothing: start one with --as on your own machine")
        given = answer_in(_call_in(request), await request.body())
        try:
            is_on_log = await run_in_threadpool(self._desk.answer, given)
        except MacawError as exc:
            return await self._shown(given.call, trouble=str(exc))
        if not is_on_log:
            return await self._shown(given.call, trouble="the log did not take the answer")
        return RedirectResponse(HERE, HTTPStatus.SEE_OTHER)

    async def _shown(self, call: str, trouble: str = "") -> Response:
        if self._desk is None:
            return RedirectResponse(HERE, HTTPStatus.SEE_OTHER)
        shown: ShownCall | None = None
        try:
            shown = await run_in_threadpool(self._desk.shown, call)
        except MacawError as exc:
            trouble = trouble or str(exc)
        parameters = "" if shown is None else json.dumps(shown.parameters, indent=2, ensure_ascii=False)
        status = HTTPStatus.CONFLICT if trouble else HTTPStatus.OK
        told = {
            "shown": shown,
            "parameters": parameters,
            "trouble": trouble,
            "most": REASON_CHARS_MAX,
            "terms_of": terms_of,
        }
        return self._page("approval.html", HERE, status=status, desk=self._desk.name, **told)


def answer_in(call: str, body: bytes) -> GivenAnswer:
    """Return the answer in a form.

    Raises:
        HTTPRefusal: 400 for a form that is not one of ours.
    """
    try:
        form = parse_qs(body.decode(), strict_parsing=True, max_num_fields=FIELDS_MAX, keep_blank_values=True)
    except ValueError as exc:
        raise _malformed("the form cannot be read") from exc
    values = {name: one[0] for name, one in form.items() if len(one) == 1}
    answer, digest, terms, reason = (
        values.get(name, "") for name in ("answer", "parameters_sha256", "terms", "reason")
    )
    digests = _DIGEST.fullmatch(digest) and _DIGEST.fullmatch(terms)
    if answer not in {"approve", "deny"} or not digests or not values.get("key"):
        raise _malformed("the form has no answer, no key, or no digest of the parameters or of the terms")
    if len(reason) > REASON_CHARS_MAX:
        raise _malformed(f"the reason has more than {REASON_CHARS_MAX} characters")
    return GivenAnswer(call, values["key"], digest, terms, answer == "approve", reason.strip())


def _call_in(request: Request) -> str:
    call: str = request.path_params["call"]
    if not _DIGEST.fullmatch(call):
        raise _malformed("the call is not named by the digest of its event")
    return call


def _malformed(error: str) -> HTTPRefusal:
    return HTTPRefusal(HTTPStatus.BAD_REQUEST, "QUESTION_MALFORMED", error, "use the forms of this console's pages")
