"""Names of principals: their form, the patterns that meet them, and the equality of two spellings.

A comparison that forbids folds both sides (`known_as`): two spellings of one person are one. A comparison that allows
is exact.
"""

from __future__ import annotations

from collections.abc import Iterable

from processors.refusal import Refusal
from processors.text.characters import has_outer_blanks, is_plain_text, single_spaced
from processors.text.forms import fold, nfc, nfkc
from schemas import limits
from schemas.reasons import Reason

PERSON_PREFIX = "user:"
TOOL_PREFIX = "tool:"
WORKLOAD_PREFIX = "workload:"
# What no program's name begins with, and whose names do. A tool that calls others is the agent `tool:<its name>`.
RESERVED_PREFIXES = {
    PERSON_PREFIX: "persons'",
    TOOL_PREFIX: "tools' when they call",
    WORKLOAD_PREFIX: "identity providers'",
}

_STOPS = "/:"  # what a star of a pattern of names does not cross


def check_name(name: str) -> None:
    """Raise Refusal NAME_INVALID unless `name` may be a program's: people can read it and take it for no other.

    Names that only look as if they began with a reserved prefix are refused too: `User:carol`, or a full-width `u`.
    """
    check_printable(name)
    folded = fold(name)
    for prefix, owners in RESERVED_PREFIXES.items():
        if folded.startswith(prefix):
            raise Refusal(Reason.NAME_INVALID, f"names that begin with {prefix}, in any spelling, are {owners}")


def check_tool_name(name: str) -> None:
    """Raise Refusal NAME_INVALID for a tool's name with a slash: its resources would lie among another tool's."""
    if not {"/", "\\"}.isdisjoint(nfkc(name)):
        raise Refusal(Reason.NAME_INVALID, "a tool's name holds no slash: its resources would lie below another tool's")


def check_printable(name: str, most: int = limits.NAME_CHARS_MAX) -> None:
    """Raise Refusal NAME_INVALID unless `name` has 1 to `most` characters that all show, no outer blanks and no `*`."""
    if not 0 < len(name) <= most or not is_plain_text(name) or has_outer_blanks(name) or "*" in name:
        raise Refusal(Reason.NAME_INVALID, f"want 1 to {most} printable, visible characters without * or outer blanks")
    if nfc(name) != name:
        # Policies are looked up by names in NFC: another spelling would inherit what is somebody else's.
        raise Refusal(Reason.NAME_INVALID, "want a name in Unicode's normal form C")


def known_as(name: str) -> str:
    """Return one form for all spellings of a person's name: case, width, blanks and the prefix do not count.

    For comparisons in which being the same forbids something, and for no others.
    """
    return single_spaced(fold(name)).removeprefix(PERSON_PREFIX)


def meets(pattern: str, name: str) -> bool:
    """Return whether a name is `pattern` with each `*` standing for a run without `/` and `:`. Linear in the name.

    Two stars are one star. A slash or a colon is met only by itself, so a pattern of programs takes in no person, and
    no pattern takes in the names below a name.
    """
    parts, wanted = _parts(name), _parts(pattern)
    return len(parts) == len(wanted) and all(map(_meets_part, wanted, parts))


def meets_any(patterns: Iterable[str], name: str) -> bool:
    """Return whether patterns include a principal: `*` stops at `/` and `:`, `**` alone means everybody."""
    listed = tuple(patterns)
    return "**" in listed or any(meets(pattern, name) for pattern in listed)


def meets_anywhere(pattern: str, text: str) -> bool:
    """Return whether a text is `pattern` with each `*` standing for any run, slashes and colons included. Linear."""
    return _meets_part(pattern, text)


def _parts(text: str) -> list[str]:
    """Return the parts between slashes and colons, and these as parts of their own: each meets only itself."""
    parts = [""]
    for character in text:
        if character in _STOPS:
            parts += [character, ""]
        else:
            parts[-1] += character
    return parts


def _meets_part(pattern: str, text: str) -> bool:
    first, *rest = pattern.split("*")
    if not rest:
        return text == first
    if not text.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1]:
        found_at = text.find(piece, at)
        if found_at < 0:
            return False
        at = found_at + len(piece)
    return len(text) - len(rest[-1]) >= at and text.endswith(rest[-1])
