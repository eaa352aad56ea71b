"""Questions in Slack and their answers, over a server that speaks Slack's wire format and a log in memory."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streams.approvals import answering as answering_module
from streams.approvals import desk as desk_module
from streams.approvals.answering import NO_SCOPE, NOTHING, OLD_COPY, OWN_CALL, SILENT, STRANGER, Answering
from streams.approvals.channels import Channel, SlackChannel
from streams.approvals.delivery import Delivery
from streams.approvals.desk import EXPIRED, GONE, QuestionDesk
from streams.approvals.notebook import Notebook, NotebookError
from streams.approvals.posting import PostError
from streams.approvals.pressed import pressed_in
from streams.approvals.proofs import Buttons, SlackProofError
from tests.streams.approvals.asked import NOW_MS, LogInMemory, channel, row
from tests.streams.approvals.slack_stub import (
    BEN,
    CAROL,
    CHANNEL,
    NOBODY,
    SECRET,
    TOKEN,
    Failure,
    SlackStub,
    slack,
)
from tests.waiting import wait_until

LASTING = {"one_time": False, "scopes": {"once": True, "for_seconds": 86_400, "uses": 10}}


class Office:
    """A channel with its desk, its delivery and its answers; the clock of the log stands still."""

    def __init__(self, base: Path, stub: SlackStub, given: Channel, log: LogInMemory) -> None:
        self.stub, self.log, self.channel = stub, log, given
        self.now = NOW_MS
        self.delivery = Delivery(given, pause_s=0.1)
        notebook = Notebook(base / "asked.json")
        self.desk = QuestionDesk(
            log, notebook, self.delivery.mark, shows_parameters=given.shows_parameters, clock_ms=lambda: self.now
        )  # type: ignore[arg-type]
        self.delivery.start(self.desk)

    def press(self, ts: str, user: str = CAROL, action: str = "macaw-approve", **changes: Any) -> str:
        """Press a button, and return what the person is told."""
        assert isinstance(self.channel, SlackChannel)
        answering = Answering(self.desk, self.log, self.channel)  # type: ignore[arg-type]
        pressed = pressed_in(json.dumps(self.stub.pressing(ts, user, action, **changes)))
        assert pressed is not None
        return answering.answer(pressed, self.channel.buttons.open(pressed.action, pressed.value))

    def shows(self, ts: str, *words: str) -> str:
        """Wait until a message has these words, and return it."""
        wait_until(lambda: all(one in json.dumps(self.stub.messages[ts]) for one in words), lambda: f"{words}")
        return json.dumps(self.stub.messages[ts])

    def close(self) -> None:
        self.delivery.close()


@pytest.fixture
def stub() -> Iterator[SlackStub]:
    with slack() as found:
        yield found


@contextmanager
def office(base: Path, stub: SlackStub, *rows: dict[str, Any], **changes: Any) -> Iterator[Office]:
    given = Office(base, stub, channel(stub.url, **changes), LogInMemory(list(rows)))
    try:
        yield given
    finally:
        given.close()


def test_several_calls_are_one_message_and_one_yes(tmp_path: Path, stub: SlackStub) -> None:
    with office(tmp_path, stub, row(1), row(2), row(3)) as here:
        here.desk.look()
        ts, message = stub.only()
        assert message["text"] == "3 calls wait for an approval"
        assert (message["unfurl_links"], message["parse"]) == (False, "none")

        assert here.press(ts).startswith("approved: 3 of 3")

        assert {(says, who) for _, says, who, _ in here.log.answers} == {("approve", "user:carol")}
        assert '"actions"' not in here.shows(ts, "approved by `user:carol`", "nothing to answer any more")
        assert stub.posts == [ts]


def test_the_scope_that_was_chosen_is_signed(tmp_path: Path, stub: SlackStub) -> None:
    """The menu begins with the narrowest; a scope that is not offered signs nothing."""
    with office(tmp_path, stub, row(1, **LASTING)) as here:
        here.desk.look()
        ts, _ = stub.only()

        def chosen(name: str) -> dict[str, Any]:
            return {"values": {"macaw-answer": {"macaw-scope": {"selected_option": {"value": name}}}}}

        assert here.press(ts, state=chosen("for ever")) == NO_SCOPE
        assert here.log.answers == []
        here.press(ts)
        here.log.rows = [row(1, **LASTING)]
        here.press(ts, state=chosen("hour"))

    assert [arguments for *_, arguments in here.log.answers] == [{"once": True}, {"for_seconds": 3600}]


def test_people_who_may_not_answer_are_told_so_and_nothing_is_signed(tmp_path: Path, stub: SlackStub) -> None:
    with office(tmp_path, stub, row(1, for_user="user:carol"), row(2)) as here:
        here.desk.look()
        wait_until(lambda: len(stub.posts) == 2, "two questions")
        own = next(ts for ts in stub.posts if "user:carol" in json.dumps(stub.messages[ts]))
        [other] = set(stub.posts) - {own}

        assert here.press(own) == OWN_CALL
        assert here.press(other, NOBODY) == STRANGER
        assert f"macaw approvals approve {row(2)['request']} --as` `user:ben`" in here.press(other, BEN)
        assert here.log.answers == []
        assert f"macaw approvals deny {row(2)['request']}" in here.press(other, BEN, "macaw-deny")
        here.log.reasons["user:carol"] = "NO_ANSWER"
        assert here.press(other) == SILENT
        here.log.reasons["user:carol"] = "APPROVER_IS_REQUESTER"
        assert here.press(other) == "refused APPROVER_IS_REQUESTER: a person cannot approve a call in their own name"


def test_a_button_serves_the_very_calls_that_it_was_made_for(tmp_path: Path, stub: SlackStub) -> None:
    """Another call under the same message, the same call with another digest, and a button of another channel."""
    with office(tmp_path, stub, row(1)) as here:
        here.desk.look()
        ts, _ = stub.only()
        here.log.rows = [row(1, parameters_sha256="0" * 64), row(2)]

        assert here.press(ts) == NOTHING
        assert here.log.answers == []
        [button] = [one for one in stub.messages[ts]["blocks"][-1]["elements"] if one["action_id"] == "macaw-approve"]
        with pytest.raises(SlackProofError):
            Buttons(SECRET, ("acme", "slack", "A", "T", "C0OTHER")).open("macaw-approve", button["value"])


def test_a_copy_of_a_message_is_not_the_message(tmp_path: Path, stub: SlackStub) -> None:
    """A thief of the bot's token may show a button under other words; the desk knows where it was put."""
    with office(tmp_path, stub, row(1)) as here:
        here.desk.look()
        ts, message = stub.only()
        wait_until(lambda: here.desk.place_of([(row(1)["request"], row(1)["parameters_sha256"])], "manager"))
        stub.messages["1800000000.000001"] = message

        assert here.press("1800000000.000001") == OLD_COPY
        assert here.log.answers == []
        here.press(ts)
        assert len(here.log.answers) == 1


