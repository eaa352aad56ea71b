"""The console's pages, as a front of the house's HTTP server (`streams/http`).

A browser exchanges the token for a cookie, and each page but the login asks for it. Pages are HTML from the server, one
address for each state; nothing in them is clickable that an agent wrote. The strict policy of content forbids scripts,
styles and connections from elsewhere, and frames around the pages.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlencode

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from producers.home.clock import clock_ms
from producers.home.home import HomeError
from streams.address import Address
from streams.console import words
from streams.console.approval_pages import FIELDS_MAX, ApprovalPages
from streams.console.approving import ApprovalDesk
from streams.console.files import load_assets
from streams.console.follower import Freshness
from streams.console.live import Live
from streams.console.questions import FILTERS, TEXT_CHARS_MAX, CallsAsked, Questions, SlowQuestionError
from streams.console.sessions import BrowserSessions
from streams.http import Endpoint, Front, HTTPRefusal, not_ready

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "templates"
FORM_BYTES_MAX = 4096
REQUESTS_MAX = 128
STALE_SECONDS = 15.0
PAGES = (("Overview", "/"), ("Calls", "/calls"), ("Approvals", "/approvals"))
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_NUMBER = re.compile(r"[0-9]{1,16}")
_EVENT = re.compile(r"[0-9a-f]{64}")

Answer = Callable[[Request], Awaitable[Response]]
Told = TypeVar("Told")


class ConsoleOf(NamedTuple):
    """The things that the pages show: a tenant's answers, how fresh they are, and the token with its place."""

    tenant: str
    questions: Questions
    freshness: Freshness
    live: Live
    token: Callable[[], str]
    token_place: str
    desk: ApprovalDesk | None = None  # without one nothing is signed here


