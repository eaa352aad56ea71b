"""The verdict on one token: whether this text is a token of this issuer, for us, now.

`verify_token` is total: for every text it returns a `VerifiedToken` or raises `TokenRefusedError`. Claims are read only
after the signature was verified. The same arguments give the same verdict at any time, so a recorded login can be
judged again from the recorded key set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from processors.identity.tokens import claims as read
from processors.identity.tokens.claims import TokenActor
from processors.identity.tokens.jose import CompactToken, parse_claims, parse_compact
from processors.identity.tokens.key_sets import KeySet
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.identity.tokens.rules import TokenRules
from processors.identity.tokens.signature import is_signed
from processors.proof.jcs import JSONValue
from schemas import limits


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token that was accepted. Its `repr` shows the key and the digest, and no claim.

    `sha256` is the digest of the text. It names the text, not the login: whoever holds a token with an ECDSA signature
    can write the signature in a second way, so a login is counted by `token_id` (`jti`).
    """

    algorithm: str
    kid: str | None
    sha256: bytes
    type: str = field(repr=False)
    issuer: str = field(repr=False)
    subject: str = field(repr=False)
    audiences: tuple[str, ...] = field(repr=False)
    authorised_party: str | None = field(repr=False)
    expires_at_ms: int = field(repr=False)
    issued_at_ms: int | None = field(repr=False)
    token_id: str | None = field(repr=False)
    session: str | None = field(repr=False)  # `sid`, by which a provider announces a logout
    context: str | None = field(repr=False)  # `acr`
    methods: tuple[str, ...] = field(repr=False)  # `amr`
    actors: tuple[TokenActor, ...] = field(repr=False)
    payload: bytes = field(repr=False)

    @property
    def claims(self) -> dict[str, JSONValue]:
        """All claims as plain JSON values: a copy of its own for each caller."""
        return parse_claims(self.payload)


def verify_token(text: str, rules: TokenRules, keys: KeySet, now_ms: int) -> VerifiedToken:
    """Return the claims of a token that `rules` accept at `now_ms`, with a signature by one of `keys`.

    Raises:
        TokenRefusedError: with the first reason that was found.
    """
    token = verify_jws(text, keys, rules.algorithms)
    if token.type not in rules.types:
        raise TokenRefusedError(TokenReason.TOKEN_TYPE)
    claims = parse_claims(token.payload)
    read.check_issuer(claims, rules)
    read.check_purpose(claims)
    audiences = read.audiences_of(claims, rules)
    times = read.times_of(claims, rules, now_ms)
    subject = read.subject_of(claims)
    read.check_required(claims, rules)
    return VerifiedToken(
        algorithm=token.algorithm,
        kid=token.kid,
        sha256=sha256(text.encode()).digest(),
        type=token.type,
        issuer=rules.issuer,
        subject=subject,
        audiences=audiences,
        authorised_party=read.text_of(claims, "azp"),
        expires_at_ms=times.expires_at_ms,
        issued_at_ms=times.issued_at_ms,
        token_id=read.text_of(claims, "jti"),
        session=read.text_of(claims, "sid"),
        context=read.text_of(claims, "acr"),
        methods=read.methods_of(claims),
        actors=read.actors_of(claims, rules.issuer),
        payload=token.payload,
    )


def verify_jws(text: str, keys: KeySet, algorithms: frozenset[str]) -> CompactToken:
    """Return a compact JWS, of any payload, whose signature is by the one key of `keys` that its header names.

    Raises:
        TokenRefusedError: the text, its header, its key or its signature is refused.
    """
    token = parse_compact(text)
    if token.algorithm not in algorithms:
        raise TokenRefusedError(TokenReason.TOKEN_ALGORITHM_FORBIDDEN)
    if not is_signed(token, keys.key_for(token.kid, token.algorithm)):
        raise TokenRefusedError(TokenReason.TOKEN_SIGNATURE)
    return token


def claimed_issuer(text: str) -> str:
    """Return the issuer that a token claims, to choose rules and keys by; nothing of the token is verified.

    Raises:
        TokenRefusedError: the text is not a token, or `iss` is not a text of bounded length.
    """
    issuer = parse_claims(parse_compact(text).payload).get("iss")
    if not isinstance(issuer, str) or not 0 < len(issuer) <= limits.ISSUER_CHARS_MAX:
        raise TokenRefusedError(TokenReason.TOKEN_ISSUER)
    return issuer
