"""A pair of keys as its holder uses it: an Ed25519 key that signs and an X25519 key that opens.

Both are capabilities: their secret halves may be in this process or on a token. `producers/home/keystores` keeps pairs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from processors.proof.authoring import offer_key
from processors.proof.sealing import Opens, RememberedKey, SealingError, SealingKey, open_sealed
from processors.proof.signing import SigningKey, Signs
from schemas.events.keys import KeyOffer


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The keys of one principal instance. Its repr shows no secret."""

    signing: Signs
    sealing: Opens
    # Other halves that open, for payloads from around a rotation of `sealing`; they are read when one does not open.
    others: Callable[[], Iterable[Opens]] = field(default=tuple, compare=False, repr=False)
    _opens: Opens = field(init=False, compare=False, repr=False)  # `sealing`, which remembers if it is in this process

    def __post_init__(self) -> None:
        opens = RememberedKey(self.sealing) if isinstance(self.sealing, SealingKey) else self.sealing
        object.__setattr__(self, "_opens", opens)

    @property
    def kid(self) -> bytes:
        """The key id: SHA-256 of the signing public key."""
        return self.signing.kid

    def open_sealed(self, header: bytes, sender: bytes, payload_sha256: bytes) -> bytes:
        """Return a payload that `sender` sealed to this key, under its present half or one from before its rotation.

        Raises:
            SealingError: it does not open, or does not have the digest that the signed record names.
        """
        try:
            return open_sealed(header, self.kid, self._opens, sender, payload_sha256)
        except SealingError:
            for other in self.others():
                with contextlib.suppress(SealingError):
                    return open_sealed(header, self.kid, other, sender, payload_sha256)
            raise

    @classmethod
    def generate(cls) -> KeyPair:
        """Return a fresh pair from the system's randomness, in this process only."""
        return cls(SigningKey.from_seed(os.urandom(32)), SealingKey.from_secret(os.urandom(32)))

    def offer(self, role: str, principal_id: str, genesis: bytes) -> KeyOffer:
        """Return the public halves with the proof of possession, for registration under this role and name."""
        return offer_key(self.signing, self.sealing.public, role=role, principal_id=principal_id, genesis=genesis)
