"""Amounts that rules add up: the decimals that JSON wrote, added without rounding.

A call's number is a double, and a double stands for the decimal of its shortest digits: 0.1 is one tenth here, and
three of them are 0.3. So a cap can be spent to the last cent, and never beyond it. Doubles bound the digits: a sum
that no cap refused has at most 309 before the point and 324 behind it.
"""

from collections.abc import Iterable
from decimal import Context, Decimal, Inexact, InvalidOperation

_DIGITS_MAX = 1000  # of a sum of all the numbers that a call can hold, with room to spare
_EXACT = Context(prec=_DIGITS_MAX, Emax=_DIGITS_MAX, Emin=-_DIGITS_MAX, traps=[Inexact, InvalidOperation])

NOTHING = Decimal(0)


def amount(number: float) -> Decimal:
    """Return the decimal that a JSON number is written as. Requires a finite number."""
    return Decimal(repr(number))


def added(amounts: Iterable[Decimal], before: Decimal = NOTHING) -> Decimal:
    """Return the exact sum, in the form that equal sums share."""
    total = before
    for one in amounts:
        total = _EXACT.add(total, one)
    return _EXACT.normalize(total) if total else NOTHING


def written(total: Decimal) -> str:
    """Return the text of a sum as rows hold it: at most 640 characters."""
    return str(total)


def read(text: str) -> Decimal:
    """Return the sum that `written` wrote.

    Raises:
        ValueError: the text is none.
    """
    try:
        total = Decimal(text)
    except InvalidOperation:
        raise ValueError("the total of a rule is not a decimal number") from None
    if not total.is_finite():
        raise ValueError("the total of a rule is not a decimal number")
    return total
