"""Attacks on the channels: a tampered state file, a flood of calls, a replay at the edge, two ids of one person."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from producers.home.home import HomeError
from producers.kafka.outcomes import MalformedReplyError
from streams.approvals.answering import NOTHING, SILENT, Answering
from streams.approvals.channels import terms_digest
from streams.approvals.desk import QuestionDesk
from streams.approvals.notebook import Notebook, NotebookError
from streams.approvals.pressed import pressed_in
from streams.approvals.proofs import SKEW_SECONDS_MAX, Buttons
from streams.approvals.questions import CallQuestion, ListedCall, due, waiting_in
from streams.approvals.settings import ChannelSettingsError, read_slack
from streams.approvals.showing import code_block, line_of
from streams.approvals.slack_messages import State, message
from streams.http import door_of
from tests.streams.approvals.asked import LogInMemory, channel, config, row, waiting
from tests.streams.approvals.pressing import Pressing
from tests.streams.approvals.slack_stub import CAROL, TEAM, form_of, signed
from tests.waiting import PATIENCE_SECONDS

SEAL = Buttons("s" * 32, ("acme", "slack", "A", "T", "C"))
FAR_MS = 10**18


def note(**changes: Any) -> dict[str, Any]:
    """Return one question as the state file has it."""
    kept = {name: value for name, value in row().items() if name not in {"criteria", "quorum", "approved_by"}}
    return {"place": "1.2", "more": 0, "ends": [None], "calls": [kept], **changes}


def calls(**changes: Any) -> list[dict[str, Any]]:
    return [{**note()["calls"][0], **changes}]


TAMPERED: dict[str, Any] = {
    "a text for a call": [note(calls=["x"])],
    "a number for a call": [note(calls=[1])],
    "calls as an object": [note(calls={"a": 1})],
    "half a character": [note(calls=calls(key="\ud800"))],
    "half a character in a resource": [note(calls=calls(resource="\udfff"))],
    "a time without a date": [note(calls=calls(open_until=FAR_MS))],
    "a time before all": [note(calls=calls(asked_at=-1))],
    "an endless end": [note(ends=["x" * 5000])],
    "markup for an end": [note(ends=["<!channel> *APPROVED* <https://evil.example|here>"])],
    "a strange place": [note(place="1" * 5000)],
    "a negative rest": [note(more=-1)],
    "an object": {"a": 1},
    "nothing": None,
    "a text": "xx",
    "a list in it": [[]],
    "no end": [note(ends=[])],
    "the same twice": [note(), note()],
}


@pytest.mark.parametrize("value", TAMPERED.values(), ids=list(TAMPERED))
def test_a_tampered_state_file_is_named_and_stops_nothing_else(tmp_path: Path, value: Any) -> None:
    """No failure without a name, and no text of it that would reach people as markup."""
    file = tmp_path / "slack.slack.json"
    file.write_text(json.dumps(value))
    file.chmod(0o600)

    with pytest.raises(NotebookError, match="is damaged"):
        Notebook(file).read()


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '[{"calls":[{"scopes":{"uses":Infinity}}]}]', '[{"more":1e999}]', "", "[{"]
)
def test_a_truncated_or_absurd_state_file_is_named(tmp_path: Path, text: str) -> None:
    """As any other damage."""
    file = tmp_path / "slack.slack.json"
    file.write_text(text.replace('"scopes"', f'{json.dumps(row())[1:-1].replace("scopes", "other")},"scopes"'))
    file.chmod(0o600)

    with pytest.raises(NotebookError, match="is damaged"):
        Notebook(file).read()


def test_a_whole_state_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Also with ends that this program has written."""
    file = tmp_path / "slack.slack.json"
    ends = ["APPROVED by `user:carol`, only this call"]
    file.write_text(json.dumps([note(ends=ends)]))
    file.chmod(0o600)
    [found] = book = Notebook(file).read()
    assert found.ends == ends

    Notebook(file).write(book)
    assert [one.question.question_id for one in Notebook(file).read()] == [found.question.question_id]


@pytest.mark.parametrize(
    "change", [{"open_until": FAR_MS}, {"asked_at": -1}, {"scopes": {"uses": float("inf")}}], ids=str
)
def test_a_row_that_no_message_can_show_is_not_believed(change: dict[str, Any]) -> None:
    """It would end the thread that shows it."""
    with pytest.raises(MalformedReplyError):
        waiting_in(row(**change))


@pytest.mark.parametrize("requesters", [100_000, 1])
def test_a_flood_of_calls_is_sorted_out_in_time_that_grows_with_it_alone(requesters: int) -> None:
    """A hundred thousand calls, of as many requesters or of one: no look may take the time of calls squared."""
    one = waiting()
    many = [
        replace(
            one, call=one.call._replace(request=f"{n:064x}"), group=one.group._replace(for_user=f"u{n % requesters}")
        )
        for n in range(100_000)
    ]
    began = time.process_time()
    found = due(many, [])
    took = time.process_time() - began

    assert len(found) == (256 if requesters > 1 else 4)
    assert len({q.group.for_user for q in found}) == min(requesters, 256)
    assert took < 6  # half a second; with a look at every group for each question it was twenty


def test_a_press_at_the_edge_of_its_time_is_taken_once() -> None:
    """Its second has fractions: the copy comes in the last of them, when the time still counts."""
    now = [1_900_000_000.0]
    door = Pressing(clock_s=lambda: now[0])
    stamp = int(now[0]) + SKEW_SECONDS_MAX
    headers = signed(door.body, stamp)
    assert post(door, headers) == 200
    now[0] = stamp + SKEW_SECONDS_MAX + 0.9
    assert post(door, headers) == 409
    assert len(door.taken) == 1


