"""Texts as words, however they are spelt: the form in which a value is found again inside another text.

    "DE89 3704 0044 0532 0130 00", "de89370400440532013000"      one run of letters and digits, blanks aside
    "1,000.00", "1000", full-width digits                 1000
    "Write to <Eve@Evil.example>!"                               write to eve evil example

Case, compatibility forms, invisible characters, punctuation and blanks make no difference. In scripts that put no
blanks between words (Han, kana, Thai and others) each character is a word. Letters, digits and scripts are those of
RE2; its version is in the engine's data.
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

import re2

from processors.text.characters import is_assigned
from processors.text.forms import fold, percent_decoded
from processors.text.markup import is_marked, quoted_decoded, unmarked

WORDS_MAX = 6  # of one gram
SHORT_CHARS = 4  # of a word that may be a group of a longer number, as in an IBAN
SHORT_WORDS_MAX = 10  # groups of such a number: an IBAN has at most nine
TINY_CHARS = 2  # of words into which a value may be taken apart: letters, and pairs of them
TINY_WORDS_MAX = 40  # such words with a letter among them: the letters of an IBAN are at most 34
TINY_NUMBERS_MAX = 20  # such words of digits alone: a table has many in a row, and a card's number has 19 digits
DOMAIN_LABELS_MAX = 8  # of a domain around a host
JOINED_CHARS_MAX = 64  # of a value whose words are also compared as one
READING_ROUNDS = 2  # of decoding
READINGS_FACTOR = 8  # all decodings of a text are at most so many times as long
_BASE64_CHARS_MIN = 8
_SHARED_DOMAINS = frozenset({"ac", "co", "com", "edu", "gov", "net", "or", "org"})  # below a country: of many owners
_LOW = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef")

_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_DIGITS = frozenset("0123456789")
_MARKS = ".,'"  # that stand in numbers; `_` counts as the last
_NUMERIC = _DIGITS | frozenset(_MARKS) | {"_"}
_NOT_DIGITS = "".join(chr(at) for at in range(128) if chr(at) not in _DIGITS)
_ASCII = "".join(chr(at).lower() if chr(at).lower() in _LETTERS else " " for at in range(128))
_CHUNKS = "".join(" " if chr(at) in '"<>()[]{}|`' or at <= 32 else chr(at) for at in range(128))
_PIECES = "".join(" " if chr(at) in "/:?&=,;#" or at <= 32 else chr(at) for at in range(128))
_SPLIT = "".join(" " if " " in (_CHUNKS[at], _PIECES[at]) else chr(at) for at in range(128))
_BASE64 = "".join(chr(at) if chr(at).isalnum() or chr(at) in "+/-_=" else " " for at in range(128))
_ESCAPE = re2.compile(r"\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[nrtbf\"'/\\])")
_REMEMBERED_MAX = 65_536  # characters


class _Letters(dict[int, str]):
    """The text that stands for each character of a folded text: itself, a digit, a word of its own, or a blank."""

    def __init__(self) -> None:
        super().__init__()
        scripts = "".join(rf"\p{{{one}}}" for one in ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar"))
        self._word = re2.compile(r"[\p{L}\p{N}\p{M}]")
        self._unspaced = re2.compile(rf"[{scripts}]")

    def __missing__(self, point: int) -> str:
        stands = self._standing(chr(point))
        if len(self) < _REMEMBERED_MAX:
            self[point] = stands
        return stands

    def _standing(self, one: str) -> str:
        if one in _NUMERIC:
            return one if one in _DIGITS else " "
        if not self._word.fullmatch(one):
            return " "
        if is_assigned(one) and (value := unicodedata.decimal(one, -1)) >= 0:
            return str(value)
        return f" {one} " if self._unspaced.fullmatch(one) else one


@cache
def _letters() -> _Letters:
    return _Letters()


def words_of(text: str) -> list[str]:
    """Return the words of a text in order, as they compare. Takes any text, in linear time."""
    if text.isascii():
        return _plain(text).translate(_ASCII).split()
    return _plain(_encodable(fold(text))).translate(_letters()).split()


def _plain(text: str) -> str:
    """Return a text in which numbers are spelt alike. A number stands between blanks, with other marks around it."""
    if "." not in text and "," not in text and "'" not in text and "_" not in text:
        return text
    if _DIGITS.isdisjoint(text):
        return text
    chunks = text.split()
    for at, chunk in enumerate(chunks):
        core = chunk.strip(_NOT_DIGITS)
        if not core.isdecimal() and core and _NUMERIC.issuperset(core):
            chunks[at] = chunk.replace(core, _number(core))
    return " ".join(chunks)


def grams(words: list[str]) -> Iterator[str]:
    """Yield every run of 1 to WORDS_MAX words as one text without blanks, and runs that may be a grouped number."""
    count = len(words)
    for at in range(count):
        joined = ""
        for word in words[at : at + WORDS_MAX]:
            joined += word
            yield joined
        yield from _grouped(words, at, joined)


def _grouped(words: list[str], at: int, joined: str) -> Iterator[str]:
    """Yield longer runs of short words from a place: groups of a number, or the letters of a value one by one."""
    first = words[at : at + WORDS_MAX]
    longest = max(map(len, first)) if len(first) == WORDS_MAX else SHORT_CHARS + 1
    if longest > SHORT_CHARS:
        return
    numbered = not _DIGITS.isdisjoint(first[0])
    tiny = longest <= TINY_CHARS and joined.isascii()  # in scripts without blanks each word is tiny
    lettered = not all(map(_DIGITS.issuperset, first))
    for count, word in enumerate(words[at + WORDS_MAX : at + TINY_WORDS_MAX], WORDS_MAX + 1):
        numbered = numbered and count <= SHORT_WORDS_MAX and len(word) <= SHORT_CHARS
        lettered = lettered or not _DIGITS.issuperset(word)
        tiny = tiny and len(word) <= TINY_CHARS and word.isascii() and (lettered or count <= TINY_NUMBERS_MAX)
        if not (numbered or tiny):
            return
        joined += word
        yield joined


def parts_of(text: str) -> list[str]:
    """Return the runs of words by which a value is recognised: itself, addresses and numbers in it, or its six words.

    A text of at most WORDS_MAX words is one of them; of a longer one each run of WORDS_MAX words is. A part of a text
    between blanks that has several words, or a digit, such as an address, is one by itself. So are the host of an
    address, the domains of two labels or more around it, and a mail address without its tag (`eve+x@evil.example`).
    """
    words = words_of(text)
    if len(words) < 2:
        return words
    found: dict[str, None] = {}
    if len(words) <= WORDS_MAX:
        found["".join(words)] = None
    else:
        joined = "".join(words)
        if len(joined) <= JOINED_CHARS_MAX:
            found[joined] = None
        for at in range(len(words) - WORDS_MAX + 1):
            found["".join(words[at : at + WORDS_MAX])] = None
    plain = text if text.isascii() else _encodable(fold(text))
    if "@" in plain or plain.count(".") > 1 or len(plain.translate(_SPLIT).split()) > 1:
        for chunk in plain.translate(_CHUNKS).split():
            pieces = chunk.translate(_PIECES).split()
            addresses = (one for piece in pieces for one in _around(piece))
            for part in dict.fromkeys((chunk, *pieces, *addresses)):
                inner = words_of(part)
                if 0 < len(inner) < len(words) and _is_name(inner):
                    found["".join(inner)] = None
    return list(found)


def _around(piece: str) -> Iterator[str]:
    """Yield the other readings of an address: itself without a tag, its host, and the domains around its host."""
    local, at, host = piece.rpartition("@")
    if at:
        yield host
        yield f"{local.partition('+')[0]}@{host}"
    labels = host.strip(".").lower().split(".")
    if len(labels) < 2 or not labels[-1].isalpha():
        return  # a number, or an address of numbers
    for first in range(max(1, len(labels) - DOMAIN_LABELS_MAX), len(labels) - 1):
        if first < len(labels) - 2 or labels[first] not in _SHARED_DOMAINS:
            yield ".".join(labels[first:])


def whole_of(text: str) -> list[str]:
    """Return the runs of words that make up a text: itself, or all its runs of WORDS_MAX words."""
    words = words_of(text)
    if len(words) <= WORDS_MAX:
        return ["".join(words)] if words else []
    return ["".join(words[at : at + WORDS_MAX]) for at in range(len(words) - WORDS_MAX + 1)]


def _is_name(words: list[str]) -> bool:
    """Return whether words without a blank between them stand for something: an address, a host, a number, an id."""
    if len(words) > 1:
        return not all(map(_DIGITS.issuperset, words)) or sum(map(len, words)) > 2 * SHORT_CHARS
    return len(words[0]) >= SHORT_CHARS and not _DIGITS.isdisjoint(words[0])


def readings(text: str) -> Sequence[str]:
    """Return a text and its decodings: of escapes as in JSON, percent escapes, HTML, quoted-printable, and base64.

    All decodings together are at most READINGS_FACTOR times as long as the text, and 64 characters.
    """
    if (
        "\\" not in text
        and "%" not in text
        and not is_marked(text)
        and not any(map(_may_be_base64, text.translate(_BASE64).split()))
    ):
        return (text,)  # most values
    found = {text: None}
    fresh = [text]
    left = READINGS_FACTOR * len(text) + 64
    for _ in range(READING_ROUNDS):
        decoded = dict.fromkeys(one for part in fresh for one in _decodings(part))
        fresh = []
        for one in decoded:
            if one in found:
                continue
            left -= len(one)
            if left < 0:
                return list(found)
            fresh.append(one)
            found[one] = None
    return list(found)


def _decodings(text: str) -> Iterator[str]:
    if "\\" in text:
        yield _ESCAPE.sub(_unescaped, _encodable(text))
    if "%" in text:
        yield percent_decoded(_encodable(text)).decode("utf-8", "replace")
    if is_marked(text):
        yield from unmarked(_encodable(text))
        yield quoted_decoded(_encodable(text))
    for run in text.translate(_BASE64).split():
        if _may_be_base64(run) and (decoded := _from_base64(run)):
            yield decoded


def _may_be_base64(run: str) -> bool:
    """Return whether a run of letters may encode ASCII: then the first of each four letters stands for less than 32."""
    return len(run) >= _BASE64_CHARS_MIN and run.isascii() and _LOW.issuperset(run[::4])


def _from_base64(run: str) -> str:
    """Return a text that a run of letters encodes, "" where it encodes none."""
    body = run.rstrip("=").replace("-", "+").replace("_", "/")
    if len(body) % 4 == 1:
        return ""
    try:
        decoded = base64.b64decode(body + "=" * (-len(body) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return decoded if decoded.isascii() and decoded.replace("\n", " ").isprintable() else ""


def _unescaped(found: re2._Match) -> str:
    escape = str(found.group())
    return chr(int(f"0x{escape[2:]}", 0)) if escape[1] in "ux" else " "


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _number(text: str) -> str:
    """Return a number without its groups and the zeros that its fraction ends with; as it is if it is not one."""
    marked = text.replace("_", "'")
    last = max(marked.rfind(one) for one in _MARKS)
    head, mark, tail = marked[:last], marked[last], marked[last + 1 :]
    others = any(one in head for one in _MARKS)
    is_fraction = mark != "'" and mark not in head and (others or len(tail) != 3 or head == "0")
    whole = head if is_fraction else marked
    groups = whole.replace(",", ".").replace("'", ".").split(".")
    grouped = len(groups) == 1 or (len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:]))
    if not grouped or sum(one in whole for one in _MARKS) > 1:
        return text
    fraction = tail.rstrip("0") if is_fraction else ""
    return "".join(groups) + (f".{fraction}" if fraction else "")
