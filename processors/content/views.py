"""Other readings of a text: the same text as a program or a model may read it, with its disguises taken off.

A text is read in two rounds. A round takes invisible characters out and reads tag characters, decodes percent escapes,
HTML entities and backslash escapes, and normalises (NFKC). Runs of base64 and of hexadecimal digits are decoded apart.
"""

# ruff: noqa: RUF001 -- letters that look like others are the point of a table here

from __future__ import annotations

import binascii
import html
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import re2

from processors.text.characters import is_printable, utf8_size, without_invisible
from processors.text.forms import fold, is_stream_safe, nfkc

VIEWS_MAX = 8
VIEWS_BYTES_MAX = 16 * 1024  # of UTF-8, all views together

_TAGS = {0xE0000 + code: chr(code) for code in range(0x20, 0x7F)}  # U+E0020..U+E007E stand for ASCII (Unicode 23.9)
_GROWTH_MAX = 3  # code points that NFKC may make of one: ligatures that become more would crowd a text out
_RUN_CHARS_MIN = 16  # of base64: twelve bytes, which are readable text by chance once in thousands of runs
_TORN_RUN_CHARS_MIN = 24  # of base64 that decodes to readable text in part only, because letters were put before it

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_BASE64 = bytes(one if one in _BASE64 else {0x2D: 0x2B, 0x5F: 0x2F}.get(one, 0x20) for one in range(256))
_HEX = re2.compile(r"(?:[0-9A-Fa-f]{2}[ :,-]?){8,}")
_READABLE = re2.compile(rb"[\x20-\x7e\t\r\n]{12,}")
_APART = re2.compile(r"(?:\b\pL[ ._*-]){5,}\pL\b")  # six letters, each by itself
# Of a plain text: a run that may decode, or letters that stand apart. Any other plain text has one reading alone.
_OTHERWISE = re2.compile(r"[A-Za-z0-9+/_-]{16}|(?:[0-9A-Fa-f]{2}[ :,-]?){8}|(?:\b\pL[ ._*-]){5,}\pL\b")
_OTHERWISE_CHARS_MIN = 11  # the shortest text that _OTHERWISE meets: six letters, and what parts them
_REMEMBERED = 32  # texts with several readings, which the verifiers of one call ask for in turn
_LETTERS = re2.compile(r"(?:\b\pL[ ._*-])+\pL\b")
_DIGITS = frozenset("0123456789ABCDEFabcdef")
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "/": "/"}

# Letters of other scripts that look like letters of the Latin alphabet.
_LOOKALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухԁһԛԝӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧανορυɡıⅼ",
    "ABESIJKMHOPCTYXaesijopcyxdhqwlABEZHIKMNOPTYXavopugil",
)
_MIXED = re2.compile(r"[A-Za-z][\p{Cyrillic}\p{Greek}ɡı]|[\p{Cyrillic}\p{Greek}ɡı][A-Za-z]")


def views(text: str) -> tuple[str, ...]:
    """Return the text and then its other readings, without repetition. Never raises.

    At most VIEWS_MAX, and VIEWS_BYTES_MAX of UTF-8 in sum (the text itself is always whole): the last one is cut.
    """
    return (text,) if has_one_reading(text) else _views(text)


def has_one_reading(text: str) -> bool:
    """Return True only for a text that has no other reading: most texts have none, and one search finds that out."""
    if not text.isascii() or "%" in text or "\\" in text or "&" in text:
        return False
    return len(text) < _OTHERWISE_CHARS_MIN or not _OTHERWISE.search(text)


def forget() -> None:
    """Keep no reading of a text any longer: a call is over."""
    _views.cache_clear()


@lru_cache(maxsize=_REMEMBERED)
def _views(text: str) -> tuple[str, ...]:
    plain = _plain(text)
    runs = _runs(plain)
    again = _lines(one for one in (_plain(plain), _plain(runs)) if one not in {plain, runs})
    runs_again = _runs(_lines((again, runs)))
    everything = _lines(dict.fromkeys((plain, runs, again, runs_again)))
    return _bounded((text, plain, runs, again, runs_again, _latin(everything), _joined(everything)))


def is_word(text: str) -> bool:
    """Return True for one word of ASCII letters and digits, hyphens between them: it has no other reading."""
    return text.isascii() and text.replace("-", "").isalnum()


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(one for one in texts if one)


