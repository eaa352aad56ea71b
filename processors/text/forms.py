"""Normal forms, case folding, and the fold: the form that spellings share (docs/mapl.md 4).

The interpreter does the work, for the characters that Unicode 14.0 assigns. Its answers about them never change:
Unicode keeps normal forms and case foldings stable (https://www.unicode.org/policies/stability_policy.html). A code
point that 14.0 does not assign may have a meaning by now. In 14.0 it is a letter on its own, which nothing is made
of, joined with or reordered across; so it stays as it is, and the pieces of text around it are changed one by one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from urllib.parse import unquote_to_bytes

import re2

from processors.text.characters import ASSIGNED, MARK, is_assigned, without_invisible
from processors.text.ranges import character_class

MARKS_MAX = 30  # in a row: as many as Unicode's own stream-safe text has (UAX 15, 13)

_JOINER = "\u034f"  # combining grapheme joiner: nothing is reordered or composed across it


@cache
def _unassigned() -> re.Pattern[str]:
    return re.compile(f"([^{character_class(ASSIGNED)}]+)")


@cache
def _marks(count: int) -> re2._Regexp:
    return re2.compile(f"[{character_class(MARK)}]{{{count}}}")


def nfc(text: str) -> str:
    """Return the text in normalisation form C."""
    return text if text.isascii() else _in_pieces(_nfc, text)


def nfkc(text: str) -> str:
    """Return the text in normalisation form KC."""
    return text if text.isascii() else _in_pieces(_nfkc, text)


def percent_decoded(text: str) -> bytes:
    """Return a text in which percent escapes are bytes, decomposed first.

    A letter with an accent may hide an escape: of `%5c` and an accent, normalisation makes `%5` and one letter, and a
    reader that got the text as it was sent decodes a backslash.
    """
    return unquote_to_bytes(text if text.isascii() else _in_pieces(_nfd, text))


def casefold(text: str) -> str:
    """Return the text without differences of case: Unicode's full default case folding."""
    return text.lower() if text.isascii() else _in_pieces(str.casefold, text)


def lower(text: str) -> str:
    """Return the text in lower case."""
    return text.lower() if text.isascii() else _in_pieces(str.lower, text)


def upper(text: str) -> str:
    """Return the text in upper case; some letters become two."""
    return text.upper() if text.isascii() else _in_pieces(str.upper, text)


def fold(text: str) -> str:
    """Return the form that spellings share: NFKC, case folded, without invisible characters (docs/mapl.md 4).

    The same wherever invisible characters are put into a text: they are taken out before it is normalised, because they
    keep letters from their accents. None is left: NFKC makes none but of others. Takes linear time for a text that is
    stream-safe, although taking them out may join its combining marks to longer runs.
    """
    if text.isascii():
        return text.lower()
    seen = without_invisible(text)
    return _in_pieces(_fold if seen == text else _fold_long_runs, seen)


def is_stream_safe(text: str) -> bool:
    """Return True if no more than MARKS_MAX combining marks stand in a row.

    Normalising a run of marks takes time quadratic in its length; no language needs as many.
    """
    if text.isascii():
        return True
    try:
        return _marks(MARKS_MAX + 1).search(text) is None
    except UnicodeEncodeError:
        return True  # half a surrogate pair, which the writer of JSON refuses


def _in_pieces(change: Callable[[str], str], text: str) -> str:
    """Return a text with every piece of it changed that Unicode 14.0 assigns."""
    if is_assigned(text):
        return change(text)
    return "".join(piece if at % 2 else change(piece) for at, piece in enumerate(_unassigned().split(text)))


# Each of these requires a text whose characters Unicode 14.0 assigns.


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _fold(text: str) -> str:
    return _nfkc(_nfkc(text).casefold())


def _fold_long_runs(text: str) -> str:
    return _nfkc_of_long_runs(_nfkc_of_long_runs(text).casefold())


def _nfkc_of_long_runs(text: str) -> str:
    """Return NFKC of a text without invisible characters, of runs of marks that are too long 30 marks at a time."""
    if is_stream_safe(text):
        return _nfkc(text)
    return _nfkc(_marks(MARKS_MAX).sub(lambda run: run.group() + _JOINER, text)).replace(_JOINER, "")
