"""The text of a key file: two private keys in PEM, in the clear or under a passphrase.

Under a passphrase the text begins with the public halves, which anyone with the file may know:

    macaw-public: <Ed25519, 64 hex digits> <X25519, 64 hex digits>
    -----BEGIN ENCRYPTED PRIVATE KEY-----        twice, as `openssl pkey` reads them
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from processors.proof.sealing import SealingKey
from processors.proof.signing import SigningKey
from producers.home.keys import KeyPair
from producers.home.keystores import pkcs8
from producers.home.keystores.errors import KeyAccessError
from schemas.errors import InputError

_LABEL = "ENCRYPTED PRIVATE KEY"
_BLOCK = rf"-----BEGIN {_LABEL}-----\n([A-Za-z0-9+/=\n]{{1,512}})-----END {_LABEL}-----\n"
_ENCRYPTED = re.compile(rf"macaw-public: ([0-9a-f]{{64}}) ([0-9a-f]{{64}})\n{_BLOCK}{_BLOCK}".encode())
_END = b"-----END PRIVATE KEY-----\n"


class Publics(NamedTuple):
    """The public halves of a pair: Ed25519 and X25519, 32 bytes each."""

    ed25519: bytes
    x25519: bytes

    @classmethod
    def of(cls, pair: KeyPair) -> Publics:
        """Return the public halves of a pair."""
        return cls(pair.signing.public, pair.sealing.public)


class KeyStaysError(KeyAccessError):
    """The secret halves lie on a token, and do not leave it."""


class NotAPairError(InputError):
    """The text is not that of a key file. The message is half a sentence, and quotes nothing."""


def is_encrypted(text: bytes) -> bool:
    """True if the text says that it is under a passphrase."""
    return text.startswith(b"macaw-public:")


def secrets_of(pair: KeyPair) -> tuple[bytes, bytes]:
    """Return the secret halves of a pair, 32 bytes each: the Ed25519 seed and the X25519 secret.

    Raises:
        KeyStaysError: they are not in this process.
    """
    if not isinstance(pair.signing, SigningKey) or not isinstance(pair.sealing, SealingKey):
        raise KeyStaysError(f"the key {pair.kid.hex()[:16]} lies on a token and does not leave it: make a new one")
    return pair.signing.seed, pair.sealing.secret


def written(pair: KeyPair, passphrase: str | None = None) -> bytes:
    """Return a pair as the text of a key file.

    Raises:
        KeyStaysError: its secret halves are not in this process.
    """
    seed, secret = secrets_of(pair)
    keys = Ed25519PrivateKey.from_private_bytes(seed), X25519PrivateKey.from_private_bytes(secret)
    pkcs8_form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    if passphrase is None:
        return b"".join(key.private_bytes(serialization.Encoding.PEM, *pkcs8_form) for key in keys)
    text = f"macaw-public: {pair.signing.public.hex()} {pair.sealing.public.hex()}\n"
    for key in keys:
        private = key.private_bytes(serialization.Encoding.DER, *pkcs8_form)
        random = os.urandom(pkcs8.SALT_BYTES + pkcs8.IV_BYTES)
        text += _block(pkcs8.encrypt(private, passphrase.encode(), random))
    return text.encode()


def read(text: bytes) -> KeyPair:
    """Return the pair in a text without a passphrase. Raises NotAPairError."""
    first, found, second = text.partition(_END)
    try:
        return _pair(
            serialization.load_pem_private_key(first + found, None), serialization.load_pem_private_key(second, None)
        )
    except NotAPairError:
        raise
    except (ValueError, TypeError):
        raise NotAPairError("it must hold two private keys in PEM") from None


def publics_in(text: bytes) -> Publics:
    """Return the public halves that a text under a passphrase claims. Raises NotAPairError."""
    found = _encrypted(text)
    return Publics(bytes.fromhex(found[1].decode()), bytes.fromhex(found[2].decode()))


def decrypted(text: bytes, passphrase: str) -> KeyPair | None:
    """Return the pair in a text under this passphrase; None if another passphrase encrypted it.

    Raises:
        NotAPairError: the text is not one of ours, or holds other keys than it claims.
    """
    found = _encrypted(text)
    blocks = [b64decode(found[number]) for number in (3, 4)]
    if not all(map(pkcs8.has_our_form, blocks)):
        raise NotAPairError("its keys are encrypted in another way than this program writes")
    try:
        pair = _pair(*(pkcs8.decrypt(block, passphrase.encode()) for block in blocks))
    except NotAPairError:
        raise
    except ValueError:
        return None
    if Publics.of(pair) != publics_in(text):
        raise NotAPairError("its private keys are not those of the public keys in its first line")
    return pair


def _pair(ed25519: PrivateKeyTypes, x25519: PrivateKeyTypes) -> KeyPair:
    if not isinstance(ed25519, Ed25519PrivateKey) or not isinstance(x25519, X25519PrivateKey):
        raise NotAPairError("it must hold an Ed25519 and an X25519 key")
    return KeyPair(
        SigningKey.from_seed(ed25519.private_bytes_raw()), SealingKey.from_secret(x25519.private_bytes_raw())
    )


def _encrypted(text: bytes) -> re.Match[bytes]:
    found = _ENCRYPTED.fullmatch(text)
    if found is None:
        raise NotAPairError("it must hold its public keys in one line, and two encrypted private keys in PEM")
    return found


def _block(der: bytes) -> str:
    text = b64encode(der).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {_LABEL}-----\n{lines}\n-----END {_LABEL}-----\n"
