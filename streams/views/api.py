"""The query API over the views: read-only, on loopback, with one bearer token for each tenant.

    GET /v1/tenants/{tenant}/sessions?status=open|ended&principal=…&issuer=…
    GET /v1/tenants/{tenant}/sessions/{session id}       with its vault keys, attestations and delegations
    GET /v1/tenants/{tenant}/attestations?status=…&kind=record|request|grant&key=…&session=<session id>
    GET /v1/tenants/{tenant}/approvals?status=…&key=…    without a status, pending ones
    GET /v1/tenants/{tenant}/context?scope=…&status=…    keys that are set, never values
    GET /v1/tenants/{tenant}/delegations                 trees, each delegation with its children
    GET /healthz

Lists are pages: `limit=1..1000`, and `after=` the `next` of the page before. A page may be short and still have a
`next`; only `next: null` means that the list has ended.

**Access.** A token (`views.token` in a tenant's folder) opens that tenant only. A missing token, a wrong token, another
tenant's token and an unknown tenant get the same answer, 401 with the same body, before the question is read: so the
answers do not reveal the names of tenants. The other checks of a request are in `streams/http/door.py`.

**Calls.** A session shows its calls, its denials and the log time of its newest decision
(`streams/views/counting`). They are null if the tenant's decisions cannot be read here.

**Readiness.** While the tables do not hold the log up to a recent time, the answer is 503 with a sentence and
`Retry-After`. An empty list therefore always means that there are no such rows. Values of the vault and of attestations
are not on any topic that the views read.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from producers.home.clock import clock_ms
from producers.home.home import Home
from streams.http import Endpoint, Front, HTTPRefusal, not_ready
from streams.views.catalogue import LISTINGS, OF_SESSIONS, ROW_ID, Filter, Listing, Rows, session_whole, trees
from streams.views.counting.counts import Counts, Standing, describe_activity
from streams.views.progress import Progress
from streams.views.view import PAGE_ROWS_MAX, JSONRow, Page, PageQuery

PAGE_ROWS = 100
_LIMIT = re.compile(r"[1-9][0-9]{0,3}")
_PAGING = ("limit", "after")
_TENANT = "/v1/tenants/{tenant}"


class QueryAPI:
    """Answers questions about `rows` while `progress` says that they hold the log."""

    def __init__(
        self,
        home: Home,
        rows: Rows,
        progress: Progress,
        clock_ms: Callable[[], int] = clock_ms,
        *,
        counts: Counts | None = None,
    ) -> None:
        """Without `counts` the calls of sessions are unknown."""
        self._home = home
        self._counts = counts
        self._rows = rows
        self._progress = progress
        self._clock_ms = clock_ms

    def front(self) -> Front:
        """Return the endpoints and their tokens."""
        lists = [
            Endpoint(f"{_TENANT}/{listing.name}", self._of_tenant(partial(self._list, listing))) for listing in LISTINGS
        ]
        return Front(
            endpoints=[
                *lists,
                Endpoint(f"{_TENANT}/sessions/{{session}}", self._of_tenant(self._session)),
                Endpoint(f"{_TENANT}/delegations", self._of_tenant(self._delegations)),
            ],
            token=lambda request: self._home.tenant(request.path_params["tenant"]).token(),
            token_place="views.token of the tenant's folder",  # noqa: S106 - a file's name
            health=self._health,
        )

    def _of_tenant(
        self, answer: Callable[[str, Request, int], Callable[[], JSONRow]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that reads the question, then checks that the tables are ready, then reads them.

        `answer` reads the question and returns the reader of the rows.
        """

        async def endpoint(request: Request) -> Response:
            tenant: str = request.path_params["tenant"]
            now = self._clock_ms()
            read = answer(tenant, request, now)
            self._check_ready(now)
            return JSONResponse({"tenant": tenant, **read(), "ready": True, "as_of": self._progress.as_of})

        return endpoint

    def _list(self, listing: Listing, tenant: str, request: Request, now: int) -> Callable[[], JSONRow]:
        question, wanted = read_question(tenant, request.query_params, listing.filters)

        def read() -> JSONRow:
            page = listing.select(self._rows, question, wanted, now)
            if listing is OF_SESSIONS:
                page = Page(tuple(self._with_calls(tenant, row) for row in page.rows), page.next)
            return _paged(listing.name, page)

        return read

    def _with_calls(self, tenant: str, session: JSONRow) -> JSONRow:
        """Return a described session with its calls. Raises HTTPRefusal while they are being counted."""
        activity = None
        if self._counts is not None:
            standing = self._counts.standing(tenant)
            if standing is Standing.COUNTING:
                raise not_ready(standing.value)
            activity = self._counts.of(tenant, bytes.fromhex(str(session["session_id"])))
        return {**session, **describe_activity(session, activity)}

    def _delegations(self, tenant: str, request: Request, now: int) -> Callable[[], JSONRow]:
        question, _ = read_question(tenant, request.query_params, {})
        return lambda: _paged("delegations", trees(self._rows, question, now))

    def _session(self, tenant: str, request: Request, now: int) -> Callable[[], JSONRow]:
        session_id: str = request.path_params["session"]
        if request.query_params or not ROW_ID.fullmatch(session_id):
            raise _malformed("the session id is not 64 digits of 0-9, a-f, or the request has parameters")

        def read() -> JSONRow:
            whole = session_whole(self._rows, tenant, session_id, now)
            if whole is None:
                raise HTTPRefusal(
                    HTTPStatus.NOT_FOUND,
                    "SESSION_UNKNOWN",
                    "no session with this id is open, and none has ended within the last hour",
                    "list the sessions for their ids",
                )
            return {"session": self._with_calls(tenant, whole)}

        return read

    def _health(self) -> Mapping[str, object]:
        self._check_ready(self._clock_ms())
        return {"ready": True, "poison_records": self._progress.poison_records}

    def _check_ready(self, now: int) -> None:
        if not self._progress.is_ready(now):
            raise not_ready(self._progress.sentence(now))


def _paged(name: str, page: Page) -> JSONRow:
    return {name: list(page.rows), "next": page.next}


def read_question(
    tenant: str, parameters: QueryParams, filters: Mapping[str, Filter]
) -> tuple[PageQuery, dict[str, str]]:
    """Return the requested page, and the filters' values by name.

    Raises:
        HTTPRefusal: 400 for a parameter that is unknown, repeated or malformed.
    """
    given = parameters.multi_items()
    names = [name for name, _ in given]
    known = (*filters, *_PAGING)
    if len(set(names)) != len(names) or not set(known).issuperset(names):
        raise _malformed(f"a parameter is unknown or repeated; known are {', '.join(known)}, each at most once")
    wanted = {name: value for name, value in given if name in filters}
    for name, value in wanted.items():
        if not filters[name].is_good(value):
            raise _malformed(f"{name} must be {filters[name].want}")
    limit, after = (parameters.get(name) for name in _PAGING)
    if limit is not None and not (_LIMIT.fullmatch(limit) and int(limit) <= PAGE_ROWS_MAX):
        raise _malformed(f"limit must be a number from 1 to {PAGE_ROWS_MAX}")
    if after is not None and not ROW_ID.fullmatch(after):
        raise _malformed("after must be the `next` of an earlier page")
    return PageQuery(tenant=tenant, after=after or "", limit=int(limit) if limit else PAGE_ROWS), wanted


def _malformed(error: str) -> HTTPRefusal:
    return HTTPRefusal(HTTPStatus.BAD_REQUEST, "QUESTION_MALFORMED", error, "correct the question and ask again")
