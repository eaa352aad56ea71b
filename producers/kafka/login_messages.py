"""The messages of a login: signed and sealed by its session key, and answered by the bridge that was asked."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any

from processors.intake.identify import Received
from processors.proof import sealing, signing
from processors.proof.sealing import SealingKey
from processors.proof.signing import KID_HEADER, PROOF_HEADER, Place, Proof, SignatureError
from producers.home.clock import clock_ms
from producers.home.keys import KeyPair
from producers.kafka.consuming import headers_of
from producers.kafka.registry_view import RegistryView
from schemas import codec, limits
from schemas.events.logins import LoginAnswer, LoginAnswered, LoginProof, LoginRequested, SealedLogin
from schemas.words import Role


def signed_login(
    token: str,
    pair: KeyPair,
    genesis: bytes,
    bridge: bytes,
    *,
    is_renewal: bool,
    ttl_ms: int | None = None,
    provider: str | None = None,
) -> LoginRequested:
    """Return a login with a token, signed by its session key for the bridge with this kid."""
    proof = LoginProof(nonce=os.urandom(limits.LOGIN_NONCE_BYTES), expires_at=clock_ms() + limits.LOGIN_MS)
    message = signing.login_bytes(
        genesis,
        bridge,
        sha256(token.encode()).digest(),
        ed25519=pair.signing.public,
        x25519=pair.sealing.public,
        nonce=proof.nonce,
        expires_at=proof.expires_at,
        is_renewal=is_renewal,
    )
    return LoginRequested(
        token=token,
        ed25519=pair.signing.public,
        x25519=pair.sealing.public,
        proof=proof,
        possession=pair.signing.sign(message),
        is_renewal=is_renewal,
        ttl_ms=ttl_ms,
        provider=provider,
    )


def sealed_login(login: LoginRequested, session: bytes, bridge: bytes, x25519: bytes) -> tuple[bytes, bytes]:
    """Return a login as it stands on its topic, value and header: sealed to a bridge's key, by a key that is used once.

    Raises:
        SealingError: the bridge's X25519 key is not usable.
    """
    payload = codec.frame(login)
    once = SealingKey.from_secret(os.urandom(32))
    header = sealing.seal(
        payload,
        once.public,
        [(bridge, once.shared_with(x25519))],
        content_key=os.urandom(sealing.KEY_BYTES),
        nonces=os.urandom(2 * sealing.NONCE_BYTES),
    )
    return codec.frame(SealedLogin(session=session, bridge=bridge, payload_sha256=sha256(payload).digest())), header


def verified_answer(
    message: Any, registry: RegistryView, genesis: bytes, key: KeyPair, bridge: bytes, login: bytes
) -> LoginAnswer | None:
    """Return the answer in a record, None if it answers another login than that with this digest.

    Raises:
        SchemaError, Refusal, MalformedProofError, SignatureError, SealingError: the record does not hold, or is not
            from the bridge that was asked.
        RegistryError: it is not known whether the bridge's key is live.
    """
    received = Received(message.partition(), message.offset(), 0, message.value(), headers_of(message))
    body: LoginAnswered = codec.decode_as(LoginAnswered, received.value or b"")
    if body.login != login or body.session != key.kid:
        return None
    kid = received.header(KID_HEADER)
    row = registry.live_key(kid, Role.BRIDGE)
    if row is None or kid != bridge:
        raise SignatureError("it is not signed by the bridge that was asked")
    schema, datum = codec.unframe(received.value or b"")
    place = Place.of(signing.LOGIN_ANSWER_TAG, genesis, message.topic(), message.partition(), schema.sha256)
    proof = Proof.parse(received.header(PROOF_HEADER))
    signing.verify_signature(row.ed25519, proof.head(place.leaf(datum)), proof.signature)
    header = received.header(sealing.PAYLOAD_HEADER)
    payload = key.open_sealed(header, header[:32], body.payload_sha256)
    answer: LoginAnswer = codec.decode_as(LoginAnswer, payload[sealing.SALT_BYTES :])
    return answer
