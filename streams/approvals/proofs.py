"""Proofs of both channels: Standard Webhooks 1.0 signatures, Slack's request signatures, and the seal of a button.

Sources: Standard Webhooks, "Signature scheme"; Slack, "Verifying requests from Slack" (version v0). Each comparison
takes constant time. No error quotes a secret or a signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from schemas.errors import EvidenceError, InputError

SKEW_SECONDS_MAX = 300  # Slack's own advice, in either direction
WEBHOOK_SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of a secret
WEBHOOK_SECRET_BYTES = range(24, 65)  # Standard Webhooks: 192 to 512 bits
BUTTON_CHARS_MAX = 2000  # of the `value` of a button, by Slack's reference
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_BUTTON_TAG = b"macaw/approvals/slack-button/v1\n"
_SEALED = re.compile(r"[A-Za-z0-9_-]{1,1900}", re.ASCII)
_DIGEST_BYTES = 32


class WebhookSecretError(InputError):
    """The text is not a secret of Standard Webhooks."""


class ProofFault(StrEnum):
    """The reason for which a request or a button is not believed."""

    UNSIGNED = "INTERACTION_UNSIGNED"
    STALE = "INTERACTION_STALE"
    FORGED = "INTERACTION_FORGED"


class SlackProofError(EvidenceError):
    """A request is not signed by Slack for this app, or its time is not near; `fault` says which."""

    def __init__(self, fault: ProofFault, why: str) -> None:
        super().__init__(why)
        self.fault = fault


def webhook_secret(text: str) -> bytes:
    """Return the key in `whsec_…`. Raises WebhookSecretError."""
    try:
        key = base64.b64decode(text.removeprefix(WEBHOOK_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(WEBHOOK_SECRET_PREFIX) or len(key) not in WEBHOOK_SECRET_BYTES:
        raise WebhookSecretError(
            f"the secret of the webhook is not `{WEBHOOK_SECRET_PREFIX}` with 24 to 64 bytes in base64: make one with "
            f'`echo "{WEBHOOK_SECRET_PREFIX}$(openssl rand -base64 32)"`'
        )
    return key


def webhook_signature(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def slack_signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of the header `X-Slack-Signature` for a raw body."""
    signed = f"v0:{timestamp}:".encode() + body
    return "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def check_slack_signature(
    secret: str, timestamps: Sequence[str], signatures: Sequence[str], body: bytes, now_s: int
) -> str:
    """Check that Slack has signed a raw body near `now_s`, and return the signature.

    Raises:
        SlackProofError: a header is missing, repeated or malformed; the time is not near; the signature is wrong.
    """
    if len(timestamps) != 1 or len(signatures) != 1 or not _TIMESTAMP.fullmatch(timestamps[0]):
        raise SlackProofError(ProofFault.UNSIGNED, "the request has not one signature and one time of Slack")
    if abs(now_s - int(timestamps[0])) > SKEW_SECONDS_MAX:
        raise SlackProofError(ProofFault.STALE, f"the request was signed more than {SKEW_SECONDS_MAX} s from now")
    found = slack_signature(secret, timestamps[0], body)
    if not hmac.compare_digest(found.encode(), signatures[0].encode("utf-8", "surrogateescape")):
        raise SlackProofError(ProofFault.FORGED, "the signature of the request is not Slack's for this app")
    return found


@dataclass(frozen=True, slots=True)
class Bound:
    """The calls that a button names: the digest of the terms, and of each call its event and parameters."""

    terms_sha256: bytes
    calls: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Buttons:
    """Seals the value of a button for one app, workspace, channel and tenant.

    A button's value holds the calls with their digests, so nothing has to be remembered for it to be understood after a
    restart. It opens only under the action that it was made for.
    """

    secret: str = field(repr=False)
    place: tuple[str, ...]

    def seal(self, action: str, bound: Bound) -> str:
        """Return the value of a button, at most BUTTON_CHARS_MAX characters for 8 calls."""
        body = bound.terms_sha256 + b"".join(bytes.fromhex(one) for call in bound.calls for one in call)
        return base64.urlsafe_b64encode(self._mac(action, body) + body).decode().rstrip("=")

    def open(self, action: str, value: str) -> Bound:
        """Return the calls that a button names. Raises SlackProofError."""
        data = b""
        if _SEALED.fullmatch(value) and len(value) % 4 != 1:
            data = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        mac, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if len(body) % (2 * _DIGEST_BYTES) != _DIGEST_BYTES or not hmac.compare_digest(mac, self._mac(action, body)):
            raise SlackProofError(
                ProofFault.FORGED, "the button was not made here for this action, channel and workspace"
            )
        texts = [body[at : at + _DIGEST_BYTES].hex() for at in range(_DIGEST_BYTES, len(body), _DIGEST_BYTES)]
        return Bound(body[:_DIGEST_BYTES], tuple(zip(texts[::2], texts[1::2], strict=True)))

    def _mac(self, action: str, body: bytes) -> bytes:
        named = b"".join(len(one.encode()).to_bytes(4) + one.encode() for one in (*self.place, action))
        return hmac.digest(self.secret.encode(), _BUTTON_TAG + named + body, "sha256")
