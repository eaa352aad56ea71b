"""The identity of the rules: the number of their version, and the digests of the data that they read.

A decision depends on more than the log: on Unicode's tables, on the rules of time zones, and on the regular expressions
of RE2. Two workers, or a worker and a replay, decide alike if they have the same ENGINE and the same `data`. Digests
are of statements, tables and zone files, not of binaries: they are equal on every platform and every Python.
"""

from __future__ import annotations

import importlib.metadata
from functools import cache
from hashlib import sha256

import re2

from processors.policy import times
from processors.proof import jcs
from processors.text import characters
from processors.text.tables import UNICODE_VERSION

ENGINE: int = 1

# Unicode's general categories. RE2 has tables of its own; the program of a class is as long as its ranges are many.
_KINDS = {"C": "cfos", "L": "lmotu", "M": "cen", "N": "dlo", "P": "cdefios", "S": "ckmo", "Z": "lps"}
_CATEGORIES = [kind + part for kind, parts in _KINDS.items() for part in ("", *parts)]


@cache
def data() -> tuple[tuple[str, bytes], ...]:
    """Return the data of the rules as (name, SHA-256), in the order of the names. A name is `library/version`.

    Raises:
        ImportError: a library is here without its metadata, so that its version is not known.
    """
    made = (
        (f"re2/{importlib.metadata.version('google-re2')}", _re2()),
        (f"tzdata/{times.TZDATA_VERSION}", {name: sha256(file).hexdigest() for name, file in times.zone_files()}),
        (f"unicode/{UNICODE_VERSION}", _unicode()),
    )
    return tuple(sorted((name, sha256(jcs.canonical(stated)).digest()) for name, stated in made))


def _re2() -> dict[str, jcs.JSONValue]:
    """Return the sizes of some programs: a policy's cost is counted in them, and its bounds are."""
    classes = [rf"{flag}\p{{{category}}}" for category in _CATEGORIES for flag in ("", "(?i)")]
    return {expression: re2.compile(expression).programsize for expression in classes}


def _unicode() -> dict[str, jcs.JSONValue]:
    sets = {
        "assigned": characters.ASSIGNED,
        "blank": characters.WHITE,
        "empty glyph": characters.BLANK,
        "invisible": characters.INVISIBLE,
        "mark": characters.MARK,
        "printable": characters.PRINTABLE,
    }
    return {name: [[first, last] for first, last in ranges] for name, ranges in sets.items()}
