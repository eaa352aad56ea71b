"""Shortcuts of the detectors: what a cheap search leaves out could not have been found, for any text."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.calls.verifiers import pipeline
from processors.content import personal, phone_numbers, views
from processors.content.value_readings import RUN_CHARS_MIN, value_readings
from processors.policy.evaluation import new_work
from processors.state.settings import settings_of
from schemas.events.tenancy import TenantSetting
from schemas.words import Surface

# Pieces of texts as calls have them, and of all that leads to another reading or to a number.
PIECES = st.lists(
    st.sampled_from([
        "a b c d e f", "a.b-c_d*e f g", " ", "", "x", "A", "9", "0", "_", "-", "/", "+", ".", ":", "(", ")", "\n",
        "%41",
        "\\u0041", "&amp;", "aGVsbG8gd29ybGQhISE", "68656c6c6f20776f", "68:65:6c:6c:6f:20:77:6f",
        "DE02120300000000202051",
        "2041-07-31", "2041-0000000", "+49 170 1234567", "0170/1234567", "(555) 010-9999", "call me at",
        "phone: ", "ext. 12",
        "the buyer on the phone", "é", "\u200b", "\uff21", "\ud800", "1", "2", "34", "567", "A-100", "w o r d s",
    ]),
    max_size=14,
).map("".join)  # fmt: skip
TEXTS = PIECES | st.text(st.characters(max_codepoint=127), max_size=60) | st.text(max_size=40)


@settings(deadline=None)  # the first text loads tables
@given(TEXTS)
def test_a_text_with_one_reading_has_no_other(text: str) -> None:
    """`has_one_reading` is what the whole walk over readings finds, and a reading that is remembered is the same."""
    whole = views._views.__wrapped__(text)
    assert views.views(text) == whole == views.views(text)
    if views.has_one_reading(text):
        assert whole == (text,)


@settings(deadline=None)  # the first text loads tables
@given(TEXTS)
def test_telephones_are_those_that_every_pattern_finds(text: str) -> None:
    data = text.encode("utf-8", "replace")
    expected = []
    for pattern, is_number, rule in phone_numbers._SORTS:
        for match in pattern.finditer(data):
            start, end = match.span(1)
            while end > start and not is_number(data, start, end):
                end = phone_numbers._without_last_group(data, start, end)
            if end > start:
                expected.append((start, end, f"phone.{rule}"))
    assert [(one.start, one.end, one.rule) for one in phone_numbers.find(data)] == expected


@settings(deadline=None)  # the first text loads tables
@given(st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"), max_size=RUN_CHARS_MIN - 1))
def test_a_few_letters_are_no_personal_data(text: str) -> None:
    assert personal._in_one(text) == []
    assert value_readings(text) == ()


def test_no_reading_of_a_call_is_remembered_when_it_is_over() -> None:
    on = settings_of([TenantSetting(name="verifiers.secrets", value="deny")])
    given_value = json.loads('{"t": "DE02120300000000202051", "u": "aGVsbG8gd29ybGQhISE= and more"}')
    views.views("another text, %41")
    pipeline.verify(Surface.ARGUMENTS, "tool:a/b", given_value, None, on, new_work())
    assert views._views.cache_info().currsize == 0
