"""The fingerprints of heard texts, ready to be looked up: by owner, in memory only.

A table calls `follow` with every write and every undo, so the index always says the same as the rows, and is never
stored. Keys stand in no order: an undo may change it. A row comes and goes in time linear in its own fingerprints,
however many rows share them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from schemas.rows import HeardRow

FINGERPRINT_BYTES = 8


class _Owner:
    """The texts of one owner: the resources that they came from, and the keys of the rows behind each of these."""

    __slots__ = ("rows", "seen", "unseen")

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}  # how many, by resource
        self.seen: dict[bytes, bytes | dict[bytes, None]] = {}  # one key, or several: most have one
        self.unseen: dict[str, dict[bytes, None]] = {}


_NOTHING = _Owner()


class HeardIndex:
    """For each owner the rows in which a fingerprint stands, and the rows of texts that were not seen."""

    __slots__ = ("_owners",)

    def __init__(self) -> None:
        self._owners: dict[str, _Owner] = {}

    def rows_with(self, owner: str, fingerprint: bytes) -> Collection[bytes]:
        """Return the keys of an owner's rows in which a fingerprint stands."""
        found = self._owners.get(owner, _NOTHING).seen.get(fingerprint)
        if found is None:
            return ()
        return (found,) if isinstance(found, bytes) else found

    def unseen(self, owner: str) -> Mapping[str, Collection[bytes]]:
        """Return the keys of an owner's rows that stand for texts that were not seen, by resource."""
        return self._owners.get(owner, _NOTHING).unseen

    def resources(self, owner: str) -> Collection[str]:
        """Return the resources of an owner's rows."""
        return self._owners.get(owner, _NOTHING).rows

    def follow(self, key: bytes, before: HeardRow | None, after: HeardRow | None) -> None:
        """Take a write in: the row before it, and the row after it."""
        if before is not None:
            self._forget(key, before)
        if after is not None:
            self._remember(key, after)

    def _remember(self, key: bytes, row: HeardRow) -> None:
        owner = self._owners.setdefault(row.owner, _Owner())
        owner.rows[row.resource] = owner.rows.get(row.resource, 0) + 1
        if not row.complete:
            owner.unseen.setdefault(row.resource, {})[key] = None
        for one in fingerprints_in(row):
            there = owner.seen.get(one)
            if there is None:
                owner.seen[one] = key
            elif isinstance(there, bytes):
                owner.seen[one] = {there: None, key: None}
            else:
                there[key] = None

    def _forget(self, key: bytes, row: HeardRow) -> None:
        owner = self._owners[row.owner]
        if not row.complete:
            del owner.unseen[row.resource][key]
            if not owner.unseen[row.resource]:
                del owner.unseen[row.resource]
        for one in fingerprints_in(row):
            there = owner.seen[one]
            if isinstance(there, bytes):
                del owner.seen[one]
                continue
            del there[key]
            if len(there) == 1:
                (owner.seen[one],) = there
        owner.rows[row.resource] -= 1
        if not owner.rows[row.resource]:
            del owner.rows[row.resource]
            if not owner.rows:
                del self._owners[row.owner]


def fingerprints_in(row: HeardRow) -> Sequence[bytes]:
    """Return the fingerprints of a row, one by one."""
    every = row.fingerprints
    return [every[at : at + FINGERPRINT_BYTES] for at in range(0, len(every), FINGERPRINT_BYTES)]
