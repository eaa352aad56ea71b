"""Bodies about keys that are not registrations: root acts, and the rotation of a key.

A root act is a record of its own, signed by root keys; its event carries the act as bytes, so that custodians may sign
it on other machines: `act` = SHA-256 of the act's schema ‖ its datum.
"""

from __future__ import annotations

from schemas.record import record


@record
class KeyOffer:
    """The public half of a key pair, offered for registration, with the proof that its owner holds the secret half."""

    principal_id: str
    ed25519: bytes
    x25519: bytes
    possession: bytes


@record
class RootSignature:
    """The signature of one root key under a root act."""

    kid: bytes
    signature: bytes


@record
class AdminAddition:
    """The act inside AdminAdded."""

    admin: KeyOffer


@record
class AdminAdded:
    """A further admin key, signed by a threshold of root keys."""

    act: bytes
    root_signatures: tuple[RootSignature, ...]


@record
class AdminRemoval:
    """The act inside AdminRemoved: one key of an admin ends, or all of them if `kid` is None."""

    principal_id: str
    kid: bytes | None = None
    reason: str


@record
class AdminRemoved:
    """Admin keys are no longer valid, signed by a threshold of root keys."""

    act: bytes
    root_signatures: tuple[RootSignature, ...]


@record
class RootRotation:
    """The act inside RootRotated: root keys, their threshold, and the digests of the next ones."""

    root_keys: tuple[bytes, ...]
    root_threshold: int
    next_root_digests: tuple[bytes, ...]
    reason: str


@record
class RootRotated:
    """Other root keys, signed by a threshold of the present ones or of those that were committed to as the next."""

    act: bytes
    root_signatures: tuple[RootSignature, ...]


@record
class KeyRotated:
    """A key ends, and `key` takes its place, with the same principal, role and rights."""

    kid: bytes
    key: KeyOffer
    expires_at: int | None = None
    reason: str


RootAct = AdminAdded | AdminRemoved | RootRotated
