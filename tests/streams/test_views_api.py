"""The query API: who sees what, and what is never answered."""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from producers.home.home import Home
from schemas import codec
from schemas.changes import SessionChanged
from streams.http import SECURITY_HEADERS, door_of
from streams.views.api import QueryAPI
from streams.views.catalogue import VIEWS
from streams.views.progress import AS_OF_MS_MAX, Phase, Progress
from streams.views.view import PAGE_ROWS_MAX, row_key

NOW = 1_800_000_000_000
TOKENS = {"acme": "a" * 43, "bank": "b" * 43}

ROW = SessionChanged(
    origin="demo/acme",
    audit_index=7,
    tenant="acme",
    session_id=bytes(range(32)),
    principal_id="<img src=x onerror=alert(1)>",
    role="agent",
    status="open",
    opened_at=NOW,
    expires_at=NOW + 60_000,
    at=NOW,
)
MINE = "/v1/tenants/acme/sessions"


class World:
    """An installation with two tenants, their rows, and a clock that is told the time."""

    def __init__(self, base: Path) -> None:
        self.home = Home.create(base, {})
        self.tables: dict[str, dict[bytes, bytes]] = {view.name: {} for view in VIEWS}
        self.rows = self.tables["sessions"]
        self.progress = Progress(phase=Phase.FOLLOWING, as_of=NOW)
        self.now = NOW
        for tenant, token in TOKENS.items():
            self.write_token(tenant, token)
        for index in range(3):
            self.put(replace(ROW, session_id=index.to_bytes(32, "big"), audit_index=index))
        self.put(replace(ROW, tenant="bank", origin="demo/bank", principal_id="teller"))

    def write_token(self, tenant: str, token: str) -> None:
        folder = self.home.path / "tenants" / tenant
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "views.token").write_text(token + "\n")

    def put(self, row: SessionChanged) -> None:
        self.rows[row_key(row.tenant, row.session_id.hex())] = codec.frame(row)

    def ask(
        self, path: str, authorization: str | None = f"Bearer {TOKENS['acme']}", method: str = "GET", **more: str
    ) -> httpx.Response:
        headers = [] if authorization is None else [("Authorization", authorization)]
        return self.send(method, path, [*headers, *more.items()])

    def send(self, method: str, path: str, headers: list[tuple[str, str]]) -> httpx.Response:
        async def exchange() -> httpx.Response:
            api = door_of(QueryAPI(self.home, self.tables, self.progress, lambda: self.now).front())
            transport = httpx.ASGITransport(api)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(exchange())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class TestAnswer:
    def test_a_tenant_sees_its_own_sessions(self, world: World) -> None:
        response = world.ask(MINE)

        body = response.json()
        assert response.status_code == 200
        assert [row["audit_index"] for row in body.pop("sessions")] == [0, 1, 2]
        assert body == {"tenant": "acme", "next": None, "ready": True, "as_of": NOW}

    def test_a_session_is_described_by_these_members_only(self, world: World) -> None:
        [first, *_] = world.ask(MINE).json()["sessions"]

        assert first == {
            "session_id": "00" * 32,
            "principal_id": ROW.principal_id,
            "role": "agent",
            "status": "open",
            "issuer": "",
            "opened_by": None,
            "actors": [],
            "attributes": None,
            "opened_at": NOW,
            "expires_at": NOW + 60_000,
            "audit_index": 0,
            "last_seen": None,
            "calls": None,
            "denials": None,
            "observed": None,
            "counted_since": None,
        }

    def test_an_expired_session_is_ended_though_no_event_came(self, world: World) -> None:
        world.now = world.progress.as_of = NOW + 60_000

        assert {row["status"] for row in world.ask(MINE).json()["sessions"]} == {"ended"}
        assert world.ask(f"{MINE}?status=open").json()["sessions"] == []

    def test_pages_follow_by_next(self, world: World) -> None:
        first = world.ask(f"{MINE}?limit=2").json()
        second = world.ask(f"{MINE}?limit=2&after={first['next']}").json()

        assert [row["audit_index"] for row in first["sessions"] + second["sessions"]] == [0, 1, 2]
        assert second["next"] is None

    def test_it_is_json_that_no_browser_renders(self, world: World) -> None:
        """An agent chooses its name: it must never run in the browser of who looks."""
        response = world.ask(MINE)

        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-content-type-options"] == "nosniff"

    def test_head_says_the_same_without_a_body(self, world: World) -> None:
        response = world.ask(MINE, method="HEAD")

        assert (response.status_code, response.content) == (200, b"")


