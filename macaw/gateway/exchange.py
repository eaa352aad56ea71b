"""Token exchange (RFC 8693): a user's verified access token for one that an upstream server takes, and no other does.

The user's own token goes to the one token endpoint of the settings and nowhere else: the server never sees it. The
answer is a token for the server's audience, or a named fault. No fault carries a word of the answer.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import auto
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from processors.proof import jcs
from schemas.errors import InputError, UnavailableError
from schemas.reasons import ReasonCode
from streams.bridge.fetching import Fetcher
from streams.bridge.reasons import FetchError, FetchReason

GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type of tokens
ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS: Final = 60
TOKEN_CHARS_MAX: Final = 16 * 1024
LIFE_SECONDS_MAX: Final = 3600.0  # for which an exchanged token is used, whatever the provider says
LIFE_SECONDS_UNSAID: Final = 60.0  # where the provider does not say
SECONDS: Final = 10.0  # for one exchange, from the name of the endpoint to the last byte
RSA_BITS_MIN: Final = 2048
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]{1,16384}=*")  # RFC 6750, 2.1
_CURVES: Final = {"secp256r1": ("ES256", 32, hashes.SHA256()), "secp384r1": ("ES384", 48, hashes.SHA384())}


class ExchangeReason(ReasonCode):
    """The reason code of a caller without a token for the upstream server."""

    # fmt: off
    EXCHANGE_REFUSED = auto(), "the identity provider refuses to exchange the user's token", \
        "let the gateway's client exchange tokens for this audience there, and let the user in"
    EXCHANGE_UNAVAILABLE = auto(), "the identity provider did not exchange the user's token", "try again later"
    EXCHANGE_ANSWER = auto(), "the answer is not a bearer access token for another audience", \
        "look at the provider's client and audience for this gateway"
    EXCHANGE_BUSY = auto(), "too many tokens of this user are being exchanged", "try again later"
    EXCHANGE_MISSING = auto(), "no user's token came with this call, or it is over", \
        "call through the gateway, with a fresh token"
    # fmt: on


class ExchangeError(UnavailableError):
    """A caller has no token for the upstream server: `reason` is a stable code. The message has fixed words alone."""

    def __init__(self, reason: ExchangeReason, detail: str = "") -> None:
        where = f" ({detail})" if detail else ""
        super().__init__(f"{reason}: {reason.meaning}{where}; {reason.step}")
        self.reason, self.detail = reason, detail

    def again(self) -> ExchangeError:
        """Return an equal error without a traceback."""
        return ExchangeError(self.reason, self.detail)


class ExchangeSettingsError(InputError):
    """The settings of an exchange are not usable. The message quotes no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """The token endpoint of a provider, and the gateway's client there. `secret` is a password or a PEM key."""

    endpoint: str
    client_id: str
    method: str  # client_secret_basic or private_key_jwt
    secret: str = field(repr=False)
    key_id: str = ""
    audience: str = ""
    resource: str = ""  # RFC 8707
    scope: str = ""
    private_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A token for the upstream server, and for how many seconds it may be used."""

    token: str = field(repr=False)
    seconds: float


def exchange(fetcher: Fetcher, settings: ExchangeSettings, subject: str) -> Exchanged:
    """Exchange a user's token; blocks for SECONDS at most. Raises ExchangeError."""
    form, headers = request_of(settings, subject, now=int(time.time()))
    try:
        found = fetcher.fetch(
            settings.endpoint, settings.private_hosts, seconds=SECONDS, form=urlencode(form).encode(), headers=headers
        )
    except FetchError as exc:
        raise _fault(exc) from None
    return read_answer(found.value, subject)


def _fault(exc: FetchError) -> ExchangeError:
    status = exc.status or 0
    is_refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    if exc.reason is FetchReason.FETCH_STATUS and is_refused and status != HTTPStatus.TOO_MANY_REQUESTS:
        return ExchangeError(ExchangeReason.EXCHANGE_REFUSED, f"status {status}")
    if exc.reason in {FetchReason.FETCH_TOO_LARGE, FetchReason.FETCH_NOT_JSON, FetchReason.FETCH_ENCODED}:
        return ExchangeError(ExchangeReason.EXCHANGE_ANSWER, str(exc.reason))
    return ExchangeError(ExchangeReason.EXCHANGE_UNAVAILABLE, f"status {status}" if status else str(exc.reason))


