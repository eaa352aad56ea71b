"""Detection: which provider of a mapping a token's issuer and claims fit.

It picks a mapping and never trust: a pattern may fit the issuer of a stranger. The caller verifies the token against a
trusted issuer first, and gives that issuer to `map_token`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import re2

from processors.identity.claims import bounds
from processors.identity.claims.errors import ClaimsMappingError
from processors.identity.claims.paths import ClaimPath, look_up
from processors.identity.claims.transforms import check_options
from processors.text.characters import has_hidden, quoted
from schemas import limits

_SCHEME = "://"
_IN_HOST = r"[^/@?#\\:\s]+"  # of a star before the first slash of an address: it does not leave the host
_IN_PATH = r"[^?#]*"  # of any other star
_ANY_PATH = r"(?:/[^?#]*)?"
_SUBDOMAINS = r"https://(?:[A-Za-z0-9_-]+\.)*"


@dataclass(frozen=True, slots=True)
class IssuerPattern:
    """A pattern of issuers, as in the published files.

    `https://accounts.google.com`    without a star: that issuer
    `https://*.okta.com`             a star in a host stays in the host; without a path, with any path
    `*realms/*`                      without `://`: a star stands for any run without `?` and `#`
    `auth0.com`                      a host alone: https at that host and at the hosts below it

    Raises ClaimsMappingError for a text that fits every issuer, or that has blanks or hidden characters.
    """

    text: str
    _compiled: re2._Regexp = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_options("a pattern of issuers", [self.text])
        if " " in self.text:
            raise ClaimsMappingError(f"the pattern of issuers {quoted(self.text)} holds a blank: remove it")
        if not self.text.strip("*/:."):
            raise ClaimsMappingError(
                f"the pattern of issuers {quoted(self.text)} would fit every issuer: use `default` for other providers"
            )
        object.__setattr__(self, "_compiled", re2.compile(_expression(self.text)))

    @property
    def is_exact(self) -> bool:
        """True if the pattern is one issuer."""
        return "*" not in self.text and _SCHEME in self.text

    def fits(self, issuer: str) -> bool:
        """Return whether an issuer fits. Requires a text without half surrogate pairs."""
        return issuer == self.text or self._compiled.fullmatch(issuer) is not None


def _expression(pattern: str) -> str:
    scheme, mark, rest = pattern.partition(_SCHEME)
    if not mark:
        if "*" in pattern or "/" in pattern:
            return _with_stars(pattern, _IN_PATH)
        return f"{_SUBDOMAINS}{re2.escape(pattern)}(?::[0-9]+)?{_ANY_PATH}"
    host, slash, path = rest.partition("/")
    tail = _with_stars(slash + path, _IN_PATH) if slash or "*" not in host else _ANY_PATH
    return f"{re2.escape(scheme)}://{_with_stars(host, _IN_HOST)}{tail}"


def _with_stars(text: str, star: str) -> str:
    return star.join(str(re2.escape(piece)) for piece in text.split("*"))


@dataclass(frozen=True, slots=True)
class ProviderDetection:
    """The tokens that a provider is chosen for: of these issuers, with all of these claims.

    A provider without issuers and patterns is chosen by its name alone.
    """

    issuers: tuple[str, ...] = ()
    patterns: tuple[IssuerPattern, ...] = ()
    required_claims: tuple[ClaimPath, ...] = ()

    def __post_init__(self) -> None:
        check_options("a detection", self.issuers)
        if len(self.patterns) > bounds.LISTED_MAX or len(self.required_claims) > bounds.LISTED_MAX:
            raise ClaimsMappingError(f"a detection has at most {bounds.LISTED_MAX} patterns and required claims")

    def is_of(self, issuer: str) -> bool:
        """Return whether one of the issuers is meant by its very name."""
        return issuer in self.issuers or any(one.is_exact and one.text == issuer for one in self.patterns)

    def fits(self, issuer: str) -> bool:
        """Return whether an issuer is one of the issuers, or fits a pattern."""
        return issuer in self.issuers or any(one.fits(issuer) for one in self.patterns)

    def lacking(self, claims: Mapping[str, object]) -> ClaimPath | None:
        """Return the first required claim that a token lacks."""
        return next((one for one in self.required_claims if not _is_there(claims, one)), None)


def _is_there(claims: Mapping[str, object], path: ClaimPath) -> bool:
    found = look_up(claims, path)
    return bool(found.values) or found.is_list


def issuer_of(claims: Mapping[str, object]) -> str | None:
    """Return the issuer that a token names, None for none that could be an issuer."""
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not 0 < len(issuer) <= limits.ISSUER_CHARS_MAX or has_hidden(issuer):
        return None
    return issuer
