"""A pair of keys as its holder uses it: an Ed25519 key that signs and an X25519 key that opens.

Both are capabilities: their secret halves may be in this process or on a token. `producers/home/keystores` keeps pairs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from processors.proof.authoring import offer_key
from processors.proof.sealing import Opens, SealingKey
from processors.proof.signing import SigningKey, Signs
from schemas.events.keys import KeyOffer


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The keys of one principal instance. Its repr shows no secret."""

    signing: Signs
    sealing: Opens

    @property
    def kid(self) -> bytes:
        """The key id: SHA-256 of the signing public key."""
        return self.signing.kid

    @classmethod
    def generate(cls) -> KeyPair:
        """Return a fresh pair from the system's randomness, in this process only."""
        return cls(SigningKey.from_seed(os.urandom(32)), SealingKey.from_secret(os.urandom(32)))

    def offer(self, role: str, principal_id: str, genesis: bytes) -> KeyOffer:
        """Return the public halves with the proof of possession, for registration under this role and name."""
        return offer_key(self.signing, self.sealing.public, role=role, principal_id=principal_id, genesis=genesis)