class ConsoleFront:
    """The endpoints of one console."""

    def __init__(self, console: ConsoleOf, address: Address) -> None:
        """Raises AssetError."""
        self._console, self._address = console, address
        self._sessions = BrowserSessions()
        self._assets = load_assets()
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
        )
        for name in ("drawn", "drawn_lines", "time_of", "clock_of", "machine_time", "short"):
            self._templates.filters[name] = getattr(words, name)
        self._templates.globals["signs"] = words.SIGNS

    def front(self) -> Front:
        """Return the pages with their bounds."""
        approvals = ApprovalPages(self._console.desk, self._console.questions, self._page)
        pages = {
            "/": self._overview,
            "/calls": self._calls,
            "/calls/{event}": self._call,
            "/approvals": approvals.listed,
            "/approvals/{call}": approvals.one,
            "/live": self._live,
        }
        public = [
            Endpoint("/login", self._login_page, is_public=True),
            Endpoint("/login", self._login, method="POST", is_public=True),
            Endpoint("/logout", self._logged_in(self._logout), method="POST", is_public=True),
            Endpoint("/approvals/{call}", self._logged_in(approvals.answered), method="POST", is_public=True),
            Endpoint("/assets/{name}", self._asset, is_public=True),
        ]
        guarded = [Endpoint(path, self._logged_in(answer), is_public=True) for path, answer in pages.items()]
        return Front(
            endpoints=[*public, *guarded],
            token=lambda _: self._console.token(),
            token_place=self._console.token_place,
            health=self._health,
            address=self._address,
            requests_max=REQUESTS_MAX,
            body_bytes_max=FORM_BYTES_MAX,
            is_for_browsers=True,
            content_policy=CONTENT_POLICY,
        )

    def _logged_in(self, answer: Answer) -> Answer:
        """Return an endpoint that sends browsers without a login to the page where they get one."""

        @functools.wraps(answer)
        async def guarded(request: Request) -> Response:
            if not self._is_open(request):
                return RedirectResponse("/login", HTTPStatus.SEE_OTHER)
            return await answer(request)

        return guarded

    def _is_open(self, request: Request) -> bool:
        return self._sessions.is_open(request, self._token())

    def _token(self) -> str:
        """Return the token of now, empty if there is none: then nobody is logged in."""
        try:
            return self._console.token()
        except HomeError as exc:
            log.warning("the token of the console cannot be read: %s", exc)
            return ""

    def _health(self) -> Mapping[str, object]:
        age = self._console.freshness.age_seconds()
        if age is None or age > STALE_SECONDS:
            raise not_ready("the console has not caught up with the log")
        return {"ready": True}

    # --- login

    async def _login_page(self, request: Request) -> Response:  # noqa: ARG002 - Starlette passes it
        return self._login_shown(wrong=False)

    def _login_shown(self, *, wrong: bool) -> Response:
        told = {"tenant": self._console.tenant, "place": self._console.token_place, "wrong": wrong}
        status = HTTPStatus.FORBIDDEN if wrong else HTTPStatus.OK
        return HTMLResponse(self._templates.get_template("login.html").render(told), status)

    async def _login(self, request: Request) -> Response:
        try:
            form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=FIELDS_MAX)
        except ValueError:  # more fields
            form = {}
        response = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        given = form.get("token", [""])[0].strip()
        is_open = self._sessions.open(given, self._token(), response)
        return response if is_open else self._login_shown(wrong=True)

    async def _logout(self, request: Request) -> Response:
        response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
        self._sessions.close(request, response)
        return response

    async def _asset(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPRefusal(HTTPStatus.NOT_FOUND, "NOT_FOUND", "no such file", "check the path of the request")
        return Response(asset.body, media_type=asset.media_type)

    # --- pages

    async def _live(self, request: Request) -> Response:
        if self._console.live.is_full:
            raise not_ready("the console serves its largest number of open pages")
        return StreamingResponse(
            self._console.live.stream(lambda: self._is_open(request)), media_type="text/event-stream"
        )

    async def _overview(self, request: Request) -> Response:
        span = request.query_params.get("span", "1h")
        if span not in words.SPANS:
            raise _malformed(f"span must be one of {', '.join(words.SPANS)}")
        now = clock_ms()
        minutes = words.SPANS[span]
        overview = await _answered(self._console.questions.overview, now - minutes * 60_000, now)
        bars = [{"at": bar.at, **bar.counts} for bar in overview.bars]
        return self._page(
            "overview.html",
            "/",
            overview=overview,
            span=span,
            spans=list(words.SPANS),
            bars_json=json.dumps(bars),
            rate=overview.total / (minutes * 60),
        )

    async def _calls(self, request: Request) -> Response:
        asked = calls_asked(request.query_params.multi_items())
        page = await _answered(self._console.questions.calls, asked)
        seen = request.headers.get("x-live", "")
        newer = await _answered(self._console.questions.newer, asked, int(seen)) if _NUMBER.fullmatch(seen) else 0
        query = {k: v for k, v in request.query_params.items() if v and k != "before"}
        return self._page(
            "calls.html",
            "/calls",
            asked=asked,
            page=page,
            newer=newer,
            filters=FILTERS,
            most=TEXT_CHARS_MAX,
            query=query,
            is_filtered=bool(query),
            self_url=f"/calls?{urlencode(query)}",
            next_url=f"/calls?{urlencode({**query, 'before': page.before})}",
        )

    async def _call(self, request: Request) -> Response:
        event: str = request.path_params["event"]
        row = await _answered(self._console.questions.call, event) if _EVENT.fullmatch(event) else None
        if row is None:
            why = "No call of the last 30 days has this digest."
            return self._page("missing.html", "/calls", status=HTTPStatus.NOT_FOUND, why=why)
        return self._page("call.html", "/calls", row=row)

    def _page(self, template: str, here: str, *, status: HTTPStatus = HTTPStatus.OK, **told: Any) -> Response:
        fresh = freshness_told(self._console.freshness)
        shown = {"tenant": self._console.tenant, "pages": PAGES, "here": here, "fresh": fresh}
        page = self._templates.get_template(template).render(
            **shown, banners=banners_of(self._console.freshness), **told
        )
        return HTMLResponse(page, status)


async def _answered(question: Callable[..., Told], *asked: Any) -> Told:
    """Return the answer of the store. Raises HTTPRefusal 503 for a question that takes too long."""
    try:
        return await run_in_threadpool(question, *asked)
    except SlowQuestionError as exc:
        raise HTTPRefusal(
            HTTPStatus.SERVICE_UNAVAILABLE, "QUESTION_SLOW", str(exc), "ask for fewer calls, or for a shorter time"
        ) from None


def calls_asked(parameters: list[tuple[str, str]]) -> CallsAsked:
    """Return the calls that the parameters of an address ask for; empty ones are none.

    Raises:
        HTTPRefusal: 400 for a parameter that is unknown, repeated, too long or no number.
    """
    given = [(name, value) for name, value in parameters if value]
    names = [name for name, _ in given]
    known = {*FILTERS, "text", "since", "until", "before"}
    if len(set(names)) != len(names) or not set(names) <= known:
        raise _malformed("a parameter is unknown or repeated")
    asked = dict(given)
    if any(len(value) > TEXT_CHARS_MAX for value in asked.values()):
        raise _malformed(f"a parameter has more than {TEXT_CHARS_MAX} characters")
    numbers = {name: asked[name] for name in ("since", "until", "before") if name in asked}
    if not all(_NUMBER.fullmatch(value) for value in numbers.values()):
        raise _malformed("since, until and before are whole numbers")
    return CallsAsked(
        filters={name: asked[name] for name in FILTERS if name in asked},
        text=asked.get("text", ""),
        **{name: int(value) for name, value in numbers.items()},
    )


def freshness_told(freshness: Freshness) -> Mapping[str, str]:
    """Return how fresh the pages are, in words."""
    age = freshness.age_seconds()
    if age is None:
        return {"kind": "stale", "text": "reading the log"}
    if age > STALE_SECONDS or freshness.trouble:
        assert freshness.complete_at is not None
        return {"kind": "stale", "text": f"behind since {words.clock_of(freshness.complete_at)} UTC"}
    return {"kind": "live", "text": "live"}


def banners_of(freshness: Freshness) -> list[str]:
    """Return the sentences that stand above every page."""
    banners = [freshness.trouble] if freshness.trouble else []
    if freshness.untrusted:
        banners.append(
            f"{freshness.untrusted:,} records are not shown: no monitor of this tenant has signed them, so somebody"
            " else writes to the tenant's topics; see docs/incidents.md"
        )
    return banners


def _malformed(error: str) -> HTTPRefusal:
    return HTTPRefusal(HTTPStatus.BAD_REQUEST, "QUESTION_MALFORMED", error, "correct the address")
