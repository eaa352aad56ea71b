"""Masking in the host: nothing that a detector finds, and nothing that it did not read, is signed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.content import personal, secret_tokens
from processors.proof import jcs
from producers.tools.execution import Ended, failed
from producers.tools.result_masking import BYTES_MAX, NODES_MAX, TEXT_BYTES_MAX, UNREAD, ResultMasking
from producers.tools.result_text import ERROR_CHARS_MAX, result_text
from schemas import limits
from schemas.records import Attestation

SECRET = "ghp_aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"
OTHER = "AKIAQ3XK7M2PZ5R8TWVY"
IBAN = "DE89370400440532013000"
BOTH = ResultMasking([secret_tokens.find, personal.find])
SECRETS = ResultMasking([secret_tokens.find])
ROOM = limits.BODY_BYTES_MAX


def masked(value: Any, masking: ResultMasking = BOTH, room: int = ROOM) -> Any:
    return json.loads(masking.masked_json(result_text(value, room).text, room))


def test_texts_are_masked_wherever_they_stand() -> None:
    assert masked({"a": [f"token {SECRET}."], "b": {"iban": IBAN}, "n": 5, "ok": True, "none": None}) == {
        "a": ["token [masked:github]."],
        "b": {"iban": "[masked:iban]"},
        "n": 5,
        "ok": True,
        "none": None,
    }
    assert masked(SECRET) == "[masked:github]"


def test_only_the_kinds_that_were_asked_for_are_masked() -> None:
    assert masked([SECRET, IBAN], SECRETS) == ["[masked:github]", IBAN]


def test_a_secret_as_the_name_of_a_member_is_masked_and_no_member_is_lost() -> None:
    """Also where two names become the same, or one was the token before."""
    other = SECRET[:-1] + "7"

    assert masked({SECRET: 1, other: 2, "[masked:github]": 3, "plain": 4}) == {
        "[masked:github] 2": 1,
        "[masked:github] 3": 2,
        "[masked:github]": 3,
        "plain": 4,
    }


def test_names_that_become_the_same_text_in_nfc_stay_apart() -> None:
    """A reader of the log refuses a result with two such names, and the outcome would be lost."""
    text = BOTH.masked_json(result_text({f"é {SECRET}": 1, f"e\u0301 {OTHER}{SECRET}": 2}, ROOM).text, ROOM)

    assert len(jcs.parse_canonical(text.encode())[0]) == 2  # type: ignore[arg-type]


def test_a_text_that_no_detector_reads_is_replaced_whole() -> None:
    """A secret behind the bound is not passed, and neither is one that lies across it."""
    long = "x " * (TEXT_BYTES_MAX // 2)

    assert masked([long + SECRET, long, "é" * TEXT_BYTES_MAX]) == [UNREAD, long, UNREAD]


def test_texts_beyond_the_sum_are_replaced_whole() -> None:
    long, count = "x " * (TEXT_BYTES_MAX // 2), BYTES_MAX // TEXT_BYTES_MAX
    found = masked([*[long] * count, SECRET, "no", {SECRET: "end"}])

    assert found == [*[long] * count, UNREAD, "no", {UNREAD: UNREAD}]


def test_a_result_with_too_many_values_is_replaced_whole() -> None:
    assert masked([[SECRET], *[0] * NODES_MAX]) == UNREAD


def test_a_masked_result_that_takes_too_much_room_is_replaced_whole() -> None:
    long = "xyz " * (TEXT_BYTES_MAX // 4)
    value = [long] * (BYTES_MAX // len(long)) + ["xyz"] * 100
    room = len(result_text(value, ROOM).text)

    assert masked(value, room=room) == UNREAD
    assert masked(value, room=room + 100 * len(UNREAD))[-1] == UNREAD


def test_a_failures_text_is_masked_before_it_is_cut() -> None:
    """Half a secret is not found, so the text is cut afterwards."""
    before = "x" * (ERROR_CHARS_MAX - 30)
    ended = BOTH.applied(failed(f"ValueError: {before} {SECRET} behind " + "y" * 300))

    error = json.loads(ended.body)["error"]
    assert len(error) == ERROR_CHARS_MAX
    assert error.endswith("…")
    assert "ghp_" not in error


def test_an_attestation_that_holds_a_secret_is_left_out() -> None:
    """Its value cannot be masked, because policies compare it."""

    def said(key: str, value: str) -> Attestation:
        return Attestation(key=key, value=json.dumps(value), one_time=False)

    good = said("checked", "ACME")
    ended = Ended("ok", "null", (said("key", SECRET), good, said(f"key:{OTHER}", "x")))

    assert BOTH.applied(ended).attestations == (good,)


def test_parts_without_a_form_are_masked_too() -> None:
    """The place of such a part has the names around it."""
    assert SECRET not in BOTH.masked_json(result_text({SECRET: {"x": b"bytes"}}, ROOM).text, ROOM)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | st.text(max_size=20) | st.just(SECRET) | st.just(IBAN),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.just(SECRET), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_masking_keeps_the_shape_and_masking_twice_changes_nothing(value: Any) -> None:
    text = result_text(value, ROOM).text
    once = BOTH.masked_json(text, ROOM)

    assert SECRET not in once
    assert IBAN not in once
    assert BOTH.masked_json(once, ROOM) == once
    assert shape(json.loads(once)) == shape(json.loads(text))
    jcs.parse_canonical(once.encode())


def shape(value: Any) -> Any:
    """Return how many members and items stand where, whatever the names and texts are."""
    if isinstance(value, dict):
        return {"members": sorted(map(repr, map(shape, value.values())))}
    return list(map(shape, value)) if isinstance(value, list) else type(value).__name__


@pytest.mark.parametrize("depth", [1, 60])
def test_depth_is_no_hiding_place(depth: int) -> None:
    value: Any = SECRET
    for _ in range(depth):
        value = [value]

    assert SECRET not in BOTH.masked_json(result_text(value, ROOM).text, ROOM)
