"""The device flow against the clock: slower when told so, over when its code is, and cancelled by the program."""

from __future__ import annotations

import threading

import pytest

from producers.identity import LoginCode, LoginError, ProviderUnavailableError, RemoteIdentityProvider
from producers.identity.device import INTERVAL_SECONDS_MAX, DevicePrompt
from tests.identity_login.telling import Answer, FakePace, Told, telling, tokens

CODE = "a-device-code-that-is-secret-0123456789"
BEGUN = {
    "device_code": CODE,
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://login.example.com/device",
    "expires_in": 60,
    "interval": 2,
}


def refused(word: str) -> Answer:
    return 400, {"error": word}


def started(told: Told, pace: FakePace) -> RemoteIdentityProvider:
    return told.provider(pace=pace)


def logged_in(*answers: Answer, begun: dict[str, object] | None = None) -> tuple[FakePace, Told, list[DevicePrompt]]:
    pace, shown = FakePace(), list[DevicePrompt]()
    with telling({"/device": [(200, {**BEGUN, **(begun or {})})], "/token": list(answers)}) as told:
        assert started(told, pace).login_device(shown.append).access_token == "an-opaque-token"
    return pace, told, shown


def code_of(*answers: Answer, begun: dict[str, object] | None = None) -> LoginCode:
    with pytest.raises(LoginError) as raised:
        logged_in(*answers, begun=begun)
    assert CODE not in str(raised.value)
    return raised.value.code


def test_the_provider_is_asked_at_its_pace_and_slower_for_good_once_it_says_so() -> None:
    """RFC 8628 3.5: five seconds more after each `slow_down`."""
    pending, slower = refused("authorization_pending"), refused("slow_down")
    pace, told, shown = logged_in(pending, slower, pending, slower, tokens())

    assert pace.waits == [2, 2, 7, 7, 12]
    assert {form["device_code"] for form in told.forms("/token")} == {CODE}
    assert str(shown[0]) == "Open https://login.example.com/device and enter the code WDJB-MJHT"


def test_a_provider_that_does_not_answer_is_asked_less_often_until_the_code_ends() -> None:
    """RFC 8628 3.5: the person may be typing meanwhile."""
    pace, _, _ = logged_in((503, b""), (200, b"<html>"), tokens())

    assert pace.waits == [2, 4, 8]


def test_the_flow_ends_with_its_code_even_if_the_provider_never_says_so() -> None:
    assert code_of(refused("authorization_pending")) is LoginCode.LOGIN_TIMED_OUT


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("access_denied", LoginCode.ACCESS_REFUSED),
        ("expired_token", LoginCode.LOGIN_TIMED_OUT),
        ("invalid_client", LoginCode.CLIENT_REFUSED),
        (CODE, LoginCode.REQUEST_REFUSED),
    ],
)
def test_a_refusal_ends_it(word: str, code: LoginCode) -> None:
    assert code_of(refused(word)) is code


def test_a_program_cancels_it_while_it_waits() -> None:
    stop = threading.Event()
    with telling({"/device": [(200, BEGUN)], "/token": [refused("authorization_pending")]}) as told:
        with pytest.raises(LoginError) as raised:
            told.provider().login_device(lambda _: stop.set(), stop=stop)
        assert raised.value.code is LoginCode.LOGIN_CANCELLED
        assert told.forms("/token") == []


@pytest.mark.parametrize(
    "begun",
    [
        {"device_code": None},
        {"device_code": "a b"},
        {"user_code": "x\x1b[2J"},
        {"user_code": "x" * 65},
        {"verification_uri": "http://login.example.com/"},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri_complete": "https://a\nb"},
        {"expires_in": None},
        {"expires_in": True},
        {"expires_in": "600"},
    ],
)
def test_a_malformed_beginning_is_not_shown_to_anybody(begun: dict[str, object]) -> None:
    """The prompt goes to a terminal, and its address is opened by a person."""
    with pytest.raises(ProviderUnavailableError, match="no usable"):
        logged_in(tokens(), begun=begun)


@pytest.mark.parametrize(
    ("interval", "wait"), [(None, 5), (0, 5), (-1, 5), (0.001, 1), ("9", 5), (1e300, 5), (10_000, INTERVAL_SECONDS_MAX)]
)
def test_an_interval_is_kept_within_bounds(interval: object, wait: float) -> None:
    pace, _, _ = logged_in(tokens(), begun={"interval": interval, "expires_in": 600})

    assert pace.waits == [wait]


def test_a_provider_without_the_flow_says_so() -> None:
    with (
        telling(device_authorization_endpoint=None) as told,
        pytest.raises(LoginError, match="use login_browser") as no,
    ):
        told.provider().login_device()
    assert no.value.code is LoginCode.FLOW_NOT_OFFERED


def test_the_prompt_is_shown_on_stderr_unless_the_program_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout belongs to the program, which may speak a protocol on it."""
    begun = {**BEGUN, "verification_uri_complete": "https://login.example.com/device?user_code=WDJB-MJHT"}
    with telling({"/device": [(200, begun)], "/token": [tokens()]}) as told:
        started(told, FakePace()).login_device()
    out, err = capsys.readouterr()

    assert out == ""
    assert err.endswith("(or open https://login.example.com/device?user_code=WDJB-MJHT)\n")
