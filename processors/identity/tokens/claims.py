"""The registered claims of a token, each read with its form checked (RFC 7519, RFC 8693, OpenID Connect Core)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.identity.tokens.rules import TokenRules
from processors.proof.jcs import JSONValue
from processors.text.characters import has_outer_blanks, is_plain_text
from schemas import limits

Claims = Mapping[str, JSONValue]

TIME_MAX = 253_402_300_799  # seconds: the end of the year 9999. A time in milliseconds is above it
_CONFIRMATION = "cnf"
EVENTS = "events"  # RFC 8417; a logout token has it too, whatever its `typ`


@dataclass(frozen=True, slots=True)
class TokenActor:
    """A party that acts for the token's subject. Where `act` names no issuer, `issuer` is that of the token."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class TokenTimes:
    """The times of a token in milliseconds, rounded down; None where it has no such claim."""

    expires_at_ms: int
    issued_at_ms: int | None
    not_before_ms: int | None


def check_purpose(claims: Claims) -> None:
    """Check that a token opens something for each holder.

    A token that is bound to a key or certificate (RFC 7800; DPoP, RFC 9449; mutual TLS, RFC 8705) is useless to a thief
    only where each verifier asks for the proof. No login brings that proof, so none takes such a token.

    Raises:
        TokenRefusedError: TOKEN_IS_EVENT if it reports an event instead, TOKEN_BOUND for one with `cnf`.
    """
    if EVENTS in claims:
        raise TokenRefusedError(TokenReason.TOKEN_IS_EVENT)
    if _CONFIRMATION in claims:
        raise TokenRefusedError(TokenReason.TOKEN_BOUND)


def check_issuer(claims: Claims, rules: TokenRules) -> None:
    """Raise TokenRefusedError TOKEN_ISSUER unless `iss` is the issuer of the rules."""
    if claims.get("iss") != rules.issuer:
        raise TokenRefusedError(TokenReason.TOKEN_ISSUER)


def check_required(claims: Claims, rules: TokenRules) -> None:
    """Raise TokenRefusedError TOKEN_CLAIM_MISSING unless each required claim is there and not null."""
    for name in sorted(rules.required_claims):
        if claims.get(name) is None:
            raise TokenRefusedError(TokenReason.TOKEN_CLAIM_MISSING, name)


def audiences_of(claims: Claims, rules: TokenRules) -> tuple[str, ...]:
    """Return the audiences of a token, one of which is ours, after the checks of `azp`.

    A token for several audiences is believed only if it names the party that it was issued to: an authorised one, or
    where the rules name none, one of our audiences (a client's id is one, OpenID Connect Core 1.0, 2).

    Raises:
        TokenRefusedError: TOKEN_AUDIENCE, TOKEN_AUDIENCE_FORM, TOKEN_PARTY.
    """
    audiences = check_audience(claims, rules)
    party = text_of(claims, "azp")
    is_bound = len(audiences) > 1 or bool(rules.authorised_parties)
    if is_bound and party not in (rules.authorised_parties or rules.audiences):
        raise TokenRefusedError(TokenReason.TOKEN_PARTY)
    return audiences


def check_audience(claims: Claims, rules: TokenRules) -> tuple[str, ...]:
    """Return the audiences of a token, one of which is ours. Raises TOKEN_AUDIENCE, TOKEN_AUDIENCE_FORM."""
    audiences = _audiences(claims)
    if rules.audiences.isdisjoint(audiences):
        raise TokenRefusedError(TokenReason.TOKEN_AUDIENCE)
    return audiences


def _audiences(claims: Claims) -> tuple[str, ...]:
    if "aud" not in claims:
        raise TokenRefusedError(TokenReason.TOKEN_AUDIENCE)
    named = claims["aud"]
    listed = named if isinstance(named, list) else [named]
    texts = tuple(one for one in listed if isinstance(one, str) and one)
    if len(texts) != len(listed) or len(texts) > limits.TOKEN_AUDIENCES_MAX:
        raise TokenRefusedError(TokenReason.TOKEN_AUDIENCE_FORM)
    return texts


