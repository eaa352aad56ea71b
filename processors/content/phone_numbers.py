"""Telephone numbers: shapes of our own, and the numbering plans of phonenumbers (Google's libphonenumber) as data.

The library's matcher is not run: it backtracks. Its plans are patterns, and RE2 matches them.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import re2

from processors.content.hits import Hit
from processors.content.net_addresses import stands_alone
from processors.content.rules import RuleSet, TextRule

PACKAGE = "phonenumbers"
VERSION = "9.0.43"
E164_MAX = 15  # digits of a number, with its calling code (ITU-T E.164)
CANDIDATE_MAX = 24  # characters of a number with its separators
KIND = "personal.phone"
DIGITS_MIN = 7

# National forms that begin with the trunk prefix 0 are looked up in these plans, in this order.
REGIONS = ("GB", "DE", "FR", "IT", "NL", "BE", "CH", "AT", "AU", "IN", "JP", "KR", "PH", "TR", "ZA", "IL", "SE", "BR")

_EXTENSION = r"(?:\s?(?:x|ext\.?|extension)\s?\d{1,6})?"
_LABEL = (
    r"(?i)\b(?:phone|telephone|tel|mobile|mob|cell(?:phone|ular)?|fax|desk|hotline|whatsapp|sms|telefon|handy|tél|portable|"
    r"móvil|teléfono|telefono|celular|telefone|contact)\.?(?:\s?(?:number|no|nr|num|#))?\.?\s*(?:is|at|was|ist|=|:)?[\s:\"'=]{0,4}"
)
_LABELLED = re2.compile((_LABEL + r"(\+?\(?\d[\d ().-]{5,20}\d" + _EXTENSION + r")\b").encode())
_CALL = re2.compile((r"(?i)\b(?:call|dial|text|ring)(?: me| us| him| her| them)?(?: at| on)? (\+?\(?\d[\d ().-]{7,18}\d"
                     + _EXTENSION + r")\b").encode())  # fmt: skip
_ABROAD = re2.compile(
    (r"((?:\+|\b00)\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d[\d .-]{4,16}\d" + _EXTENSION + r")\b").encode()
)
_NORTH_AMERICA = re2.compile(
    (r"((?:(?:\+|\b00)?1[ .-])?(?:\([2-9]\d{2}\) ?|\b[2-9]\d{2}[.-])\d{3}[.-]\d{4}" + _EXTENSION + r")\b").encode()
)
_NATIONAL = re2.compile(rb"((?:\b0\d{0,4}|\(0\d{1,5}\))(?:[ ./-]?\(?\d{1,5}\)?){1,6})\b")
_DATE = re2.compile(rb"^(?:\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2})")


class _Plans(NamedTuple):
    """`codes` are the calling codes of countries; `national` matches the digits of numbers with their trunk prefix."""

    codes: frozenset[str]
    national: re2._Regexp
    patterns: tuple[tuple[str, str], ...]


def find(data: bytes) -> list[Hit]:
    """Return hits with places in bytes, in the order of patterns; some may overlap. Requires UTF-8."""
    hits: list[Hit] = []
    for at in _together().places(data):
        pattern, is_number, rule = _SORTS[at]
        for match in pattern.finditer(data):
            start, end = match.start(1), match.end(1)
            while end > start and not is_number(data, start, end):
                end = _without_last_group(data, start, end)
            if end > start:
                hits.append(Hit(KIND, start, end, f"phone.{rule}"))
    return hits


def _without_last_group(data: bytes, start: int, end: int) -> int:
    """Return the end without the last blank and the digits behind it, which may be another number; `start` for none."""
    cut = data.rfind(b" ", start, end)
    return start if cut < 0 else start + len(data[start:cut].rstrip(b" .-/("))


def statement() -> list[list[str]]:
    """Return the library's version and the plans as read, for a digest.

    Raises:
        RuntimeError: the library is missing, or another version is installed.
    """
    plans = _plans()
    return [[PACKAGE, VERSION], sorted(plans.codes), *([region, pattern] for region, pattern in plans.patterns)]


@cache
def _plans() -> _Plans:
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        found = "nothing"
    if found != VERSION:
        raise RuntimeError(f"{PACKAGE}: {found} is installed; the numbering plans are those of {VERSION}: install that")
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

    patterns = []
    for region in REGIONS:
        plan = PhoneMetadata.metadata_for_region(region)
        assert plan is not None
        sorts = (plan.fixed_line, plan.mobile, plan.toll_free, plan.premium_rate, plan.shared_cost, plan.voip, plan.uan)
        numbers = "|".join(sort.national_number_pattern for sort in sorts if sort and sort.national_number_pattern)
        patterns.append((region, f"{plan.national_prefix or ''}(?:{numbers})"))
    joined = "|".join(pattern for _, pattern in patterns)
    return _Plans(frozenset(map(str, COUNTRY_CODE_TO_REGION_CODE)), re2.compile(f"(?:{joined})$"), tuple(patterns))


def _has_digits(data: bytes, start: int, end: int) -> bool:
    return DIGITS_MIN <= len(_digits(data[start:end])) <= E164_MAX


def _stands(data: bytes, start: int, end: int) -> bool:
    """Return True if the place touches no letter, digit or sign of a longer number, path or amount."""
    return stands_alone(data, start, end, b".-/,+=") and data[max(0, start - 1) : start] not in {b"$", b"#", b"-", b"."}


def _follows_digits(data: bytes, start: int) -> bool:
    """Return True behind a digit and a blank: such a 0 may begin a group of a longer number."""
    return data[max(0, start - 1) : start] == b" " and data[max(0, start - 2) : start - 1].isdigit()


def _is_abroad(data: bytes, start: int, end: int) -> bool:
    """Return True for a calling code that a country has, and 8 to 15 digits."""
    digits = _digits(data[start:end]).removeprefix("00")
    if data[start : start + 1] == b"0" and _follows_digits(data, start):
        return False
    known = any(digits[:size] in _plans().codes for size in (1, 2, 3))
    return known and 8 <= len(digits) <= E164_MAX and len(set(digits)) > 2 and _stands(data, start, end)


def _is_national(data: bytes, start: int, end: int) -> bool:
    """Return True for 9 to 12 digits that a plan holds, with separators or as the whole text; not for a date."""
    candidate = data[start:end]
    digits = _digits(candidate)
    if not 9 <= len(digits) <= 12 or end - start > CANDIDATE_MAX or not _stands(data, start, end):
        return False
    if _follows_digits(data, start) or _DATE.search(candidate) is not None:
        return False
    if candidate.isdigit() and len(candidate) < len(data.strip()):
        return False
    return _plans().national.match(digits) is not None


_SORTS = (
    (_LABELLED, _has_digits, "labelled"),
    (_CALL, _has_digits, "called"),
    (_NORTH_AMERICA, _stands, "north_america"),
    (_ABROAD, _is_abroad, "abroad"),
    (_NATIONAL, _is_national, "national"),
)


@cache
def _together() -> RuleSet:
    """Return all patterns, for the question which of them match: one search, where most texts meet none or one."""
    return RuleSet.compile(TextRule(rule, KIND, pattern.pattern.decode()) for pattern, _, rule in _SORTS)


def _digits(candidate: bytes) -> str:
    """Return the digits of a number, without those of an extension and of a trunk prefix in brackets."""
    number = candidate.lower().partition(b"x")[0].partition(b"e")[0].replace(b"(0)", b"")
    return "".join(chr(one) for one in number if 48 <= one <= 57)
