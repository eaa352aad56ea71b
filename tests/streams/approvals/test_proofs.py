"""Signatures of both channels against their published examples, and the seal of a button."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.approvals.proofs import (
    Bound,
    Buttons,
    SlackProofError,
    WebhookSecretError,
    check_slack_signature,
    slack_signature,
    webhook_secret,
    webhook_signature,
)

# The example in Slack's "Verifying requests from Slack".
SLACK_SECRET, SLACK_TIME = "8f742231b10e8888abcd99yyyzzz85a5", "1531420618"
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a1"
    b"4d10d2c447fce8b6703c"
)
SLACK_SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
NOW = int(SLACK_TIME)


def test_the_published_example_of_slack() -> None:
    assert slack_signature(SLACK_SECRET, SLACK_TIME, SLACK_BODY) == SLACK_SIGNATURE
    assert check_slack_signature(SLACK_SECRET, [SLACK_TIME], [SLACK_SIGNATURE], SLACK_BODY, NOW + 300)


def test_the_published_example_of_standard_webhooks() -> None:
    key = webhook_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    found = webhook_signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "text", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!", "whsec_" + "A" * 28, "whsec_" + "A" * 88]
)
def test_another_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(WebhookSecretError) as caught:
        webhook_secret(text)
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize(
    ("stamps", "signatures", "now", "fault"),
    [
        ([], [SLACK_SIGNATURE], NOW, "INTERACTION_UNSIGNED"),
        ([SLACK_TIME], [], NOW, "INTERACTION_UNSIGNED"),
        ([SLACK_TIME] * 2, [SLACK_SIGNATURE], NOW, "INTERACTION_UNSIGNED"),
        ([SLACK_TIME], [SLACK_SIGNATURE] * 2, NOW, "INTERACTION_UNSIGNED"),
        (["1e9"], [SLACK_SIGNATURE], NOW, "INTERACTION_UNSIGNED"),
        (["-5"], [SLACK_SIGNATURE], NOW, "INTERACTION_UNSIGNED"),
        (["9" * 400], [SLACK_SIGNATURE], NOW, "INTERACTION_UNSIGNED"),
        (["١٥٣١٤٢٠٦١٨"], [SLACK_SIGNATURE], NOW, "INTERACTION_UNSIGNED"),
        ([SLACK_TIME], [SLACK_SIGNATURE], NOW + 301, "INTERACTION_STALE"),
        ([SLACK_TIME], [SLACK_SIGNATURE], NOW - 301, "INTERACTION_STALE"),
        ([SLACK_TIME], ["v0="], NOW, "INTERACTION_FORGED"),
        ([SLACK_TIME], [SLACK_SIGNATURE.upper()], NOW, "INTERACTION_FORGED"),
        ([SLACK_TIME], ["v1" + SLACK_SIGNATURE[2:]], NOW, "INTERACTION_FORGED"),
        ([SLACK_TIME], ["\xe4"], NOW, "INTERACTION_FORGED"),
        ([str(NOW + 1)], [SLACK_SIGNATURE], NOW, "INTERACTION_FORGED"),
    ],
)
def test_an_unproven_request_is_refused(stamps: list[str], signatures: list[str], now: int, fault: str) -> None:
    with pytest.raises(SlackProofError) as caught:
        check_slack_signature(SLACK_SECRET, stamps, signatures, SLACK_BODY, now)
    assert caught.value.fault == fault
    assert SLACK_SECRET not in str(caught.value)


# --- buttons

digests = st.binary(min_size=32, max_size=32)
hexes = digests.map(bytes.hex)
bounds = st.builds(Bound, digests, st.lists(st.tuples(hexes, hexes), max_size=8).map(tuple))
PLACE = ("acme", "slack", "A1", "T1", "C1")
SEAL = Buttons("s" * 32, PLACE)


@given(bounds)
def test_a_button_opens_to_the_calls_that_were_sealed(bound: Bound) -> None:
    assert SEAL.open("approve", SEAL.seal("approve", bound)) == bound


@given(bounds, st.data())
def test_a_changed_button_does_not_open(bound: Bound, data: st.DataObject) -> None:
    value = SEAL.seal("approve", bound)
    raw = bytearray(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(SlackProofError):
        SEAL.open("approve", base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="))


def test_a_button_of_another_action_place_or_secret_does_not_open() -> None:
    """A denial is not a yes, and a message of another channel, tenant, approver or app is not this one."""
    value = SEAL.seal("deny", Bound(b"k" * 32, (("00" * 32, "11" * 32),)))
    others = [Buttons("s" * 32, (*PLACE[:n], "x", *PLACE[n + 1 :])) for n in range(len(PLACE))]

    for seal, action in [(SEAL, "approve"), (Buttons("t" * 32, PLACE), "deny"), *((one, "deny") for one in others)]:
        with pytest.raises(SlackProofError):
            seal.open(action, value)


@given(st.text(max_size=3000))
def test_any_text_is_no_button(text: str) -> None:
    with pytest.raises(SlackProofError):
        SEAL.open("approve", text)
