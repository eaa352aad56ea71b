"""Values in another spelling: digits of another script, blanks, invisible characters, escapes, base64."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.content import personal, secret_tokens
from processors.content.value_readings import statement, value_readings
from processors.text.characters import is_assigned

TOKEN = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF2hJ6"
CARD = "4111111111111111"
IBAN = "DE89 3704 0044 0532 0130 00"


def _at(size: int, sign: str) -> Callable[[str], str]:
    return lambda value: value[:size] + sign + value[size:]


def _wide(value: str) -> str:
    return "".join(chr(ord(one) + 0xFEE0) for one in value)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "zero width": _at(9, "\u200b"),
    "soft hyphen": _at(9, "\u00ad"),
    "word joiner": _at(12, "\u2060"),
    "full width": _wide,
    "percent": lambda value: "".join(f"%{ord(one):02x}" for one in value),
    "percent twice": lambda value: "".join(f"%25{ord(one):02x}" for one in value),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "hexadecimal": lambda value: value.encode().hex(),
    "hexadecimal apart": lambda value: value.encode().hex(" "),
    "json": lambda value: "".join(f"\\u{ord(one):04x}" for one in value),
    "entities": lambda value: "".join(f"&#{ord(one)};" for one in value),
    "among others": lambda value: f"é {_wide(value)} und so weiter",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_disguised_token_is_found_and_spans_the_text(spelling: str) -> None:
    text = SPELLINGS[spelling](TOKEN)
    assert [(hit.kind, hit.start, hit.end) for hit in secret_tokens.find(text)] == [("secret.github", 0, len(text))]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_disguised_card_is_found(spelling: str) -> None:
    assert "personal.card" in {hit.kind for hit in personal.find(SPELLINGS[spelling](CARD))}


@pytest.mark.parametrize("zero", [0x660, 0x6F0, 0x966, 0xE50, 0xFF10, 0x1D7CE, 0x1FBF0])
def test_the_digits_of_every_script_are_digits(zero: int) -> None:
    assert [hit.kind for hit in personal.find("".join(chr(zero + int(one)) for one in CARD))] == ["personal.card"]


@pytest.mark.parametrize("blank", "\u00a0\u1680\u2002\u2009\u202f\u205f\u3000")
def test_every_blank_parts_the_groups_of_a_number(blank: str) -> None:
    assert [hit.kind for hit in personal.find(IBAN.replace(" ", blank))] == ["personal.iban"]
    assert [hit.kind for hit in personal.find(f"4111{blank}1111{blank}1111{blank}1111")] == ["personal.card"]


@pytest.mark.parametrize("before", ["x", "7", "_", "token"])
def test_a_letter_before_a_token_does_not_hide_it(before: str) -> None:
    (hit,) = secret_tokens.find(before + TOKEN)
    assert (hit.kind, hit.start, hit.end) == ("secret.github", len(before), len(before + TOKEN))


def test_a_value_that_stands_in_the_text_keeps_its_place_alone() -> None:
    (hit,) = secret_tokens.find(f"100%25 é {TOKEN}")
    assert (hit.start, hit.end) == (9, 9 + len(TOKEN))


def test_the_digits_are_those_of_unicode() -> None:
    signs = {code: sign for code, sign in statement() if sign.isdigit()}  # type: ignore[union-attr,misc]
    assert all(unicodedata.decimal(chr(code)) == int(sign) for code, sign in signs.items())
    every = {code for code in range(0x80, 0x110000) if unicodedata.category(chr(code)) == "Nd"}
    assert {code for code in every if is_assigned(chr(code))} == signs.keys()


@pytest.mark.parametrize("text", ["", "plain words, and 12 numbers.", "rm -rf / ; ls", "a@b.example, +49 30 1234567"])
def test_a_plain_text_has_no_other_reading(text: str) -> None:
    assert value_readings(text) == ()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_hashes_and_their_spellings_are_no_values(seed: bytes) -> None:
    digest = sha256(seed).digest()
    for text in (digest.hex(), base64.b64encode(digest).decode(), base64.urlsafe_b64encode(digest).decode()):
        assert not [hit for hit in secret_tokens.find(text) if (hit.start, hit.end) == (0, len(text))]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_no_text_raises_and_places_lie_within_it(text: str) -> None:
    for find in (secret_tokens.find, personal.find):
        assert all(0 <= hit.start < hit.end <= len(text) for hit in find(text))
