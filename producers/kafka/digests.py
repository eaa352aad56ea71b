"""A set of digests in little memory: about 40 bytes for each, where a set of Python's takes 130."""

from __future__ import annotations


class Digests:
    """A set of digests of 32 bytes. Not for several threads at once.

    They lie side by side in buckets by their first bytes. A bucket that was filled on purpose takes longer to search.
    """

    SIZE = 32
    _BUCKETS = 4096

    def __init__(self) -> None:
        self._buckets: list[bytearray | None] = [None] * self._BUCKETS
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, digest: bytes) -> bool:
        bucket = self._buckets[self._at(digest)]
        if bucket is None:
            return False
        at = bucket.find(digest)
        while at % self.SIZE and at >= 0:  # found across two neighbours
            at = bucket.find(digest, at + 1)
        return at >= 0

    def add(self, digest: bytes) -> None:
        """Add a digest. Requires 32 bytes."""
        assert len(digest) == self.SIZE
        if digest in self:
            return
        at = self._at(digest)
        bucket = self._buckets[at]
        if bucket is None:
            self._buckets[at] = bytearray(digest)
        else:
            bucket += digest
        self._count += 1

    def _at(self, digest: bytes) -> int:
        return int.from_bytes(digest[:2], "big") % self._BUCKETS
