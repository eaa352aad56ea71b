"""The answers to refused requests: one JSON object with `error`, `code` and `next`, and the security headers.

`error` describes the fault and its place, `code` is for programs, `next` is the next step of the caller. None of them
quotes a value of the request. A front may ask for problem details (RFC 9457) instead: `error` is called `detail` there,
and the status and its phrase stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1
CLOSE: Mapping[str, str] = {"Connection": "close"}  # for a refusal before the whole request was read
SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Of a front with pages: without a referrer a browser would send `Origin: null` with its own forms.
BROWSER_HEADERS: Mapping[str, str] = {"Referrer-Policy": "same-origin", "X-Frame-Options": "DENY"}
_NEXT = {
    HTTPStatus.NOT_FOUND: "check the path of the request",
    HTTPStatus.METHOD_NOT_ALLOWED: "use a method that the Allow header of this answer names",
}


class HTTPRefusal(HTTPException):
    """A request is refused with this status. Endpoints raise it; `more` are further members of the answer."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        error: str,
        next_step: str,
        *,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(status, error, headers)
        self.code = code
        self.next_step = next_step
        self.more = more or {}

    def response(self, *, as_problem: bool = False) -> JSONResponse:
        """Return the answer, as problem details if asked."""
        if as_problem:
            return JSONResponse(self.problem(), self.status_code, self.headers, PROBLEM_TYPE)
        body = {"error": self.detail, "code": self.code, "next": self.next_step, **self.more}
        return JSONResponse(body, self.status_code, self.headers)

    def problem(self) -> dict[str, object]:
        """Return the problem details (RFC 9457, 3) with `code` and `next` as its extensions."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status_code).phrase,
            "status": self.status_code,
            "detail": self.detail,
            "code": self.code,
            "next": self.next_step,
            **self.more,
        }


def not_ready(error: str) -> HTTPRefusal:
    """Return the refusal of a front that has no current data yet, or no longer has any."""
    return HTTPRefusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "NOT_READY",
        error,
        "ask again in a moment",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        more={"ready": False},
    )


def refusal_of(exc: Exception) -> HTTPRefusal:
    """Return the refusal of a request for which `exc` was raised: Starlette's 404 and 405 become one of ours."""
    assert isinstance(exc, HTTPException)
    if isinstance(exc, HTTPRefusal):
        return exc
    status = HTTPStatus(exc.status_code)
    words = f"{status.phrase.lower()}: no endpoint of this server has this path and method"
    step = _NEXT.get(status, "check the request")
    return HTTPRefusal(status, status.name, words, step, headers=exc.headers)
