"""The query API over the views: read-only, one bearer token a tenant, loopback.

    GET /v1/tenants/{tenant}/sessions?status=open|ended
    GET /v1/tenants/{tenant}/sessions/{session id}       with its vault keys, attestations and delegations
    GET /v1/tenants/{tenant}/attestations?status=…&kind=record|request|grant&key=…&session=<session id>
    GET /v1/tenants/{tenant}/approvals?status=…&key=…    pending ones, unless another status is asked for
    GET /v1/tenants/{tenant}/context?scope=…&status=…    keys that are set, never values
    GET /v1/tenants/{tenant}/delegations                 trees, each delegation with its children
    GET /healthz

Lists are pages: `limit=1..1000`, and `after=` the `next` of the page before. A page may be short and still name a next
one; only `next: null` says that there are no more.

**Who sees what.** A token opens exactly the tenant in whose folder it stands. No token, a wrong token, another
tenant's token and a tenant that does not exist are one answer, 401 with the same body, given before anything else is
looked at: nobody without a token learns which tenants there are, nor whether a question was well put. Before that, a
request with an `Origin`, or with a `Host` that is not ours, is refused: no page of a browser asks.

**What is never answered.** While the tables are not known to be the log's, the answer is 503 with a sentence and
`Retry-After`. An empty last page always means that there is nothing. Values of the vault, and of attestations, are on
no topic that the views read.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from producers.home import Home, HomeError
from streams.address import ON_LOOPBACK
from streams.http import RETRY_AFTER_SECONDS, Door, SecureHeaders
from streams.views.catalogue import LISTINGS, ROW_ID, Filter, Listing, Rows, session_whole, trees
from streams.views.progress import Progress
from streams.views.view import PAGE_ROWS_MAX, JSONRow, Page, PageQuery

PAGE_ROWS = 100
# A file that was cut short must not turn into a token that can be guessed.
TOKEN_CHARS_MIN = 16
_LIMIT = re.compile(r"[1-9][0-9]{0,3}")
_PAGING = ("limit", "after")
_TENANT = "/v1/tenants/{tenant}"


class QueryAPI:
    """Answers questions about `rows`, as far as `progress` says that they are the truth."""

    def __init__(
        self,
        home: Home,
        rows: Rows,
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
        lists = [
            Route(f"{_TENANT}/{listing.name}", self._of_tenant(partial(self._list, listing)), methods=["GET"])
            for listing in LISTINGS
        ]
        routes = [
            *lists,
            Route(f"{_TENANT}/sessions/{{session}}", self._of_tenant(self._session), methods=["GET"]),
            Route(f"{_TENANT}/delegations", self._of_tenant(self._delegations), methods=["GET"]),
            Route("/healthz", self._healthz, methods=["GET"]),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
        app.router.redirect_slashes = False
        return SecureHeaders(Door(app, ON_LOOPBACK))

    def _of_tenant(
        self, answer: Callable[[str, Request, int], Callable[[], JSONRow]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint: who asks is checked first, then the question, then whether there is an answer yet.

        `answer` reads the question, and what it returns reads the rows.
        """

        async def endpoint(request: Request) -> Response:
            tenant: str = request.path_params["tenant"]
            if not self._may_see(tenant, request.headers.getlist("authorization")):
                raise HTTPException(401, "want the bearer token of this tenant", {"WWW-Authenticate": "Bearer"})
            now = self._clock_ms()
            read = answer(tenant, request, now)
            if not self._progress.is_ready(now):
                return self._not_ready(now)
            return JSONResponse({"tenant": tenant, **read(), "ready": True, "as_of": self._progress.as_of})

        return endpoint

    def _list(self, listing: Listing, tenant: str, request: Request, now: int) -> Callable[[], JSONRow]:
        question, wanted = read_question(tenant, request.query_params, listing.filters)
        return lambda: _paged(listing.name, listing.select(self._rows, question, wanted, now))

    def _delegations(self, tenant: str, request: Request, now: int) -> Callable[[], JSONRow]:
        question, _ = read_question(tenant, request.query_params, {})
        return lambda: _paged("delegations", trees(self._rows, question, now))

    def _session(self, tenant: str, request: Request, now: int) -> Callable[[], JSONRow]:
        session_id: str = request.path_params["session"]
        if request.query_params or not ROW_ID.fullmatch(session_id):
            raise HTTPException(400, "want a session id of 64 digits 0-9, a-f, and no parameters")

        def read() -> JSONRow:
            whole = session_whole(self._rows, tenant, session_id, now)
            if whole is None:
                raise HTTPException(404, "no such session is open, or has ended within the last hour")
            return {"session": whole}

        return read

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


def _paged(name: str, page: Page) -> JSONRow:
    return {name: list(page.rows), "next": page.next}


def read_question(
    tenant: str, parameters: QueryParams, filters: Mapping[str, Filter]
) -> tuple[PageQuery, dict[str, str]]:
    """Return the page that is asked for, and the filters' values.

    Raises:
        HTTPException: 400 for a parameter that is unknown, doubled or malformed.
    """
    given = parameters.multi_items()
    names = [name for name, _ in given]
    known = (*filters, *_PAGING)
    if len(set(names)) != len(names) or not set(known).issuperset(names):
        raise HTTPException(400, f"want each of {', '.join(known)} at most once, and nothing else")
    wanted = {name: value for name, value in given if name in filters}
    for name, value in wanted.items():
        if not filters[name].is_good(value):
            raise HTTPException(400, f"{name}: want {filters[name].want}")
    limit, after = (parameters.get(name) for name in _PAGING)
    if limit is not None and not (_LIMIT.fullmatch(limit) and int(limit) <= PAGE_ROWS_MAX):
        raise HTTPException(400, f"limit: want 1 to {PAGE_ROWS_MAX}")
    if after is not None and not ROW_ID.fullmatch(after):
        raise HTTPException(400, "after: want the `next` of the page before")
    return PageQuery(tenant=tenant, after=after or "", limit=int(limit) if limit else PAGE_ROWS), wanted


async def _refuse(request: Request, exc: Exception) -> Response:  # noqa: ARG001 - Starlette passes it
    assert isinstance(exc, HTTPException)
    return JSONResponse({"error": exc.detail}, exc.status_code, exc.headers)
