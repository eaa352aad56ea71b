"""Our tables and what is made of them, held against a `unicodedata` of the same version: that of Python 3.11."""

import sys
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.text import characters, forms, tables
from processors.text.ranges import Ranges, character_class, minus, read, union
from processors.text.ranges import characters as characters_of
from tests.text import generate
from tests.text.code_points import every

same_version = pytest.mark.skipif(
    unicodedata.unidata_version != tables.UNICODE_VERSION,
    reason=f"this Python knows Unicode {unicodedata.unidata_version}",
)
AWKWARD = (
    "a\u0300\u0345ß\u0130\u0131\u017f\u1100\u1161\u11a8\uac00\u0dda\u0dd9\u0dca\ufb01½\u2044'\"\\\n"
    "\u200b\ud800\U0001f6dc\U00031350\u0378"
)
texts = st.text(st.one_of(st.characters(exclude_categories=()), st.sampled_from(AWKWARD)), max_size=20)


@same_version
def test_the_tables_are_those_that_the_generator_writes() -> None:
    assert generate.TABLES.read_text("utf-8") == generate.written()


@same_version
@pytest.mark.parametrize(
    ("ranges", "has"),
    [
        (characters.ASSIGNED, lambda c: unicodedata.category(c) != "Cn"),
        (characters.PRINTABLE, str.isprintable),
        (characters.WHITE, str.isspace),
        (characters.WHITE, lambda c: not c.strip()),
        (characters.MARK, lambda c: unicodedata.category(c)[0] == "M"),
        (characters.FORMAT, lambda c: unicodedata.category(c) == "Cf"),
    ],
)
def test_a_set_holds_the_characters_that_the_interpreter_names(ranges: Ranges, has) -> None:
    assert list(characters_of(ranges)) == [c for c in every() if has(c)]


@same_version
def test_every_character_is_judged_and_changed_as_by_the_interpreter() -> None:
    """Of all 1,114,112: alone, and behind a letter, so that a mark meets something."""
    for c in every():
        category = unicodedata.category(c)
        assert characters.is_assigned(c) == (category != "Cn"), hex(ord(c))
        assert characters.is_printable(c) == c.isprintable(), hex(ord(c))
        assert characters.has_control(c) == (category == "Cc"), hex(ord(c))
        assert characters.has_outer_blanks("a" + c) == c.isspace(), hex(ord(c))
    for form, native in (
        (forms.nfc, lambda text: unicodedata.normalize("NFC", text)),
        (forms.nfkc, lambda text: unicodedata.normalize("NFKC", text)),
        (forms.casefold, str.casefold),
        (forms.lower, str.lower),
        (forms.upper, str.upper),
        (characters.quoted, repr),
    ):
        for between in ("|", "s"):
            text = between.join(every())
            assert form(text) == native(text)
            assert between.join(map(form, every()[:0x3000])) == between.join(map(native, every()[:0x3000]))


@same_version
@settings(deadline=None, max_examples=500)
@given(texts)
def test_any_text_is_judged_and_changed_as_by_the_interpreter(text: str) -> None:
    assert forms.nfc(text) == unicodedata.normalize("NFC", text)
    assert forms.nfkc(text) == unicodedata.normalize("NFKC", text)
    assert forms.casefold(text) == text.casefold()
    assert forms.lower(text) == text.lower()
    assert forms.upper(text) == text.upper()
    assert characters.trimmed(text) == text.strip()
    assert characters.quoted(text) == repr(text)
    assert characters.is_printable(text) == text.isprintable()
    assert characters.has_outer_blanks(text) == (text != text.strip())
    assert characters.single_spaced(text) == " ".join(text.split())
    assert characters.utf8_size(text) == len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "new", ["\U0001f6dc", "\U0001fae8", "\U00031350", "\U0002ebf0", "\u1c89", "\ua7cb", "\U000105c9"]
)
def test_a_character_of_a_later_unicode_is_none(new: str) -> None:
    """The last three have cases or are made of others in Unicode 16; in 14.0 they stand for nothing."""
    for text in (new, f"e{new}\u0301", f"{new}\u0301"):
        assert not characters.is_assigned(text)
        assert not characters.is_printable(text)
        assert not characters.is_plain_text(text)
        assert forms.nfc(text) == forms.nfkc(text) == forms.casefold(text) == forms.fold(text) == text
    assert forms.fold(f"É{new}É") == f"é{new}é"
    escaped = f"\\U{ord(new):08x}" if ord(new) > 0xFFFF else f"\\u{ord(new):04x}"
    assert characters.quoted(f"é{new}'") == f'"é{escaped}\'"'


def test_thirty_marks_in_a_row_are_safe_and_no_more() -> None:
    """Marks are those of Unicode 14.0: U+1E08F of 15.0 ends a run."""
    assert forms.is_stream_safe("a" + "\u0301" * 30)
    assert not forms.is_stream_safe("a" + "\u0301" * 31)
    assert forms.is_stream_safe("\u0301" * 30 + "\U0001e08f" + "\u0301" * 30)


few = st.sets(st.integers(0, 40) | st.integers(sys.maxunicode - 3, sys.maxunicode))


def of(codes: set[int]) -> Ranges:
    return union(*(((code, code),) for code in codes))


def codes_of(ranges: Ranges) -> set[int]:
    assert all(before[1] + 1 < after[0] for before, after in pairwise(ranges))
    return set(map(ord, characters_of(ranges)))


@given(few, few, few)
def test_ranges_are_sets(one: set[int], two: set[int], three: set[int]) -> None:
    assert codes_of(of(one)) == one
    assert codes_of(union(of(one), of(two))) == one | two
    assert codes_of(minus(of(one), of(two), of(three))) == one - two - three


def test_a_table_is_read_and_written_as_a_class() -> None:
    assert read("0-2 5d") == ((0, 2), (0x5D, 0x5D))
    assert character_class(read("5d 5b 61-63")) == r"a-c\]-\]\[-\["