def times_of(claims: Claims, rules: TokenRules, now_ms: int) -> TokenTimes:
    """Return the times of a token that counts at `now_ms`.

    Raises:
        TokenRefusedError: a time has the wrong form, or the token has expired, does not count yet or is too old.
    """
    expires, issued, begins = (_milliseconds(claims, name) for name in ("exp", "iat", "nbf"))
    if expires is None:
        raise TokenRefusedError(TokenReason.TOKEN_NO_END)
    if expires <= now_ms:
        raise TokenRefusedError(TokenReason.TOKEN_EXPIRED)
    if begins is not None and begins > now_ms + rules.skew_ms:
        raise TokenRefusedError(TokenReason.TOKEN_NOT_YET)
    if issued is not None and issued > now_ms + rules.skew_ms:
        raise TokenRefusedError(TokenReason.TOKEN_ISSUED_AHEAD)
    if rules.max_age_ms is not None and issued is None:
        raise TokenRefusedError(TokenReason.TOKEN_CLAIM_MISSING, "iat")
    if rules.max_age_ms is not None and issued is not None and now_ms - issued > rules.max_age_ms:
        raise TokenRefusedError(TokenReason.TOKEN_TOO_OLD)
    return TokenTimes(expires, issued, begins)


def _milliseconds(claims: Claims, name: str) -> int | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= TIME_MAX:
        raise TokenRefusedError(TokenReason.TOKEN_TIME_FORM, name)
    return int(value * 1000)


def subject_of(claims: Claims) -> str:
    """Return `sub`. Raises TokenRefusedError TOKEN_SUBJECT."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not _is_name(subject):
        raise TokenRefusedError(TokenReason.TOKEN_SUBJECT)
    return subject


def text_of(claims: Claims, name: str) -> str | None:
    """Return an optional claim that is a text, such as `jti`; None if it is absent.

    Raises:
        TokenRefusedError: TOKEN_CLAIM_FORM for another type, null included, and for a text that is not 1 to 255 visible
            characters without a blank at either end.
    """
    if name not in claims:
        return None
    value = claims[name]
    if not isinstance(value, str) or not _is_name(value):
        raise TokenRefusedError(TokenReason.TOKEN_CLAIM_FORM, name)
    return value


def methods_of(claims: Claims) -> tuple[str, ...]:
    """Return `amr`, the methods by which a person was authenticated; () if it is absent.

    Raises:
        TokenRefusedError: TOKEN_CLAIM_FORM unless it is a list of texts.
    """
    methods = claims.get("amr", [])
    if not isinstance(methods, list) or len(methods) > limits.TOKEN_METHODS_MAX:
        raise TokenRefusedError(TokenReason.TOKEN_CLAIM_FORM, "amr")
    texts = tuple(one for one in methods if isinstance(one, str) and _is_name(one))
    if len(texts) != len(methods):
        raise TokenRefusedError(TokenReason.TOKEN_CLAIM_FORM, "amr")
    return texts


def actors_of(claims: Claims, issuer: str) -> tuple[TokenActor, ...]:
    """Return the chain of `act` (RFC 8693 4.1), the party that acts now first; () without `act`.

    Raises:
        TokenRefusedError: TOKEN_ACTORS for a malformed actor or a chain that is too long.
    """
    actors: list[TokenActor] = []
    holder = claims
    while "act" in holder:
        actor = holder["act"]
        if not isinstance(actor, dict) or len(actors) == limits.TOKEN_ACTORS_MAX:
            raise TokenRefusedError(TokenReason.TOKEN_ACTORS)
        subject, named = actor.get("sub"), actor.get("iss", issuer)
        if not isinstance(subject, str) or not _is_name(subject):
            raise TokenRefusedError(TokenReason.TOKEN_ACTORS)
        if not isinstance(named, str) or not 0 < len(named) <= limits.ISSUER_CHARS_MAX or not is_plain_text(named):
            raise TokenRefusedError(TokenReason.TOKEN_ACTORS)
        actors.append(TokenActor(named, subject))
        holder = actor
    return tuple(actors)


def _is_name(text: str) -> bool:
    is_sized = 0 < len(text) <= limits.TOKEN_TEXT_CHARS_MAX
    return is_sized and is_plain_text(text) and not has_outer_blanks(text)
