"""The monitor's keys as an archiver learns them from the log, to keep records of others out of an archive.

An archive cannot be corrected, and without access rules any client can write to the topics of a log. So an archiver
takes only records that a monitor's key signed. Whether that key was valid at that entry is for the verdict to say.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from hashlib import sha256

from processors.evidence.archive.segment import Owner
from processors.proof import signing
from processors.proof.signing import MalformedProofError, Place, Proof, SignatureError, VerifiedHeads
from schemas import codec
from schemas.records import AuditEntry, Event, PrincipalRegistered, TenantFounded
from schemas.topics import AUDIT
from schemas.words import Outcome, Role

_SOURCES = frozenset({TenantFounded.__name__, PrincipalRegistered.__name__})


@functools.lru_cache(maxsize=1024)
def _audit_place(tenant: str, genesis: bytes, schema_sha256: bytes) -> Place:
    return Place.of(signing.AUDIT_TAG, genesis, AUDIT.of(tenant), 0, schema_sha256)


class MonitorKeys:
    """The public keys of a tenant's monitors, past and present."""

    def __init__(self, owner: Owner, known: Iterable[bytes] = ()) -> None:
        """`known` are keys that were learned before."""
        self._owner = owner
        self._keys = {signing.kid_of(key): key for key in known}
        self._heads = VerifiedHeads()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def public(self) -> list[bytes]:
        """The keys that were learned so far."""
        return list(self._keys.values())

    def learn(self, entry: AuditEntry, value: bytes | None) -> None:
        """Take the monitor's key from the event of an accepted entry: its founding, or a registration of a monitor.

        Requires that the event is the one that the entry names; the founding event counts only if it has the genesis.
        """
        if value is None or entry.kind not in _SOURCES or entry.outcome != Outcome.ACCEPTED:
            return
        try:
            event: Event = codec.decode_as(Event, value)
        except codec.SchemaError:
            return
        match event.body:
            case TenantFounded() as body if sha256(value[codec.FRAME_BYTES :]).digest() == self._owner.genesis:
                key = body.monitor.ed25519
            case PrincipalRegistered() as body if body.role == Role.MONITOR:
                key = body.key.ed25519
            case _:
                return
        self._keys[signing.kid_of(key)] = key

    def signed_entry(self, value: bytes, kid: bytes, proof: Proof) -> bool:
        """Return True if one of these keys signed an audit record."""
        try:
            schema, datum = codec.unframe(value)
        except codec.SchemaError:
            return False
        owner = self._owner
        return self.signed(_audit_place(owner.tenant, owner.genesis, schema.sha256).leaf(datum), kid, proof)

    def signed(self, leaf: bytes, kid: bytes, proof: Proof) -> bool:
        """Return True if one of these keys signed a leaf."""
        key = self._keys.get(kid)
        if key is None:
            return False
        try:
            self._heads.verify(key, proof.head(leaf), proof.signature)
        except (MalformedProofError, SignatureError):
            return False
        return True
