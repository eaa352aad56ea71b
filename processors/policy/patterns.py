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
from processors.policy.globs import granting, restricting, star_runs
from processors.policy.text import fold, has_control, has_hidden, has_outer_blanks, has_unassigned, nfc, nfkc

VAULT_DOMAIN = "vault"  # of what sessions keep on the log
DEFAULT_DOMAIN = "tool:"  # of a name without a domain (MAPL.md 2)

_DOMAIN = re2.compile(r"[a-z][a-z0-9._-]{0,31}")
_DOMAIN_CHARS_MAX = 32
_TENANT = re2.compile(r"@[a-z][a-z0-9-]{1,39}/")  # DESIGN.md 2 says what a tenant id is
_EMPTY_SEGMENT = re2.compile(r"(?:^|[^:/])//|:////")  # `//` but not `://` or `:///`


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

    @property
    def local(self) -> str:
        """The name without the foreign tenant."""
        return self.text[len(self.tenant) :]

    @property
    def domain(self) -> str:
        """What stands before the first colon."""
        return self.local.partition(":")[0]

    @property
    def app(self) -> str | None:
        """The first of several segments; a name of one segment belongs to no application."""
        segment, slash, _ = self.local.partition(":")[2].partition("/")
        return segment if segment and slash else None

    @property
    def operation(self) -> str:
        """The last segment; of `vault:<scope>/<verb>/<key>` the verb, because the key is a name that callers choose."""
        rest = self.local.partition(":")[2]
        if self.domain == VAULT_DOMAIN:
            return rest.partition("/")[2].partition("/")[0]
        return rest.rpartition("/")[2]


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
    return restricts(pattern, name) if position is Position.RESTRICTION else grants(pattern, name)


def grants(pattern: str, name: ResourceName) -> bool:
    """Return whether a pattern meets a name in grant position."""
    # A foreign tenant's resource is granted only by a pattern that names the tenant literally.
    return pattern.startswith(name.tenant) and granting(pattern)(name.text)


def restricts(pattern: str, name: ResourceName) -> bool:
    """Return whether a pattern meets a name, in any of its spellings, in restriction position."""
    return any(map(restricting(pattern), name.spellings))


def operation_name(tool: str, operation: str) -> str:
    """Return the name of an operation that is given apart from its tool, as older callers do (MAPL.md 2)."""
    name = tool if ":" in tool else f"{DEFAULT_DOMAIN}{tool}"
    return f"{name}/{operation}"


def check_pattern(pattern: str, pointer: str) -> None:
    """Raise PolicyError unless the text, which is in NFC, is a pattern."""
    if len(pattern) > limits.PATTERN_CHARS_MAX:
        raise PolicyError("E_LIMIT", pointer)
    if not pattern or has_outer_blanks(pattern) or has_control(pattern):
        raise PolicyError("E_PATTERN", pointer)
    if len(star_runs(pattern)) > limits.PATTERN_STARS_MAX:
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
    if not name.startswith("@"):
        return ""
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
    if not (colon and rest and len(domain) <= _DOMAIN_CHARS_MAX and _is_domain(domain)):
        raise ResourceInvalidError("resource name without a domain or without a rest")
    if len(name) > limits.NAME_CHARS_MAX:
        raise ResourceInvalidError("resource name is too long")
    if has_outer_blanks(name) or has_hidden(name) or has_unassigned(name):
        raise ResourceInvalidError("blanks around, or invisible characters in, a resource name")
    if ("//" in name and _EMPTY_SEGMENT.search(name)) or _has_dot_segment(rest):
        raise ResourceInvalidError("empty or dot segment in a resource name")


@lru_cache(maxsize=limits.CACHED_NAMES_MAX)
def _is_domain(domain: str) -> bool:
    return _DOMAIN.fullmatch(domain) is not None


def has_dot_segment_decoded(text: str) -> bool:
    """Return whether a text, as it stands or percent-decoded up to three times, has a `.` or `..` segment."""
    if "." not in text and "%" not in text:
        return False
    for _ in range(limits.DECODINGS_MAX):
        if _has_dot_segment(text):
            return True
        decoded = unquote_to_bytes(text).decode(errors="replace")
        if decoded == text:
            return False
        text = decoded
    # What still changes could be anything.
    return _has_dot_segment(text) or unquote_to_bytes(text).decode(errors="replace") != text


def _has_dot_segment(rest: str) -> bool:
    if "." not in rest:
        return False
    # A colon begins a path as well: `file:../x` and `file:C:..\x` climb.
    segments = rest.replace("\\", "/").split("/")
    return any(segment.rpartition(":")[2] in {".", ".."} for segment in segments)
