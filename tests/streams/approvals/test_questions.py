"""Questions: groups of calls, within bounds, and messages in which no text of an agent is markup."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.kafka.outcomes import MalformedReplyError
from streams.approvals import questions
from streams.approvals.channels import terms_digest
from streams.approvals.proofs import BUTTON_CHARS_MAX, Buttons
from streams.approvals.questions import CallQuestion, choice_of, choices, due, waiting_in
from streams.approvals.showing import code, code_block
from streams.approvals.slack_messages import MESSAGE_BYTES_MAX, SECTION_CHARS_MAX, State, message
from tests.streams.approvals.asked import row, waiting

SEAL = Buttons("s" * 32, ("acme", "slack", "A", "T", "C"))
LASTING = {"one_time": False, "scopes": {"once": True, "for_seconds": 86_400, "uses": 10}}


def shown(
    question: CallQuestion, *, ends: tuple[str | None, ...] | None = None, parameters: bool = False
) -> dict[str, Any]:
    count = len(question.calls)
    state = State(ends or (None,) * count, ("",) * count)
    buttons = (SEAL, terms_digest(question.group))
    return message(question, state, buttons=buttons, approver="approver:slack", shows_parameters=parameters)


def test_calls_of_one_requester_and_key_are_one_question() -> None:
    """Other requesters, keys and scopes are other questions: one answer must not serve them."""
    rows = [waiting(n) for n in range(3)]
    others = [
        waiting(3, for_agent="clerk"), waiting(4, key="board"), waiting(5, for_user="user:dora"), waiting(6, **LASTING),
    ]  # fmt: skip

    found = due([*rows, *others], [])

    assert [one.call for one in found[0].calls] == [one.call for one in rows]
    assert len(found) == 5
    assert all(one.group == question.group for question in found for one in question.calls)


def test_more_calls_than_a_message_takes_are_counted_and_wait() -> None:
    many = [waiting(n) for n in range(100)]

    found = due(many, [])

    assert [(len(one.calls), one.more) for one in found] == [(8, 92), (8, 84), (8, 76), (8, 68)]
    assert due(many, found) == []
    assert [(len(one.calls), one.more) for one in due(many, found[1:])] == [(8, 68)]
    assert "68 calls more" in json.dumps(shown(found[-1]))
    assert "macaw approvals list --as approver:slack" in json.dumps(shown(found[-1]))


def test_a_requester_keeps_no_other_from_being_asked_about() -> None:
    """A thousand keys of one requester do not take the room of another, who comes first."""
    flood = [waiting(n, key=f"key{n}") for n in range(1000)]
    small = waiting(5000, for_agent="clerk")

    found = due([*flood, small], [])

    assert Counter(one.group.for_agent for one in found) == {"payer": questions.PER_REQUESTER_MAX, "clerk": 1}
    assert found[1].calls == (small,)


def test_all_questions_together_are_bounded() -> None:
    crowd = [waiting(n, for_agent=f"agent{n}") for n in range(questions.QUESTIONS_MAX + 50)]

    assert len(due(crowd, [])) == questions.QUESTIONS_MAX


def test_a_question_has_one_id() -> None:
    """The same calls have the same id after a restart, other calls another: receivers tell repetitions by it."""
    one, same, other = CallQuestion((waiting(1),)), CallQuestion((waiting(1),), 5), CallQuestion((waiting(2),))
    changed = CallQuestion((waiting(1, parameters_sha256="0" * 64),))

    assert one.question_id == same.question_id
    assert len({one.question_id, other.question_id, changed.question_id}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"request": "zz"}, {"request": 5}, {"request": "A" * 64}, {"parameters_sha256": ""}, {"key": None},
        {"open_until": "soon"}, {"asked_at": True}, {"scopes": []}, {"scopes": {"once": "x"}}, {"scopes": None},
    ],
)  # fmt: skip
def test_a_row_of_another_form_is_not_believed(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedReplyError):
        waiting_in({**row(), **change})


def test_the_scopes_that_the_log_offers_are_offered_and_no_other() -> None:
    lasting, short = waiting(0, **LASTING).group, waiting(0, one_time=False, scopes={"for_seconds": 600}).group

    assert [one.name for one in choices(lasting)] == ["once", "hour", "policy"]
    assert [one.name for one in choices(short)] == ["policy"]
    assert choices(waiting(0).group) == ()
    assert choices(waiting(0, one_time=False).group) == ()
    assert choice_of(lasting, None).arguments == {"once": True}  # type: ignore[union-attr]
    assert choice_of(lasting, "hour").arguments == {"for_seconds": 3600}  # type: ignore[union-attr]
    assert choice_of(short, "hour") is None
    assert choice_of(waiting(0).group, "policy") is None


# --- texts

TRICKS = "<!channel> <@U1> <https://evil.example|safe> *b* ``` ` @here \u202e\u200b https://evil.example &lt;"


def texts_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts_of(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts_of(one)]
    return [value] if isinstance(value, str) else []


@given(st.text(min_size=1, max_size=400))
def test_no_text_of_an_agent_leaves_its_code_span(text: str) -> None:
    span = code(text)

    assert re.fullmatch(r"`[^`<>\n]+`", span)
    assert len(span) <= 240
    assert not re.search("[\u200b-\u200f\u202a-\u202e]", span)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=100), max_size=20))
def test_parameters_are_whole_or_absent(parameters: dict[str, str]) -> None:
    """A part of them would hide the other part."""
    block = code_block(parameters)

    if block is not None:
        inner = block.removeprefix("```").removesuffix("```")
        assert "`" not in inner
        back = inner.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("\\\\u0060", "`")
        assert json.loads(back) == parameters


def test_a_message_has_no_markup_of_an_agent_and_is_bounded() -> None:
    """The largest message: eight calls, each with the worst texts that the log can hold."""
    tricks = TRICKS * 40
    change = {"resource": tricks, "for_user": tricks, "for_agent": tricks, "key": tricks, **LASTING}
    calls = tuple(waiting(n, **change) for n in range(8))
    question = CallQuestion(calls, 3)

    found = shown(question, parameters=True)

    texts = texts_of(found)
    assert not [text for text in texts if "<" in text or ">" in text]
    assert not [text for text in texts if "@here" in re.sub("`[^`]*`", "", text)]
    assert "evil" not in found["text"]
    assert all(len(one["text"]["text"]) <= SECTION_CHARS_MAX for one in found["blocks"] if one["type"] == "section")
    assert len(found["blocks"]) <= 50
    assert len(json.dumps(found)) <= MESSAGE_BYTES_MAX
    buttons = [one for one in found["blocks"][-1]["elements"] if one["type"] == "button"]
    assert [len(one["value"]) <= BUTTON_CHARS_MAX for one in buttons] == [True, True]


def test_parameters_stand_in_a_message_only_where_the_configuration_says_so() -> None:
    one = replace(waiting(1), parameters={"amount": 4711})

    assert "4711" not in json.dumps(shown(CallQuestion((one,))))
    assert "4711" in json.dumps(shown(CallQuestion((one,)), parameters=True))
    assert one.call.parameters_sha256 in json.dumps(shown(CallQuestion((one,))))


def test_a_question_that_is_over_has_no_buttons() -> None:
    found = shown(CallQuestion((waiting(1),)), ends=("denied by `user:carol`",))

    assert [one["type"] for one in found["blocks"]] == ["section", "section"]
    assert "denied by" in found["blocks"][1]["text"]["text"]
