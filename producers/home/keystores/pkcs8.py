"""Private keys under a passphrase: PKCS #8, encrypted with AES-256 under a key that scrypt makes (RFC 5958, RFC 7914).

`cryptography` reads this form but does not write it: its own writer stretches the passphrase with 2,048 rounds of
PBKDF2, which a thief with one graphics card repeats some million times a second. These parameters cost 16 MiB and about
0.2 s each time; they are the largest that `openssl` opens with its defaults, and one of the sets that OWASP names.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SALT_BYTES: Final = 16
IV_BYTES: Final = 16
ENCRYPTED_BYTES: Final = 64  # a PrivateKeyInfo of Ed25519 or X25519 has 48, and a whole block of padding
_N, _R, _P = 16_384, 8, 5
_MEMORY_MAX = 64 * 1024 * 1024

_SEQUENCE, _INTEGER, _OCTETS, _OID = 0x30, 0x02, 0x04, 0x06
_PBES2 = bytes.fromhex("2a864886f70d01050d")
_SCRYPT = bytes.fromhex("2b06010401da47040b")
_AES256_CBC = bytes.fromhex("60864801650304012a")
_AES_BITS = 128


def encrypt(private: bytes, passphrase: bytes, random: bytes) -> bytes:
    """Return a DER `EncryptedPrivateKeyInfo` of a DER `PrivateKeyInfo`. `random` is 32 fresh bytes."""
    salt, iv = random[:SALT_BYTES], random[SALT_BYTES:]
    assert len(iv) == IV_BYTES
    key = hashlib.scrypt(passphrase, salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY_MAX, dklen=32)
    padder, encryptor = padding.PKCS7(_AES_BITS).padder(), Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    padded = padder.update(private) + padder.finalize()
    return _info(salt, iv, encryptor.update(padded) + encryptor.finalize())


def decrypt(der: bytes, passphrase: bytes) -> PrivateKeyTypes:
    """Return the private key in a DER `EncryptedPrivateKeyInfo` of `encrypt`.

    Raises:
        ValueError: it has another form or other parameters, or another passphrase encrypted it. Other parameters are
            not tried: a file could ask for any amount of memory.
    """
    if not has_our_form(der):
        raise ValueError("another form than this program writes")
    return serialization.load_der_private_key(der, passphrase)


def has_our_form(der: bytes) -> bool:
    """True if the bytes are an `EncryptedPrivateKeyInfo` with exactly the parameters of `encrypt`."""
    salt, iv = der[_SALT_AT : _SALT_AT + SALT_BYTES], der[_IV_AT : _IV_AT + IV_BYTES]
    return len(der) == len(_SAMPLE) and _info(salt, iv, der[-ENCRYPTED_BYTES:]) == der


def _info(salt: bytes, iv: bytes, encrypted: bytes) -> bytes:
    numbers = (_der(_INTEGER, n.to_bytes(n.bit_length() // 8 + 1, "big")) for n in (_N, _R, _P))
    scrypt = _der(_SEQUENCE, _der(_OID, _SCRYPT), _der(_SEQUENCE, _der(_OCTETS, salt), *numbers))
    aes = _der(_SEQUENCE, _der(_OID, _AES256_CBC), _der(_OCTETS, iv))
    scheme = _der(_SEQUENCE, _der(_OID, _PBES2), _der(_SEQUENCE, scrypt, aes))
    return _der(_SEQUENCE, scheme, _der(_OCTETS, encrypted))


def _der(tag: int, *parts: bytes) -> bytes:
    """Return one element of DER (X.690, section 8.1) with a content of at most 255 bytes."""
    content = b"".join(parts)
    length = bytes([len(content)]) if len(content) < 128 else bytes([0x81, len(content)])
    return bytes([tag]) + length + content


_SAMPLE = _info(b"s" * SALT_BYTES, b"i" * IV_BYTES, bytes(ENCRYPTED_BYTES))  # every file has its length
_SALT_AT, _IV_AT = _SAMPLE.index(b"s" * SALT_BYTES), _SAMPLE.index(b"i" * IV_BYTES)