def test_a_restart_asks_nothing_twice_and_old_buttons_work(tmp_path: Path, stub: SlackStub) -> None:
    with office(tmp_path, stub, row(1)) as before:
        before.desk.look()
        ts, _ = stub.only()
        wait_until(lambda: ts in (tmp_path / "asked.json").read_text(), "the message in the file")
    with office(tmp_path, stub, row(1), row(2)) as here:
        here.desk.look()
        wait_until(lambda: len(stub.posts) == 2, "the new call alone")
        here.press(ts)
        here.shows(ts, "approved by `user:carol`")

    assert [request for request, *_ in here.log.answers] == [row(1)["request"]]
    assert TOKEN not in (tmp_path / "asked.json").read_text()
    assert (tmp_path / "asked.json").stat().st_mode & 0o077 == 0


def test_a_button_is_understood_without_the_file(tmp_path: Path, stub: SlackStub) -> None:
    with office(tmp_path, stub, row(1)) as before:
        before.desk.look()
        ts, _ = stub.only()
    (tmp_path / "other").mkdir()
    with office(tmp_path / "other", stub, row(1)) as here:
        assert here.press(ts).startswith("approved: 1 of 1")


def test_a_damaged_file_is_named(tmp_path: Path, stub: SlackStub) -> None:
    (tmp_path / "asked.json").touch(0o600)
    for text in ('{"x":', '[{"place": 5}]', "[1]", '[{"calls":[],"ends":[],"place":null,"more":0}]'):
        (tmp_path / "asked.json").write_text(text)
        with pytest.raises(NotebookError, match=r"asked\.json is damaged"), office(tmp_path, stub):
            pass


def test_a_question_whose_calls_have_ended_says_so(tmp_path: Path, stub: SlackStub) -> None:
    with office(tmp_path, stub, row(1), row(2)) as here:
        here.desk.look()
        ts, _ = stub.only()
        here.log.rows = [row(2)]
        here.desk.look()
        here.shows(ts, GONE, "macaw-approve")
        here.log.rows, here.now = [], NOW_MS + 61_000
        here.desk.look()
        assert "macaw-approve" not in here.shows(ts, EXPIRED)
        wait_until(lambda: json.loads((tmp_path / "asked.json").read_text()) == [], "nothing is open")


def test_a_second_yes_that_is_needed_is_shown(tmp_path: Path, stub: SlackStub) -> None:
    with office(tmp_path, stub, row(1, quorum=2)) as here:
        here.desk.look()
        ts, _ = stub.only()
        here.log.rows = [row(1, quorum=2, approved_by=["user:mia via slack"])]
        here.desk.look()
        here.shows(ts, "approved so far by `user:mia via slack`; 2 people must approve", "macaw-approve")


def test_parameters_of_calls_are_not_read_where_they_are_not_shown(tmp_path: Path, stub: SlackStub) -> None:
    """A log that does not show a call is no reason not to ask about it."""
    with office(tmp_path, stub, row(1), shows_parameters=True) as here:
        here.desk.look()
        assert "the parameters are not shown here" in json.dumps(stub.only()[1])


# --- Slack and the log as they can be


