"""Resource names and the patterns that meet them (docs/mapl.md 2).

Grant position is read narrowly: case counts, `*` stops at `/`, a foreign tenant must be named. Restriction position is
read widely: every star crosses `/`, and every equivalent spelling of the name is tried. A pattern has no other special
characters and no escapes. Texts are compared instead of compiled, where RE2 would give the same answer.

A text that two readers could take for two paths is not a name, and meets no member of `allowed_values` with stars:
climbing and empty segments, encoded slashes, characters that look like a slash or become one, and invisible ones.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

import re2

from processors.policy import limits
from processors.policy.errors import PolicyError, ResourceInvalidError
from processors.policy.globs import folded_grant, granting, restricting, star_runs
from processors.text.characters import has_control, has_hidden, has_outer_blanks, is_assigned
from processors.text.forms import fold, is_stream_safe, nfc, nfkc, percent_decoded

VAULT_DOMAIN = "vault"  # of what sessions keep on the log
DEFAULT_DOMAIN = "tool:"  # of a name without a domain (docs/mapl.md 2)

_DOMAIN = re2.compile(r"[a-z][a-z0-9._-]{0,31}")
_DOMAIN_CHARS_MAX = 32
_TENANT = re2.compile(r"@[a-z][a-z0-9-]{1,39}/")  # a tenant id, as in the introduction of docs/wire.md
_EMPTY_SEGMENT = re2.compile(r"(?:^|[^:/])//|:////")  # `//` but not `://` or `:///`

# Punctuation and symbols, no letters, that Unicode lists as confusable with `/` or `\` and NFKC leaves as they are.
SLASH_LOOKALIKES = frozenset(
    "\u1735\u2041\u2044\u2215\u2216\u2571\u2572\u27cb\u27cd\u29f5\u29f8\u29f9\U0001d20f\U0001d23a\U0001d23b"
)
_OF_FRACTIONS = frozenset("\u2044")  # NFKC makes it of `½`, which nobody takes for a path
# Most texts: visible ASCII without what can be encoded, or begin a segment that climbs or is empty.
_ONE_READING = re.compile(r"(?:[!-$&-\-0-\[\]-~]|/(?!/))*")
_SLASH_RUN = re2.compile(r"[/\\]+")


class PatternPosition(Enum):
    """The position of a pattern: it widens the permissions, or it narrows them."""

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
        """The part before the first colon."""
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


def is_resource_name(text: str) -> bool:
    """Return whether a text names a resource."""
    try:
        resource_name(text)
    except ResourceInvalidError:
        return False
    return True


def _read_name(text: str) -> ResourceName:
    name = _with_domain(nfc(text))
    if "*" in name:  # to be written %2A: a name must never read as a pattern
        raise ResourceInvalidError("star in a resource name")
    decoded, compatible = _forms(name)
    for spelling in dict.fromkeys((name, *decoded, *compatible, *map(nfkc, decoded))):
        _check_spelling(spelling)  # INVARIANT: in this order, not a set's: the first fault is told, and is on the log
    spellings = [fold(name), *(fold(last).removesuffix("/") for last in (decoded[-1], compatible[-1]))]
    # Half of the world's programs take `\` for a slash, and several slashes for one.
    spellings += [spelling.replace("\\", "/") for spelling in spellings if "\\" in spelling]
    spellings += [_SLASH_RUN.sub("/", one).removesuffix("/") for one in spellings if "//" in one or "\\" in one]
    tenant = _tenant(name)
    if tenant:
        spellings += [spelling.partition("/")[2] for spelling in spellings]
    return ResourceName(text=name, tenant=tenant, spellings=tuple(dict.fromkeys(spellings)))


_remembered_name = lru_cache(maxsize=limits.CACHED_NAMES_MAX)(_read_name)


def matches(pattern: str, name: ResourceName, position: PatternPosition) -> bool:
    """Return whether a pattern, which `check_pattern` passed, meets a name in that position."""
    return restricts(pattern, name) if position is PatternPosition.RESTRICTION else grants(pattern, name)


def grants(pattern: str, name: ResourceName) -> bool:
    """Return whether a pattern meets a name in grant position."""
    # A foreign tenant's resource is granted only by a pattern that names the tenant literally.
    return pattern.startswith(name.tenant) and granting(pattern)(name.text)


def grants_a_spelling(pattern: str, name: ResourceName) -> bool:
    """Return whether a pattern in grant position, folded, meets a name in one of its spellings."""
    spellings = (one for one in name.spellings if one.startswith(name.tenant))
    return pattern.startswith(name.tenant) and any(map(granting(folded_grant(pattern)), spellings))


def restricts(pattern: str, name: ResourceName) -> bool:
    """Return whether a pattern meets a name, in any of its spellings, in restriction position."""
    return any(map(restricting(pattern), name.spellings))


def operation_name(tool: str, operation: str) -> str:
    """Return the name of an operation that is given apart from its tool, as older callers do (docs/mapl.md 2)."""
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


def _forms(text: str) -> tuple[list[str], list[str]]:
    """Return all decodings of a text in NFC, and of its compatible form. Raises ResourceInvalidError."""
    compatible = nfkc(text)
    if _slashes(compatible) > _slashes(text):
        raise ResourceInvalidError("a character that becomes a slash in a resource name")
    forms = _decodings(text, nfc), _decodings(compatible, nfkc)
    if _has_lookalike(forms[0], SLASH_LOOKALIKES) or _has_lookalike(forms[1], SLASH_LOOKALIKES - _OF_FRACTIONS):
        raise ResourceInvalidError("a character that looks like a slash in a resource name")
    return forms


def _has_lookalike(texts: list[str], lookalikes: frozenset[str]) -> bool:
    return not all(text.isascii() or lookalikes.isdisjoint(text) for text in texts)


def _decodings(name: str, normalise: Callable[[str], str]) -> list[str]:
    """Return the name and its repeated percent-decodings; the last decodes to itself."""
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
        decoded = percent_decoded(text).decode()
    except UnicodeError:
        raise ResourceInvalidError("resource name is not UTF-8") from None
    if not is_stream_safe(decoded):  # before it is normalised, which would take long
        raise ResourceInvalidError("too many marks in a resource name")
    return decoded


def _slashes(text: str) -> int:
    return text.count("/") + text.count("\\")


def _check_spelling(name: str) -> None:
    domain, colon, rest = name[len(_tenant(name)) :].partition(":")
    if not (colon and rest and len(domain) <= _DOMAIN_CHARS_MAX and _is_domain(domain)):
        raise ResourceInvalidError("resource name without a domain or without a rest")
    if len(name) > limits.NAME_CHARS_MAX:
        raise ResourceInvalidError("resource name is too long")
    if _is_misleading(name):
        raise ResourceInvalidError("blanks around, or invisible characters in, a resource name")
    if _has_empty_segment(name) or _has_dot_segment(rest):
        raise ResourceInvalidError("empty or dot segment in a resource name")


def _is_misleading(text: str) -> bool:
    return has_outer_blanks(text) or has_hidden(text) or not is_assigned(text)


def _has_empty_segment(text: str) -> bool:
    slashed = text.replace("\\", "/")
    return "//" in slashed and _EMPTY_SEGMENT.search(slashed) is not None


@lru_cache(maxsize=limits.CACHED_NAMES_MAX)
def _is_domain(domain: str) -> bool:
    return _DOMAIN.fullmatch(domain) is not None


def is_one_path(text: str) -> bool:
    """Return whether a text in NFC, which is stream-safe, is one path to every reader, as a name must be."""
    if _ONE_READING.fullmatch(text):
        return True
    try:
        decoded, compatible = _forms(text)
    except ResourceInvalidError:
        return False
    spellings = dict.fromkeys((*decoded, *compatible, *map(nfkc, decoded)))
    return not any(_is_misleading(one) or _has_empty_segment(one) or _has_dot_segment(one) for one in spellings)


def _has_dot_segment(rest: str) -> bool:
    if "." not in rest:
        return False
    # A colon begins a path as well: `file:../x` and `file:C:..\x` climb.
    segments = rest.replace("\\", "/").split("/")
    return any(segment.rpartition(":")[2] in {".", ".."} for segment in segments)
