"""The gateway over HTTP on a real log, with a real provider: what programs in any language can do, and what not."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from macaw.gateway.http import sessions
from processors.proof.signing import kid_of
from producers.kafka.connection import Connection
from schemas.records import ResultReported, SessionOpened, SessionRevoked
from streams.local.choose import BrokerInfo
from tests.gateway.programs import POLICIES, Document, Place, Program, Shop, serving
from tests.gateway.typescript_home import COMPILER, PACKAGES, TYPES
from tests.optional import skip_without_typescript
from tests.streams.bridge.office import opened
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker

ORIGIN = "https://app.example"
EXAMPLE = Path(__file__).parents[2] / "examples" / "typescript" / "agent.ts"


@pytest.fixture(scope="module")
def place(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    shop = Shop()
    policies = [json.dumps(one) for one in POLICIES]
    with (
        opened(broker, tmp_path_factory.mktemp("any language"), policies, shop=shop) as office,
        serving(office.here, ORIGIN) as url,
    ):
        yield Place(office, shop, url, Document(url))


@pytest.fixture(scope="module")
def alice(place: Place) -> Program:
    return place.login("alice")


@pytest.fixture(scope="module")
def bob(place: Place) -> Program:
    return place.login("bob")


def test_a_program_calls_as_its_person(alice: Program) -> None:
    answer = alice.call("tool:shop/buy", {"item": "pen"})

    assert (answer.status_code, answer.json()["result"]) == (200, {"bought": "pen"})
    assert alice.come_back(answer.json()["call_id"]).json() == answer.json()
    failed = alice.call("tool:shop/fail").json()
    assert (failed["outcome"], failed["error"]) == ("failed", "RuntimeError: out of stock")
    assert alice.ask("GET", "/v1/sessions/current").json()["principal"] == "user:alice@fintech.example"


def test_a_denial_has_its_reason_and_no_policy(alice: Program) -> None:
    refused = alice.call("tool:shop/buy", {"item": "palace"})

    told = refused.json()
    assert (refused.status_code, told["code"], told["reason"]) == (403, "CALL_DENIED", "PARAM_NOT_ALLOWED")
    assert "parameter item" in told["detail"]
    assert told["call_id"]
    assert not any(word in refused.text for word in ("policy_id", "company:", "FinTech", "desk", "ship"))
    again = alice.come_back(told["call_id"])
    assert (again.status_code, again.json()) == (403, told)


def test_tools_are_shown_as_far_as_they_can_be_called(alice: Program) -> None:
    told = {one["resource"]: one for one in alice.ask("GET", "/v1/tools").json()["tools"]}

    assert "tool:shop/closed" not in told
    assert told["tool:shop/count"]["streams"]
    assert told["tool:shop/buy"]["description"] == "Buy one item."
    assert told["tool:shop/buy"]["input_schema"]["properties"]["item"]["type"] == "string"
    assert alice.ask("GET", "/v1/tools", query="?after=tool:shop/slow").json() == {"tools": [], "next": None}


def test_a_program_comes_back_and_nobody_else(place: Place, alice: Program, bob: Program) -> None:
    """A call that outlasts its request goes on; its id is worth nothing to another login, of the same person too."""
    place.shop.go_on.clear()
    late = alice.call("tool:shop/slow", wait_seconds=2)
    call_id = late.json()["call_id"]

    assert (late.status_code, late.json()["code"]) == (504, "NO_ANSWER")
    for other in (bob, place.login("alice")):
        assert other.come_back(call_id, 0).json()["code"] == "CALL_UNKNOWN"
    place.shop.go_on.set()
    assert alice.come_back(call_id).json()["result"] == "late"


def test_people_approve_what_they_were_shown(place: Place, alice: Program, bob: Program) -> None:
    waiting = alice.call("tool:shop/buy", {"item": "ship"})
    told = waiting.json()
    request = told["request"]

    assert (waiting.status_code, told["outcome"], told["waits_for"]) == (202, "pending", "approval")
    assert alice.come_back(told["call_id"], 0).status_code == 202
    assert alice.ask("GET", "/v1/approvals").json() == {"requests": []}
    listed = [one["request"] for one in bob.ask("GET", "/v1/approvals").json()["requests"]]
    shown = bob.ask("GET", "/v1/approvals/{request}", request=request).json()
    assert request in listed
    assert (shown["parameters"], shown["principal"]) == ({"item": "ship"}, "user:alice@fintech.example")
    other = bob.ask("POST", "/v1/approvals/{request}", answer_of("0" * 64), request=request)
    assert (other.status_code, other.json()["code"]) == (409, "PARAMETERS_CHANGED")
    blind = bob.ask("POST", "/v1/approvals/{request}", {"answer": "approve"}, request=request)
    assert (blind.status_code, blind.json()["code"]) == (400, "REQUEST_MALFORMED")
    own = alice.ask("POST", "/v1/approvals/{request}", answer_of(shown["parameters_sha256"]), request=request)
    assert (own.status_code, own.json()["code"]) == (403, "EVENT_REFUSED")
    assert "ship" not in place.shop.bought

    answered = bob.ask("POST", "/v1/approvals/{request}", answer_of(shown["parameters_sha256"]), request=request)
    assert answered.json() == {"request": request, "key": "large", "answer": "approve"}
    assert alice.come_back(told["call_id"]).json()["result"] == {"bought": "ship"}


def answer_of(digest: str) -> dict[str, str]:
    return {"answer": "approve", "parameters_sha256": digest, "reason": "we need one"}


def test_one_idempotency_key_is_one_execution(place: Place, alice: Program) -> None:
    first = alice.call("tool:shop/buy", {"item": "desk"}, idempotency_key="order 17").json()
    again = alice.call("tool:shop/buy", {"item": "desk"}, idempotency_key="order 17")

    assert (again.status_code, again.json()["code"]) == (409, "ALREADY_CALLED")
    assert again.json()["earlier_call_id"] == first["call_id"]
    assert place.shop.bought.count("desk") == 1


def test_a_stream_ends_with_the_count_that_its_tool_signed(place: Place, alice: Program) -> None:
    with alice.streaming("tool:shop/count", {"to": 3}) as events:
        found = list(events)

    assert [name for name, _ in found] == ["call", "item", "item", "item", "end"]
    assert [data["value"] for name, data in found if name == "item"] == [0, 1, 2]
    end = found[-1][1]
    assert end["items"] == 3
    reports = [event.body for _, event in place.office.intake() if isinstance(event.body, ResultReported)]
    assert end["sha256"] in [one.stream.digest.hex() for one in reports if one.stream is not None]


def test_a_reader_who_leaves_stops_the_tool(place: Place, alice: Program) -> None:
    with alice.streaming("tool:shop/endless") as events:
        assert next(events)[0] == "call"
        assert next(events)[0] == "item"

    assert place.shop.left.wait(PATIENCE_SECONDS)

    def is_reported() -> bool:
        return any(
            isinstance(event.body, ResultReported) and event.body.body == '{"cancelled":true}'
            for _, event in place.office.intake()
        )

    wait_until(is_reported, "the end of the stream does not stand on the log", pause=0.2)


def test_a_denied_stream_is_a_denial(alice: Program) -> None:
    with pytest.raises(httpx.HTTPStatusError) as refused, alice.streaming("tool:shop/closed"):
        pass

    assert refused.value.response.status_code == 403
    assert refused.value.response.json()["code"] == "CALL_DENIED"


def test_a_session_ends_with_its_handle_and_leaves_no_key(place: Place) -> None:
    program = place.login("bob")
    place.shop.go_on.clear()
    assert program.call("tool:shop/slow", wait_seconds=1).status_code == 504
    files = place.office.here.folder.path.rglob("*")
    kept = [path for path in files if path.is_file() and {"calls", "sessions"} & set(path.parts)]

    ended = program.ask("DELETE", "/v1/sessions/current")

    assert ended.status_code == 204
    assert program.ask("GET", "/v1/approvals").json()["code"] == "TOKEN_REFUSED"
    assert kept == []
    kinds = [type(event.body).__name__ for _, event in place.office.intake()]
    assert kinds.count("SessionClosed") >= 1
    place.shop.go_on.set()


def test_a_session_that_an_admin_revokes_is_over(place: Place) -> None:
    program = place.login("bob")
    here = place.office.here
    opened = [
        kid_of(event.body.key.ed25519) for _, event in place.office.intake() if isinstance(event.body, SessionOpened)
    ]
    with closing(Connection(here.home, here.folder, here.folder.key("admin"), "admin")) as admin:
        admin.ask(SessionRevoked(session=opened[-1], reason="left"))

    over = program.call("tool:shop/buy", {"item": "pen"})

    assert (over.status_code, over.json()["code"]) == (401, "SESSION_OVER")
    assert program.ask("GET", "/v1/sessions/current").json()["code"] == "TOKEN_REFUSED"


def test_a_token_that_is_refused_opens_nothing_and_is_told_nowhere(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    token = place.office.token("alice")
    head, body, signature = token.split(".")
    forged = f"{head}.{body}.{'A' * len(signature)}"

    with caplog.at_level(logging.DEBUG):
        answers = [post(place, {"token": forged}), post(place, {"token": forged})]
        others = [post(place, {"token": "no token"}), post(place, {"token": token, "x": 1}), post(place, {})]
        twice = post(place, {"token": token}, authorization=f"Bearer {token}")

    assert [one.json()["code"] for one in answers] == ["LOGIN_REFUSED"] * 2
    assert {one.json()["reason"] for one in answers} == {"TOKEN_SIGNATURE"}
    assert [one.status_code for one in [*others, twice]] == [400] * 4
    told = caplog.text + "".join(one.text for one in [*answers, *others, twice])
    assert not any(part in told for part in (head, body, signature))


def test_a_stranger_sends_no_more_than_a_token(place: Place) -> None:
    """In pieces, of which none says how long the whole is."""
    pieces = (b'"' + b"x" * 4096 for _ in range(100))
    answer = httpx.post(f"{place.url}/v1/sessions", content=pieces, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")


def post(place: Place, body: object, **headers: str) -> httpx.Response:
    answer = httpx.post(f"{place.url}/v1/sessions", json=body, headers=headers, timeout=PATIENCE_SECONDS)
    place.document.check("/v1/sessions", answer)
    return answer


def test_a_token_may_come_in_the_header(place: Place) -> None:
    headers = {"authorization": f"Bearer {place.office.token('alice')}"}
    answer = httpx.post(f"{place.url}/v1/sessions", headers=headers, timeout=PATIENCE_SECONDS)

    assert answer.status_code == 201
    assert answer.json()["principal"] == "user:alice@fintech.example"


def test_one_principal_has_bounded_calls_and_others_go_on(
    place: Place, bob: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sessions._BOUNDS, "calls", ("calls without their end", 2))
    place.shop.go_on.clear()
    many = place.login("alice")
    with ThreadPoolExecutor(3) as threads:
        going = [threads.submit(many.call, "tool:shop/slow", wait_seconds=20) for _ in range(3)]
        wait_until(lambda: any(one.done() for one in going))
        refused = next(one.result() for one in going if one.done())
        assert (refused.status_code, refused.json()["code"]) == (429, "TOO_MANY")
        assert place.login("alice").call("tool:shop/buy", {"item": "pen"}).status_code == 429, "a second session too"
        assert place.login("bob").call("tool:shop/buy", {"item": "pen"}).status_code == 200
        place.shop.go_on.set()
        assert sorted(one.result().status_code for one in going) == [200, 200, 429]
    assert many.call("tool:shop/buy", {"item": "pen"}).status_code == 200


def test_pages_of_a_named_origin_may_ask_and_no_others(place: Place, alice: Program) -> None:
    def ask(method: str, origin: str, **headers: str) -> httpx.Response:
        return httpx.request(method, f"{place.url}/v1/sessions/current", headers={"origin": origin, **headers})

    before = ask("OPTIONS", ORIGIN, **{"access-control-request-method": "GET"})
    asked = ask("GET", ORIGIN, authorization=f"Bearer {alice.handle}")
    assert (before.status_code, asked.status_code) == (204, 200)
    for one in (before, asked):
        assert one.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in one.headers
    assert "Authorization" in before.headers["access-control-allow-headers"]
    for origin in ("https://evil.example", "null", "https://app.example.evil.example", "http://app.example", "*"):
        refused = ask("OPTIONS", origin, **{"access-control-request-method": "GET"})
        assert (refused.status_code, refused.json()["code"]) == (403, "ORIGIN_REFUSED")
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"resource": "tool:shop/buy"}',
        b'{"resource": "tool:shop/buy", "parameters": {"a": 1, "a": 2}}',
        b'{"resource": "tool:shop/buy", "parameters": {"a": NaN}}',
        b'{"resource": "tool:shop/buy", "parameters": {}, "wait_seconds": 1e9}',
        b'{"resource": "tool:shop/buy", "parameters": {}, "target": "zz"}',
        b'{"resource": "tool:shop/buy", "parameters": {}, "geheim": 1}',
        b'{"resource": "tool:shop/buy", "parameters": ' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
    ],
)
def test_a_malformed_call_is_told_its_place_and_no_value(place: Place, alice: Program, body: bytes) -> None:
    headers = {"authorization": f"Bearer {alice.handle}", "content-type": "application/json"}
    answer = httpx.post(f"{place.url}/v1/calls", content=body, headers=headers)

    place.document.check("/v1/calls", answer)
    assert (answer.status_code, answer.json()["code"]) == (400, "REQUEST_MALFORMED")
    assert "geheim" not in answer.text


@pytest.mark.parametrize(
    "query", ["?wait_seconds=61", "?wait_seconds=NaN", "?wait=1", "?wait_seconds=1&wait_seconds=2"]
)
def test_a_malformed_query_is_refused(place: Place, alice: Program, query: str) -> None:
    answer = alice.ask("GET", "/v1/calls/{call_id}", call_id="0" * 32, query=f"?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "REQUEST_MALFORMED")


@pytest.mark.parametrize(
    "call",
    [
        {"parameters": {"item": "geheim"}, "secrets": ["item"]},
        {"parameters": {"item": "geheim"}, "idempotency_key": "\u00e4" * 100},
        {"parameters": {"item": {"$body": "geheim"}}},
    ],
)
def test_a_call_that_the_log_cannot_take_is_refused_before_it_is_sent(alice: Program, call: dict[str, Any]) -> None:
    refused = alice.ask("POST", "/v1/calls", {"resource": "tool:shop/buy", **call})

    assert (refused.status_code, refused.json()["code"]) == (400, "REQUEST_MALFORMED")
    assert "geheim" not in refused.text
    assert alice.call("tool:shop/buy", {"item": "pen"}).status_code == 200


def test_it_says_that_it_serves(place: Place) -> None:
    answer = httpx.get(f"{place.url}/healthz")

    place.document.check("/healthz", answer)
    assert answer.json() == {"ready": True}


def node(home: Path, *words: object) -> str:
    """Run a program of Node.js; return what it prints."""
    ran = subprocess.run(
        ["node", *map(str, words)], cwd=home, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_example_in_typescript_compiles_and_runs(place: Place, tmp_path: Path) -> None:
    """And types for programs are made from the document, by a compiler that is not ours."""
    if why := PACKAGES.why_not():
        skip_without_typescript(why)
    home = PACKAGES.prepare()
    (tmp_path / "document.json").write_text(json.dumps(place.document.told))
    node(home, TYPES, tmp_path / "document.json", "--output", tmp_path / "document.ts")
    (tmp_path / "agent.ts").write_bytes(EXAMPLE.read_bytes())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node", "--skipLibCheck"]
    sources = [tmp_path / "agent.ts", tmp_path / "document.ts"]
    node(home, COMPILER, *options, "--typeRoots", home / "node_modules" / "@types", *sources)

    def run(item: str) -> list[str]:
        return node(tmp_path, "agent.js", place.url, place.office.token("alice"), item).splitlines()

    bought, denied = run("pen"), run("palace")

    assert bought[:2] == ["logged in as user:alice@fintech.example", 'ok {"bought":"pen"}']
    assert [line.split()[0] for line in bought[2:]] == ["call", "item", "item", "item", "end"]
    assert denied[1].startswith("CALL_DENIED PARAM_NOT_ALLOWED: ")
    assert len(EXAMPLE.read_text("utf-8").splitlines()) <= 35
