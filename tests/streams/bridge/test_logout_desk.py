"""The desk for logout tokens: done once the log has spoken, said once, and bounded in number and in time."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from processors.identity.bridging import LoginRefusedError, reference
from processors.identity.tokens.jose import encode_base64url
from processors.identity.tokens.reasons import TokenRefusedError
from producers.kafka.appending import PublishError
from streams.bridge import logout_desk
from streams.bridge.logout_desk import LogoutDesk, LogoutRefusedError, LogoutUnansweredError
from streams.bridge.reasons import FetchError, FetchReason
from tests.identity_tokens.minting import (
    ISSUER,
    NOW_MS,
    NOW_S,
    STRANGER,
    all_keys,
    compact,
    header,
    logout_claims,
    logout_token,
    public_jwk,
    set_of,
)
from tests.streams.bridge.logouts import TENANT, Clock, Heard
from tests.streams.bridge.surroundings import IDENTITY
from tests.waiting import PATIENCE_SECONDS


def at_a_desk(heard: Heard, act: Callable[[Callable[[str], Awaitable[None]], LogoutDesk], Awaitable[Any]]) -> Any:
    """Run `act` with `take`, which gives a text to a desk of the tenant, and that desk."""
    desk = LogoutDesk(heard, Clock())

    async def take(text: str) -> None:
        await desk.take(text, heard.voices(TENANT) or [])

    async def run() -> Any:
        return await act(take, desk)

    return asyncio.run(run())


def refs(heard: Heard) -> list[tuple[bytes | None, bytes | None]]:
    return [(one.body.login_ref, one.body.subject_ref) for one in heard.said]


def ref(kind: str, value: str) -> bytes:
    return reference(IDENTITY.ref_secret, ISSUER, kind, value)


def test_a_logout_is_done_once_the_log_has_accepted_each_of_its_events() -> None:
    heard = Heard(is_silent=True)

    async def act(take: Any, _: LogoutDesk) -> list[bool]:
        taking = asyncio.ensure_future(take(logout_token()))
        done = []
        for number in range(2):
            await asyncio.sleep(0.01)
            done.append(taking.done())
            heard.said[number].end()
        await taking
        return done

    assert at_a_desk(heard, act) == [False, False]
    assert refs(heard) == [(ref("sid", "s-1"), None), (ref("sub", "alice"), None)]


def test_a_token_that_comes_again_is_said_once() -> None:
    """In its life, however it comes: one after the other, at the same time, or with another signature."""
    heard, again = Heard(is_silent=True), compact(header(typ="logout+jwt"), logout_claims(sub="alice"))

    async def act(take: Any, desk: LogoutDesk) -> int:
        both = [asyncio.ensure_future(take(one)) for one in (logout_token(), again)]
        await asyncio.sleep(0.01)
        for one in heard.said:
            one.end()
        await asyncio.gather(*both)
        await take(again)
        return desk.remembered

    assert at_a_desk(heard, act) == 1
    assert len(heard.said) == 2  # of one token, which names a login and a subject


def test_the_same_id_for_another_login_ends_that_one_too() -> None:
    """A provider that repeats `jti` must not keep a login alive."""
    heard = Heard()

    async def act(take: Any, _: LogoutDesk) -> None:
        for sid in ("s-1", "s-2"):
            await take(logout_token(sid=sid))

    at_a_desk(heard, act)
    assert {ref("sid", "s-1"), ref("sid", "s-2")} <= {one.body.login_ref for one in heard.said}


def test_accepted_tokens_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logout_desk, "REMEMBERED_MAX", 3)

    async def act(take: Any, desk: LogoutDesk) -> list[int]:
        found = []
        for number in range(5):
            await take(logout_token(jti=str(number), exp=NOW_S + 10))
            found.append(desk.remembered)
        desk._clock.now = NOW_MS + 10_000  # type: ignore[attr-defined]
        await take(logout_token(jti="later"))
        return [*found, desk.remembered]

    assert at_a_desk(Heard(), act) == [1, 2, 3, 3, 3, 1]


@pytest.mark.parametrize("fault", ["silence", "no broker", "no keys", "slow keys", "no bridge"])
def test_a_logout_that_nobody_answers_may_be_sent_again(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logout_desk, "ANSWER_SECONDS", 0.05)
    heard = Heard(is_silent=fault in {"silence", "no broker"}, have=None if "keys" in fault else all_keys())

    async def act(take: Any, desk: LogoutDesk) -> int:
        voices = [] if fault == "no bridge" else heard.voices(TENANT) or []
        taking = asyncio.ensure_future(desk.take(logout_token(), voices))
        await asyncio.sleep(0.01)
        if fault == "no broker":
            heard.said[0].answer.set_exception(PublishError("no broker"))
        if fault == "no keys":
            heard.asked[0][2].set_exception(FetchError(FetchReason.FETCH_UNREACHABLE))
        with pytest.raises(LogoutUnansweredError):
            await taking
        await asyncio.sleep(0.01)
        assert all(one.answer.done() for one in heard.said)
        heard.is_silent, heard.have = False, all_keys()
        monkeypatch.setattr(logout_desk, "ANSWER_SECONDS", PATIENCE_SECONDS)
        before = len(heard.said)
        await take(logout_token())
        return len(heard.said) - before

    assert at_a_desk(heard, act) == 2


def test_the_logs_own_refusal_is_no_success_and_is_not_remembered() -> None:
    heard = Heard(is_silent=True)

    async def act(take: Any, desk: LogoutDesk) -> int:
        taking = asyncio.ensure_future(take(logout_token()))
        await asyncio.sleep(0.01)
        heard.said[0].end()
        heard.said[1].end("refused", "WRONG_ROLE")
        with pytest.raises(LogoutRefusedError, match="WRONG_ROLE"):
            await taking
        return desk.remembered

    assert at_a_desk(heard, act) == 0


@pytest.mark.parametrize("is_new", [True, False])
def test_an_unknown_key_is_asked_for_once(is_new: bool) -> None:
    old = set_of(public_jwk("ES256", kid="old"))
    heard = Heard(have=old)

    async def act(take: Any, _: LogoutDesk) -> None:
        taking = asyncio.ensure_future(take(logout_token()))
        await asyncio.sleep(0.01)
        [(terms, kid, found)] = heard.asked
        assert (terms.issuer, kid) == (ISSUER, "ES256")
        found.set_result(all_keys() if is_new else old)
        if is_new:
            await taking
            return
        with pytest.raises(TokenRefusedError, match="TOKEN_KEY_UNKNOWN"):
            await taking

    at_a_desk(heard, act)
    assert len(heard.said) == (2 if is_new else 0)


def test_a_flood_of_invented_keys_leaves_room_for_an_honest_logout() -> None:
    heard = Heard()
    invented = compact(header(kid="invented", typ="logout+jwt"), logout_claims())

    async def act(take: Any, desk: LogoutDesk) -> list[Any]:
        flood = [asyncio.ensure_future(take(invented)) for _ in range(100)]
        await asyncio.sleep(0.01)
        await take(logout_token())
        for *_unused, keys in heard.asked:
            keys.set_result(all_keys())
        return list(await asyncio.gather(*flood, return_exceptions=True))

    ends = [type(one) for one in at_a_desk(heard, act)]
    assert ends.count(TokenRefusedError) == logout_desk.WAITING_FOR_KEYS_MAX == len(heard.asked)
    assert ends.count(LogoutUnansweredError) == 100 - logout_desk.WAITING_FOR_KEYS_MAX
    assert len(heard.said) == 2


def test_as_many_logouts_as_may_be_are_under_way() -> None:
    heard = Heard(is_silent=True)

    async def act(take: Any, _: LogoutDesk) -> int:
        first = [asyncio.ensure_future(take(logout_token(jti=str(n)))) for n in range(logout_desk.UNDER_WAY_MAX)]
        await asyncio.sleep(0.05)
        with pytest.raises(LogoutUnansweredError, match="under way"):
            await take(logout_token(jti="one more"))
        for one in heard.said:
            one.end()
        await asyncio.gather(*first)
        heard.is_silent = False
        await take(logout_token(jti="one more"))
        return len(heard.said)

    assert at_a_desk(heard, act) == 2 * (logout_desk.UNDER_WAY_MAX + 1)


def test_ten_thousand_random_tokens_end_nothing_and_leave_nothing() -> None:
    """Random texts, random parts, and forged tokens of an issuer that is trusted and of ones that are not."""
    heard, draw = Heard(have=all_keys()), random.Random(7)
    forged = compact(header(typ="logout+jwt"), logout_claims(), key=STRANGER).rpartition(".")[0]

    def text(number: int) -> str:
        if number % 10 == 0:
            return f"{forged}.{encode_base64url(draw.randbytes(64))}"
        if number % 10 == 1:
            claims = json.dumps({"iss": f"https://{number}.example"}).encode()
            return ".".join(map(encode_base64url, (b'{"alg":"ES256","kid":"ES256"}', claims, draw.randbytes(64))))
        return ".".join(encode_base64url(draw.randbytes(draw.randrange(60))) for _ in range(3))

    async def act(take: Any, desk: LogoutDesk) -> tuple[int, int]:
        refused = 0
        for number in range(10_000):
            try:
                await take(text(number))
            except (TokenRefusedError, LoginRefusedError):
                refused += 1
        await take(logout_token())
        return refused, desk.remembered

    assert at_a_desk(heard, act) == (10_000, 1)
    assert (len(heard.said), heard.asked) == (2, [])
