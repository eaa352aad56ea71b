"""Every reason for which a token, a key or a key set is refused, and the two errors that carry one.

A message holds fixed words, and at most a key id in quotes. No part of a token, claim or key ever stands in it.
"""

from __future__ import annotations

from enum import auto

from processors.text.characters import quoted
from schemas import limits
from schemas.errors import InputError
from schemas.reasons import ReasonCode

_SHOWN_CHARS_MAX = 64  # of a key id in a message


class TokenReason(ReasonCode):
    """The reason code of a refused token."""

    # fmt: off
    # The text
    TOKEN_TOO_LONG = auto(), f"the token has more than {limits.TOKEN_CHARS_MAX} characters", \
        "let the provider leave claims out, for example lists of groups"
    TOKEN_NOT_COMPACT = auto(), "the text is not three parts with a dot between them", \
        "send the token exactly as the provider gave it; an opaque token has no parts and is not accepted"
    TOKEN_IS_JSON = auto(), "the token is in JSON serialisation", "let the provider issue the compact serialisation"
    TOKEN_IS_ENCRYPTED = auto(), "the token is encrypted (JWE)", \
        "turn encryption of tokens for this audience off at the provider"
    TOKEN_BASE64 = auto(), "a part of the token is not canonical base64url", \
        "send the token exactly as the provider gave it, without blanks, padding or line ends"
    TOKEN_HEADER_JSON = auto(), "the header is not one strict JSON object", "report it to the provider"
    TOKEN_CLAIMS_JSON = auto(), "the claims are not one strict JSON object", "report it to the provider"
    # The header
    TOKEN_HEADER = auto(), "`alg`, `kid` or `typ` in the header is missing, too long or not a text", \
        "report it to the provider"
    TOKEN_UNSIGNED = auto(), "the token says that it is not signed (`alg` is none)", \
        "let the provider sign with an asymmetric algorithm"
    TOKEN_SYMMETRIC = auto(), "the token is signed with a shared secret (an algorithm of the HS family)", \
        "let the provider sign with an asymmetric algorithm"
    TOKEN_ALGORITHM = auto(), "the signature algorithm is not a supported one", \
        "let the provider sign with an algorithm that docs/identity.md lists"
    TOKEN_ALGORITHM_FORBIDDEN = auto(), "the rules for this issuer do not list the signature algorithm", \
        "add the algorithm to the rules, or let the provider use a listed one"
    TOKEN_CRITICAL = auto(), "the header has `crit` or `b64`, and no extension is supported", \
        "let the provider issue tokens without header extensions"
    TOKEN_KEY_INSIDE = auto(), "the header brings a key or the address of one (`jwk`, `jku`, `x5u`)", \
        "let the provider name its key by `kid` alone"
    TOKEN_NESTED = auto(), "the header has `cty`: the token holds another token", "send the inner token"
    TOKEN_TYPE = auto(), "the rules for this issuer do not list the token's `typ`", \
        "send an access token; an identity or logout token does not serve as one"
    # The key
    TOKEN_KEY_UNKNOWN = auto(), "no key of the issuer has the token's `kid`", \
        "fetch the issuer's key set again: the key may be new; refuse the token if that does not bring it"
    TOKEN_KEY_UNNAMED = auto(), "the token names no key, and not exactly one key of the issuer fits its algorithm", \
        "let the provider put `kid` into the header"
    TOKEN_KEY_AMBIGUOUS = auto(), "several keys of the issuer have the token's `kid`", \
        "let the provider give each key a `kid` of its own"
    TOKEN_KEY_UNUSABLE = auto(), "the issuer's key of this `kid` is refused", "see the detail for the reason of the key"
    TOKEN_KEY_ALGORITHM = auto(), "the issuer's key of this `kid` is for another algorithm", \
        "report it to the provider"
    TOKEN_SIGNATURE = auto(), "the signature does not verify", \
        "get a new token; if that fails too, the issuer's key set is not that of the signer"
    # The claims
    TOKEN_ISSUER = auto(), "`iss` is not the issuer of the rules, letter for letter", \
        "compare the issuer of the rules with the one in the provider's metadata"
    TOKEN_AUDIENCE = auto(), "`aud` is missing or names none of our audiences", \
        "request the token for one of the audiences of the rules"
    TOKEN_AUDIENCE_FORM = auto(), "`aud` is not a text or a list of texts", "report it to the provider"
    TOKEN_PARTY = auto(), "`azp` is missing or not an authorised party", \
        "add the client to the authorised parties of the rules, or use a listed client"
    TOKEN_IS_EVENT = auto(), "the token has `events`: it reports an event, such as a logout, and opens nothing", \
        "send an access token"
    TOKEN_NOT_LOGOUT = auto(), "the token does not report a logout: its `typ` or its `events` is that of another", \
        "send the logout token of OpenID Connect Back-Channel Logout 1.0; no other token serves as one"
    TOKEN_NONCE = auto(), "the logout token has `nonce`, as only identity tokens may", "report it to the provider"
    TOKEN_LOGOUT_OF_NONE = auto(), "the logout token has neither `sub` nor `sid`", "report it to the provider"
    TOKEN_BOUND = auto(), "the token has `cnf`: it counts only with a proof by a key or certificate of its holder", \
        "let the client ask for a token without DPoP and without a bound certificate: the login's own key signs it"
    TOKEN_TIME_FORM = auto(), "`exp`, `iat` or `nbf` is not a number of seconds before the year 10000", \
        "report it to the provider"
    TOKEN_NO_END = auto(), "`exp` is missing: the token would never expire", "let the provider bound its tokens"
    TOKEN_EXPIRED = auto(), "the token has expired", "get a new token"
    TOKEN_NOT_YET = auto(), "the token does not count yet (`nbf`)", "compare the clocks, then try again later"
    TOKEN_ISSUED_AHEAD = auto(), "the token was issued in the future (`iat`)", "compare the clocks"
    TOKEN_TOO_OLD = auto(), "the token was issued longer ago than the rules allow", "get a new token"
    TOKEN_SUBJECT = auto(), "`sub` is missing or not 1 to 255 visible characters", "let the provider send `sub`"
    TOKEN_CLAIM_MISSING = auto(), "a claim that the rules require is missing", "see the detail for the claim"
    TOKEN_CLAIM_FORM = auto(), "a registered claim has the wrong form", "see the detail for the claim"
    TOKEN_ACTORS = auto(), f"`act` is not a chain of at most {limits.TOKEN_ACTORS_MAX} actors, each with `sub`", \
        "report it to the service that exchanged the token"
    # fmt: on


