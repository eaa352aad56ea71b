"""A masked text shows the sort of each value, not its length, and masking again changes nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.content import masking, personal, secret_tokens
from processors.content.hits import Hit

EXAMPLES = (
    "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "ann@mail.example.org", "415-555-0132", "203.0.113.9",
    "536-22-8726", "529.982.247-25", "2001:db8::8a2e:370:7334", "gh" + "p_" + "k3Jq8ZxT5vB1mN7rW2yH6cD9fG4sL0pAeUoI",
    'client_secret = "k3Jq8ZxT5vB1mN7rW2yH"', "https" + "://ann:k3Jq8ZxT5v@host.example/", "Phone: 467 3395",
)  # fmt: skip
NAMES = st.sampled_from(["personal.iban", "secret.github", "personal.us_ssn"])


def masked(text: str) -> str:
    return masking.masked(text, (*secret_tokens.find(text), *personal.find(text)))


def test_each_place_becomes_the_token_of_its_kind() -> None:
    text = "to DE89370400440532013000 and ann@mail.example.org."

    assert masked(text) == "to [masked:iban] and [masked:email]."


def test_the_token_does_not_tell_the_length() -> None:
    hits = [Hit("secret.github", 0, size) for size in (1, 40)]

    assert {masking.masked("a" * 40, [hit])[: len("[masked:github]")] for hit in hits} == {"[masked:github]"}
    assert masking.token("secret.github") == "[masked:github]"
    assert masking.token("secret.Odd-1]x") == "[masked:ddx]"


def test_the_longest_of_overlapping_places_names_the_token() -> None:
    hits = [Hit("personal.us_ssn", 0, 4), Hit("personal.iban", 2, 9), Hit("secret.github", 8, 10)]

    assert masking.masked("0123456789ab", hits) == "[masked:iban]ab"
    assert masking.masked("0123456789ab", reversed(hits)) == "[masked:iban]ab"


def test_of_two_kinds_for_one_place_the_first_given_names_it() -> None:
    hits = [Hit("personal.us_itin", 0, 4), Hit("personal.us_ssn", 0, 4)]

    assert masking.masked("1234", hits) == "[masked:us_itin]"


def test_places_beyond_the_text_are_cut() -> None:
    assert (
        masking.masked("abc", [Hit("secret.a", 1, 99), Hit("secret.b", 50, 60), Hit("secret.c", -5, 0)])
        == "a[masked:a]"
    )
    assert masking.masked("", [Hit("secret.a", 0, 0)]) == ""


@given(st.text(max_size=60), st.lists(st.tuples(NAMES, st.integers(0, 60), st.integers(0, 60)), max_size=8))
@settings(deadline=None)
def test_nothing_of_a_place_is_left_and_all_else_is(text: str, places: list[tuple[str, int, int]]) -> None:
    """The text without its tokens is the text without its places, in order."""
    hits = [Hit(kind, start, end) for kind, start, end in places]
    covered = {at for hit in hits for at in range(hit.start, hit.end)}
    found = masking.masked(text, hits)
    for kind in ("personal.iban", "secret.github", "personal.us_ssn"):
        found = found.replace(masking.token(kind), "\0") if "\0" not in text else found
    if "\0" not in text and "[" not in text:
        assert found.replace("\0", "") == "".join(one for at, one in enumerate(text) if at not in covered)


@given(st.lists(st.sampled_from(EXAMPLES), max_size=6), st.lists(st.text(max_size=8), min_size=7, max_size=7))
@settings(deadline=None, max_examples=200)
def test_masking_twice_is_masking_once(values: list[str], between: list[str]) -> None:
    text = "".join(f"{value} {piece}\n" for value, piece in zip(values, between, strict=False))
    once = masked(text)

    assert personal.find(once) == ()
    assert secret_tokens.find(once) == ()
    assert masked(once) == once
