"""Attacks on the console: a stolen token, forms that are not ours, text that shows as nothing, and other terms."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from producers.client.approvals import ShownCall
from streams.console import words
from streams.console.approving import ApprovalDesk
from streams.console.live import STREAMS_MAX, Live
from tests.console.stored import OWN, TOKEN, Stored, logged_in, text_of

CALL = "a" * 64
HIDDEN = "\u3164\u115f\u2800\ufe0f\u034f\u202e\u200b\x1b\U000e0041\U000e0100\ud800\u2028"


@pytest.fixture
def stored(tmp_path: Any) -> Stored:
    return Stored(tmp_path)


class Log:
    """A log that shows one call, whose terms change as a lying monitor may change them."""

    def __init__(self, **terms: Any) -> None:
        self.terms, self.signed = {"one_time": True, **terms}, list[Any]()
        self.parameters: dict[str, Any] = {"amount": 25}

    def show_call(self, call: str) -> ShownCall:
        asked = {
            "request": call, "key": "manager", "resource": "tool:bank/pay", "for_user": "ann", "for_agent": "bot",
            "approved_by": [], "quorum": 1, "criteria": ["role:manager"], "open_until": 1, **self.terms,
        }  # fmt: skip
        return ShownCall(
            request=call,
            resource="tool:bank/pay",
            principal="bot",
            parameters=self.parameters,
            parameters_sha256=bytes(32),
            requests=(asked,),
        )

    def approve_attestation(self, asked: dict[str, Any], *, reason: str) -> bool:
        self.signed.append(asked)
        return True

    deny_attestation = approve_attestation


def form_in(page: str) -> dict[str, str]:
    """Return the first form for an answer, as a browser would send it."""
    form = page.partition('class="answer"')[2].partition("</form>")[0]
    fields = [one.partition('"')[0::2] for one in form.split('<input type="hidden" name="')[1:]]
    found = {name: rest.partition('value="')[2].partition('"')[0] for name, rest in fields}
    return found | {"answer": "approve", "reason": "r"}


@pytest.mark.parametrize("change", [{"one_time": False}, {"for_user": "eve"}, {"for_agent": "eve"}], ids=str)
def test_an_answer_is_for_the_terms_that_were_shown(stored: Stored, change: dict[str, Any]) -> None:
    """The page said that the yes serves this call alone, for ann; between page and answer the log tells otherwise."""
    log = Log()
    with stored.browser(desk=ApprovalDesk(log, "user:carol")) as browser:  # type: ignore[arg-type]
        logged_in(browser)
        form = form_in(browser.get(f"/approvals/{CALL}").text)
        log.terms |= change
        answer = browser.post(f"/approvals/{CALL}", data=form, headers={"Origin": OWN})
        assert (answer.status_code, log.signed) == (409, [])
        assert "nothing was signed" in text_of(answer)
        again = form_in(answer.text)
        assert browser.post(f"/approvals/{CALL}", data=again, headers={"Origin": OWN}).status_code == 303
    assert len(log.signed) == 1


@pytest.mark.parametrize("data", ["&".join(f"a{n}=1" for n in range(20)), "token=" + "%ff" * 100, "&&&", "token"])
def test_any_form_for_a_login_is_answered(stored: Stored, data: str) -> None:
    """None of them is a failure of the server, and none opens a login."""
    kind = {"Content-Type": "application/x-www-form-urlencoded", "Origin": OWN}
    with stored.browser() as browser:
        answer = browser.post("/login", content=data, headers=kind)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_another_token_ends_the_logins_of_the_stolen_one(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator who replaces the token shuts out a thief now, and not in twelve hours."""
    token = [TOKEN]
    console = stored.console()._replace(token=lambda: token[0])
    monkeypatch.setattr(stored, "console", lambda *_: console)
    with stored.browser() as browser:
        logged_in(browser)
        assert browser.get("/").status_code == 200
        token[0] = "d" * 43
        assert browser.get("/").status_code == 303
        token[0] = ""
        assert browser.get("/").status_code == 303


def test_no_character_of_an_agent_shows_as_nothing(stored: Stored) -> None:
    """Letters without a glyph, variation selectors and tags among them: a person must see what is signed."""
    for one in HIDDEN:
        assert one not in words.drawn(f"a{one}b")
        assert one not in words.drawn_lines(f"a\n{one}b")
    log = Log()
    log.parameters = {"to": f"bob{HIDDEN}", f"am{HIDDEN}ount": 10**300}
    with stored.browser(desk=ApprovalDesk(log, "user:carol")) as browser:  # type: ignore[arg-type]
        logged_in(browser)
        page = browser.get(f"/approvals/{CALL}")
        assert page.status_code == 200
        assert not set(HIDDEN) & set(page.text)
        assert "1" + "0" * 300 in page.text


def test_open_pages_are_bounded_before_their_streams_begin_and_end_with_the_login() -> None:
    """Many requests at once may not pass the bound together; a stream of a login that ended ends."""

    async def run() -> None:
        live = Live()
        streams = [live.stream(lambda: True) for _ in range(STREAMS_MAX)]
        assert live.is_full
        for one in streams:
            await anext(one)
            await one.aclose()
        assert not live.is_full

    async def ended() -> None:
        live, is_open = Live(), [True]
        stream = live.stream(lambda: is_open[0])
        await anext(stream)
        is_open[0] = False
        live.tell()
        assert b"changed" not in b"".join([part async for part in stream])

    asyncio.run(run())
    asyncio.run(asyncio.wait_for(ended(), 60))
