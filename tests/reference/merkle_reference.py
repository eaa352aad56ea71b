"""RFC 6962, sections 2.1 and 2.1.1, word for word: recursive, slow, and without code of `processors.proof.merkle`."""

from collections.abc import Sequence
from hashlib import sha256


def split(n: int) -> int:
    """Return k, the largest power of two smaller than n (k < n <= 2k). Requires n > 1."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def tree_hash(data: Sequence[bytes]) -> bytes:
    """Return MTH(D[n])."""
    n = len(data)
    if n == 0:
        return sha256().digest()
    if n == 1:
        return sha256(b"\x00" + data[0]).digest()
    k = split(n)
    return sha256(b"\x01" + tree_hash(data[:k]) + tree_hash(data[k:])).digest()


def path(m: int, data: Sequence[bytes]) -> list[bytes]:
    """Return PATH(m, D[n]), from the leaf upwards. Requires 0 <= m < n."""
    n = len(data)
    if n == 1:
        return []
    k = split(n)
    if m < k:
        return [*path(m, data[:k]), tree_hash(data[k:])]
    return [*path(m - k, data[k:]), tree_hash(data[:k])]
