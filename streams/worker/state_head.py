"""The changelog of the tables, and the head that guards it.

Each transaction writes one row `head` = {audit index, MAC}. The key of the MAC is a secret of the tenant's workers, and
not a decision key: a thief of a decision key cannot make a state that a worker restores. The MAC covers the index and
the leaf of the last audit entry, so that a head vouches for the entry too, and an additive multiset hash of all rows
(MSet-Add-Hash: Clarke, Devadas, van Dijk, Gassend, Suh, ASIACRYPT 2003). Its cost grows with the changed rows and not
with all rows. A restored state that does not match is dropped.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from hashlib import blake2b

from processors.state.tables import Tables
from schemas import codec
from schemas.rows import StateHead
from schemas.topics import STATE
from streams.history.state_rows import row_key

HEAD_KEY = b"head"
_MODULUS = 1 << 512
_CONTEXT = b"macaw/state-head/v2"
SECRET_BYTES = 32


class StateMac:
    """The running multiset hash over the rows of one tenant's tables."""

    def __init__(self, secret: bytes) -> None:
        """Begin with no rows. `secret` is the tenant's state secret, 32 random bytes."""
        assert len(secret) == SECRET_BYTES
        self._key = blake2b(secret, person=b"macaw-state-v2").digest()
        self._hashes: dict[bytes, int] = {}
        self._sum = 0
        self._undo: list[tuple[bytes, int | None]] = []
        self._repairs: dict[bytes, bytes | None] = {}

    def rows_of(self, tables: Tables) -> Iterator[tuple[str, int, bytes, bytes | None]]:
        """Yield (topic, partition, key, value) for each changed row, then for the head. A None value deletes a row.

        The first transaction after a rebuild also repairs the changelog; otherwise each restart would rebuild again.
        """
        topic = STATE.of(tables.tenant_id)
        for full, repaired in self._repairs.items():
            yield topic, 0, full, repaired
        for table, key, row in tables.changes():
            full = row_key(table, key)
            value = None if row is None else codec.frame(row)
            self._set(full, value)
            yield topic, 0, full, value
        yield topic, 0, HEAD_KEY, codec.frame(self.head(tables.next_index - 1, tables.prev))

    def head(self, audit_index: int, leaf: bytes) -> StateHead:
        """Return the head over the present rows. `leaf` is the log leaf of the audit entry with this index."""
        message = _CONTEXT + audit_index.to_bytes(8, "big", signed=True) + leaf + self._sum.to_bytes(64, "big")
        return StateHead(audit_index=audit_index, mac=blake2b(message, key=self._key, digest_size=32).digest())

    def matches(self, head: StateHead, leaf: bytes) -> bool:
        """True if `head` is the head over the present rows, written with the audit entry that has this leaf."""
        return hmac.compare_digest(self.head(head.audit_index, leaf).mac, head.mac)

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Add a row from the changelog. A later row of the same key replaces it."""
        self._set(key, value)
        self._undo.clear()

    def reset_to(self, tables: Tables, stored: Mapping[bytes, bytes]) -> None:
        """Start again from the rows in `tables`, after a rebuild; `stored` are the rows that the changelog holds."""
        self._hashes.clear()
        self._sum = 0
        self._repairs = dict.fromkeys(stored)
        self._repairs.pop(HEAD_KEY, None)
        for name, table in tables.by_name.items():
            for key, row in table.rows.items():
                full, value = row_key(name, key), codec.frame(row)
                self._set(full, value)
                if stored.get(full) == value:
                    del self._repairs[full]
                else:
                    self._repairs[full] = value
        self._undo.clear()

    def commit(self) -> None:
        self._undo.clear()
        self._repairs.clear()

    def rollback(self) -> None:
        while self._undo:
            key, before = self._undo.pop()
            self._replace(key, before)

    def _set(self, key: bytes, value: bytes | None) -> None:
        self._undo.append((key, self._hashes.get(key)))
        self._replace(key, None if value is None else self._hash(key, value))

    def _replace(self, key: bytes, new: int | None) -> None:
        self._sum = (self._sum - self._hashes.pop(key, 0) + (new or 0)) % _MODULUS
        if new is not None:
            self._hashes[key] = new

    def _hash(self, key: bytes, value: bytes) -> int:
        return int.from_bytes(blake2b(len(key).to_bytes(4, "big") + key + value, key=self._key).digest(), "big")
