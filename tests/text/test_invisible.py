"""What nobody sees: the table of ours against Unicode's own definition, and that no fold keeps any of it."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.text.characters import BLANK, DEFAULT_IGNORABLE, FORMAT, INVISIBLE, has_hidden, is_plain_text
from processors.text.forms import fold, is_stream_safe
from processors.text.ranges import characters
from processors.text.tables import UNICODE_VERSION
from tests.reference.mapl import text as reference
from tests.text.code_points import every

UNSEEN = frozenset(characters(INVISIBLE))
HIDDEN = sorted(UNSEEN)
texts = st.text(
    st.one_of(
        st.characters(), st.sampled_from("aé\u017f\u212a\u0131ß\u0301\u0323\u0345\ufb01\uff21\u1100\u1161\u0130")
    ),
    max_size=12,
)


def of(*ranges: tuple[int, int]) -> set[str]:
    return {chr(code) for first, last in ranges for code in range(first, last + 1)}


def test_the_ranges_are_those_of_unicode() -> None:
    """DerivedCoreProperties.txt makes Default_Ignorable_Code_Point of other properties; so does this test."""
    assert UNICODE_VERSION == "14.0.0"
    if unicodedata.unidata_version != UNICODE_VERSION:
        pytest.skip(f"this interpreter knows Unicode {unicodedata.unidata_version}")
    form = {c for c in every() if unicodedata.category(c) == "Cf"}
    other = of((0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x2065, 0x2065), (0x3164, 0x3164),
               (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0xE0000, 0xE0000), (0xE0002, 0xE001F), (0xE0080, 0xE00FF),
               (0xE01F0, 0xE0FFF))  # fmt: skip
    variation = of((0x180B, 0x180D), (0x180F, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
    shown = of((0xFFF9, 0xFFFB), (0x13430, 0x13440))
    before_digits = of((0x600, 0x605), (0x6DD, 0x6DD), (0x70F, 0x70F), (0x890, 0x891), (0x8E2, 0x8E2),
                       (0x110BD, 0x110BD), (0x110CD, 0x110CD))  # fmt: skip

    assert of(*FORMAT) == form
    assert of(*DEFAULT_IGNORABLE) == (other | form | variation) - shown - before_digits
    assert form | of(*DEFAULT_IGNORABLE) == UNSEEN


def test_marks_are_letters() -> None:
    """Combining marks make other letters of letters: they are kept, but for the ignorable ones among them."""
    marks = {c for c in every() if unicodedata.category(c) == "Mn"}

    assert fold("jose\u0301") == fold("josé") != fold("jose")
    assert {"\u0301", "\u0327", "\u05b7", "\u0b3c"} <= marks - UNSEEN


def test_no_character_folds_to_something_invisible_and_folding_again_changes_nothing() -> None:
    """Of all 1,114,112 code points; surrogates too, which a call may bring along."""
    for character in every():
        folded = fold(character)
        assert UNSEEN.isdisjoint(folded), hex(ord(character))
        assert fold(folded) == folded, hex(ord(character))
        if character in UNSEEN:
            assert folded == ""
            assert has_hidden(character)
            assert not is_plain_text(character)


@settings(deadline=None)
@given(texts, st.data())
def test_what_nobody_sees_makes_no_second_spelling(text: str, data: st.DataObject) -> None:
    """Put anywhere into a text, between a letter and its accent too, it leaves the fold as it was."""
    hidden = text
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(hidden)))
        hidden = hidden[:at] + data.draw(st.sampled_from(HIDDEN)) + hidden[at:]

    assert fold(hidden) == fold(text) == fold(fold(text)) == fold(unicodedata.normalize("NFD", hidden))
    assert has_hidden(hidden)
    assert not is_plain_text(hidden)


@settings(deadline=None)
@given(texts)
def test_the_independent_evaluator_folds_alike(text: str) -> None:
    """It reads its characters from the interpreter and from a table of its own."""
    assert reference.fold(text) == fold(text)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("\u0301\u0323\u0344\u05b0a\u1e69"), st.integers(1, 70)), max_size=5),
    st.sampled_from(HIDDEN),
)
def test_marks_that_are_joined_fold_in_pieces_and_alike_in_both(runs: list[tuple[str, int]], hidden: str) -> None:
    """A text may hold many marks, if something stands between them; when it is taken out they are too many."""
    text = "s" + hidden.join(character * times for character, times in runs) + hidden + "\u0301"

    assert reference.fold(text) == fold(text)
    assert UNSEEN.isdisjoint(fold(text))
    plain = "".join(character for character in text if character != hidden)
    if is_stream_safe(plain):
        assert fold(text) == fold(plain)


def test_marks_that_are_joined_cost_no_more_than_their_number() -> None:
    """Twice the text asks for twice the pieces: what normalises them sees no more than 30 marks in a row."""
    text = ("\u0301\u0323" * 15 + "\u200b") * 1000

    assert is_stream_safe(text)
    assert fold(text) == fold("\u0301\u0323" * 15) * 1000


@pytest.mark.parametrize("blank", list(characters(BLANK)))
def test_an_empty_glyph_is_kept_but_not_shown_as_it_is(blank: str) -> None:
    """Unicode does not call it ignorable, so it folds to itself; people would take it for a space."""
    assert fold(blank) == blank
    assert not is_plain_text(f"a{blank}b")
