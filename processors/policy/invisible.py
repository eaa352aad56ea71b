"""The invisible characters, as a table of ours: decisions must not change with an interpreter's Unicode.

Two properties of Unicode 14.0.0 together: Default_Ignorable_Code_Point of DerivedCoreProperties.txt, code points that
are to be shown as nothing, unassigned ones included; and the general category Cf of DerivedGeneralCategory.txt, which
holds zero width, bidirectional and tag characters. Combining marks (Mn) are letters, and are not here.
"""

from __future__ import annotations

from collections.abc import Iterable

UNICODE_VERSION = "14.0.0"

# First and last code point of each range.
DEFAULT_IGNORABLE = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
FORMAT = (
    (0x00AD, 0x00AD), (0x0600, 0x0605), (0x061C, 0x061C), (0x06DD, 0x06DD), (0x070F, 0x070F), (0x0890, 0x0891),
    (0x08E2, 0x08E2), (0x180E, 0x180E), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x2064), (0x2066, 0x206F),
    (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB), (0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x13438),
    (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0001, 0xE0001), (0xE0020, 0xE007F),
)  # fmt: skip
# Letters and signs whose glyph is empty, though Unicode does not call them ignorable: the Braille pattern without dots,
# the Khitan filler and the null notehead. They are not stripped, and must not be shown or stand in a name.
BLANK = frozenset("\u2800\U00016fe4\U0001d159")


def _characters(ranges: Iterable[tuple[int, int]]) -> frozenset[str]:
    return frozenset(chr(code) for first, last in ranges for code in range(first, last + 1))


INVISIBLE = _characters(DEFAULT_IGNORABLE) | _characters(FORMAT)


def has_invisible(text: str) -> bool:
    """Return whether the text holds an invisible character."""
    return not text.isascii() and not INVISIBLE.isdisjoint(text)


def without_invisible(text: str) -> str:
    """Return the text without its invisible characters."""
    return "".join(c for c in text if c not in INVISIBLE) if has_invisible(text) else text


def shows_itself(character: str) -> bool:
    """Return whether people can see a character: printable, not invisible, without an empty glyph."""
    return character.isprintable() and character not in INVISIBLE and character not in BLANK


def is_plain_text(text: str) -> bool:
    """Return whether every character of a text shows itself."""
    return text.isprintable() and (text.isascii() or (INVISIBLE.isdisjoint(text) and BLANK.isdisjoint(text)))
