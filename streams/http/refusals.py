"""The answers to refused requests: one JSON object with `error`, `code` and `next`, and the security headers.

`error` describes the fault and its place, `code` is for programs, `next` is the next step of the caller. None of them
quotes a value of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

RETRY_AFTER_SECONDS = 1
CLOSE: Mapping[str, str] = {"Connection": "close"}  # for a refusal before the whole request was read
SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
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

    def response(self) -> JSONResponse:
        """Return the answer."""
        body = {"error": self.detail, "code": self.code, "next": self.next_step, **self.more}
        return JSONResponse(body, self.status_code, self.headers)


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


async def refuse(request: Request, exc: Exception) -> JSONResponse:  # noqa: ARG001 - Starlette passes it
    """Return the answer to a request for which `exc` was raised, Starlette's 404 and 405 among them."""
    assert isinstance(exc, HTTPException)
    if isinstance(exc, HTTPRefusal):
        return exc.response()
    status = HTTPStatus(exc.status_code)
    words = f"{status.phrase.lower()}: no endpoint of this server has this path and method"
    step = _NEXT.get(status, "check the request")
    return HTTPRefusal(status, status.name, words, step, headers=exc.headers).response()
