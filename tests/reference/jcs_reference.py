"""RFC 8785 read aloud: a slow writer that shares no code with `processors.proof.jcs`.

It asks nobody for the shortest digits, the order of names or the escapes: it follows the sections of the RFC.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

_SHORT_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def canonical(value: object) -> bytes:
    """Return the RFC 8785 form of a JSON value that is known to have one."""
    return write(value).encode("utf-8")


def write(value: object) -> str:  # noqa: PLR0911
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return write_string(value)
    if isinstance(value, list):
        return "[" + ",".join(write(item) for item in value) + "]"
    if isinstance(value, dict):
        names = sorted(value, key=utf16_units)
        return "{" + ",".join(write_string(name) + ":" + write(value[name]) for name in names) + "}"
    return write_number(float(value))


def utf16_units(text: str) -> list[int]:
    """Section 3.2.3: names are sorted as arrays of UTF-16 code units."""
    units = []
    for character in text:
        point = ord(character)
        if point < 0x10000:
            units.append(point)
        else:
            units.append(0xD800 + (point - 0x10000 >> 10))
            units.append(0xDC00 + (point - 0x10000 & 0x3FF))
    return units


def write_string(text: str) -> str:
    """Section 3.2.2.2: seven short escapes, lower-case hex for the other controls, all else as it is."""
    written = '"'
    for character in text:
        if character in _SHORT_ESCAPES:
            written += _SHORT_ESCAPES[character]
        elif ord(character) < 0x20:
            written += f"\\u{ord(character):04x}"
        else:
            written += character
    return written + '"'


def write_number(value: float) -> str:
    """Section 3.2.2.3, which is Number::toString of ECMA-262, with its letters s, k and n."""
    if value == 0:
        return "0"
    if value < 0:
        return "-" + write_number(-value)
    shortest = shortest_decimal(value)
    s = "".join(str(digit) for digit in shortest.as_tuple().digits).rstrip("0")
    k = len(s)
    n = shortest.adjusted() + 1
    if k <= n <= 21:
        return s + "0" * (n - k)
    if 0 < n <= 21:
        return s[:n] + "." + s[n:]
    if -6 < n <= 0:
        return "0." + "0" * -n + s
    exponent = ("+" if n > 0 else "-") + str(abs(n - 1))
    return (s if k == 1 else s[0] + "." + s[1:]) + "e" + exponent


def shortest_decimal(value: float) -> Decimal:
    """Find the decimal of fewest digits that is read as this double; of two, the closer one, then the even one.

    The decimal just above and the one just below are both tried: beneath a power of two the doubles stand closer,
    and then the nearest decimal may be another double's while the one on the other side is ours.
    """
    exact = Decimal(value)
    for digits in range(1, 18):
        around = [Context(prec=digits, rounding=way).plus(exact) for way in (ROUND_FLOOR, ROUND_CEILING)]
        ours = [candidate for candidate in around if float(candidate) == value]
        if ours:
            return min(ours, key=lambda one: (abs(Fraction(one) - Fraction(exact)), one.as_tuple().digits[-1] % 2))
    raise AssertionError("17 digits tell any two doubles apart")
