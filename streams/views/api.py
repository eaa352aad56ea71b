"""The query API over the views: read-only, one bearer token a tenant, loopback.

    GET /v1/tenants/{tenant}/sessions?status=open|ended&limit=1..1000&after=<session id>
    GET /healthz

**Who sees what.** A token opens exactly the tenant in whose folder it stands. No token, a wrong token, another
tenant's token and a tenant that does not exist are one answer, 401 with the same body, given before anything else is
looked at: nobody without a token learns which tenants there are, nor whether a question was well put.

**What is never answered.** While the table is not known to be the log's, the answer is 503 with a sentence and
`Retry-After`. An empty list always means that there are no sessions.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.home import Home, HomeError
from streams.views.progress import Progress
from streams.views.sessions import PAGE_ROWS_MAX, Question, Status, select_page

PAGE_ROWS = 100
RETRY_AFTER_SECONDS = 1
# A file that was cut short must not turn into a token that can be guessed.
TOKEN_CHARS_MIN = 16
SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SESSION_ID = re.compile(r"[0-9a-f]{64}")
_LIMIT = re.compile(r"[1-9][0-9]{0,3}")
_PARAMETERS = frozenset({"status", "limit", "after"})


class QueryAPI:
    """Answers questions about `rows`, as far as `progress` says that they are the truth."""

    def __init__(
        self,
        home: Home,
        rows: Mapping[bytes, bytes],
        progress: Progress,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._home = home
        self._rows = rows
        self._progress = progress
        self._clock_ms = clock_ms
        self._nobodys_token = secrets.token_urlsafe(32)

    def build(self) -> ASGIApp:
        """Return the application, its headers on every answer, errors included."""
        routes = [
            Route("/v1/tenants/{tenant}/sessions", self._sessions, methods=["GET"]),
            Route("/healthz", self._healthz, methods=["GET"]),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
        app.router.redirect_slashes = False
        return SecureHeaders(app)

    async def _sessions(self, request: Request) -> Response:
        tenant: str = request.path_params["tenant"]
        if not self._may_see(tenant, request.headers.getlist("authorization")):
            raise HTTPException(401, "want the bearer token of this tenant", {"WWW-Authenticate": "Bearer"})
        question = read_question(tenant, request.query_params)
        now = self._clock_ms()
        if not self._progress.is_ready(now):
            return self._not_ready(now)
        page = asdict(select_page(self._rows, question, now))
        return JSONResponse({"tenant": tenant, **page, "ready": True, "as_of": self._progress.as_of})

    async def _healthz(self, request: Request) -> Response:  # noqa: ARG002 - Starlette passes it
        now = self._clock_ms()
        if not self._progress.is_ready(now):
            return self._not_ready(now)
        return JSONResponse({"ready": True, "poison_records": self._progress.poison_records})

    def _not_ready(self, now: int) -> Response:
        sentence = f"{self._progress.sentence(now)}; ask again in a moment"
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return JSONResponse({"error": sentence, "ready": False}, 503, headers)

    def _may_see(self, tenant: str, authorizations: list[str]) -> bool:
        """Whether the one Authorization header carries the tenant's token. Read each time: a token may be replaced."""
        try:
            token = self._home.tenant(tenant).token()
        except (HomeError, UnicodeDecodeError):
            token = ""
        known = len(token) >= TOKEN_CHARS_MIN
        # For a tenant that is not here the same comparison is made, so that the time tells little.
        expected = token if known else self._nobodys_token
        scheme, _, given = (authorizations[0] if len(authorizations) == 1 else "").partition(" ")
        matches = hmac.compare_digest(given.strip().encode(), expected.encode())
        return known and matches and scheme.lower() == "bearer"


def read_question(tenant: str, parameters: QueryParams) -> Question:
    """Read the query parameters. Raises HTTPException 400 for one that is unknown, doubled or malformed."""
    given = parameters.multi_items()
    names = [name for name, _ in given]
    if len(set(names)) != len(names) or not _PARAMETERS.issuperset(names):
        raise HTTPException(400, "want each of status, limit and after at most once, and nothing else")
    status, limit, after = (parameters.get(name) for name in ("status", "limit", "after"))
    if status is not None and status not in {s.value for s in Status}:
        raise HTTPException(400, "status: want open or ended")
    if limit is not None and not (_LIMIT.fullmatch(limit) and int(limit) <= PAGE_ROWS_MAX):
        raise HTTPException(400, f"limit: want 1 to {PAGE_ROWS_MAX}")
    if after is not None and not _SESSION_ID.fullmatch(after):
        raise HTTPException(400, "after: want the `next` of the page before")
    return Question(
        tenant=tenant,
        status=Status(status) if status else None,
        after=after or "",
        limit=int(limit) if limit else PAGE_ROWS,
    )


async def _refuse(request: Request, exc: Exception) -> Response:  # noqa: ARG001 - Starlette passes it
    assert isinstance(exc, HTTPException)
    return JSONResponse({"error": exc.detail}, exc.status_code, exc.headers)


class SecureHeaders:
    """Puts the security headers on every response. There is no CORS: no page of another origin reads an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_secured)
