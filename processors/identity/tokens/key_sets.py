"""A provider's key set (RFC 7517) as a value: each key is usable for named algorithms, or has a reason why not.

A key that cannot be used does not spoil the others, because real sets hold keys for encryption and for algorithms of
tomorrow. Two keys for signatures under one `kid` spoil each other: which of them was meant is not ours to guess. A key
that says it is for encryption does not count for that.

Only public members reach the library that verifies, and each key is bound to its algorithms here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType

from processors.identity.tokens.jose import ALGORITHMS, decode_base64url
from processors.identity.tokens.reasons import KeyReason, KeySetError, TokenReason, TokenRefusedError, shown
from processors.identity.tokens.signature import BoundKey, public_key
from processors.identity.tokens.weak_rsa import is_weak
from processors.proof.jcs import JSONValue, MalformedJSONError, parse_strict
from processors.proof.signing import SignatureError, check_public_key
from schemas import limits

SET_DEPTH_MAX = 8
RSA_BITS_MIN = 2048  # NIST SP 800-131A
RSA_BITS_MAX = 8192  # the cost of a check grows with the square
RSA_EXPONENT_MIN = 2**16 + 1  # FIPS 186-5
RSA_EXPONENT_MAX = 2**32 - 1  # the cost of a check grows with its length; providers use 65537

_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_CURVES = {curve for _, curve in ALGORITHMS.values() if curve is not None}
_COORDINATE_BYTES = {"P-256": 32, "P-384": 48, "P-521": 66, "Ed25519": 32}


@dataclass(frozen=True, slots=True)
class UsableKey:
    """A public key for signatures, with its form for the library under each algorithm that it may verify."""

    kid: str | None
    kty: str = field(repr=False)
    bound: Mapping[str, BoundKey] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class UnusableKey:
    """A key of a set that verifies nothing, and the reason; `kid` is None where the key has none that can be read."""

    kid: str | None
    reason: KeyReason


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one issuer, as it published them. `sha256` is the digest of those bytes, for a record of the set."""

    sha256: bytes = field(repr=False)
    usable: tuple[UsableKey, ...]
    unusable: tuple[UnusableKey, ...]

    def key_for(self, kid: str | None, algorithm: str) -> BoundKey:
        """Return the one key that a token with this header may be verified with.

        Raises:
            TokenRefusedError: one of the reasons that begin with TOKEN_KEY.
        """
        if kid is None:
            return self._only_key(algorithm)
        for key in self.usable:
            if key.kid == kid:
                if algorithm not in key.bound:
                    raise TokenRefusedError(TokenReason.TOKEN_KEY_ALGORITHM, shown(kid))
                return key.bound[algorithm]
        for refused in self.unusable:
            if refused.kid == kid and refused.reason is KeyReason.KEY_AMBIGUOUS:
                raise TokenRefusedError(TokenReason.TOKEN_KEY_AMBIGUOUS, shown(kid))
            if refused.kid == kid:
                raise TokenRefusedError(TokenReason.TOKEN_KEY_UNUSABLE, f"{shown(kid)}: {refused.reason}")
        raise TokenRefusedError(TokenReason.TOKEN_KEY_UNKNOWN, shown(kid))

    def _only_key(self, algorithm: str) -> BoundKey:
        found = [key.bound[algorithm] for key in self.usable if algorithm in key.bound]
        if len(found) != 1:
            raise TokenRefusedError(TokenReason.TOKEN_KEY_UNNAMED, f"{len(found)} keys fit")
        return found[0]


def parse_key_set(data: bytes) -> KeySet:
    """Return the key set that a provider's JSON text holds.

    Raises:
        KeySetError: the whole text is refused. A single bad key is no reason for that.
    """
    read = [_read_key(item) for item in _items(data)]
    # A key for encryption under the same `kid` is not confused with one for signatures.
    signers = Counter(key.kid for key in read if key.kid is not None and not _is_for_others(key))
    usable: list[UsableKey] = []
    unusable: list[UnusableKey] = []
    for key in read:
        if key.kid is not None and signers[key.kid] > 1 and not _is_for_others(key):
            unusable.append(UnusableKey(key.kid, KeyReason.KEY_AMBIGUOUS))
        elif isinstance(key, UsableKey):
            usable.append(key)
        else:
            unusable.append(key)
    return KeySet(sha256(data).digest(), tuple(usable), tuple(unusable))


def _items(data: bytes) -> list[JSONValue]:
    if len(data) > limits.KEY_SET_BYTES_MAX:
        raise KeySetError(KeyReason.KEY_SET_TOO_LARGE)
    try:
        value = parse_strict(data, depth_max=SET_DEPTH_MAX)
    except MalformedJSONError as exc:
        cause = exc.cause
    else:
        keys = value.get("keys") if isinstance(value, dict) else None
        if not isinstance(keys, list):
            raise KeySetError(KeyReason.KEY_SET_FORM)
        if len(keys) > limits.KEY_SET_KEYS_MAX:
            raise KeySetError(KeyReason.KEY_SET_TOO_MANY, f"got {len(keys)}")
        return keys
    raise KeySetError(KeyReason.KEY_SET_JSON, cause)


