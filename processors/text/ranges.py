"""Sets of code points as ranges: read from a table, combined, and written as a class of a regular expression."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

# First and last code point of each range; sorted, and none touches the next.
Ranges = tuple[tuple[int, int], ...]

_LARGE = 16  # ranges: with those of the Han and most emoji among the assigned characters


def read(table: str) -> Ranges:
    """Return the ranges of a table such as `0-377 38c`: code points in hex, sorted, with a blank between two."""
    ends = (one.partition("-") for one in table.split(" "))
    return tuple((int(first, 16), int(last or first, 16)) for first, _, last in ends)


def union(*sets: Ranges) -> Ranges:
    """Return the code points that are in any of the sets."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(one for ranges in sets for one in ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)


def minus(ranges: Ranges, *without: Ranges) -> Ranges:
    """Return the code points of the first set that are in none of the others."""
    return _others(union(_others(ranges), *without))


def _others(ranges: Ranges) -> Ranges:
    """Return all other code points."""
    firsts = (0, *(last + 1 for _, last in ranges))
    lasts = (*(first - 1 for first, _ in ranges), sys.maxunicode)
    return tuple((first, last) for first, last in zip(firsts, lasts, strict=True) if first <= last)


def characters(ranges: Ranges) -> Iterator[str]:
    """Yield every character of a set."""
    for first, last in ranges:
        yield from map(chr, range(first, last + 1))


def character_class(ranges: Ranges) -> str:
    """Return a set as it stands between the brackets of an expression, for `re` and for RE2.

    Beyond U+FFFF `re` tries one range after the other. The largest come first, because most characters are in one of
    them; the rest is sorted, because a processor foresees the comparisons then, which halves their time.
    """
    large = sorted(ranges, key=lambda one: one[0] - one[1])[:_LARGE]
    ordered = dict.fromkeys((*large, *ranges))
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in ordered)
