"""Kinds of characters, and the questions of rules about them: printable, visible, blank, control, assigned.

All sets are those of Unicode 14.0.0. The general categories Cc, Cs and Co never change.
"""

from __future__ import annotations

import re
from functools import cache

from processors.text import tables
from processors.text.ranges import Ranges, character_class, characters, minus, read, union

ASSIGNED = read(tables.ASSIGNED)
FORMAT = read(tables.FORMAT)
MARK = read(tables.MARK)
_CONTROL: Ranges = ((0x00, 0x1F), (0x7F, 0x9F))
_SURROGATE: Ranges = ((0xD800, 0xDFFF),)
_PRIVATE: Ranges = ((0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD))
_SEPARATOR = read(tables.SEPARATOR)

# White space: separators, and the control characters that Unicode's bidirectional algorithm takes for blanks.
WHITE = union(_SEPARATOR, ((0x09, 0x0D), (0x1C, 0x1F), (0x85, 0x85)))

# The property Default_Ignorable_Code_Point of DerivedCoreProperties.txt: code points to be shown as nothing, unassigned
# ones included. Invisible are these and the general category Cf. Combining marks (Mn) are letters, and are not here.
DEFAULT_IGNORABLE: Ranges = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
INVISIBLE = union(DEFAULT_IGNORABLE, FORMAT)

# Letters and signs whose glyph is empty, though Unicode does not call them ignorable: the Braille pattern without dots,
# the Khitan filler and the null notehead. They are not stripped, and must not be shown or stand in a name.
BLANK: Ranges = ((0x2800, 0x2800), (0x16FE4, 0x16FE4), (0x1D159, 0x1D159))

# Every code point but those of a category C… or Z…, the space excepted (docs/wire.md).
PRINTABLE = union(minus(ASSIGNED, _CONTROL, FORMAT, _SURROGATE, _PRIVATE, _SEPARATOR), ((0x20, 0x20),))

_BLANKS = "".join(characters(WHITE))
_ANY_CONTROL = re.compile(f"[{character_class(_CONTROL)}]")
_ANY_HIDDEN = re.compile(f"[{character_class(union(INVISIBLE, _CONTROL, _SURROGATE))}]")
_ANY_INVISIBLE = re.compile(f"[{character_class(INVISIBLE)}]")
_RUN_OF_BLANKS = re.compile(f"[{_BLANKS}]+")


# The large ones take 5 ms each, so they are made when a text that is not ASCII asks for them.


@cache
def _all_assigned() -> re.Pattern[str]:
    return re.compile(f"[{character_class(ASSIGNED)}]*")


@cache
def _all_printable() -> re.Pattern[str]:
    return re.compile(f"[{character_class(PRINTABLE)}]*")


@cache
def _all_shown() -> re.Pattern[str]:
    return re.compile(f"[{character_class(minus(PRINTABLE, INVISIBLE, BLANK))}]*")


@cache
def _escaped() -> re.Pattern[str]:
    return re.compile(f"[^{character_class(minus(PRINTABLE, ((0x5C, 0x5C),)))}]")


def is_assigned(text: str) -> bool:
    """Return whether every code point of a text stands for a character, private ones and surrogates included."""
    return text.isascii() or _all_assigned().fullmatch(text) is not None


def is_printable(text: str) -> bool:
    """Return whether every character of a text is a letter, mark, digit, sign or the space."""
    return text.isprintable() if text.isascii() else _all_printable().fullmatch(text) is not None


def is_plain_text(text: str) -> bool:
    """Return whether people can see every character of a text: printable, not invisible, without an empty glyph."""
    return text.isprintable() if text.isascii() else _all_shown().fullmatch(text) is not None


def has_control(text: str) -> bool:
    """Return whether a control character is in the text."""
    return not text.isprintable() if text.isascii() else _ANY_CONTROL.search(text) is not None


def has_hidden(text: str) -> bool:
    """Return whether the text holds a control character, an invisible one, or half a surrogate pair."""
    return not text.isprintable() if text.isascii() else _ANY_HIDDEN.search(text) is not None


def without_invisible(text: str) -> str:
    """Return the text without its invisible characters."""
    return text if text.isascii() else _ANY_INVISIBLE.sub("", text)


def has_outer_blanks(text: str) -> bool:
    """Return whether white space, of any script, leads or trails."""
    return text != text.strip(_BLANKS)


def trimmed(text: str) -> str:
    """Return the text without white space, of any script, at its ends."""
    return text.strip(_BLANKS)


def single_spaced(text: str) -> str:
    """Return the text with one space for each run of white space, and none at its ends."""
    return _RUN_OF_BLANKS.sub(" ", text).strip(" ")


def utf8_size(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def quoted(text: str) -> str:
    """Return a text for a message: in quotes, with escapes for every character that is not printable.

    This is the `repr` of Python 3.11. That of a later one leaves more characters as they are.
    """
    if text.isascii():
        return repr(text)
    mark = '"' if "'" in text and '"' not in text else "'"
    body = _escaped().sub(lambda found: ascii(found.group())[1:-1], text)
    return mark + body.replace(mark, f"\\{mark}") + mark
