"""The identity of the rules: the number of their version, and the digests of the data that they read.

A decision depends on more than the log: on Unicode's tables, on the rules of time zones, and on the regular expressions
of RE2; from engine 2 on also on the detectors of `processors/content/` with the packages that they read. Two workers,
or a worker and a replay, decide alike if they have the same engine and the same `data`. Digests are of statements,
tables, zone files and versions, not of binaries: they are equal on every platform and every Python.
"""

from __future__ import annotations

import importlib.metadata
from functools import cache
from hashlib import sha256

import re2

from processors.content import identity
from processors.policy import times
from processors.proof import jcs
from processors.text import characters
from processors.text.tables import UNICODE_VERSION

ENGINE: int = 2  # the newest; a new tenant is founded with it
DETECTING = 2  # the first engine that reads texts with detectors, and judges by schemas and settings

# Unicode's general categories. RE2 has tables of its own; the program of a class is as long as its ranges are many.
_KINDS = {"C": "cfos", "L": "lmotu", "M": "cen", "N": "dlo", "P": "cdefios", "S": "ckmo", "Z": "lps"}
_CATEGORIES = [kind + part for kind, parts in _KINDS.items() for part in ("", *parts)]


@cache
def data(number: int = ENGINE) -> tuple[tuple[str, bytes], ...]:
    """Return the data of an engine's rules as (name, SHA-256), in the order of the names.

    A name is `library/version`. Requires the number of an engine of this installation.

    Raises:
        ImportError: a library is here without its metadata, so that its version is not known.
    """
    made = (
        (f"re2/{importlib.metadata.version('google-re2')}", _re2()),
        (f"tzdata/{times.TZDATA_VERSION}", {name: sha256(file).hexdigest() for name, file in times.zone_files()}),
        (f"unicode/{UNICODE_VERSION}", _unicode()),
    )
    read = ((name, sha256(jcs.canonical(stated)).digest()) for name, stated in made)
    return tuple(sorted((*read, *(identity.detectors() if number >= DETECTING else ()))))


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
