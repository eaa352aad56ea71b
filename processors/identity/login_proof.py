"""The proof of a login: the key of a session signs its login with token, bridge and tenant (docs/wire.md 16).

A bridge reads tokens, so a stolen one could give a person's session to a key of its own, or the person's key to another
token. The first it can do for tokens that it sees; the log then shows the token's digest. The second it cannot: the
session's key has signed the digest of its token. It has signed the bridge's kid and an end too, so no other bridge and
no later time can use the login.
"""

from __future__ import annotations

from collections.abc import Collection

from processors.identity import registry
from processors.identity.issuers import is_provided
from processors.proof import signing
from processors.refusal import Refusal
from processors.text.characters import is_plain_text
from schemas import limits
from schemas.events.logins import LoginProof
from schemas.reasons import Reason
from schemas.records import SessionOpened
from schemas.words import Role

# Of RFC 8176 and of the registry that it founded (https://www.iana.org/assignments/authentication-method-reference-values):
# a proof of possession of a key that a false site cannot relay. `fido2` and `ngcmfa` are those of Microsoft Entra.
PHISHING_RESISTANT_METHODS = frozenset({"fido", "fido2", "hwk", "ngcmfa", "phr", "phrh"})


def check_key(genesis: bytes, signer: bytes, body: SessionOpened) -> None:
    """Check the key of a session that the key with the kid `signer` opens, and its owner's signature.

    For an identity provider the session's key has signed the login, for all others the possession of itself. The time
    of a login is not looked at (`check_time`).

    Raises:
        Refusal: LOGIN_PROOF if there is no such proof, or one where none belongs; BAD_KEY, BAD_POSSESSION.
    """
    if not is_provided(body.issuer):
        if body.login is not None:
            raise Refusal(Reason.LOGIN_PROOF, "a session without a token has no login: leave `login` out")
        registry.check_offer(body.key, Role.SESSION, genesis)
        return
    if body.login is None:
        raise Refusal(Reason.LOGIN_PROOF, "`login` is missing: the session's key must sign the login")
    registry.check_key_pair(body.key, _message(genesis, signer, body, body.login))


def _message(genesis: bytes, signer: bytes, body: SessionOpened, login: LoginProof) -> bytes:
    if len(login.nonce) != limits.LOGIN_NONCE_BYTES:
        raise Refusal(Reason.LOGIN_PROOF, f"`login.nonce` has {limits.LOGIN_NONCE_BYTES} bytes")
    if body.token_sha256 is None or len(body.token_sha256) != limits.DIGEST_BYTES:
        raise Refusal(Reason.TOKEN_DIGEST)
    if login.expires_at < 0:
        raise Refusal(Reason.LOGIN_EXPIRED)
    return signing.login_bytes(
        genesis,
        signer,
        body.token_sha256,
        ed25519=body.key.ed25519,
        x25519=body.key.x25519,
        nonce=login.nonce,
        expires_at=login.expires_at,
    )


def check_time(now: int, login: LoginProof) -> None:
    """Raise Refusal LOGIN_EXPIRED unless a login ends after `now`, and soon. Both are log time in ms."""
    if login.expires_at <= now:
        raise Refusal(Reason.LOGIN_EXPIRED, f"it ended {now - login.expires_at} ms ago by the clock of the log")
    if login.expires_at > now + limits.LOGIN_AHEAD_MS_MAX:
        ahead = f"it ends {login.expires_at - now} ms ahead, want at most {limits.LOGIN_AHEAD_MS_MAX}"
        raise Refusal(Reason.LOGIN_EXPIRED, f"{ahead}: compare the clock of its maker with the broker's")


def check_methods(methods: Collection[str]) -> None:
    """Raise Refusal LOGIN_METHODS unless a login's methods (`amr`, RFC 8176) are few, short, plain and distinct."""
    if len(methods) > limits.TOKEN_METHODS_MAX or len(set(methods)) < len(methods):
        raise Refusal(Reason.LOGIN_METHODS, f"`methods` holds at most {limits.TOKEN_METHODS_MAX} texts, each once")
    if not all(0 < len(one) <= limits.LOGIN_METHOD_CHARS_MAX and is_plain_text(one) for one in methods):
        want = f"each of `methods` has 1 to {limits.LOGIN_METHOD_CHARS_MAX} plain characters"
        raise Refusal(Reason.LOGIN_METHODS, want)


def resistant(methods: Collection[str]) -> list[str]:
    """Return the methods of a login that resist phishing, in order. An exact comparison, for it grants."""
    return sorted(PHISHING_RESISTANT_METHODS.intersection(methods))