class TestAuthorization:
    @pytest.mark.parametrize(
        "authorization",
        [
            None,
            "",
            "Bearer",
            "Bearer ",
            f"Bearer {TOKENS['bank']}",
            f"Bearer {TOKENS['acme']}x",
            f"Bearer {TOKENS['acme'][:-1]}",
            f"Basic {TOKENS['acme']}",
            TOKENS["acme"],
            "Bearer \xe4\xf6\xfc",
        ],
    )
    def test_all_but_the_own_token_are_refused_alike(self, world: World, authorization: str | None) -> None:
        """A tenant that exists, one that does not, and names that cannot be: nobody can tell them apart."""
        headers = [] if authorization is None else [(b"Authorization", authorization.encode("latin-1"))]
        paths = [MINE, *(f"/v1/tenants/{t}/sessions" for t in ("ghost", "ops", "UPPER", "a.b", "x" * 300))]
        answers = {
            (r.status_code, r.content, tuple(sorted(r.headers.items())))
            for r in (world.send("GET", path, headers) for path in paths)  # type: ignore[arg-type]
        }

        assert len(answers) == 1
        [(code, body, told)] = answers
        assert code == 401
        assert b"acme" not in body
        assert ("www-authenticate", "Bearer") in told

    def test_a_token_opens_one_tenant_only(self, world: World) -> None:
        assert world.ask("/v1/tenants/bank/sessions").status_code == 401
        assert world.ask("/v1/tenants/bank/sessions", f"Bearer {TOKENS['bank']}").status_code == 200

    def test_two_authorizations_are_none(self, world: World) -> None:
        header = ("Authorization", f"Bearer {TOKENS['acme']}")

        assert world.send("GET", MINE, [header, header]).status_code == 401

    @pytest.mark.parametrize("token", ["", "short", " "])
    def test_a_token_file_that_was_cut_short_opens_nothing(self, world: World, token: str) -> None:
        world.write_token("acme", token)

        assert world.ask(MINE, f"Bearer {token}").status_code == 401

    def test_a_token_that_was_replaced_is_worth_nothing(self, world: World) -> None:
        world.write_token("acme", "n" * 43)

        assert world.ask(MINE).status_code == 401
        assert world.ask(MINE, f"bearer {'n' * 43}").status_code == 200

    def test_the_refusal_comes_before_everything_else(self, world: World) -> None:
        """Not even whether the views are ready, or the question well put, is told to a stranger."""
        world.progress.phase = Phase.JOINING

        assert world.ask(f"{MINE}?limit=0", None).status_code == 401


class TestQuestion:
    @pytest.mark.parametrize("limit", [1, PAGE_ROWS_MAX])
    def test_limits_at_the_bounds_are_served(self, world: World, limit: int) -> None:
        assert world.ask(f"{MINE}?limit={limit}").status_code == 200

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0",
            f"limit={PAGE_ROWS_MAX + 1}",
            "limit=-1",
            "limit=",
            "limit=1e3",
            "limit=%D9%A1",
            "limit=1&limit=2",
            "status=both",
            "status=",
            "after=zz",
            "after=" + "A" * 64,
            "after=" + "a" * 65,
            "tenant=bank",
        ],
    )
    def test_a_question_that_is_not_well_put_is_refused(self, world: World, query: str) -> None:
        response = world.ask(f"{MINE}?{query}")

        assert response.status_code == 400
        assert response.json()["code"] == "QUESTION_MALFORMED"


class TestNotReady:
    @pytest.mark.parametrize("phase", [p for p in Phase if p is not Phase.FOLLOWING])
    def test_it_says_what_it_waits_for(self, world: World, phase: Phase) -> None:
        """Never an empty list that pretends to be the truth."""
        world.rows.clear()
        world.progress.wait_in(phase)

        response = world.ask(MINE)

        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json() == {
            "error": phase.value,
            "code": "NOT_READY",
            "next": "ask again in a moment",
            "ready": False,
        }

    def test_what_was_true_too_long_ago_is_not_shown(self, world: World) -> None:
        world.now = NOW + AS_OF_MS_MAX + 1

        response = world.ask(MINE)

        assert response.status_code == 503
        assert "caught up" in response.json()["error"]

    def test_health_says_whether_it_is_ready(self, world: World) -> None:
        world.progress.poison_records = 2
        assert world.ask("/healthz", None).json() == {"ready": True, "poison_records": 2}

        world.progress.wait_in(Phase.JOINING)
        assert world.ask("/healthz", None).status_code == 503


class TestSurface:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
    @pytest.mark.parametrize("path", [MINE, "/healthz"])
    def test_there_is_no_other_method(self, world: World, method: str, path: str) -> None:
        assert world.ask(path, method=method).status_code == 405

    @pytest.mark.parametrize(
        ("header", "value", "status"), [("Origin", "https://evil.example", 403), ("Host", "evil.example", 421)]
    )
    @pytest.mark.parametrize("path", [MINE, "/healthz", "/nothing"])
    def test_no_page_of_a_browser_asks(self, world: World, path: str, header: str, value: str, status: int) -> None:
        response = world.ask(path, **{header: value})

        assert response.status_code == status
        assert "access-control-allow-origin" not in response.headers

    @pytest.mark.parametrize("path", ["/", "/docs", "/table/macaw-views-sessions", "/v1/tenants", f"{MINE}/"])
    def test_there_is_no_other_path(self, world: World, path: str) -> None:
        assert world.ask(path).status_code == 404

    @pytest.mark.parametrize("path", [MINE, f"{MINE}?limit=0", "/healthz", "/nothing", "/v1/tenants/bank/sessions"])
    def test_every_answer_carries_the_security_headers(self, world: World, path: str) -> None:
        headers = world.ask(path, Origin="https://evil.example").headers

        assert {name: headers.get(name) for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)
        assert "access-control-allow-origin" not in headers
