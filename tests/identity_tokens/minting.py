"""Makes tokens and key sets for tests: keys that never change, headers and claims of any shape, signed or spoilt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import get_default_algorithms

from processors.identity.tokens.jose import encode_base64url
from processors.identity.tokens.key_sets import KeySet, parse_key_set
from processors.identity.tokens.logout import LOGOUT_EVENT
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.identity.tokens.rules import TokenRules
from processors.identity.tokens.verify import VerifiedToken, verify_token
from tests.builders import noise

VECTORS = Path(__file__).parents[1] / "vectors"
NOW_S = 1_764_450_000
NOW_MS = NOW_S * 1000
ISSUER = "https://login.example.org/realms/acme"
AUDIENCE = "macaw:acme"
ABSENT = object()  # a member that is left out

_SIGNERS = get_default_algorithms()


def rows_of(name: str) -> list[dict[str, Any]]:
    """Return the rows of a file of vectors."""
    return [json.loads(line) for line in (VECTORS / name).read_text("utf-8").splitlines()]


def _rsa_jwk() -> dict[str, str]:
    """Return the RSA key of RFC 7520, private half and all: making one takes a second."""
    (row,) = (row for row in rows_of("jose_cookbook.jsonl") if row["path"] == "jwk/3_4.rsa_private_key.json")
    return {name: value for name, value in row["vector"].items() if name not in {"kid", "use"}}


RSA_JWK = _rsa_jwk()
RSA = jwt.PyJWK(RSA_JWK, "RS256").key
P256, P384, P521 = (
    ec.derive_private_key(int.from_bytes(noise("tokens", curve.name), "big"), curve)
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())
)
ED25519 = Ed25519PrivateKey.from_private_bytes(noise("tokens", "ed25519"))
STRANGER = ec.derive_private_key(int.from_bytes(noise("tokens", "stranger"), "big"), ec.SECP256R1())

KEY_OF = {
    **dict.fromkeys(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"], RSA),
    "ES256": P256,
    "ES384": P384,
    "ES512": P521,
    "EdDSA": ED25519,
}


def public_jwk(algorithm: str, **changes: Any) -> dict[str, Any]:
    """Return the public JWK of the key for an algorithm, whose `kid` is the algorithm's name."""
    numbers = _SIGNERS[algorithm].to_jwk(KEY_OF[algorithm].public_key(), as_dict=True)
    return without_absent({**numbers, "key_ops": ABSENT, "kid": algorithm, "use": "sig", "alg": algorithm, **changes})


def without_absent(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not ABSENT}


def set_bytes(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def set_of(*keys: Any) -> KeySet:
    return parse_key_set(set_bytes(*keys))


def all_keys() -> KeySet:
    """Return a set with one key for each algorithm."""
    return set_of(*map(public_jwk, KEY_OF))


def rules(**changes: Any) -> TokenRules:
    given: dict[str, Any] = {
        "issuer": ISSUER,
        "audiences": frozenset({AUDIENCE}),
        "algorithms": frozenset(KEY_OF),
        **changes,
    }
    return TokenRules(**given)


def claims(**changes: Any) -> dict[str, Any]:
    """Return claims that the rules accept, with changes; ABSENT takes one away."""
    usual = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "exp": NOW_S + 300,
        "iat": NOW_S - 5,
        "nbf": NOW_S - 5,
        "jti": "7c1e",
    }
    return without_absent({**usual, **changes})


def header(algorithm: str = "ES256", **changes: Any) -> dict[str, Any]:
    return without_absent({"alg": algorithm, "kid": algorithm, "typ": "at+jwt", **changes})


def compact(head: Any, body: Any, algorithm: str = "ES256", key: Any = None) -> str:
    """Return a compact JWS of any header and body, with a sound signature over them; bytes are taken as they are."""
    parts = [encode_base64url(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (head, body)]
    return signed(".".join(parts), algorithm, key)


def signed(text: str, algorithm: str = "ES256", key: Any = None) -> str:
    """Return a signing input with its signature behind it."""
    signature = _SIGNERS[algorithm].sign(text.encode(), KEY_OF.get(algorithm) if key is None else key)
    return f"{text}.{encode_base64url(signature)}"


def token(algorithm: str = "ES256", **changes: Any) -> str:
    """Return a good token but for changed claims."""
    return compact(header(algorithm), claims(**changes), algorithm)


def logout_claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a logout token that the rules accept, with changes; ABSENT takes one away."""
    usual = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "sid": "s-1",
        "exp": NOW_S + 115,
        "iat": NOW_S - 5,
        "jti": "e-1",
        "events": {LOGOUT_EVENT: {}},
    }
    return without_absent({**usual, **changes})


def logout_token(algorithm: str = "ES256", **changes: Any) -> str:
    """Return a good logout token but for changed claims."""
    return compact(header(algorithm, typ="logout+jwt"), logout_claims(**changes), algorithm)


def judged(
    text: str, *, keys: KeySet | None = None, now_ms: int = NOW_MS, **changes: Any
) -> TokenReason | VerifiedToken:
    """Return the token if it is accepted, else the reason."""
    try:
        return verify_token(text, rules(**changes), keys or all_keys(), now_ms)
    except TokenRefusedError as exc:
        return exc.reason
