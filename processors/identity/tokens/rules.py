"""The rules for one issuer's tokens: an operator's configuration, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass

from processors.identity.tokens.jose import ALGORITHMS, normal_type
from processors.text.characters import quoted
from processors.text.forms import upper
from schemas import limits
from schemas.errors import InputError

# "" is a token without `typ`. An issuer with types of its own for access tokens is bound to `at+jwt` alone.
ACCESS_TYPES = frozenset({"", "jwt", "at+jwt"})
# Tokens that open nothing: reports of events, and proofs that accompany a request.
OTHER_TYPES = frozenset({"logout+jwt", "secevent+jwt", "token-introspection+jwt", "dpop+jwt", "oauth-authz-req+jwt"})


class TokenRulesError(InputError):
    """The rules for an issuer contradict themselves or allow too much."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """The conditions for a token of one issuer.

    `issuer` is compared letter for letter. A token must name one of the `audiences`, be signed with one of the
    `algorithms` and have one of the `types` (`typ` in lower case without `application/`, "" for none). With
    `authorised_parties` a token must have `azp`, and one of these. `max_age_ms` bounds the time since `iat`; None does
    not bound it. `skew_ms` is how far `iat` and `nbf` may lie ahead of the clock. `exp` has no such grace. Each of
    `required_claims` must be there and not null.

    Raises:
        TokenRulesError: a field is empty, beyond its bound, or names something that is not supported.
    """

    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str]
    types: frozenset[str] = ACCESS_TYPES
    authorised_parties: frozenset[str] = frozenset()
    max_age_ms: int | None = None
    skew_ms: int = limits.TOKEN_SKEW_MS
    required_claims: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not 0 < len(self.issuer) <= limits.ISSUER_CHARS_MAX:
            raise TokenRulesError(f"`issuer` must be a text of 1 to {limits.ISSUER_CHARS_MAX} characters")
        for name in ("audiences", "algorithms", "types", "authorised_parties", "required_claims"):
            _check_texts(name, getattr(self, name))
        if not 0 < len(self.audiences) <= limits.TOKEN_AUDIENCES_MAX:
            raise TokenRulesError(f"`audiences` must name 1 to {limits.TOKEN_AUDIENCES_MAX} audiences")
        _check_algorithms(self.algorithms)
        _check_types(self.types)
        if not 0 <= self.skew_ms <= limits.TOKEN_SKEW_MS_MAX:
            raise TokenRulesError(f"`skew_ms` must be 0 to {limits.TOKEN_SKEW_MS_MAX}, got {self.skew_ms}")
        if self.max_age_ms is not None and self.max_age_ms <= 0:
            raise TokenRulesError(f"`max_age_ms` must be above 0, or None for no bound, got {self.max_age_ms}")


def _check_texts(name: str, texts: object) -> None:
    if not isinstance(texts, frozenset) or not all(isinstance(text, str) for text in texts):
        raise TokenRulesError(f"`{name}` must be a frozenset of texts")
    if "" in texts and name != "types":
        raise TokenRulesError(f"`{name}` holds an empty text")


def _check_algorithms(algorithms: frozenset[str]) -> None:
    for algorithm in sorted(algorithms - ALGORITHMS.keys()):
        secret = "; a shared secret can sign as well as verify" if upper(algorithm).startswith("HS") else ""
        allowed = ", ".join(ALGORITHMS)
        raise TokenRulesError(f"`algorithms`: {quoted(algorithm)} is not supported{secret}; use some of {allowed}")
    if not algorithms:
        raise TokenRulesError("`algorithms` must name at least one algorithm, as the provider's metadata lists them")


def _check_types(types: frozenset[str]) -> None:
    for one in sorted(types):
        if one != normal_type(one):
            raise TokenRulesError(f"`types`: write {quoted(normal_type(one))} for {quoted(one)}")
        if one in OTHER_TYPES:
            raise TokenRulesError(f"`types`: a token of type {quoted(one)} opens no session")
    if not types:
        raise TokenRulesError('`types` must name at least one type; "" is a token without `typ`')
