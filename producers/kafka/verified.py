"""Verification of the records that a monitor signs, and of the events carried in them: for every reader."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from processors.intake.identify import Received
from processors.proof import signing
from processors.proof.signing import (
    INTAKE_PARTITION,
    KID_HEADER,
    PROOF_HEADER,
    MalformedProofError,
    Place,
    Proof,
    SignatureError,
    VerifiedHeads,
)
from processors.refusal import Refusal
from producers.kafka.consuming import headers_of
from producers.kafka.registry_view import LATE_MS, Appended, RegistryView, appended_at
from schemas import codec, limits
from schemas.errors import EvidenceError
from schemas.records import Event, SignedEvent
from schemas.topics import INTAKE
from schemas.words import Role

_place_of = functools.lru_cache(maxsize=4096)(Place.of)


class UntrustedRecordError(EvidenceError):
    """The signatures of a record, or of an event carried in it, do not cover its content, place or signer."""


class MonitorSigned:
    """Checks records that the monitor signs, for one tenant."""

    def __init__(self, registry: RegistryView, *, tenant: str, genesis: bytes) -> None:
        self.registry, self.tenant, self.genesis = registry, tenant, genesis
        self._heads = VerifiedHeads()
        # Of their own, so that callers who sign each event alone do not push out the monitor's.
        self._carried_heads = VerifiedHeads(limits.CARRIED_HEADS_REMEMBERED_MAX)

    def verify(self, message: Any, tag: bytes, record: type) -> tuple[Any, bytes, bytes]:
        """Return (record, leaf, sealing key of the monitor).

        Raises:
            UntrustedRecordError: the record does not decode, or is not signed for this place by a monitor key that is
                live or was just rotated.
        """
        received = Received(message.partition(), message.offset(), 0, message.value(), headers_of(message))
        appended = Appended(appended_at(message), LATE_MS)
        return self._verified(message.topic(), received, tag, record, appended)

    def verify_kept(self, topic: str, received: Received, tag: bytes, record: type) -> tuple[Any, bytes, bytes]:
        """Return the same as `verify` for a record of the past, from the brokers or an archive.

        It may be of any age: a rotated key counts for records from before its end. Raises UntrustedRecordError.
        """
        return self._verified(topic, received, tag, record, Appended(received.appended_at, None))

    def _verified(
        self, topic: str, received: Received, tag: bytes, record: type, appended: Appended
    ) -> tuple[Any, bytes, bytes]:
        try:
            schema, body = codec.unframe(received.value or b"")
            if schema.name != f"{codec.NAMESPACE}.{record.__name__}":
                raise UntrustedRecordError(f"got {schema.name}, want {record.__name__}")
            kid = received.header(KID_HEADER)
            proof = Proof.parse(received.header(PROOF_HEADER))
            # The prefix is not signed, so the leaf must name the schema that we decode by.
            place = _place_of(tag, self.genesis, topic, received.partition, schema.sha256)
            leaf = place.leaf(body)
            if appended.late_ms is not None:
                self.registry.await_key(kid)
            key = self.registry.key_of(kid, Role.MONITOR, appended)
            if key is None:
                raise UntrustedRecordError("not signed by a live monitor key")
            self._heads.verify(key.ed25519, proof.head(leaf), proof.signature)
            return codec.decode(schema, body), leaf, key.x25519
        except (codec.SchemaError, Refusal, MalformedProofError, SignatureError) as exc:
            raise UntrustedRecordError(f"{type(exc).__name__}: {exc}") from exc

    def verify_event(self, value: bytes, proof: bytes, kid: bytes, ed25519: bytes) -> tuple[Event, bytes]:
        """Return (event, leaf) of an event carried in a payload; a head that verified before is not verified again.

        The caller has asked if the key is valid now. Raises UntrustedRecordError.
        """
        signed = SignedEvent(event=value, proof=proof, kid=kid)
        check = self._carried_heads.verify
        return carried_event(signed, ed25519, tenant=self.tenant, genesis=self.genesis, check=check)

    def read_event(self, value: bytes) -> tuple[Event, bytes]:
        """Return (event, leaf) of an event carried in a payload and named by its leaf. Its signature is not checked.

        Raises:
            UntrustedRecordError: it does not decode.
        """
        return _read(value, tenant=self.tenant, genesis=self.genesis)


def _read(value: bytes, *, tenant: str, genesis: bytes) -> tuple[Event, bytes]:
    try:
        schema, body = codec.unframe(value)
        event: Event = codec.decode_as(Event, value)
    except codec.SchemaError as exc:
        raise UntrustedRecordError(f"{type(exc).__name__}: {exc}") from exc
    place = _place_of(signing.EVENT_TAG, genesis, INTAKE.of(tenant), INTAKE_PARTITION, schema.sha256)
    return event, place.leaf(body)


def carried_event(
    signed: SignedEvent,
    ed25519: bytes,
    *,
    tenant: str,
    genesis: bytes,
    check: Callable[[bytes, bytes, bytes], None] = signing.verify_signature,
) -> tuple[Event, bytes]:
    """Return (event, leaf) of an event of this tenant's intake that is carried in something else.

    `check` gets key, head and signature, and says the same as `verify_signature`.

    Raises:
        UntrustedRecordError: it does not decode, its kid is not this key's, or this key did not sign it for that place.
    """
    event, leaf = _read(signed.event, tenant=tenant, genesis=genesis)
    try:
        parsed = Proof.parse(signed.proof)
        if signing.kid_of(ed25519) != signed.kid:
            raise UntrustedRecordError("the event's key is not the registry's")
        check(ed25519, parsed.head(leaf), parsed.signature)
    except (MalformedProofError, SignatureError) as exc:
        raise UntrustedRecordError(f"{type(exc).__name__}: {exc}") from exc
    return event, leaf