def request_of(settings: ExchangeSettings, subject: str, *, now: int) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the form and the headers of a request (RFC 8693, 2.1). Raises ExchangeSettingsError."""
    form = {
        "grant_type": GRANT,
        "subject_token": subject,
        "subject_token_type": ACCESS_TOKEN,
        "requested_token_type": ACCESS_TOKEN,
    }
    form |= {
        name: value
        for name, value in (
            ("audience", settings.audience),
            ("resource", settings.resource),
            ("scope", settings.scope),
        )
        if value
    }
    if settings.method == "private_key_jwt":
        form |= {
            "client_id": settings.client_id,
            "client_assertion_type": ASSERTION,
            "client_assertion": assertion_of(settings, now=now),
        }
        return form, []
    named = f"{quote_plus(settings.client_id)}:{quote_plus(settings.secret)}"  # RFC 6749, 2.3.1
    return form, [("Authorization", f"Basic {base64.b64encode(named.encode()).decode()}")]


def assertion_of(settings: ExchangeSettings, *, now: int) -> str:
    """Return the client's signed statement about itself (RFC 7523, 2.2). Raises ExchangeSettingsError."""
    key = private_key_of(settings.secret)
    head: dict[str, Any] = {"alg": algorithm_of(key), "typ": "JWT"}
    if settings.key_id:
        head["kid"] = settings.key_id
    claims = {
        "iss": settings.client_id,
        "sub": settings.client_id,
        "aud": settings.endpoint,
        "jti": secrets.token_urlsafe(16),
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
    }
    signed = f"{_part(json.dumps(head).encode())}.{_part(json.dumps(claims).encode())}"
    return f"{signed}.{_part(_signature(key, signed.encode()))}"


def private_key_of(pem: str) -> Any:
    """Return a key that can sign assertions. Raises ExchangeSettingsError, which quotes nothing."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ExchangeSettingsError(
            "the key of private_key_jwt must be one PEM private key without a password"
        ) from None
    algorithm_of(key)
    return key


def algorithm_of(key: Any) -> str:
    """Return the name of a key's algorithm (RFC 7518, RFC 8037). Raises ExchangeSettingsError."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "EdDSA"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= RSA_BITS_MIN:
        return "RS256"
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name][0]
    raise ExchangeSettingsError(
        f"the key of private_key_jwt must be Ed25519, P-256, P-384, or RSA of {RSA_BITS_MIN} bits or more"
    )


def _signature(key: Any, signed: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    _, size, digest = _CURVES[key.curve.name]
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_answer(found: Mapping[str, jcs.JSONValue], subject: str) -> Exchanged:
    """Return the token of an answer (RFC 8693, 2.2.1). Raises ExchangeError EXCHANGE_ANSWER."""
    token, kind, of_type = (found.get(name) for name in ("access_token", "issued_token_type", "token_type"))
    if kind != ACCESS_TOKEN:
        raise _not_one("`issued_token_type`")
    if not isinstance(of_type, str) or of_type.lower() != "bearer":
        raise _not_one("`token_type`")
    if not isinstance(token, str) or len(token) > TOKEN_CHARS_MAX or _TOKEN.fullmatch(token) is None:
        raise _not_one("`access_token`")
    if token == subject:
        raise _not_one("the user's own token came back")
    seconds = found.get("expires_in", LIFE_SECONDS_UNSAID)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= 2**53:
        raise _not_one("`expires_in`")
    return Exchanged(token, min(float(seconds), LIFE_SECONDS_MAX))


def _not_one(detail: str) -> ExchangeError:
    return ExchangeError(ExchangeReason.EXCHANGE_ANSWER, detail)
