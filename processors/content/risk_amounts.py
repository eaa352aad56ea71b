"""Amounts of money: read exactly, in minor units, or the worst.

A text is read only where every reader reads the same number. `1,000` is a thousand to some and one to others, so it is
not read; `1,000.00` and `1.000,00` are, because two different signs leave no doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import re2

from processors.content.risk_class import RiskClass, Stamps
from processors.content.risk_options import number, texts
from processors.policy.amounts import amount
from processors.proof.jcs import INTEGER_MAX, JSONValue

AMOUNT_WORST = INTEGER_MAX  # minor units
DIGITS = 2  # of a minor unit, unless the option says another number (ISO 4217)
DIGITS_MAX = 4
_CHARS_MAX = 32
_PLAIN = re2.compile(r"^-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,8})?$")
_DOUBTFUL = re2.compile(r"^-?[1-9][0-9]{0,2}\.[0-9]{3}$")  # a point before thousands
_POWER = re2.compile(r"^-?[0-9](?:\.[0-9]{1,8})?[eE]\+?[0-9]{1,2}$")
_GROUPED = re2.compile(r"^-?[1-9][0-9]{0,2}(?:,[0-9]{3}){1,4}\.[0-9]{1,2}$")
_GROUPED_POINTS = re2.compile(r"^-?[1-9][0-9]{0,2}(?:\.[0-9]{3}){1,4},[0-9]{1,2}$")
# ISO 4217, the codes of money that is traded. A stamp names no other one.
_CURRENCIES = frozenset({
    "AED", "ARS", "AUD", "BDT", "BGN", "BHD", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK", "EGP",
    "EUR", "GBP", "GEL", "GHS", "HKD", "HUF", "IDR", "ILS", "INR", "ISK", "JOD", "JPY", "KES", "KRW", "KWD",
    "KZT", "LKR", "MAD", "MXN", "MYR", "NGN", "NOK", "NZD", "OMR", "PEN", "PHP", "PKR", "PLN", "QAR", "RON",
    "RSD", "RUB", "SAR", "SEK", "SGD", "THB", "TND", "TRY", "TWD", "UAH", "USD", "UYU", "VND", "ZAR",
})  # fmt: skip
_CURRENCY = re2.compile(r"^[A-Z]{3}$")

WORST: Stamps = {
    "class": RiskClass.CRITICAL.value, "read": False, "amount": AMOUNT_WORST, "currency": "?", "negative": True,
}  # fmt: skip


def classify(value: JSONValue, options: Mapping[str, JSONValue]) -> Stamps:
    """Return the stamps of an amount: a number, a text, or an object with just `amount` and `currency`.

    Options: `digits` of the minor unit (0 to 4); `medium`, `high`, `critical`, minor units from which a class begins
    (absent: 0, so each amount is `critical`); `currencies`, those that are allowed. Stamps: `class`, `read`, `amount`
    in minor units without its sign, `currency` (empty if none is named, `?` for a rare one), `negative`,
    which is `critical`. Never raises.
    """
    currency = ""
    if isinstance(value, dict):
        named = value.get("currency")
        if value.keys() != {"amount", "currency"} or not isinstance(named, str) or not _is_currency(named):
            return WORST
        value, currency = value["amount"], named
    digits = number(options, "digits", DIGITS)
    read = _read(value)
    minor = None if read is None or digits > DIGITS_MAX else read.scaleb(digits)
    if minor is None or minor != minor.to_integral_value() or abs(minor) >= AMOUNT_WORST:
        return WORST
    size = abs(int(minor))
    allowed = texts(options, "currencies")
    strange = "currencies" in options and currency not in allowed
    risk = RiskClass.CRITICAL if minor < 0 or strange else _class(size, options)
    return {"class": risk.value, "read": True, "amount": size, "currency": _shown(currency), "negative": minor < 0}


def _shown(currency: str) -> str:
    return currency if not currency or currency in _CURRENCIES else "?"


def _is_currency(text: str) -> bool:
    return text.isascii() and bool(_CURRENCY.search(text))


def _class(size: int, options: Mapping[str, JSONValue]) -> RiskClass:
    for risk in (RiskClass.CRITICAL, RiskClass.HIGH, RiskClass.MEDIUM):
        if size >= number(options, risk.value, 0):
            return risk
    return RiskClass.LOW


def _read(value: JSONValue) -> Decimal | None:
    """Return the exact number, or None for a value that readers read differently."""
    match value:
        case bool():
            return None
        case int():
            return Decimal(value) if abs(value) <= INTEGER_MAX else None
        case float():
            return amount(value) if -INTEGER_MAX <= value <= INTEGER_MAX else None
        case str() if len(value) <= _CHARS_MAX and value.isascii():
            plain = _one_spelling(value)
            return None if plain is None else Decimal(plain)
        case _:
            return None


def _one_spelling(text: str) -> str | None:
    """Return a text as a plain decimal number, or None if that leaves doubt."""
    if _GROUPED.search(text):
        return text.replace(",", "")
    if _GROUPED_POINTS.search(text):
        return text.replace(".", "").replace(",", ".")
    plain = bool(_PLAIN.search(text)) and not _DOUBTFUL.search(text)
    return text if plain or _POWER.search(text) else None


def statement() -> JSONValue:
    """Return patterns and bounds, for the catalogue's digest."""
    patterns = (_PLAIN, _DOUBTFUL, _POWER, _GROUPED, _GROUPED_POINTS, _CURRENCY)
    return [*(one.pattern for one in patterns), DIGITS, DIGITS_MAX, AMOUNT_WORST, sorted(_CURRENCIES)]
