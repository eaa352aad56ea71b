"""Numbers of bank accounts by ISO 13616 (IBAN), in one piece or in groups, in either case."""

from __future__ import annotations

import re2

from processors.content.check_digits import IBAN_LENGTHS, iban
from processors.content.hits import Hit
from processors.content.net_addresses import stands_alone

KIND = "personal.iban"
_HEAD = re2.compile(rb"\b[A-Za-z]{2}\d{2}")


def find(data: bytes) -> list[Hit]:
    """Return IBANs, with places in bytes. Each has as many characters as its country gives; words may follow."""
    hits = []
    for match in _HEAD.finditer(data):
        start = match.start()
        size = IBAN_LENGTHS.get(data[start : start + 2].decode("ascii").upper())
        end = _end(data, start, size) if size else None
        if end is not None and stands_alone(data, start, end, b".-/"):
            value = data[start:end].translate(None, b" -").decode("ascii").upper()
            hits += [Hit(KIND, start, end, "iban")] if iban(value) else []
    return hits


def _end(data: bytes, start: int, size: int) -> int | None:
    """Return the place behind so many letters and digits, at most one blank or hyphen between two, or None."""
    seen = 0
    was_sign = False
    for at in range(start, min(len(data), start + 2 * size)):
        one = data[at : at + 1]
        if one.isalnum():
            seen += 1
            was_sign = False
        elif one in {b" ", b"-"} and not was_sign:
            was_sign = True
        else:
            return None
        if seen == size:
            return at + 1
    return None
