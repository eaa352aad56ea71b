"""A signed token as text: the compact serialisation of RFC 7515, read strictly, and its header.

Nothing here is believed yet: the signature is checked elsewhere. Each text has at most one reading, so no other reader
can take another meaning from it: base64url without padding and without stray bits, JSON without doubled names.

The header may name a key and never brings one. `jwk`, `jku` and `x5u` are refused. `x5c`, `x5t` and `x5t#S256` are
ignored, because providers such as Microsoft Entra ID send them beside `kid`; no certificate is ever read.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.proof.jcs import JSONValue, MalformedJSONError, parse_strict
from processors.text.forms import lower, upper
from schemas import limits

# Each algorithm with the `kty` of its keys and, where it fixes one, their curve.
ALGORITHMS = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}

HEADER_DEPTH_MAX = 4
HEADER_NODES_MAX = 128  # `x5c` is a list of a few certificates
TYPE_CHARS_MAX = 64
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_BRINGS_KEYS = ("jwk", "jku", "x5u")
_EXTENDS = ("crit", "b64")


@dataclass(frozen=True, slots=True, repr=False)
class CompactToken:
    """A compact token whose signature is not checked.

    `algorithm` is a member of `ALGORITHMS`; `kid` is None where the header has none. `type` is `typ` in lower case and
    without a leading `application/`, "" where the header has none. `payload` is the second part, decoded.
    """

    text: str
    algorithm: str
    kid: str | None
    type: str
    payload: bytes


def parse_compact(text: str) -> CompactToken:
    """Return the parts of a compact token.

    Raises:
        TokenRefusedError: the text or its header is not what this module's profile asks for.
    """
    header_part, payload_part, signature_part = _parts(text)
    header = _header(_decoded(header_part))
    _check_extensions(header)  # first: with `b64` the payload would not be base64url
    algorithm, kid, typ = _algorithm(header.get("alg")), _kid(header), _type(header)
    payload = _decoded(payload_part)
    _decoded(signature_part)
    return CompactToken(text, algorithm, kid, typ, payload)


def parse_claims(payload: bytes) -> dict[str, JSONValue]:
    """Return the claims that a token's payload holds.

    Raises:
        TokenRefusedError: TOKEN_CLAIMS_JSON.
    """
    try:
        claims = parse_strict(payload, depth_max=limits.TOKEN_DEPTH_MAX)
    except MalformedJSONError as exc:
        cause = exc.cause
    else:
        if isinstance(claims, dict):
            return claims
        cause = "not an object"
    raise TokenRefusedError(TokenReason.TOKEN_CLAIMS_JSON, cause)


def decode_base64url(text: str) -> bytes | None:
    """Return the bytes of canonical base64url without padding; None for any other text."""
    if _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        return None
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return data if encode_base64url(data) == text else None  # else the last character has bits that nothing reads


def encode_base64url(data: bytes) -> str:
    """Return bytes as base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def normal_type(text: str) -> str:
    """Return a `typ` for comparison: in lower case, and without `application/` in front of the only slash."""
    given = lower(text)
    short = given.removeprefix("application/")
    return given if "/" in short else short


def _parts(text: str) -> tuple[str, str, str]:
    if len(text) > limits.TOKEN_CHARS_MAX:  # INVARIANT: before anything reads the text
        raise TokenRefusedError(TokenReason.TOKEN_TOO_LONG)
    if text.lstrip(" \t\r\n").startswith(("{", "[")):
        raise TokenRefusedError(TokenReason.TOKEN_IS_JSON)
    parts = text.split(".")
    if len(parts) == 5:
        raise TokenRefusedError(TokenReason.TOKEN_IS_ENCRYPTED)
    if len(parts) != 3:
        raise TokenRefusedError(TokenReason.TOKEN_NOT_COMPACT)
    return parts[0], parts[1], parts[2]


def _decoded(part: str) -> bytes:
    data = decode_base64url(part)
    if data is None:
        raise TokenRefusedError(TokenReason.TOKEN_BASE64)
    return data


def _header(data: bytes) -> dict[str, JSONValue]:
    try:
        header = parse_strict(data, depth_max=HEADER_DEPTH_MAX, nodes_max=HEADER_NODES_MAX)
    except MalformedJSONError as exc:
        cause = exc.cause
    else:
        if isinstance(header, dict):
            return header
        cause = "not an object"
    raise TokenRefusedError(TokenReason.TOKEN_HEADER_JSON, cause)


def _check_extensions(header: dict[str, JSONValue]) -> None:
    if "enc" in header:
        raise TokenRefusedError(TokenReason.TOKEN_IS_ENCRYPTED)
    if any(name in header for name in _EXTENDS):
        raise TokenRefusedError(TokenReason.TOKEN_CRITICAL)
    if any(name in header for name in _BRINGS_KEYS):
        raise TokenRefusedError(TokenReason.TOKEN_KEY_INSIDE)
    if "cty" in header:
        raise TokenRefusedError(TokenReason.TOKEN_NESTED)


def _algorithm(alg: JSONValue) -> str:
    if not isinstance(alg, str):
        raise TokenRefusedError(TokenReason.TOKEN_HEADER, "alg")
    if alg in ALGORITHMS:
        return alg
    if lower(alg) == "none":
        raise TokenRefusedError(TokenReason.TOKEN_UNSIGNED)
    if upper(alg).startswith("HS"):
        raise TokenRefusedError(TokenReason.TOKEN_SYMMETRIC)
    raise TokenRefusedError(TokenReason.TOKEN_ALGORITHM)


def _kid(header: dict[str, JSONValue]) -> str | None:
    if "kid" not in header:
        return None
    kid = header["kid"]
    if not isinstance(kid, str) or not 0 < len(kid) <= limits.KEY_ID_CHARS_MAX:
        raise TokenRefusedError(TokenReason.TOKEN_HEADER, "kid")
    return kid


def _type(header: dict[str, JSONValue]) -> str:
    if "typ" not in header:
        return ""
    typ = header["typ"]
    if not isinstance(typ, str) or not 0 < len(typ) <= TYPE_CHARS_MAX or not typ.isascii():
        raise TokenRefusedError(TokenReason.TOKEN_HEADER, "typ")
    return normal_type(typ)
