"""Words of texts: one form for all spellings, the same on every Python, for any text and in bounded time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.text.words import WORDS_MAX, grams, parts_of, readings, whole_of, words_of

marks = st.sampled_from(["&#", "&#x", "&amp", ";", "<b>", "<!--", "-->", "=4", "=\n", "%", "\\u", "9" * 30, "\ud800"])
anything = st.text(st.characters(exclude_categories=()), max_size=200) | st.lists(marks, max_size=60).map("".join)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,000.00", ["1000"]),
        ("1.000,50", ["1000", "5"]),
        ("1'000_000", ["1000000"]),
        ("$1,250.00)", ["1250"]),
        ("0.125", ["0", "125"]),
        ("1.10", ["1", "1"]),
        ("12.05.2024", ["12", "05", "2024"]),
        ("1.2.3", ["1", "2", "3"]),
        ("10.000.000", ["10000000"]),
        ("\u0661\u0662", ["12"]),
        ("Stra\u00dfe \ufb01n", ["strasse", "fin"]),
        ("e\u0301t\u00e9", ["\u00e9t\u00e9"]),
        ("ab\u200bcd", ["abcd"]),
        ("\u6771\u4eac123", ["\u6771", "\u4eac", "123"]),
        ("\ud800a\x00b", ["a", "b"]),
        ("--- !", []),
    ],
)
def test_spellings_of_a_text_have_the_same_words(text, words):
    assert words_of(text) == words


def test_a_grouped_number_is_found_in_a_sentence_up_to_ten_groups():
    """An IBAN of Malta has eight groups, more than a run of six words."""
    found = set(grams(words_of("pay FR76 3000 6000 0112 3456 7890 189 by May")))
    assert parts_of("FR7630006000011234567890189")[0] in found


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("aGVsbG8gd29ybGQ=", "hello world"),
        ("aGVsbG8gd29ybGQ", "hello world"),
        ("see aGVsbG8gd29ybGQ= there", "hello world"),
        ("%68%65llo", "hello"),
        ("%2568i", "hi"),
        ("a\\u0062c\\nd", "abc d"),
        ("YUdWc2JHOGdkMjl5YkdRPQ==", "hello world"),
        ("h&#101;&#x6c;&#0000000000108;o", "hello"),
        ("h<b class='x'>ell</b>o<!-- > -->", "hello"),
        ("hello<br>world", "hello world"),
        ("&amp;ltb&gt;", "<b>"),
        ("h=65l=6C=\r\no", "hello"),
        ("&#x110000;&#xd800;&nosuch;&", "\ufffd\ufffd&nosuch;&"),
    ],
)
def test_encodings_are_read_two_deep(text, hidden):
    assert hidden in readings(text)


@given(anything)
def test_any_text_has_words_and_bounded_readings(text):
    """Nothing raises, half surrogate pairs and all; readings are at most eight times as long as the text."""
    read = readings(text)
    assert read[0] == text
    assert sum(map(len, read[1:])) <= 8 * len(text) + 64
    for one in read:
        words = words_of(one)
        "".join(words).encode()
        assert words_of(" ".join(words)) == words_of(" ".join(words_of(" ".join(words))))
        parts_of(one)


@given(anything, anything)
def test_a_text_inside_another_is_found(inner, outer):
    """Each run that makes a value up stands in any text that has the value between blanks."""
    found = set(grams(words_of(f"{outer} {inner} {outer}")))
    if len(words_of(inner)) <= WORDS_MAX:
        assert found.issuperset(whole_of(inner))
