"""The test that a double is still the number of its JSON text (docs/wire.md 4)."""


def is_kept(literal: str, value: float) -> bool:
    """Return True if a double without a fraction equals the number in the text, or is spelled there as doubles are.

    Beyond 2^53 a double is spelled by its shortest digits: `1e300` and its 301 digits are both that number. A literal
    too small for a double is 0, as in every reader.
    """
    if value == 0:
        return True
    written = _decimal(literal)
    return written == _decimal(str(int(value))) or written == _decimal(repr(value))


def _decimal(literal: str) -> tuple[bool, str, int]:
    """Return sign, digits without zeros at either end, and the power of ten: equal for equal numbers."""
    mantissa, _, exponent = literal.replace("E", "e").partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).rstrip("0")
    zeros = len(whole + fraction) - len(digits)
    return literal.startswith("-"), digits.lstrip("0"), int(exponent or 0) - len(fraction) + zeros
