"""HSalsa20 with a nonce of zeros: the step from a raw X25519 secret to the key of libsodium's `crypto_box`.

Source: D. J. Bernstein, "Extending the Salsa20 nonce", section 2. A token gives the raw secret (RFC 7748, section 6.1),
and the library for boxes takes a raw secret nowhere. `tests/processors/test_hsalsa20.py` compares with the library.
"""

from __future__ import annotations

import struct

_SIGMA = struct.unpack("<4I", b"expand 32-byte k")
_WORD = 0xFFFFFFFF
_DOUBLE_ROUNDS = 10
# The four words of each quarter round: first those of the columns, then those of the rows.
_QUARTERS = (
    (0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
    (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14),
)  # fmt: skip


def hsalsa20(key: bytes) -> bytes:
    """Return HSalsa20(key, 16 zero bytes), 32 bytes. Requires a key of 32 bytes."""
    assert len(key) == 32
    k = struct.unpack("<8I", key)
    x = [_SIGMA[0], *k[:4], _SIGMA[1], 0, 0, 0, 0, _SIGMA[2], *k[4:], _SIGMA[3]]
    for _ in range(_DOUBLE_ROUNDS):
        for a, b, c, d in _QUARTERS:
            x[b] ^= _turned(x[a] + x[d], 7)
            x[c] ^= _turned(x[b] + x[a], 9)
            x[d] ^= _turned(x[c] + x[b], 13)
            x[a] ^= _turned(x[d] + x[c], 18)
    return struct.pack("<8I", x[0], x[5], x[10], x[15], *x[6:10])


def _turned(word: int, bits: int) -> int:
    word &= _WORD
    return (word << bits | word >> (32 - bits)) & _WORD
