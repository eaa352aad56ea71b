"""The console's pages: nobody without a login, no page of others, no text of agents that does anything."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from producers.client.approvals import ParametersChangedError, ShownCall
from producers.home.clock import clock_ms
from schemas.words import Outcome
from streams.console.approving import ApprovalDesk
from streams.console.files import OWN as OWN_FILES
from streams.console.files import load_assets
from streams.console.follower import Freshness
from streams.console.sessions import COOKIE
from tests.console.stored import OWN, TOKEN, Stored, logged_in, text_of
from tests.optional import skip_without

GUARDED = ("/", "/calls", f"/calls/{'0' * 64}", "/approvals", f"/approvals/{'0' * 64}", "/live")
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[31m" + "A" * 1_000_000


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path)


@pytest.mark.parametrize("path", GUARDED)
def test_no_page_without_a_login(stored: Stored, path: str) -> None:
    with stored.browser() as browser:
        for cookie in ("", f"{COOKIE}={'x' * 43}", f"{COOKIE}={'y' * 10_000}", f"{COOKIE}=; a=b"):
            answer = browser.get(path, headers={"Cookie": cookie})
            assert (answer.status_code, answer.headers.get("location")) == (303, "/login")
        bearer = browser.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
        assert bearer.status_code == 303


def test_a_wrong_token_opens_nothing_and_a_right_one_its_cookie(stored: Stored) -> None:
    with stored.browser() as browser:
        for wrong in ("", "c" * 42, "c" * 44, "ü" * 43):
            answer = browser.post("/login", data={"token": wrong}, headers={"Origin": OWN})
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
            assert wrong == "" or wrong not in answer.text
        answer = browser.post("/login", data={"token": TOKEN}, headers={"Origin": OWN})
        cookie = answer.headers["set-cookie"]
        assert TOKEN not in cookie
        assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/"))
        assert (browser.get("/")).status_code == 200
        browser.post("/logout", headers={"Origin": OWN})
        browser.cookies.set(COOKIE, cookie.partition("=")[2].partition(";")[0])
        assert (browser.get("/")).status_code == 303


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {}),
        ("POST", {"Origin": "null"}),
        ("POST", {"Origin": "http://127.0.0.1:1"}),
        ("POST", {"Origin": "https://evil.example"}),
        ("POST", {"Origin": OWN, "Sec-Fetch-Site": "cross-site"}),
        ("POST", {"Origin": OWN, "Sec-Fetch-Site": "same-site"}),
        ("GET", {"Origin": "https://evil.example"}),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
        ("GET", {"Host": "evil.example"}),
    ],
)
def test_no_page_of_another_origin_asks(stored: Stored, method: str, headers: dict[str, str]) -> None:
    with stored.browser() as browser:
        logged_in(browser)
        answer = browser.request(method, "/logout" if method == "POST" else "/calls", headers=headers)
        assert answer.status_code in {403, 421}
        assert (browser.get("/")).status_code == 200


def test_a_preflight_is_no_question_to_a_server_with_pages_of_its_own(stored: Stored) -> None:
    with stored.browser() as browser:
        asked = {"Access-Control-Request-Method": "POST"}
        for origin in (OWN, "https://evil.example", "null"):
            answer = browser.options("/login", headers={**asked, "Origin": origin})
            assert answer.status_code == (405 if origin == OWN else 403)
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_person_may_follow_a_link_to_a_page(stored: Stored) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    with stored.browser() as browser:
        logged_in(browser)
        assert (browser.get("/calls", headers=link)).status_code == 200


def test_every_page_forbids_frames_and_what_comes_from_elsewhere(stored: Stored) -> None:
    with stored.browser() as browser:
        logged_in(browser)
        for path in ("/login", *GUARDED[:4]):
            headers = (browser.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["cache-control"] == "no-store"
            assert headers["x-frame-options"] == "DENY"


def test_text_of_agents_is_escaped_drawn_and_cut(stored: Stored) -> None:
    call = stored.denied(principal_id=HOSTILE[:200], resource=HOSTILE[:300], detail=HOSTILE, reason="NO_POLICY")
    stored.put(call)
    with stored.browser() as browser:
        logged_in(browser)
        for path in ("/", "/calls", f"/calls/{call.event.hex()}", "/approvals"):
            page = browser.get(path)
            assert page.status_code == 200
            assert "<img" not in page.text
            assert "\u202e" not in page.text.replace("%E2%80%AE", "")
            assert "\x1b" not in page.text
            assert len(page.content) < 40_000
    assert "1,000,0" in text_of(page) or path == "/approvals"


def test_a_call_is_shown_from_its_session_to_its_audit_entry(stored: Stored) -> None:
    call = stored.decision(subjects=("user:ann",))
    stored.put(call, stored.result(call))
    with stored.browser() as browser:
        logged_in(browser)
        text = text_of(browser.get(f"/calls/{call.event.hex()}"))
        for part in (
            "shopper",
            "user:ann",
            "allowed",
            "ok",
            "5 ms after",
            f"entry {call.audit_index}",
            "policy explain",
        ):
            assert part in text
        assert (browser.get(f"/calls/{'0' * 64}")).status_code == 404
        assert (browser.get("/calls/%27")).status_code == 404


@pytest.mark.parametrize(
    "query",
    ["color=red", "outcome=a&outcome=b", "since=-1", "until=x", "before=1e3", "text=" + "a" * 257, "since=" + "9" * 17],
)
def test_a_malformed_address_is_refused(stored: Stored, query: str) -> None:
    with stored.browser() as browser:
        logged_in(browser)
        answer = browser.get(f"/calls?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "QUESTION_MALFORMED")
        assert browser.get("/?span=1y").status_code == 400


def test_pages_say_how_fresh_they_are(stored: Stored) -> None:
    told = {
        "reading the log": Freshness(),
        "live": Freshness(complete_at=clock_ms()),
        "behind since": Freshness(complete_at=clock_ms() - 60_000),
        "the brokers do not answer": Freshness(complete_at=clock_ms(), trouble="the brokers do not answer"),
        "3 records are not shown": Freshness(complete_at=clock_ms(), untrusted=3),
    }
    for sentence, freshness in told.items():
        with stored.browser(freshness=freshness) as browser:
            logged_in(browser)
            assert sentence in text_of(browser.get("/"))


def test_newer_calls_are_counted_and_nothing_moves(stored: Stored) -> None:
    stored.put(*[stored.decision() for _ in range(3)])
    with stored.browser() as browser:
        logged_in(browser)
        page = browser.get("/calls", headers={"X-Live": "1"})
        assert "2 newer" in text_of(page)
        assert "newer" not in text_of(browser.get("/calls", headers={"X-Live": "x"}))


class LyingViews:
    """A client whose list says one thing, and whose log has another: as `Client` behaves, but for its lists."""

    def __init__(self, parameters: dict[str, object]) -> None:
        self.parameters, self.signed = parameters, list[tuple[str, str]]()

    def list_attestations(self) -> list[dict[str, object]]:
        return [dict(request(), resource="tool:bank/balance")]

    def show_call(self, call: str) -> ShownCall:
        digest = json.dumps(self.parameters).encode().ljust(32)[:32]
        return ShownCall(
            request=call,
            resource="tool:bank/transfer",
            principal="shopper",
            parameters=self.parameters,
            parameters_sha256=digest,
            requests=(request(),),
        )

    def approve_attestation(self, asked: dict[str, object], *, reason: str) -> bool:
        self.signed.append(("approve", reason))
        return True

    def deny_attestation(self, asked: dict[str, object], *, reason: str) -> bool:
        self.signed.append(("deny", reason))
        return True

    def close(self) -> None:
        pass


def request() -> dict[str, object]:
    return {
        "request": "a" * 64, "key": "manager", "resource": "tool:bank/transfer", "for_user": "shopper",
        "for_agent": "shopper", "approved_by": [], "quorum": 1, "criteria": ["role:manager"],
        "open_until": clock_ms() + 60_000, "one_time": False,
    }  # fmt: skip


def answer_to(page: httpx.Response, answer: str) -> dict[str, str]:
    digest = page.text.partition('name="parameters_sha256" value="')[2][:64]
    terms = page.text.partition('name="terms" value="')[2][:64]
    return {
        "key": "manager", "parameters_sha256": digest, "terms": terms, "answer": answer, "reason": "within budget",
    }  # fmt: skip


def test_an_answer_is_for_the_parameters_that_were_shown(stored: Stored) -> None:
    """The list lied about the resource; the page shows the call itself. Then the call is another one: no signature."""
    client = LyingViews({"to": "bob", "amount": 25})
    with stored.browser(desk=ApprovalDesk(client, "user:carol")) as browser:  # type: ignore[arg-type]
        logged_in(browser)
        page = browser.get(f"/approvals/{'a' * 64}")
        assert "tool:bank/transfer" in text_of(page)
        assert "LATER calls" in text_of(page)
        form = answer_to(page, "approve")
        client.parameters = {"to": "eve", "amount": 25}
        answer = browser.post(f"/approvals/{'a' * 64}", data=form, headers={"Origin": OWN})
        assert answer.status_code == 409
        assert "nothing was signed" in text_of(answer)
        assert client.signed == []
        client.parameters = {"to": "bob", "amount": 25}
        assert (browser.post(f"/approvals/{'a' * 64}", data=form, headers={"Origin": OWN})).status_code == 303
        assert client.signed == [("approve", "within budget")]


@pytest.mark.parametrize(
    "change",
    [{"answer": "yes"}, {"answer": ""}, {"parameters_sha256": "0"}, {"terms": "0"}, {"key": ""}, {"reason": "r" * 201}],
)
def test_a_form_that_is_not_ours_signs_nothing(stored: Stored, change: dict[str, str]) -> None:
    client = LyingViews({})
    with stored.browser(desk=ApprovalDesk(client, "user:carol")) as browser:  # type: ignore[arg-type]
        logged_in(browser)
        form = answer_to(browser.get(f"/approvals/{'a' * 64}"), "deny") | change
        for data in (form, {**form, "more": ["x"] * 20}):
            answer = browser.post(f"/approvals/{'a' * 64}", data=data, headers={"Origin": OWN})
            assert answer.status_code == 400
    assert client.signed == []


def test_a_console_without_a_key_hands_over_the_command(stored: Stored) -> None:
    stored.put(stored.decision(outcome=Outcome.PENDING, reason="APPROVAL_PENDING"))
    with stored.browser() as browser:
        logged_in(browser)
        assert "macaw approvals list --as user:NAME" in text_of(browser.get("/approvals"))
        assert "tool:bank/transfer" in text_of(browser.get("/approvals"))
        assert (browser.get(f"/approvals/{'a' * 64}")).status_code == 303
        form = {"key": "manager", "parameters_sha256": "a" * 64, "terms": "a" * 64, "answer": "approve"}
        assert (browser.post(f"/approvals/{'a' * 64}", data=form, headers={"Origin": OWN})).status_code == 400


def test_an_error_of_the_log_is_a_banner(stored: Stored) -> None:
    client = LyingViews({})

    def away(_: str = "") -> ShownCall:
        raise ParametersChangedError("the log is away")

    client.show_call = client.list_attestations = away  # type: ignore[method-assign, assignment]
    with stored.browser(desk=ApprovalDesk(client, "user:carol")) as browser:  # type: ignore[arg-type]
        logged_in(browser)
        assert "the log is away" in text_of(browser.get("/approvals"))
        assert "the log is away" in text_of(browser.get(f"/approvals/{'a' * 64}"))


def test_assets_are_the_reviewed_files() -> None:
    assets = load_assets()
    assert set(assets) == {"uplot.js", "uplot.css", "console.js", "console.css", "icon.svg"}
    assert b"http" not in assets["console.js"].body


def test_assets_are_served_and_nothing_beside_them(stored: Stored) -> None:
    with stored.browser() as browser:
        for name in load_assets():
            assert (browser.get(f"/assets/{name}")).status_code == 200
        for name in ("front.py", "..%2ffront.py", "console.js.map", ""):
            assert (browser.get(f"/assets/{name}")).status_code in {400, 404}


STALE = """
const badge = {className: "live", textContent: "live"}, heard = {}, put = [];
globalThis.location = {href: "/"};
globalThis.document = {
  hidden: false, activeElement: {tagName: "BODY"}, querySelector: () => null, addEventListener: () => {},
  getElementById: (id) => id === "freshness" ? badge : null,
};
globalThis.window = {};
globalThis.matchMedia = () => ({addEventListener: () => {}});
globalThis.addEventListener = () => {};
globalThis.DOMParser = class { parseFromString() { put.push(1); return {querySelectorAll: () => []}; } };
globalThis.EventSource = class { addEventListener(name, told) { heard[name] = told; } };
globalThis.fetch = async () => ({ok: STATUS < 300, status: STATUS, text: async () => ""});
require(process.argv[1]);
heard.changed();
setTimeout(() => console.log(JSON.stringify([put.length, badge.className])), 50);
"""


@pytest.mark.parametrize(("status", "told"), [(200, [1, "live"]), (404, [1, "live"]), (503, [0, "stale"])])
def test_an_open_page_that_gets_no_answer_says_that_it_is_old(status: int, told: list[Any]) -> None:
    """Its rows stay, so `live` above them would be a lie: a question may be too slow, or the store gone."""
    node = shutil.which("node")
    if node is None:
        skip_without("Node.js", "https://nodejs.org")
    script = STALE.replace("STATUS", str(status))
    ran = subprocess.run(
        [node, "-e", script, str(OWN_FILES["console.js"])], capture_output=True, check=True, timeout=60, text=True
    )
    assert json.loads(ran.stdout) == told
