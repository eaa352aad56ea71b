"""Write `processors/text/tables.py`: Unicode's general categories, as far as rules ask for them.

Run as `python -m tests.text.generate` on a Python whose `unicodedata` is of version 14.0.0, such as 3.11. That module
is made from the Unicode Character Database, so a new run changes nothing.
"""

from __future__ import annotations

import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

VERSION = "14.0.0"
TABLES = Path(__file__).parents[2] / "processors" / "text" / "tables.py"
LINE_CHARS = 112

HEAD = f'''"""Unicode's general categories, as far as rules ask for them: ranges of code points, first and last, in hex.

Source: the Unicode Character Database, version {VERSION}, `extracted/DerivedGeneralCategory.txt`.
Copyright Unicode, Inc.; the Unicode License, https://www.unicode.org/license.txt, permits its use.
Written by `python -m tests.text.generate`.
"""

UNICODE_VERSION = "{VERSION}"
'''

# The name of each table, a comment, and the categories in it.
KINDS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "ASSIGNED": ("every category but Cn", lambda category: category != "Cn"),
    "FORMAT": ("Cf: zero width, bidirectional and tag characters", lambda category: category == "Cf"),
    "SEPARATOR": ("Zs, Zl and Zp", lambda category: category[0] == "Z"),
    "MARK": ("Mn, Mc and Me: what combines with the letter before it", lambda category: category[0] == "M"),
}


def ranges_of(has: Callable[[str], bool]) -> Iterator[str]:
    """Yield the ranges of code points whose general category passes."""
    first: int | None = None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and has(unicodedata.category(chr(code)))
        if inside and first is None:
            first = code
        elif not inside and first is not None:
            yield f"{first:x}" if first == code - 1 else f"{first:x}-{code - 1:x}"
            first = None


def written() -> str:
    """Return the text of the module."""
    if unicodedata.unidata_version != VERSION:
        sys.exit(f"this Python has the tables of Unicode {unicodedata.unidata_version}; run it on one with {VERSION}")
    text = HEAD
    for name, (comment, has) in KINDS.items():
        lines = textwrap.wrap(" ".join(ranges_of(has)), LINE_CHARS, break_on_hyphens=False)
        body = f'"{lines[0]}"'
        if len(lines) > 1:
            body = "(\n" + "".join(f'    "{line} "\n' for line in lines[:-1]) + f'    "{lines[-1]}"\n)'
        text += f"\n# {comment}\n{name} = {body}\n"
    return text


if __name__ == "__main__":
    TABLES.write_text(written(), "utf-8")