@pytest.mark.parametrize(
    "failure",
    [
        Failure(500), Failure(302, {"Location": "http://127.0.0.1:1/x"}), Failure(200, body=b"<html>"),
        Failure(200, body=b'{"ok": false, "error": "channel_not_found"}'), Failure(200, body=b"x" * 1_000_000),
    ],
    ids=["500", "redirect", "no JSON", "an error of Slack", "too large"],
)  # fmt: skip
def test_a_message_that_is_not_taken_is_sent_again(
    tmp_path: Path, stub: SlackStub, failure: Failure, caplog: pytest.LogCaptureFixture
) -> None:
    stub.failures = [failure]
    with office(tmp_path, stub, row(1)) as here:
        here.desk.look()
        stub.only()
    assert stub.requests == 2
    assert "a question could not be shown, and is tried again" in caplog.text
    assert TOKEN not in caplog.text


def test_slack_asks_for_a_pause(tmp_path: Path, stub: SlackStub) -> None:
    """429 with Retry-After: nothing is sent for that time, not even about others."""
    stub.failures = [Failure(429, {"Retry-After": "1"})]
    with office(tmp_path, stub, row(1), row(2, for_agent="clerk")) as here:
        begun = time.monotonic()
        here.desk.look()
        wait_until(lambda: len(stub.posts) == 2, "both questions")
    assert time.monotonic() - begun >= 1


def test_a_slow_message_does_not_delay_the_others(tmp_path: Path, stub: SlackStub) -> None:
    stub.failures = [Failure(500, silent_seconds=2)]
    with office(tmp_path, stub, row(1)) as here:
        here.desk.look()
        wait_until(lambda: stub.requests == 1, "the slow one")
        here.log.rows.append(row(2, for_agent="clerk"))
        here.desk.look()
        _, message = stub.only()
        assert "clerk" in json.dumps(message)


def test_a_flood_of_one_requester_has_a_pace(tmp_path: Path, stub: SlackStub) -> None:
    """Calls that are given up as soon as they were asked about do not fill the channel."""
    with office(tmp_path, stub) as here:
        for number in range(desk_module.ASKS_PER_MINUTE_MAX + 5):
            here.log.rows = [row(number)]
            here.desk.look()
        here.log.rows = [row(999, for_agent="clerk")]
        here.desk.look()
        wait_until(lambda: any("clerk" in json.dumps(one) for one in stub.messages.values()), "the other requester")
    assert len(stub.posts) <= desk_module.ASKS_PER_MINUTE_MAX + 1


def test_a_log_that_is_away_is_told(tmp_path: Path, stub: SlackStub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with office(tmp_path, stub, row(1)) as here:
        here.desk.look()
        ts, _ = stub.only()
        here.log.is_away = True
        assert isinstance(here.channel, SlackChannel)
        answering = Answering(here.desk, here.log, here.channel)  # type: ignore[arg-type]
        answering.start()
        pressed = pressed_in(json.dumps(stub.pressing(ts, CAROL)))
        assert pressed is not None
        answering.take(pressed, here.channel.buttons.open(pressed.action, pressed.value))
        wait_until(lambda: stub.told, "the person is told")
        answering.close()
    assert stub.told == [SILENT]
    assert "no broker answers" in caplog.text


def test_presses_are_bounded_by_person_and_together(tmp_path: Path, stub: SlackStub) -> None:
    with office(tmp_path, stub, row(1)) as here:
        here.desk.look()
        ts, _ = stub.only()
        assert isinstance(here.channel, SlackChannel)
        now = [0.0]
        answering = Answering(here.desk, here.log, here.channel, lambda: now[0])  # type: ignore[arg-type]

        def taken(user: str) -> bool:
            pressed = pressed_in(json.dumps(stub.pressing(ts, user)))
            assert pressed is not None
            try:
                answering.take(pressed, here.channel.buttons.open(pressed.action, pressed.value))  # type: ignore[attr-defined]
            except answering_module.TooManyPressesError:
                return False
            return True

        assert [taken(f"U{n}") for n in range(30)] == [True] * 20 + [False] * 10  # strangers share one bucket
        assert [taken(CAROL) for _ in range(25)] == [True] * 20 + [False] * 5
        now[0] = 61.0
        assert [taken(CAROL) for _ in range(20)] == [True] * 20
        now[0] = 122.0
        assert [taken(CAROL) for _ in range(20)].count(True) == answering_module.QUEUE_MAX - 60


def test_an_address_that_is_not_slacks_is_not_called(tmp_path: Path, stub: SlackStub) -> None:
    """`response_url` comes in a signed request, and still leads nowhere else."""
    given = channel(stub.url)
    for url in (f"{stub.url}/other", "http://169.254.169.254/hooks/", f"{stub.url}/hooks@evil.example/"):
        with pytest.raises(PostError):
            given.tell(url, "x")
    assert stub.requests == 0
    with pytest.raises(PostError, match=r"FETCH_ADDRESS_PRIVATE|FETCH_URL"):
        channel(stub.url, private_hosts=()).tell(f"{stub.url}/hooks/1", "x")
    assert CHANNEL not in stub.told
