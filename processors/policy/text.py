"""Text as the policy language compares it: NFC in grants, folded in restrictions.

The rules are those of Unicode 14.0 (docs/mapl.md 2), the version of Python 3.11. A later Python knows more
characters (`unicodedata.unidata_version` tells): those that 14.0 does not assign it accepts in names, and folds. Two
workers on different versions could then disagree, so all workers of a deployment run one version of Python.
"""

import unicodedata

import re2

from processors.policy.invisible import has_invisible, without_invisible
from processors.proof.jcs import JSONValue, is_stream_safe

_MARKS = re2.compile(r"\p{M}{30}")  # as many as Unicode's stream-safe text has in a row (UAX 15, 13)
_JOINER = "\u034f"  # combining grapheme joiner: nothing is reordered or composed across it
_CONTROL = frozenset({"Cc"})
_HIDDEN = frozenset({"Cc", "Cs"})  # control, surrogate
_UNASSIGNED = frozenset({"Cn"})


def nfc(text: str) -> str:
    """Return the text in normalisation form C."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def nfkc(text: str) -> str:
    """Return the text in normalisation form KC."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def fold(text: str) -> str:
    """Return the form that spellings share: NFKC, case folded, without invisible characters (docs/mapl.md 4).

    The same wherever invisible characters are put into a text: they are taken out before it is normalised, because they
    keep letters from their accents. None is left: NFKC makes none but of others. Takes linear time for a text that is
    stream-safe (`jcs.is_stream_safe`), although taking them out may join its combining marks to longer runs.
    """
    if text.isascii():
        return text.lower()
    seen = without_invisible(text)
    normal = nfkc if seen is text else _nfkc_in_pieces
    return normal(normal(seen).casefold())


def _nfkc_in_pieces(text: str) -> str:
    """Return NFKC of a text without invisible characters, of runs of marks that are too long 30 marks at a time."""
    if is_stream_safe(text):
        return nfkc(text)
    return nfkc(_MARKS.sub(lambda run: run.group() + _JOINER, text)).replace(_JOINER, "")


def utf8_size(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def nfc_value(value: JSONValue) -> JSONValue:
    """Return a JSON value with every text and member name in NFC. Requires names that stay distinct."""
    if isinstance(value, str):
        return nfc(value)
    if isinstance(value, list):
        return [nfc_value(item) for item in value]
    if isinstance(value, dict):
        return {nfc(name): nfc_value(member) for name, member in value.items()}
    return value


def has_outer_blanks(text: str) -> bool:
    """Return whether white space, of any script, leads or trails."""
    return text != text.strip()


def has_control(text: str) -> bool:
    """Return whether a control character is in the text."""
    return _has(text, _CONTROL)


def has_hidden(text: str) -> bool:
    """Return whether the text holds a control character, an invisible one, or half a surrogate pair."""
    return has_invisible(text) or _has(text, _HIDDEN)


def has_unassigned(text: str) -> bool:
    """Return whether the text holds a code point that stands for no character."""
    return _has(text, _UNASSIGNED)


def _has(text: str, categories: frozenset[str]) -> bool:
    # A printable text has none of the categories that are asked about here.
    return not text.isprintable() and any(unicodedata.category(character) in categories for character in text)