def post(door: Pressing, headers: dict[str, str]) -> int:
    browser = TestClient(door_of(door.api.front()), base_url="http://127.0.0.1", raise_server_exceptions=False)
    return browser.post("/slack/interactions", content=door.body, headers=headers).status_code


SLACK = """slack:
  app: A0123
  team: T0123
  channel: C0123
  bot_token_file: token.secret
  signing_secret_file: signing.secret
  people:
    U0123: user:carol
    U0456: {other}
"""


@pytest.mark.parametrize(
    "other", ["user:carol", "user:Carol", "user:\uff43arol", "{principal: user:CAROL, mode: link}"]
)
def test_one_person_has_one_id_in_any_spelling(tmp_path: Path, other: str) -> None:
    file = config(tmp_path, SLACK.replace("{other}", other), token="t", signing="s")

    with pytest.raises(ChannelSettingsError, match="people"):
        read_slack(file)


def test_nothing_says_for_this_call_only_where_the_log_does_not(tmp_path: Path) -> None:
    """The first engine tells no scopes, and its approvals last as their policies say."""
    for scopes, says_so in (({}, False), ({"scopes": {"once": True}}, True)):
        asked = {name: value for name, value in row(one_time=False).items() if name != "scopes"} | scopes
        question = CallQuestion((waiting_in(asked),))
        shown = message(
            question,
            State((None,), ("",)),
            buttons=(SEAL, terms_digest(question.group)),
            approver="approver:slack",
            shows_parameters=False,
        )
        assert ("serves this call only" in json.dumps(shown)) is says_so
        assert ("later calls" in json.dumps(shown).lower()) is not says_so


def test_what_slack_gave_to_answer_a_person_stands_in_no_repr() -> None:
    """Whoever has the address can write to the channel."""
    door = Pressing()
    headers = signed(door.body, time.time())
    assert post(door, headers) == 200
    assert "/hooks/" not in repr(door.taken)


SWAPPED = {"\u05d0": 100, "\u05d1": 5}  # shown as ב 100, א 5 in a line of both directions


@pytest.mark.parametrize("parameters", [SWAPPED, {"to": "\u0627\u0644", "amount": 5}, {"n": "\u0661\u0662"}], ids=ascii)
def test_parameters_that_would_change_places_on_a_line_are_not_shown(parameters: dict[str, Any]) -> None:
    """Letters from right to left are plain text, and turn what stands between them around."""
    assert code_block(parameters) is None
    assert line_of(parameters) is None
    assert code_block({"to": "böb", "amount": 5}) is not None


class Failing(LogInMemory):
    """A log whose client fails once in a way that has to do with neither the log nor its answer."""

    def waiting(self) -> list[ListedCall]:
        if self.is_away:
            self.is_away = False
            raise HomeError("the key's file cannot be read")
        return super().waiting()


def test_a_press_that_fails_keeps_no_other_from_being_answered(tmp_path: Path) -> None:
    """The thread goes on: one person's press must not stop the answers of all."""
    log = Failing([row()], is_away=True)
    shown = channel("http://127.0.0.1:9")
    told: list[str] = []
    shown.tell = lambda _, text: told.append(text)  # type: ignore[method-assign]
    desk = QuestionDesk(log, Notebook(tmp_path / "book.json"), lambda _: None, shows_parameters=False)  # type: ignore[arg-type]
    answering = Answering(desk, log, shown)  # type: ignore[arg-type]
    pressing = Pressing()
    pressed = pressed_in(json.dumps(pressing.payload()))
    assert pressed is not None
    answering.start()
    for _ in range(2):
        answering.take(pressed, shown.buttons.open(pressed.action, pressed.value))
    until = time.monotonic() + PATIENCE_SECONDS
    while len(told) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    answering.close()

    assert (told[0], [said[:3] for said in log.answers]) == (SILENT, [(row()["request"], "approve", "user:carol")])


@pytest.mark.parametrize(
    ("team", "status"), [(None, 200), (TEAM, 200), ("T0OTHER", 403), ("", 400), (7, 400), (["T0TEAM"], 400)]
)
def test_a_guest_of_a_shared_channel_is_nobody_of_this_workspace(team: object, status: int) -> None:
    """Ids of people are unique in a workspace; another one may have the same id."""
    door = Pressing()
    door.body = form_of(door.payload(user={"id": CAROL, "team_id": team}))

    assert post(door, signed(door.body, time.time())) == status
    assert len(door.taken) == (status == 200)


LASTING = {"one_time": False, "scopes": {"for_seconds": 600}}


@pytest.mark.parametrize("change", [LASTING, {"for_user": "user:eve"}, {"for_agent": "eve"}, {"key": "board"}], ids=str)
def test_a_button_answers_on_the_terms_of_its_message_alone(tmp_path: Path, change: dict[str, Any]) -> None:
    """The message said: for payer, this call only. Then the log tells other terms of the same call."""
    log, shown = LogInMemory([row(**change)]), channel("http://127.0.0.1:9")
    desk = QuestionDesk(log, Notebook(tmp_path / "book.json"), lambda _: None, shows_parameters=False)  # type: ignore[arg-type]
    answering = Answering(desk, log, shown)  # type: ignore[arg-type]
    pressed = pressed_in(json.dumps(Pressing().payload()))
    assert pressed is not None

    assert answering.answer(pressed, shown.buttons.open(pressed.action, pressed.value)) == NOTHING
    assert log.answers == []
    log.rows = [row()]
    answering.answer(pressed, shown.buttons.open(pressed.action, pressed.value))
    assert len(log.answers) == 1
