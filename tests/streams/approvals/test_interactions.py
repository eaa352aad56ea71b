"""The endpoint for Slack: forged, replayed, stale, foreign, broken and huge requests reach nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from streams.address import ON_LOOPBACK
from streams.approvals.interactions import BODY_BYTES_MAX, INTERACTIONS
from streams.approvals.slack_messages import DENY, SCOPE
from streams.http import door_of
from tests.streams.approvals.pressing import Pressing
from tests.streams.approvals.slack_stub import SECRET, form_of, signed


class Door:
    """The endpoint behind its door, without a socket."""

    def __init__(self) -> None:
        self.now = time.time()
        self.pressing = Pressing(ON_LOOPBACK, lambda: self.now)
        self._app = door_of(self.pressing.api.front())

    def post(self, body: bytes, headers: dict[str, str] | None = None, path: str = INTERACTIONS) -> tuple[int, str]:
        given = signed(body, self.now) if headers is None else headers

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.post(path, content=body, headers=given)

        answer = asyncio.run(ask())
        return answer.status_code, answer.json()["code"] if answer.content else ""

    def press(self, **changes: Any) -> tuple[int, str]:
        return self.post(form_of(self.pressing.payload(**changes)))


@pytest.fixture
def door() -> Door:
    return Door()


def test_a_press_is_taken_with_the_calls_that_its_button_names(door: Door) -> None:
    assert door.press() == (200, "")

    [(pressed, bound)] = door.pressing.taken
    assert (pressed.user, pressed.action, pressed.scope) == ("U0CAROL", "macaw-approve", None)
    assert len(bound.calls) == 1


def test_a_press_is_taken_once(door: Door) -> None:
    """The very request again, at any time within which its signature counts."""
    body = door.pressing.body
    headers = signed(body, door.now)
    assert door.post(body, headers) == (200, "")

    for later in (0, 100, 299):
        door.now += later
        assert door.post(body, headers)[1] in {"INTERACTION_REPLAYED", "INTERACTION_STALE"}
    assert len(door.pressing.taken) == 1


def test_a_press_of_the_future_is_not_taken_again_at_its_time(door: Door) -> None:
    body = door.pressing.body
    headers = signed(body, door.now + 299)
    assert door.post(body, headers) == (200, "")

    door.now += 299 + 298
    assert door.post(body, headers) == (409, "INTERACTION_REPLAYED")


def test_forged_and_stale_requests_are_refused(door: Door) -> None:
    body, now = door.pressing.body, door.now
    good = signed(body, now)

    assert door.post(body, signed(body, now, "other" * 8)) == (401, "INTERACTION_FORGED")
    assert door.post(body + b" ", good) == (401, "INTERACTION_FORGED")
    assert door.post(body, {**good, "X-Slack-Request-Timestamp": str(int(now) - 1)}) == (401, "INTERACTION_FORGED")
    assert door.post(body, signed(body, now - 400)) == (401, "INTERACTION_STALE")
    assert door.post(body, {"Content-Type": good["Content-Type"]}) == (401, "INTERACTION_UNSIGNED")
    assert door.post(body, {**good, "Content-Type": "application/json"}) == (400, "CONTENT_TYPE_REFUSED")
    assert door.pressing.taken == []
    assert door.post(body, good) == (200, "")  # refusals used nothing up


@pytest.mark.parametrize(
    "changes",
    [
        {"team": {"id": "T0OTHER"}}, {"api_app_id": "A0OTHER"}, {"channel": {"id": "C0OTHER"}},
    ],
)  # fmt: skip
def test_a_press_from_elsewhere_is_refused(door: Door, changes: dict[str, Any]) -> None:
    """Signed by Slack for this app, but of another workspace, app id or channel."""
    assert door.press(**changes) == (403, "INTERACTION_FOREIGN")
    assert door.pressing.taken == []


def test_a_button_that_was_not_made_here_for_this_action_is_refused(door: Door) -> None:
    value = door.pressing.value()
    for action, given in ((DENY, value), ("macaw-approve", value[:-1] + "A" * 3), ("macaw-approve", "yes")):
        actions = [{"action_id": action, "value": given}]
        assert door.press(actions=actions) == (403, "INTERACTION_FORGED")
    assert door.pressing.taken == []


MALFORMED: list[dict[str, Any]] = [
    {"type": "view_submission"}, {"type": None}, {"actions": []}, {"actions": [{}, {}]}, {"actions": "x"},
    {"actions": [{"action_id": "other", "value": "x"}]}, {"actions": [{"action_id": "macaw-approve"}]},
    {"user": None}, {"user": {"id": 5}}, {"user": {"id": "U" * 3000}}, {"team": None}, {"channel": []},
    {"container": {}}, {"response_url": ""}, {"state": "x"}, {"state": {"values": []}},
    {"state": {"values": {"macaw-answer": {SCOPE: {"selected_option": {"value": 1}}}}}},
]  # fmt: skip


@pytest.mark.parametrize("changes", MALFORMED)
def test_a_payload_of_another_form_is_refused(door: Door, changes: dict[str, Any]) -> None:
    assert door.press(**changes) == (400, "INTERACTION_MALFORMED")
    assert door.pressing.taken == []


def test_broken_json_is_refused(door: Door) -> None:
    for text in ("", "{", "[]", "null", '{"type":"block_actions","type":"x"}', "[" * 5000, '{"a":NaN}', "\ud83d"):
        body = urlencode({"payload": text.encode("utf-8", "surrogatepass")}).encode()
        assert door.post(body)[1] in {"INTERACTION_MALFORMED", "FORM_MALFORMED"}


def test_a_form_has_exactly_one_payload(door: Door) -> None:
    """Two fields of one name are read differently by different readers."""
    one = door.pressing.body
    bodies = (
        one + b"&" + one,
        one + b"&x=1",
        b"x=1",
        b"payload",
        b"",
        b"payload=%ff",
        b"\xff",
        one.replace(b"payload=", b"Payload="),
    )
    for body in bodies:
        assert door.post(body) == (400, "FORM_MALFORMED"), body[:40]


def test_a_body_beyond_the_bound_is_refused(door: Door) -> None:
    assert door.post(b"payload=" + b"x" * BODY_BYTES_MAX) == (413, "BODY_TOO_LARGE")


def test_a_choice_in_the_menu_answers_nothing(door: Door) -> None:
    assert door.press(actions=[{"action_id": SCOPE, "selected_option": {"value": "policy"}}]) == (200, "")
    assert door.pressing.taken == []


def test_a_full_queue_is_told(door: Door) -> None:
    door.pressing.is_full = True

    assert door.press() == (429, "INTERACTIONS_TOO_MANY")


def test_health_follows_the_log(door: Door) -> None:
    async def ask() -> int:
        transport = httpx.ASGITransport(app=door_of(door.pressing.api.front()))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.get("/healthz")).status_code

    assert asyncio.run(ask()) == 200
    door.pressing.is_current = False
    assert asyncio.run(ask()) == 503


def test_the_log_of_the_process_has_the_kind_of_a_refusal_alone(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(5):
        door.post(door.pressing.body, signed(door.pressing.body, door.now, "other" * 8))

    assert [one for one in caplog.messages if "INTERACTION" in one] == [
        "an interaction was refused: INTERACTION_FORGED"
    ]
    assert SECRET not in caplog.text
    assert json.dumps(door.pressing.payload())[2:40] not in caplog.text
