"""Readings of a text in which a value may lie hidden: a token, a number of a card or an account, an address.

Values are found by their letters, digits and signs, so a spelling that a reader takes for the same hides them: digits
of another script, a blank of another width, an invisible character, an escape, base64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import re2

from processors.content.hits import Hit
from processors.content.views import views
from processors.proof.jcs import JSONValue
from processors.text.characters import WHITE
from processors.text.ranges import characters

RUN_CHARS_MIN = 16  # the shortest text that _MAY_DECODE meets
_MAY_DECODE = re2.compile(r"[A-Za-z0-9+/_-]{16}|(?:[0-9A-Fa-f]{2}[ :,-]?){8}")

# The zeros of all decimal digits (Nd) of Unicode 14.0.0 but ASCII's; the nine that follow each are digits too.
_ZEROS = (
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0, 0xF20,
    0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0,
    0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0,
    0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0, 0x16A60, 0x16AC0,
    0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0,
)  # fmt: skip
# Signs of values: digits of other scripts, blanks that end no line, and hyphens (Unicode 6.2) between groups.
_VALUE_SIGNS = {
    **{zero + digit: chr(0x30 + digit) for zero in _ZEROS for digit in range(10)},
    **{ord(one): " " for one in characters(WHITE) if one not in "\n\r\x1c\x1d\x1e\x85\u2028\u2029"},
    **dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-"),
}


def with_readings(text: str, found: Sequence[Hit], find: Callable[[str], Sequence[Hit]]) -> tuple[Hit, ...]:
    """Return the hits in a text, and of its other readings one for each further kind, which spans the whole text.

    The further ones stand behind the others, in the order of readings. `find` must not raise.
    """
    known = {hit.kind for hit in found}
    further = []
    for reading in value_readings(text):
        for hit in find(reading):
            if hit.kind not in known:
                known.add(hit.kind)
                further.append(Hit(hit.kind, 0, len(text), hit.rule))
    return (*found, *further)


def value_readings(text: str) -> tuple[str, ...]:
    """Return the other readings of a text in which a value may lie hidden, without the text itself. Never raises.

    They are those of `views`, with the digits of all scripts as ASCII's and every blank as a space. Most texts have
    none: those of ASCII without escapes, and without a run of letters that may be base64 or hexadecimal digits.
    """
    is_plain = text.isascii() and not ("%" in text or "\\" in text or "&" in text)
    if is_plain and (len(text) < RUN_CHARS_MIN or not _MAY_DECODE.search(text)):
        return ()
    return tuple(one for one in dict.fromkeys(map(_with_plain_signs, views(text))) if one != text)


def _with_plain_signs(text: str) -> str:
    """Return a text with the signs of values for those that stand for them: most texts have none."""
    if text.isascii():
        return text
    for sign in sorted(set(text)):
        if (plain := _VALUE_SIGNS.get(ord(sign))) is not None:
            text = text.replace(sign, plain)
    return text


def statement() -> JSONValue:
    """Return the signs that are read as others, for a digest."""
    return [[code, sign] for code, sign in sorted(_VALUE_SIGNS.items())]
