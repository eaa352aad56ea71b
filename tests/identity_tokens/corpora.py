"""Third-party vectors for signed tokens, and the verdict of this project on each row (tests/vectors/README.md)."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from processors.identity.tokens.jose import ALGORITHMS, decode_base64url, encode_base64url
from processors.identity.tokens.key_sets import KeySet, parse_key_set
from processors.identity.tokens.reasons import TokenRefusedError
from processors.identity.tokens.verify import verify_jws
from tests.identity_tokens.minting import RSA, claims, public_jwk, rows_of, set_bytes, set_of

ACCEPTED = "accepted"


class Row(NamedTuple):
    """A row of a corpus: its id, whether its authors accept it, whether this profile has its algorithms, our verdict.

    `verdict` is ACCEPTED or the code of a reason; `authors_accept` is None where a row has no verdict of its authors.
    """

    name: str
    authors_accept: bool | None
    in_profile: bool
    verdict: str


def decided(text: str, keys: KeySet) -> str:
    """Return ACCEPTED or the code for which a JWS is refused, whatever its payload is."""
    try:
        verify_jws(text, keys, frozenset(ALGORITHMS))
    except TokenRefusedError as exc:
        return str(exc.reason)
    return ACCEPTED


def jws_wycheproof() -> Iterator[Row]:
    for row in rows_of("jws_wycheproof.jsonl"):
        key, accepts = row["key"], row["result"] != "invalid"
        # RFC 8725 3.1: a key serves one algorithm. Four rows that their authors accept have a key for another.
        is_bound = not accepts or key["kty"] == "oct" or key.get("alg") in (None, _algorithm_of(row["jws"]))
        yield Row(row["id"], accepts, key["kty"] != "oct" and is_bound, decided(row["jws"], set_of(key)))


def jwk_wycheproof() -> Iterator[Row]:
    for row in rows_of("jwk_wycheproof.jsonl"):
        keys = row["keyset"]["keys"]
        in_profile = all(key["kty"] != "oct" for key in keys)
        verdict = decided(row["jws"], parse_key_set(json.dumps(row["keyset"]).encode()))
        yield Row(row["id"], row["result"] != "invalid", in_profile, verdict)


def jose_cookbook() -> Iterator[Row]:
    for row in rows_of("jose_cookbook.jsonl"):
        vector = row["vector"]
        if "kty" in vector:
            keys = set_of(vector)
            verdict = ACCEPTED if keys.usable else str(keys.unusable[0].reason)
            yield Row(row["path"], None, verdict == ACCEPTED, verdict)
        else:
            key, output = vector["input"]["key"], vector["output"]
            keys = set_of(*(public_half(one) for one in (key if isinstance(key, list) else [key])))
            verdict = decided(output.get("compact") or json.dumps(output["json"]), keys)
            yield Row(row["path"], None, verdict == ACCEPTED, verdict)


def jwt_weak_secrets() -> Iterator[Row]:
    """Each secret signs one token for each HMAC, and stands in the key set that the provider is made to publish."""
    for row in rows_of("jwt_weak_secrets.jsonl"):
        secret = row["text"].encode()
        keys = set_of({"kty": "oct", "kid": "s", "alg": "HS256", "k": encode_base64url(secret)}, public_jwk("RS256"))
        verdicts = {decided(hmac_token(secret, alg, kid), keys) for alg in HASHES for kid in ("s", "RS256", None)}
        yield Row(row["id"], False, True, verdicts.pop() if len(verdicts) == 1 else repr(sorted(verdicts)))


CORPORA = {
    "jws_wycheproof": jws_wycheproof,
    "jwk_wycheproof": jwk_wycheproof,
    "jose_cookbook": jose_cookbook,
    "jwt_weak_secrets": jwt_weak_secrets,
}
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def hmac_token(secret: bytes, algorithm: str, kid: str | None) -> str:
    """Return a token that a shared secret signs; the usual library refuses some of these secrets."""
    head: dict[str, Any] = {"alg": algorithm, "typ": "JWT"} | ({} if kid is None else {"kid": kid})
    text = ".".join(encode_base64url(json.dumps(part).encode()) for part in (head, claims()))
    return f"{text}.{encode_base64url(hmac.new(secret, text.encode(), HASHES[algorithm]).digest())}"


def public_texts_of_the_rsa_key() -> list[bytes]:
    """Return forms of a public key that confused verifiers have taken for a shared secret."""
    key = RSA.public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return [
        pem,
        pem.strip(),
        key.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(public_jwk("RS256")).encode(),
        json.dumps(public_jwk("RS256"), separators=(",", ":"), sort_keys=True).encode(),
        set_bytes(public_jwk("RS256")),
        public_jwk("RS256")["n"].encode(),
        b"",
    ]


def public_half(jwk: dict[str, Any]) -> dict[str, Any]:
    """Return a JWK without its private members; a shared secret has no public half and stays."""
    secret = {"d", "p", "q", "dp", "dq", "qi"}
    return {name: value for name, value in jwk.items() if name not in secret}


def table_row(name: str, rows: list[Row]) -> str:
    """Return the row of a corpus in the table of docs/identity.md."""
    counts = Counter((row.verdict == ACCEPTED, row.in_profile) for row in rows)
    accepted = counts[True, True] + counts[True, False]
    cells = (len(rows), accepted, counts[False, True], counts[False, False])
    return f"| `{name}` | " + " | ".join(map(str, cells)) + " |"


def _algorithm_of(text: str) -> str:
    return str(json.loads(decode_base64url(text.partition(".")[0]) or b"")["alg"])
