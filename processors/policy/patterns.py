"""Resource names and the patterns that meet them (MAPL.md 2).

Grant position is read narrowly: case counts, `*` stops at `/`, a foreign tenant must be named. Restriction position is
read widely: every star crosses `/`, and every equivalent spelling of the name is tried. A pattern has no other special
characters and no escapes. What RE2 would do is done by comparing texts where that gives the same answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import re2

from processors.policy import limits
from processors.policy.errors import PolicyError, ResourceInvalidError
from processors.policy.text import fold, has_control, has_hidden, has_outer_blanks, has_unassigned, nfc, nfkc

DEFAULT_DOMAIN = "tool:"  # of a name without a domain (MAPL.md 2)

_DOMAIN = re2.compile(r"[a-z][a-z0-9._-]{0,31}")
_TENANT = re2.compile(r"@[a-z][a-z0-9-]{1,39}/")  # DESIGN.md 2 says what a tenant id is
_EMPTY_SEGMENT = re2.compile(r"(?:^|[^:/])//|:////")  # `//` but not `://` or `:///`
_STARS = re2.compile(r"\*+")
_WHOLE_DOMAIN = re2.compile(r"(?:@[a-z][a-z0-9-]{1,39}/)?[a-z][a-z0-9._-]{0,31}:\*")


class Position(Enum):
    """Where a pattern stands: where it widens what is permitted, or where it narrows it."""

    GRANT = "grant"
    RESTRICTION = "restriction"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceName:
    """A valid name: its text in NFC with its domain, and the folded spellings that restrictions try."""

    text: str
    tenant: str = field(compare=False)  # `@acme/` of a foreign resource, else empty
    spellings: tuple[str, ...] = field(compare=False)


def resource_name(text: str) -> ResourceName:
    """Return the resource that a caller names.

    Raises:
        ResourceInvalidError: the text is no name, or one of its spellings is none.
    """
    if len(text) > limits.NAME_CHARS_MAX:  # before anything is normalised
        raise ResourceInvalidError("too long")
    return _remembered_name(text) if len(text) <= limits.CACHED_NAME_CHARS_MAX else _read_name(text)


def _read_name(text: str) -> ResourceName:
    name = _with_domain(nfc(text))
    if "*" in name:  # to be written %2A: a name must never read as a pattern
        raise ResourceInvalidError("star in a resource name")
    decoded = _decodings(name, nfc)
    compatible = _decodings(nfkc(name), nfkc)
    for spelling in {name, *decoded, *compatible, *map(nfkc, decoded)}:
        _check_spelling(spelling)
    spellings = [fold(name), *(fold(last).removesuffix("/") for last in (decoded[-1], compatible[-1]))]
    tenant = _tenant(name)
    if tenant:
        spellings += [spelling.partition("/")[2] for spelling in spellings]
    return ResourceName(text=name, tenant=tenant, spellings=tuple(dict.fromkeys(spellings)))


_remembered_name = lru_cache(maxsize=limits.CACHED_NAMES_MAX)(_read_name)


def matches(pattern: str, name: ResourceName, position: Position) -> bool:
    """Return whether a pattern, which `check_pattern` passed, meets a name in that position."""
    meets = _matcher(pattern, position)
    if position is Position.RESTRICTION:
        return any(map(meets, name.spellings))
    # A foreign tenant's resource is granted only by a pattern that names the tenant literally.
    return pattern.startswith(name.tenant) and meets(name.text)


def check_pattern(pattern: str, pointer: str) -> None:
    """Raise PolicyError unless the text, which is in NFC, is a pattern."""
    if len(pattern) > limits.PATTERN_CHARS_MAX:
        raise PolicyError("E_LIMIT", pointer)
    if not pattern or has_outer_blanks(pattern) or has_control(pattern):
        raise PolicyError("E_PATTERN", pointer)
    if len(_STARS.findall(pattern)) > limits.PATTERN_STARS_MAX:
        raise PolicyError("E_PATTERN", pointer)


# ---- names


def _with_domain(name: str) -> str:
    # Asked here too: behind a domain a leading blank is an outer one no more, and RE2 takes no half pairs.
    if has_outer_blanks(name) or has_hidden(name):
        raise ResourceInvalidError("blanks around, or invisible characters in, a resource name")
    tenant = _tenant(name)
    local = name[len(tenant) :]
    if not local:
        raise ResourceInvalidError("empty resource name")
    return name if ":" in local else f"{tenant}{DEFAULT_DOMAIN}{local}"


def _tenant(name: str) -> str:
    found = _TENANT.match(name)
    return str(found.group()) if found else ""


def _decodings(name: str, normalise: Callable[[str], str]) -> list[str]:
    """Return the name and what repeated percent-decoding makes of it, the last being at rest."""
    spellings = [name]
    while (decoded := normalise(_percent_decoded(spellings[-1]))) != spellings[-1]:
        if len(spellings) > limits.DECODINGS_MAX:
            raise ResourceInvalidError("resource name is encoded too often")
        if _slashes(decoded) > _slashes(spellings[-1]):  # a path inside a segment: two readers would see two paths
            raise ResourceInvalidError("encoded slash in a resource name")
        spellings.append(decoded)
    return spellings


def _percent_decoded(text: str) -> str:
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        raise ResourceInvalidError("resource name is not UTF-8") from None


def _slashes(text: str) -> int:
    return text.count("/") + text.count("\\")


def _check_spelling(name: str) -> None:
    domain, colon, rest = name[len(_tenant(name)) :].partition(":")
    if not (colon and rest and _DOMAIN.fullmatch(domain)):
        raise ResourceInvalidError("resource name without a domain or without a rest")
    if len(name) > limits.NAME_CHARS_MAX:
        raise ResourceInvalidError("resource name is too long")
    if has_outer_blanks(name) or has_hidden(name) or has_unassigned(name):
        raise ResourceInvalidError("blanks around, or invisible characters in, a resource name")
    if _EMPTY_SEGMENT.search(name) or _has_dot_segment(rest):
        raise ResourceInvalidError("empty or dot segment in a resource name")


def _has_dot_segment(rest: str) -> bool:
    # A colon begins a path as well: `file:../x` and `file:C:..\x` climb.
    segments = rest.replace("\\", "/").split("/")
    return any(segment.rpartition(":")[2] in {".", ".."} for segment in segments)


# ---- patterns


@lru_cache(maxsize=limits.CACHED_MATCHERS_MAX)
def _matcher(pattern: str, position: Position) -> Callable[[str], bool]:
    """Return the test of one pattern: on a name's text in grant position, on its spellings in restriction position."""
    literals: list[str] = _STARS.split(pattern)
    stars: list[str] = _STARS.findall(pattern)
    if position is Position.RESTRICTION:
        return _any_runs([fold(literal) for literal in literals])  # stars are recognised before folding
    if all(len(star) > 1 for star in stars):
        return _any_runs(literals)
    if _WHOLE_DOMAIN.fullmatch(pattern):
        return _any_runs(literals)
    return _narrow_runs(literals, stars)


def _any_runs(literals: list[str]) -> Callable[[str], bool]:
    """Return the test for literals with any run of characters between them."""
    first, *others = literals
    if not others:
        return first.__eq__
    *middle, last = others
    room = len(first) + len(last)

    def meets(text: str) -> bool:
        if len(text) < room or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for literal in middle:  # the leftmost place leaves most room for the rest
            found = text.find(literal, at, end)
            if found < 0:
                return False
            at = found + len(literal)
        return True

    return meets


def _narrow_runs(literals: list[str], stars: list[str]) -> Callable[[str], bool]:
    """Return the test for literals with runs between them, of which those of a single star hold no slash."""
    expression = re2.compile(as_expression(literals, stars))
    return lambda text: expression.fullmatch(text) is not None


def as_expression(literals: list[str], stars: list[str]) -> str:
    """Return the RE2 expression, to be matched in full, that defines what a pattern in grant position meets."""
    runs = [".*" if len(star) > 1 else "[^/]*" for star in stars]
    quoted = [str(re2.escape(literal)) for literal in literals]
    return "(?s)" + "".join(part for pair in zip(quoted, [*runs, ""], strict=True) for part in pair)
