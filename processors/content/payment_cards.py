"""Numbers of payment cards: ISO/IEC 7812 check, and the lengths and prefixes of the schemes."""

from __future__ import annotations

import re2

from processors.content.check_digits import luhn
from processors.content.hits import Hit
from processors.content.net_addresses import stands_alone

KIND = "personal.card"
DIGITS_MIN = 12

# A run of 12 to 19 digits, in one piece or in the groups that cards show: 4-4-4-4, 4-6-5, 4-6-4, and 4-4-4-4-3.
_CANDIDATES = (
    re2.compile(rb"\b(\d{12,19}|\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,4}|\d{4}[ -]\d{6}[ -]\d{4,5})\b"),
    re2.compile(rb"\b(\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{3})\b"),
)
_LABEL = re2.compile(
    rb"(?i)\b(?:card|credit|debit|visa|master ?card|maestro|amex|american express|discover|diners|jcb|cc|pan)\b"
)
_LABEL_BYTES = 64  # before the number

# First and last prefix, and lengths (ISO/IEC 7812 and the schemes' own publications).
_SCHEMES = (
    ("340000", "349999", {15}), ("370000", "379999", {15}),  # American Express
    ("400000", "499999", {16, 19}),  # Visa; 13 digits are old
    ("510000", "559999", {16}), ("222100", "272099", {16}),  # Mastercard
    ("300000", "305999", {14, 16}), ("309500", "309599", {14, 16}), ("360000", "369999", {14, 16}),  # Diners Club
    ("380000", "399999", {14, 16}),
    ("601100", "601199", {16, 19}), ("644000", "659999", {16, 19}), ("622126", "622925", {16, 19}),  # Discover
    ("352800", "358999", {16, 19}), ("213100", "213199", {15}), ("180000", "180099", {15}),  # JCB
    ("620000", "629999", {16, 17, 18, 19}), ("810000", "817199", {16, 17, 18, 19}),  # UnionPay
    ("500000", "509999", {16, 19}), ("560000", "589999", {16, 19}), ("630000", "639999", {16, 19}),  # Maestro
    ("670000", "679999", {16, 19}),
    ("220000", "220499", {16, 17, 18, 19}),  # Mir
    ("606282", "606282", {16}), ("508500", "508999", {16}), ("817200", "820199", {16}),  # Hipercard, RuPay
)  # fmt: skip


def find(data: bytes) -> list[Hit]:
    """Return card numbers, with places in bytes. Behind a word such as `card`, any 12 to 19 digits will do."""
    return [
        Hit(KIND, match.start(1), match.end(1), "card")
        for pattern in _CANDIDATES
        for match in pattern.finditer(data)
        if stands_alone(data, match.start(1), match.end(1), b".-/")
        and is_card(digits := match.group(1).translate(None, b" -").decode("ascii"))
        and (
            has_scheme(digits)
            or _LABEL.search(data[max(0, match.start(1) - _LABEL_BYTES) : match.start(1)]) is not None
        )
    ]


def is_card(digits: str) -> bool:
    """Return True for 12 to 19 digits with the right last one, not all of them the same."""
    return DIGITS_MIN <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def has_scheme(digits: str) -> bool:
    """Return True if a scheme gives numbers of this prefix and length."""
    return any(low <= digits[:6] <= high and len(digits) in sizes for low, high, sizes in _SCHEMES)


def statement() -> list[list[str]]:
    """Return patterns and schemes, for a digest."""
    schemes = [[low, high, ",".join(map(str, sorted(sizes)))] for low, high, sizes in _SCHEMES]
    return [[one.pattern.decode() for one in (*_CANDIDATES, _LABEL)], *schemes]
