"""The verdict on one logout token: whether this text is a provider's word that a login has ended, for us, now.

OpenID Connect Back-Channel Logout 1.0, 2.4 and 2.6. As `verify_token`, the check is total and reads no clock. No text
passes both: a logout token must have `events`, and a token that opens something must not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from processors.identity.tokens import claims as read
from processors.identity.tokens.claims import Claims
from processors.identity.tokens.jose import parse_claims
from processors.identity.tokens.key_sets import KeySet
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.identity.tokens.rules import TokenRules
from processors.identity.tokens.verify import verify_jws
from schemas import limits

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
# The type of its own is recommended, not required; older providers send `JWT` or none.
LOGOUT_TYPES = frozenset({"", "jwt", "logout+jwt"})


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """A logout token that was accepted; `repr` shows no claim. Of `subject` and `session` at least one is there.

    `session` is `sid`: the one login that has ended. With `subject` alone every login of the subject has ended.
    `ends_at_ms` is the end of the token's life: from then on it is refused as expired or too old.
    """

    issuer: str = field(repr=False)
    subject: str | None = field(repr=False)
    session: str | None = field(repr=False)
    token_id: str = field(repr=False)
    issued_at_ms: int
    ends_at_ms: int


def verify_logout_token(text: str, rules: TokenRules, keys: KeySet, now_ms: int) -> LogoutToken:
    """Return a logout token that `rules` accept at `now_ms`, with a signature by one of `keys`.

    Of the rules the issuer, audiences, algorithms, skew and age count. Types, parties and further claims are those of
    tokens that open something. A logout token is at most LOGOUT_TOKEN_AGE_MS_MAX old, also with a later `exp`.

    Raises:
        TokenRefusedError: with the first reason that was found.
    """
    token = verify_jws(text, keys, rules.algorithms)
    if token.type not in LOGOUT_TYPES:
        raise TokenRefusedError(TokenReason.TOKEN_NOT_LOGOUT, "typ")
    claims = parse_claims(token.payload)
    read.check_issuer(claims, rules)
    _check_event(claims)
    read.check_audience(claims, rules)
    issued, ends = _times(claims, rules, now_ms)
    subject, session = read.text_of(claims, "sub"), read.text_of(claims, "sid")
    if subject is None and session is None:
        raise TokenRefusedError(TokenReason.TOKEN_LOGOUT_OF_NONE)
    token_id = read.text_of(claims, "jti")
    if token_id is None:
        raise TokenRefusedError(TokenReason.TOKEN_CLAIM_MISSING, "jti")
    return LogoutToken(rules.issuer, subject, session, token_id, issued, ends)


def _check_event(claims: Claims) -> None:
    """Raise TokenRefusedError unless the claims report a logout and are not those of an identity token."""
    events = claims.get(read.EVENTS)
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise TokenRefusedError(TokenReason.TOKEN_NOT_LOGOUT, read.EVENTS)
    if "nonce" in claims:  # so an identity token never passes, even if a provider put `events` into it
        raise TokenRefusedError(TokenReason.TOKEN_NONCE)


def _times(claims: Claims, rules: TokenRules, now_ms: int) -> tuple[int, int]:
    """Return when a token was issued and when its life ends. Raises TokenRefusedError."""
    times = read.times_of(claims, rules, now_ms)
    if times.issued_at_ms is None:
        raise TokenRefusedError(TokenReason.TOKEN_CLAIM_MISSING, "iat")
    ends = min(times.expires_at_ms, times.issued_at_ms + limits.LOGOUT_TOKEN_AGE_MS_MAX)
    if ends <= now_ms:
        raise TokenRefusedError(TokenReason.TOKEN_TOO_OLD)
    return times.issued_at_ms, ends