def _bounded(found: tuple[str, ...]) -> tuple[str, ...]:
    """Return the distinct readings that are not empty, the text first, within the bounds."""
    text, *others = dict.fromkeys(found)
    kept = [text]
    room = VIEWS_BYTES_MAX - utf8_size(text)
    for other in others:
        if not other or room <= 0 or len(kept) == VIEWS_MAX:
            continue
        if (size := utf8_size(other)) > room:
            other = other.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")  # noqa: PLW2901
        room -= size
        kept.append(other)
    return tuple(kept)


def _plain(text: str) -> str:
    """Return the text without invisible characters, with escapes decoded, in NFKC."""
    if not text.isascii():
        text = without_invisible(text.translate(_TAGS))
    if "%" in text:
        text = unquote_to_bytes(text.encode("utf-8", "replace")).decode("utf-8", "replace")
    if "&" in text:
        text = html.unescape(text)
    if "\\" in text:
        head, *parts = text.split("\\")
        text = head + "".join(map(_unescaped, parts))
    return text if text.isascii() else _normal(text)


def _unescaped(part: str) -> str:
    """Return the meaning of a backslash and the text after it, up to the next backslash."""
    kind = part[:1]
    if kind in _PLAIN:
        return _PLAIN[kind] + part[1:]
    if kind == "x":
        digits, rest = part[1:3], part[3:]
    elif part[:2] == "u{":
        digits, _, rest = part[2:].partition("}")
    else:
        digits, rest = part[1:5], part[5:]
    if kind not in {"x", "u"} or not 2 <= len(digits) <= 6 or not _DIGITS.issuperset(digits):
        return "\\" + part
    code = int(digits, 16)
    return (chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else " ") + rest


def _normal(text: str) -> str:
    """Return the text in NFKC, in linear time, without the characters that NFKC makes a word of."""
    if not is_stream_safe(text):
        return fold(text)
    normal = nfkc(text)
    if len(normal) <= 2 * len(text):
        return normal
    return nfkc(text.translate({ord(one): " " for one in set(text) if len(nfkc(one)) > _GROWTH_MAX}))


def _latin(text: str) -> str:
    """Return the text with Latin letters for those that look like them, if a word mixes the two; else nothing."""
    if text.isascii() or not _MIXED.search(_whole(text)):
        return ""
    return text.translate(_LOOKALIKES)


def _joined(text: str) -> str:
    """Return the text with letters that stand apart (`w o r d`) joined to words; nothing if there are none."""
    whole = _whole(text)
    if not _APART.search(whole):
        return ""
    joined: str = _LETTERS.sub(lambda run: run.group()[::2], whole)
    return joined


def _runs(text: str) -> str:
    """Return the readable texts that runs of base64 and hexadecimal digits stand for, one a line."""
    data = text.encode("utf-8", "replace")
    found = [_from_base64(run) for run in data.translate(_TO_BASE64).split(b" ") if len(run) >= _RUN_CHARS_MIN]
    found += [_from_hex(run.group()) for run in _HEX.finditer(data)]
    return "\n".join(one for one in found if one)


def _from_base64(run: bytes) -> str:
    """Return the text that a run stands for, at the first of four offsets at which it is readable; else nothing."""
    found = [binascii.a2b_base64(part[: len(part) & ~3] + _tail(part)) for part in (run, run[1:], run[2:], run[3:])]
    for data in found:
        if text := _readable(data):
            return text
    if len(run) < _TORN_RUN_CHARS_MIN:
        return ""
    torn = [piece.group() for data in found for piece in _READABLE.finditer(data)]
    return max(torn, key=len, default=b"").decode()


def _tail(part: bytes) -> bytes:
    """Return the last characters of a run, padded; a single one holds no byte."""
    rest = part[len(part) - len(part) % 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def _from_hex(run: bytes) -> str:
    digits = run.translate(None, b" :,-")
    return _readable(bytes.fromhex(digits.decode())) if len(digits) % 2 == 0 else ""


def _readable(data: bytes) -> str:
    """Return the bytes as text, if they are UTF-8 or UTF-16 of printable characters and lines; else nothing."""
    if data[1::2].count(0) == len(data) // 2:
        data = data[::2]
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ""
    return text if is_printable(text.replace("\n", " ").replace("\r", " ").replace("\t", " ")) else ""


def _whole(text: str) -> str:
    """Return the text with `?` for half surrogate pairs, which RE2 cannot read."""
    return text.encode("utf-8", "replace").decode()
