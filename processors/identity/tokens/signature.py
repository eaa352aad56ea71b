"""The one module that calls PyJWT: a public key from a JWK, and the check of one signature.

PyJWT gets a key that is bound to its algorithm, never bare bytes, so no header decides how a key is used. All that the
library raises ends here as None: its messages quote keys, and they must not travel on as the cause of another error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from processors.identity.tokens.jose import ALGORITHMS, CompactToken

BoundKey: TypeAlias = jwt.PyJWK  # a public key for one algorithm

# PyJWT's own errors, those of its parts on values that it does not expect, and OpenSSL without an algorithm.
_FAULTS = (jwt.PyJWTError, TypeError, ValueError, UnsupportedAlgorithm)
_VERIFIER = jwt.PyJWS(list(ALGORITHMS), {"verify_signature": True, "enforce_minimum_key_length": True})


def public_key(members: Mapping[str, str], algorithm: str) -> BoundKey | None:
    """Return the key of a JWK's public members for one algorithm; None if it is not a valid key."""
    try:
        return jwt.PyJWK(dict(members), algorithm)
    except _FAULTS:
        return None


def is_signed(token: CompactToken, key: BoundKey) -> bool:
    """Return True if the token's signature is that of the key, over this header and this payload."""
    try:
        read = _VERIFIER.decode_complete(token.text, key, [token.algorithm])
    except _FAULTS:
        return False
    # PyJWT reads the text once more by itself: the bytes that it verified must be those that we go on with.
    return bool(read["payload"] == token.payload and read["header"].get("alg") == token.algorithm)