def _is_for_others(key: UsableKey | UnusableKey) -> bool:
    return isinstance(key, UnusableKey) and key.reason is KeyReason.KEY_USE


def _read_key(item: JSONValue) -> UsableKey | UnusableKey:
    if not isinstance(item, dict):
        return UnusableKey(None, KeyReason.KEY_FORM)
    kid = item.get("kid")
    if "kid" in item and not (isinstance(kid, str) and 0 < len(kid) <= limits.KEY_ID_CHARS_MAX):
        return UnusableKey(None, KeyReason.KEY_ID)
    name = kid if isinstance(kid, str) else None
    reason = _use_fault(item) or _kind_fault(item)
    if reason is not None:
        return UnusableKey(name, reason)
    kty = str(item["kty"])
    members = {"kty": kty} | {member: str(item[member]) for member in _PUBLIC[kty]}
    bound = {algorithm: public_key(members, algorithm) for algorithm in _algorithms(item)}
    made = {algorithm: key for algorithm, key in bound.items() if key is not None}
    if len(made) != len(bound):
        return UnusableKey(name, KeyReason.KEY_FORM if kty == "RSA" else KeyReason.KEY_POINT)
    return UsableKey(name, kty, MappingProxyType(made))


def _use_fault(item: dict[str, JSONValue]) -> KeyReason | None:
    """Return KEY_USE if a key says that it is for others than verifiers, and KEY_FORM if that cannot be read."""
    use, operations = item.get("use", "sig"), item.get("key_ops", ["verify"])
    if not isinstance(use, str) or not isinstance(operations, list):
        return KeyReason.KEY_FORM
    return KeyReason.KEY_USE if use != "sig" or "verify" not in operations else None


def _kind_fault(item: dict[str, JSONValue]) -> KeyReason | None:
    """Return the first reason why a key that is for signatures is not usable; None if its members are in order."""
    kty = item.get("kty")
    if kty == "oct":
        return KeyReason.KEY_SYMMETRIC
    if not isinstance(kty, str) or kty not in _PUBLIC:
        return KeyReason.KEY_TYPE
    if any(member in item for member in _PRIVATE):
        return KeyReason.KEY_PRIVATE
    if any(not isinstance(item.get(member), str) for member in _PUBLIC[kty]):
        return KeyReason.KEY_FORM
    fault = _rsa_fault(str(item["n"]), str(item["e"])) if kty == "RSA" else _curve_fault(kty, item)
    if fault is not None:
        return fault
    return None if _algorithms(item) else KeyReason.KEY_ALGORITHM


def _rsa_fault(modulus: str, exponent: str) -> KeyReason | None:
    n_bytes, e_bytes = decode_base64url(modulus), decode_base64url(exponent)
    if n_bytes is None or e_bytes is None:
        return KeyReason.KEY_FORM
    # Zero octets in front, as Java's big integers bring, change no number and are let pass.
    n, e = int.from_bytes(n_bytes, "big"), int.from_bytes(e_bytes, "big")
    if not RSA_BITS_MIN <= n.bit_length() <= RSA_BITS_MAX:
        return KeyReason.KEY_RSA_SIZE
    if e % 2 == 0 or not RSA_EXPONENT_MIN <= e <= RSA_EXPONENT_MAX:
        return KeyReason.KEY_RSA_EXPONENT
    return KeyReason.KEY_RSA_WEAK if is_weak(n) else None


def _curve_fault(kty: str, item: dict[str, JSONValue]) -> KeyReason | None:
    curve = str(item["crv"])
    if curve not in _CURVES or (kty == "OKP") != (curve == "Ed25519"):
        return KeyReason.KEY_CURVE
    coordinates = [decode_base64url(str(item[member])) for member in _PUBLIC[kty] if member != "crv"]
    for coordinate in coordinates:
        if coordinate is None:
            return KeyReason.KEY_FORM
        if len(coordinate) != _COORDINATE_BYTES[curve]:
            return KeyReason.KEY_POINT
        if kty == "OKP" and not _is_sound_ed25519(coordinate):
            return KeyReason.KEY_POINT
    return None


def _is_sound_ed25519(point: bytes) -> bool:
    try:
        check_public_key(point)
    except SignatureError:
        return False
    return True


def _algorithms(item: dict[str, JSONValue]) -> list[str]:
    """Return the algorithms that a key may verify: the one that it names, else all of its kind and curve."""
    kind = (item["kty"], item.get("crv") if item["kty"] != "RSA" else None)
    fitting = [name for name, wanted in ALGORITHMS.items() if wanted == kind]
    return fitting if "alg" not in item else [name for name in fitting if name == item["alg"]]
