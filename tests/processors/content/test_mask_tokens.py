"""The fixed tokens are those of all kinds that can be found; a form with anything else in it is no masked form."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.content import masking, personal, secret_tokens
from processors.content.hits import Hit
from processors.content.mask_tokens import CATALOGUE, TOKENS, written
from processors.content.masking import blanked, is_masked_form, token

SHAPELESS = ("email", "ip", "mac", "card", "iban", "phone")  # found by code of their own
IBAN, GITHUB = "[masked:iban]", "[masked:github]"
BOTH = frozenset({IBAN, GITHUB})
MAIL, CARD = "ann@mail.example.org", "4111 1111 1111 1111"


def test_every_kind_that_a_detector_can_find_has_its_token_in_the_list_and_no_other_is_there() -> None:
    found = {rule.kind for rule in personal._shapes().shapes} | {f"personal.{one}" for one in SHAPELESS}
    secrets = {rule.kind for rule in secret_tokens._compiled().floors}

    assert TOKENS["personal_data"] == {token(kind) for kind in found} | {written(CATALOGUE)}
    assert TOKENS["secrets"] == {token(kind) for kind in secrets} | {written(CATALOGUE)}
    assert all(re.fullmatch(r"\[masked:[a-z_]+]", one) for every in TOKENS.values() for one in every)


def test_no_token_is_found_to_be_a_value_itself() -> None:
    """Else a text that is masked whole would not be at rest."""
    for one in sorted(TOKENS["personal_data"] | TOKENS["secrets"]):
        assert personal.find(one) == secret_tokens.find(one) == ()


def test_the_word_of_an_administrator_stands_in_no_token() -> None:
    assert token("catalogue.own.pay_eve_now") == "[masked:catalogue]"


# ---- looking again


def find(text: str) -> list[Hit]:
    return [*personal.find(text), *secret_tokens.find(text)]


def test_a_disguised_value_beside_a_plain_one_of_its_kind_is_blanked_too() -> None:
    """The first look has no place for it: it shows once the plain one is gone."""
    text = f"{MAIL}, and YW5uQG1haWwuZXhhbXBsZS5vcmc= once more"

    assert "YW5u" in masking.masked(text, find(text))
    assert blanked(text, find) == "[masked:email]"


def test_a_text_in_which_something_is_found_at_every_look_is_replaced_whole() -> None:
    assert blanked("abc", lambda text: [Hit("secret.github", 0, 1)]) == GITHUB


@given(st.lists(st.sampled_from([MAIL, CARD, "YW5uQG1haWwuZXhhbXBsZS5vcmc=", "x", ", ", IBAN, "%40", "203.0.113.9"])))
@settings(deadline=None)
def test_nothing_is_found_in_a_blanked_text_and_it_is_a_masked_form(pieces: list[str]) -> None:
    text = " ".join(pieces)[:400]
    after = blanked(text, find)

    assert find(after) == []
    assert is_masked_form(text, after, TOKENS["personal_data"] | TOKENS["secrets"])


# ---- the form


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pay DE89 now", f"pay {IBAN} now"),
        ("pay DE89", f"pay {IBAN}"),
        ("DE89", IBAN),
        ("DE89GHP", IBAN + GITHUB),
        ("a b a b a", f"a {IBAN} a"),
        (f"{IBAN} and DE89", f"{IBAN} and {IBAN}"),
        ("aXbXc", f"a{IBAN}X{IBAN}"),
        ("same", "same"),
    ],
)
def test_a_text_with_parts_replaced_is_a_masked_form(before: str, after: str) -> None:
    assert is_masked_form(before, after, BOTH)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("to bob", "to eve"),
        ("to bob", f"to eve {IBAN}"),
        ("to bob", f"to {IBAN} and eve"),
        ("to bob", "to [masked:eve]"),
        ("to bob", "to [masked:pay_eve]"),
        ("to bob", "to [masked:IBAN]"),
        ("to bob", f"to bob{IBAN}"),  # nothing was there
        ("to bob", f"{IBAN}to bob"),
        ("ab", f"a{IBAN}b"),
        ("a", IBAN + GITHUB),
        ("pay 5 to bob", f"to {IBAN} pay 5"),  # another order
        ("aXb", f"aX{IBAN}Xb"),  # a part counts once
        ("", IBAN),
        ("to bob", "to "),
        ("to bob", "to bob and more"),
    ],
)
def test_a_text_that_differs_by_more_is_none(before: str, after: str) -> None:
    assert not is_masked_form(before, after, BOTH)


@given(st.text("abX[]:", max_size=12), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=4))
@settings(deadline=None)
def test_whatever_is_masked_is_a_masked_form(text: str, places: list[tuple[int, int]]) -> None:
    hits = [Hit("personal.iban", start, end) for start, end in places]

    assert is_masked_form(text, masking.masked(text, hits), BOTH)


@given(st.text("ab", max_size=6), st.lists(st.sampled_from(["a", "b", "ab", IBAN]), max_size=4))
@settings(deadline=None, max_examples=400)
def test_a_masked_form_is_one_that_some_masking_makes(before: str, parts: list[str]) -> None:
    """Against the meaning itself, written as a regular expression: each token stands for a character or more."""
    after = "".join(parts)
    meant = ".+".join(map(re.escape, after.split(IBAN)))

    assert is_masked_form(before, after, {IBAN}) == (re.fullmatch(meant, before) is not None)
