"""Key files: an Ed25519 key that signs and an X25519 key that opens, as two PEM blocks, for their owner only."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from processors.proof.authoring import offer_key
from processors.proof.sealing import SealingKey
from processors.proof.signing import SigningKey
from producers.home.files import FileError, create_private, read_file
from schemas.errors import InstallationError
from schemas.events.keys import KeyOffer

KEY_FILE_BYTES_MAX = 16 * 1024
_END = b"-----END PRIVATE KEY-----\n"


class KeyFileError(InstallationError):
    """A key file is missing, readable by others, or not two private keys."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The keys of one principal instance. Its repr shows no secret."""

    signing: SigningKey
    sealing: SealingKey

    @property
    def kid(self) -> bytes:
        """The key id: SHA-256 of the signing public key."""
        return self.signing.kid

    @classmethod
    def generate(cls) -> KeyPair:
        """Return a fresh pair from the system's randomness."""
        return cls(SigningKey.from_seed(os.urandom(32)), SealingKey.from_secret(os.urandom(32)))

    def offer(self, role: str, principal_id: str, genesis: bytes) -> KeyOffer:
        """Return the public halves with the proof of possession, for registration under this role and name."""
        return offer_key(self.signing, self.sealing.public, role=role, principal_id=principal_id, genesis=genesis)

    def save(self, path: Path) -> None:
        """Write the pair to a new file, mode 0600, whole or not at all.

        Raises:
            FileExistsError: the file exists already.
            OSError: it cannot be written, as on a full disk.
        """
        pem = b"".join(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            for key in (
                Ed25519PrivateKey.from_private_bytes(self.signing.seed),
                X25519PrivateKey.from_private_bytes(self.sealing.secret),
            )
        )
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_private(path, pem)  # on disk: it is about to be registered, and a crash must not leave an empty file

    @classmethod
    def load(cls, path: Path) -> KeyPair:
        """Read a pair.

        Raises:
            KeyFileError: the file is missing, others may read it, or it does not hold two private keys.
        """
        try:
            pem = read_file(path, KEY_FILE_BYTES_MAX)
            mode = path.stat().st_mode
        except (FileError, OSError) as exc:
            why = exc.why if isinstance(exc, FileError) else exc.strerror
            raise KeyFileError(f"cannot read the key file {path}: {why}") from exc
        if stat.S_IMODE(mode) & 0o077:
            raise KeyFileError(f"others may read the key file {path}: run `chmod 600` on it")
        first, found, second = pem.partition(_END)
        try:
            ed25519 = serialization.load_pem_private_key(first + found, None)
            x25519 = serialization.load_pem_private_key(second, None)
        except (ValueError, TypeError) as exc:
            raise KeyFileError(f"{path} is not a key file: it must hold two private keys in PEM") from exc
        if not isinstance(ed25519, Ed25519PrivateKey) or not isinstance(x25519, X25519PrivateKey):
            raise KeyFileError(f"{path} must hold an Ed25519 and an X25519 key")
        return cls(
            SigningKey.from_seed(ed25519.private_bytes_raw()), SealingKey.from_secret(x25519.private_bytes_raw())
        )
