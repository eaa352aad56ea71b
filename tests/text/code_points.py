"""Every character of Unicode, made when the first test asks: not by each process that only collects tests."""

import sys
from functools import cache


@cache
def every() -> list[str]:
    """Return all 1,114,112 code points in order, surrogates too."""
    return [chr(code) for code in range(sys.maxunicode + 1)]