class KeyReason(ReasonCode):
    """The reason code of a refused key set, or of one key that a set holds and that verifies nothing."""

    # fmt: off
    KEY_SET_TOO_LARGE = auto(), f"the key set has more than {limits.KEY_SET_BYTES_MAX} bytes", \
        "compare the address of the key set with the provider's metadata"
    KEY_SET_JSON = auto(), "the key set is not one strict JSON object", \
        "compare the address of the key set with the provider's metadata"
    KEY_SET_FORM = auto(), "the key set has no list `keys`", \
        "compare the address of the key set with the provider's metadata"
    KEY_SET_TOO_MANY = auto(), f"the key set has more than {limits.KEY_SET_KEYS_MAX} keys", \
        "let the provider publish the keys in use alone"
    KEY_FORM = auto(), "the key is not an object, or a member of it is missing or malformed", \
        "report it to the provider"
    KEY_ID = auto(), f"`kid` is not a text of 1 to {limits.KEY_ID_CHARS_MAX} characters", "report it to the provider"
    KEY_TYPE = auto(), "`kty` is not RSA, EC or OKP", "nothing is to be done: the key is for others"
    KEY_SYMMETRIC = auto(), "the key is a shared secret (`kty` is oct)", \
        "replace the secret: all readers of the set know it"
    KEY_PRIVATE = auto(), "the private half of the key stands in the set", \
        "replace the key: all readers of the set can sign with it"
    KEY_USE = auto(), "`use` or `key_ops` says that the key does not verify signatures", \
        "nothing is to be done: the key is for others"
    KEY_ALGORITHM = auto(), "`alg` of the key is not a supported signature algorithm of its kind", \
        "let the provider sign with an algorithm that docs/identity.md lists"
    KEY_RSA_SIZE = auto(), "the RSA modulus does not have 2048 to 8192 bits", "let the provider make a new key"
    KEY_RSA_EXPONENT = auto(), "the RSA exponent is even, or not between 2^16 and 2^32", \
        "let the provider make a new key with the exponent 65537"
    KEY_RSA_WEAK = auto(), "the RSA modulus can be factored: a small or close factor, or the form of CVE-2017-15361", \
        "let the provider replace the key at once"
    KEY_CURVE = auto(), "the curve is not P-256, P-384, P-521 or Ed25519", "let the provider use a listed curve"
    KEY_POINT = auto(), "the coordinates are not a valid point of the curve", "report it to the provider"
    KEY_AMBIGUOUS = auto(), "another key for signatures in the set has the same `kid`", \
        "let the provider give each key a `kid` of its own"
    # fmt: on


class TokenRefusedError(InputError):
    """A token is refused: `reason` is a stable code, `detail` names the place in fixed words."""

    def __init__(self, reason: TokenReason, detail: str = "") -> None:
        super().__init__(_sentence(reason, detail))
        self.reason = reason
        self.detail = detail


class KeySetError(InputError):
    """A whole key set is refused; `reason` is one of the codes that begin with KEY_SET."""

    def __init__(self, reason: KeyReason, detail: str = "") -> None:
        super().__init__(_sentence(reason, detail))
        self.reason = reason
        self.detail = detail


def shown(kid: str | None) -> str:
    """Return a key id for a message: quoted, escaped and bounded."""
    return "without kid" if kid is None else f"kid {quoted(kid[:_SHOWN_CHARS_MAX])}"


def _sentence(reason: ReasonCode, detail: str) -> str:
    where = f" ({detail})" if detail else ""
    return f"{reason}: {reason.meaning}{where}; {reason.step}"
