"""The webhook: signed, told of the beginning and the end, and of nothing that the configuration does not say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.approvals.channels import WebhookChannel
from streams.approvals.posting import ChannelReply, Poster, PostError
from streams.approvals.questions import CallQuestion
from streams.approvals.settings import ChannelSettingsError, WebhookSettings, read_slack, read_webhook
from streams.approvals.slack_messages import State
from tests.streams.approvals.asked import config, waiting
from tests.streams.approvals.slack_stub import SECRET, TOKEN, slack

KEY = b"k" * 32
WAITS = State((None,), ("",))
OVER = State(("denied by `user:carol`",), ("",))


class Heard(Poster):
    """A poster that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, dict[str, str]]] = []

    def post(self, url: str, private_hosts: Any, body: bytes, headers: Any) -> ChannelReply:
        self.sent.append((url, body, dict(headers)))
        return ChannelReply(204, None, {})


def hook(poster: Poster, *, parameters: bool = False, url: str = "https://hooks.example/x") -> WebhookChannel:
    settings = WebhookSettings(url=url, key=KEY, shows_parameters=parameters, private_hosts=())
    return WebhookChannel(settings, poster, "acme", "slack", lambda: 1_700_000_000.9)


def test_a_receiver_can_verify_what_it_is_told() -> None:
    heard, one = Heard(), waiting(1)
    question = CallQuestion((one,))
    channel = hook(heard)

    place = channel.show(question, WAITS, None)
    assert channel.show(question, State((None,), ("a note",)), place) == place
    channel.show(question, OVER, place)

    asked, ended = heard.sent
    for _, body, headers in heard.sent:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
    assert asked[2]["webhook-id"] != ended[2]["webhook-id"]
    told = json.loads(asked[1])
    assert told["type"] == "approval.asked"
    [call] = told["calls"]
    assert call["parameters_sha256"] == one.call.parameters_sha256
    assert call["command"] == f"macaw approvals approve {one.call.request} --as user:NAME"
    assert json.loads(ended[1])["calls"][0]["ended"].startswith("denied by")


def test_a_repetition_has_the_same_id() -> None:
    """So a receiver that was told twice can tell, after a restart of the sender too."""
    heard = Heard()
    hook(heard).show(CallQuestion((waiting(1),)), WAITS, None)
    hook(heard).show(CallQuestion((waiting(1),)), WAITS, None)

    assert heard.sent[0][2]["webhook-id"] == heard.sent[1][2]["webhook-id"]


def test_parameters_are_told_only_where_the_configuration_says_so() -> None:
    heard, one = Heard(), replace(waiting(1, resource="tool:x/\u202e"), parameters={"amount": 4711})

    hook(heard).show(CallQuestion((one,)), WAITS, None)
    hook(heard, parameters=True).show(CallQuestion((one,)), WAITS, None)

    assert b"4711" not in heard.sent[0][1]
    assert json.loads(heard.sent[0][1])["calls"][0]["resource"] == "tool:x/\\u202e"
    assert json.loads(json.loads(heard.sent[1][1])["calls"][0]["parameters"]) == {"amount": 4711}


def test_a_private_address_is_refused_unless_the_configuration_names_it() -> None:
    with slack() as stub, pytest.raises(PostError, match="FETCH_URL"):
        hook(Poster(), url=f"{stub.url}/x").show(CallQuestion((waiting(1),)), WAITS, None)
    for url in ("https://127.0.0.1/x", "https://169.254.169.254/x", "https://[::1]/x"):
        with pytest.raises(PostError, match="FETCH_ADDRESS_PRIVATE"):
            hook(Poster(), url=url).show(CallQuestion((waiting(1),)), WAITS, None)


# --- the file

SLACK = """
slack:
  app: A0123
  team: T0123
  channel: C0123
  bot_token_file: bot.secret
  signing_secret_file: signing.secret
  people:
    U0123: user:carol
    U0456: {principal: user:ben, mode: link}
"""
WEBHOOK = """
webhook:
  url: https://hooks.example.com/approvals
  secret_file: webhook.secret
"""
WHSEC = "whsec_" + base64.b64encode(KEY).decode()


def test_the_file_is_read(tmp_path: Path) -> None:
    file = config(tmp_path, SLACK + WEBHOOK, bot=TOKEN, signing=SECRET, webhook=WHSEC)

    found, hooked = read_slack(file), read_webhook(file)

    assert (found.app, found.bot_token, found.shows_parameters) == ("A0123", TOKEN, False)
    assert {name: (one.principal, one.is_link) for name, one in found.people.items()} == {
        "U0123": ("user:carol", False),
        "U0456": ("user:ben", True),
    }
    assert (found.api, found.hooks) == ("https://slack.com/api", "https://hooks.slack.com")
    assert (hooked.key, hooked.shows_parameters) == (KEY, False)
    for secret in (TOKEN, SECRET, repr(KEY)):
        assert secret not in repr(found) + repr(hooked)


@pytest.mark.parametrize(
    ("was", "becomes", "complaint"),
    [
        ("  app: A0123", "", "`slack.app` is missing"),
        ("app: A0123", "app: '../x'", "not an id of Slack"),
        ("app: A0123", "app: A0123\n  token: xoxb-secret", "`slack.token` is not known"),
        ("U0123: user:carol", "U0123: carol", "SLACK_ID: user:NAME"),
        ("U0123: user:carol", "U0123: user:ben", "one principal for two Slack ids"),
        ("U0123: user:carol", "U0123: 'user:ca\u200brol'", "SLACK_ID: user:NAME"),
        ("mode: link", "mode: yes", "neither button nor link"),
        ("U0123: user:carol", "U0123: user:carol\n    U0123: user:eve", "names something twice"),
        ("slack:", "Slack:", "has no section `slack`"),
        ("bot_token_file: bot.secret", "bot_token_file: none.secret", "cannot read `slack.bot_token_file`"),
        ("team: T0123", "team: T0123\n  api: http://slack.example", "`slack.api` is not a strict https URL"),
        ("team: T0123", "team: T0123\n  parameters: often", "is not true or false"),
        ("team: T0123", "team: T0123\n  private_hosts: x", "not a list"),
    ],
)
def test_a_fault_of_the_file_is_named(tmp_path: Path, was: str, becomes: str, complaint: str) -> None:
    assert was in SLACK
    file = config(tmp_path, SLACK.replace(was, becomes), bot=TOKEN, signing=SECRET)

    with pytest.raises(ChannelSettingsError) as caught:
        read_slack(file)

    assert complaint in str(caught.value)
    assert "xoxb" not in str(caught.value)


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = config(tmp_path, SLACK + WEBHOOK, bot=TOKEN, signing=SECRET, webhook="not a secret")
    (tmp_path / "signing.secret").chmod(0o644)

    with pytest.raises(ChannelSettingsError, match="chmod 600"):
        read_slack(file)
    with pytest.raises(ChannelSettingsError) as caught:
        read_webhook(file)
    assert "not a secret" not in str(caught.value).replace("is not a secret of", "")
