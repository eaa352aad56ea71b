"""Pages of browsers: a front answers those of the origins that its operator named (Fetch standard, CORS).

No credentials of a browser are taken: a page sends its token in the Authorization header, as every program does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from streams.http.refusals import CLOSE, HTTPRefusal

_PREFLIGHT_SECONDS = 600  # for which a browser remembers the answer to a preflight
_METHODS = "GET, POST, DELETE"
_HEADERS = "Authorization, Content-Type, X-Request-ID"
_SHOWN = "Retry-After, WWW-Authenticate, X-Request-ID"


def check_origin(headers: Headers, allowed: Collection[str]) -> Mapping[str, str]:
    """Return the headers that let a page of an allowed origin read the answer. Raises HTTPRefusal for any other."""
    origins = headers.getlist("origin")
    varies = {"Vary": "Origin"} if allowed else {}
    if not origins:
        return varies
    if len(origins) != 1 or origins[0] not in allowed:
        raise HTTPRefusal(
            HTTPStatus.FORBIDDEN,
            "ORIGIN_REFUSED",
            "the request has an Origin header, and this server does not answer pages of that origin",
            "send the request from a program, without an Origin header; an operator may allow a page's origin",
            headers=CLOSE,
        )
    return {**varies, "Access-Control-Allow-Origin": origins[0], "Access-Control-Expose-Headers": _SHOWN}


def preflight_of(scope: Scope, headers: Headers) -> Response | None:
    """Return the answer to a browser's question before a request, None for any other request.

    Requires that `check_origin` has passed.
    """
    if scope["method"] != "OPTIONS" or "origin" not in headers or "access-control-request-method" not in headers:
        return None
    told = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": _HEADERS,
        "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
    }
    return Response(status_code=HTTPStatus.NO_CONTENT, headers=told)
