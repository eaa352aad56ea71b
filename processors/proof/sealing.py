r"""Sealed payloads: parts of a tenant's records that only their recipients can read.

    header `macaw-payload` = sender X25519 ‖ u8 n ‖ n * (kid ‖ nonce ‖ wrapped key) ‖ nonce ‖ ciphertext

The payload is encrypted once under a fresh content key (XSalsa20-Poly1305), and that key once for each recipient
(X25519 with XSalsa20-Poly1305, libsodium's `crypto_box`). Records name the payload by its SHA-256, so a check of
signatures, of the audit log or of a replay needs no key. Randomness is an argument: it comes from the caller.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from nacl import bindings
from nacl.exceptions import CryptoError

from schemas import limits
from schemas.errors import EvidenceError

PAYLOAD_HEADER = "macaw-payload"
PAYLOAD_SALT_TAG = b"macaw/payload-salt/v1\n"
PARAMETERS_TAG = b"macaw/parameters/v1\n"
DOCUMENT_TAG = b"macaw/document/v1\n"
SALT_BYTES = 16
NONCE_BYTES = 24
KEY_BYTES = 32
WRAPPED_BYTES = 32 + 24 + 32 + 16  # kid, nonce, key and its authenticator
RECIPIENTS_MAX = 16


class SealingError(EvidenceError):
    """A sealed payload cannot be made or opened."""


class Opens(Protocol):
    """An X25519 key that opens sealed payloads, wherever its secret half is kept: in this process, or on a token."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        ...

    def shared_with(self, public: bytes) -> bytes:
        """Return the precomputed key shared with `public`. Raises SealingError for a key of small order."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class SealingKey:
    """An X25519 private key in this process. Its repr shows the public half only."""

    secret: bytes
    public: bytes

    @classmethod
    def from_secret(cls, secret: bytes) -> SealingKey:
        """Return the key pair of 32 secret bytes (RFC 7748)."""
        return cls(secret, bindings.crypto_scalarmult_base(secret))

    def __repr__(self) -> str:
        return f"SealingKey({self.public.hex()[:16]}…)"

    def shared_with(self, public: bytes) -> bytes:
        """Return the precomputed key shared with `public`. Raises SealingError for a key of small order."""
        try:
            return bindings.crypto_box_beforenm(public, self.secret)
        except (CryptoError, TypeError, ValueError) as exc:
            raise SealingError("the recipient's X25519 key is not usable") from exc


class RememberedKey:
    """A key in this process, with a bounded memory of the keys that it shares with others, the newest last.

    An agreement is arithmetic: it is named by this very key and the other's public key. Nothing leaves with a repr or a
    copy, and the memory is gone with its holder. A key on a token has none: a token that was taken away opens nothing.
    """

    __slots__ = ("_agreed", "_capacity", "_key")

    def __init__(self, key: SealingKey, capacity: int = limits.AGREEMENTS_REMEMBERED_MAX) -> None:
        self._key, self._capacity = key, capacity
        self._agreed: OrderedDict[bytes, bytes] = OrderedDict()

    def __repr__(self) -> str:
        return f"RememberedKey({self._key.public.hex()})"

    def __reduce__(self) -> tuple[type[RememberedKey], tuple[SealingKey, int]]:
        return type(self), (self._key, self._capacity)

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._key.public

    def shared_with(self, public: bytes) -> bytes:
        """Return the precomputed key shared with `public`. Raises SealingError for a key of small order."""
        agreed = self._agreed.get(public)
        if agreed is None:
            agreed = self._agreed[public] = self._key.shared_with(public)
            if len(self._agreed) > self._capacity:
                self._agreed.popitem(last=False)
        return agreed


def payload_salt(event_leaf: bytes, event_salt: bytes) -> bytes:
    """Return the salt of the payload that an event causes. Readers of digests cannot know it; every replay makes it."""
    return sha256(PAYLOAD_SALT_TAG + event_leaf + event_salt).digest()[:SALT_BYTES]


def parameters_digest(salt: bytes, canonical: bytes) -> bytes:
    """Return the digest of a call's parameters that a decision shows in the clear, under the salt of its payload.

    Without a salt every reader of decisions could find the parameters by trial: amounts and names are few.
    """
    return sha256(PARAMETERS_TAG + salt + canonical).digest()


def document_digest(salt: bytes, digest: bytes) -> bytes:
    """Return the digest of a document that came with the call, as a decision shows it, under the same salt.

    A published policy is named by its plain digest, which is public; a document of one call must not be found by trial.
    """
    return sha256(DOCUMENT_TAG + salt + digest).digest()


def seal(
    payload: bytes, sender: bytes, recipients: Sequence[tuple[bytes, bytes]], *, content_key: bytes, nonces: bytes
) -> bytes:
    """Return the `macaw-payload` header.

    `recipients` pairs each kid with the key shared with it (`Opens.shared_with`); `nonces` is 24 random bytes for
    each recipient and 24 for the content.

    Raises:
        SealingError: there are not 1 to 16 recipients; a payload without a reader is a mistake.
    """
    if not 0 < len(recipients) <= RECIPIENTS_MAX:
        raise SealingError(f"got {len(recipients)} recipients, want 1 to {RECIPIENTS_MAX}")
    parts = [sender, bytes([len(recipients)])]
    for at, (kid, shared) in enumerate(recipients):
        nonce = nonces[at * NONCE_BYTES : (at + 1) * NONCE_BYTES]
        parts += (kid, nonce, bindings.crypto_box_easy_afternm(content_key, nonce, shared))
    nonce = nonces[len(recipients) * NONCE_BYTES : (len(recipients) + 1) * NONCE_BYTES]
    parts += (nonce, bindings.crypto_secretbox_easy(payload, nonce, content_key))
    return b"".join(parts)


def open_sealed(header: bytes, kid: bytes, key: Opens, sender: bytes, payload_sha256: bytes) -> bytes:
    """Return the payload that `sender` sealed to `kid`.

    Raises:
        SealingError: the header is malformed, was not sealed to `kid` or by `sender`, or the payload does not have the
            digest that the signed record names.
    """
    if len(header) < 33 or header[:32] != sender:
        raise SealingError("the payload was not sealed by the monitor that signed the record")
    count = header[32]
    body_at = 33 + count * WRAPPED_BYTES
    if not 0 < count <= RECIPIENTS_MAX or len(header) < body_at + NONCE_BYTES:
        raise SealingError("the payload header has the wrong length, or not 1 to 16 recipients")
    entries = (header[33 + i * WRAPPED_BYTES : 33 + (i + 1) * WRAPPED_BYTES] for i in range(count))
    mine = next((entry for entry in entries if entry[:32] == kid), None)
    if mine is None:
        raise SealingError("the payload is not sealed to this key")
    try:
        content_key = bindings.crypto_box_open_afternm(mine[56:], mine[32:56], key.shared_with(sender))
        payload = bindings.crypto_secretbox_open(
            header[body_at + NONCE_BYTES :], header[body_at : body_at + NONCE_BYTES], content_key
        )
    except CryptoError as exc:
        raise SealingError("the payload does not open: it is damaged, or sealed with another key") from exc
    if sha256(payload).digest() != payload_sha256:
        raise SealingError("the payload does not have the SHA-256 that the record names")
    return payload
