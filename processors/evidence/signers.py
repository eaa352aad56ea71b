"""The keys that sign audit entries: which one may sign an entry, as the registry stands there.

An entry is signed by a monitor key that is live before the entry's own event. Three entries need more:

- the founding: its event brings the first key;
- a rotation of a monitor key: the key that follows signs its entry, because the old one ends with that event;
- the entries while no monitor key is live, as after the revocation of a stolen one: the key that ends this state signs
  them all, and nothing but root acts and that registration had an effect.
"""

from __future__ import annotations

from dataclasses import replace

from processors.evidence.audit_log import entry_place
from processors.evidence.items import Fault, Item, VerdictCode
from processors.evidence.registry_events import RegistryEvents
from processors.identity.keys import has_decision_key
from processors.proof.signing import MalformedProofError, Proof, SignatureError, VerifiedHeads
from processors.state.tables import Tables
from schemas.events.keys import AdminAdded, AdminRemoved, KeyRotated, RootRotated
from schemas.records import AuditEntry, PrincipalRegistered
from schemas.rows import KeyRow, SessionRow
from schemas.words import Outcome, Role

_REMEDIES = frozenset(cls.__name__ for cls in (AdminAdded, AdminRemoved, RootRotated, PrincipalRegistered))


class EntrySigners:
    """Judges the signers of entries in order, on the tables that the verifier folds the registry into."""

    def __init__(self, tables: Tables, registry: RegistryEvents, heads: VerifiedHeads) -> None:
        self._tables, self._registry, self._heads = tables, registry, heads
        # The kid of a key that is to come, and the first entry that it signed.
        self._awaited: tuple[bytes, int] | None = None

    def check_signature(self, item: Item) -> None:
        """Raise Fault BAD_SIG unless a registered key, or one that may sign before, signed this entry for this log."""
        if not item.is_entry_like:
            raise Fault(VerdictCode.BAD_SIG, item.index, "the bytes are not an audit entry")
        if item.seal is None:
            raise Fault(VerdictCode.BAD_SIG, item.index, "the entry has no signature")
        row = self._key(item.seal[:32])
        ed25519 = self._coming(item) if row is None else row.ed25519
        if ed25519 is None:
            raise Fault(VerdictCode.BAD_SIG, item.index, "no key registered before has the kid of the proof")
        place = entry_place(self._tables.tenant_id, self._tables.genesis, item.digest)
        try:
            proof = Proof.parse(item.seal[32:])
            self._heads.verify(ed25519, proof.head(place.leaf(item.data[36:])), proof.signature)
        except (MalformedProofError, SignatureError) as exc:
            raise Fault(VerdictCode.BAD_SIG, item.index, f"the monitor's signature: {exc}") from exc

    def check_key(self, item: Item, entry: AuditEntry) -> None:
        """Raise Fault KEY_NOT_VALID unless the signer is a live monitor key. Requires `check_signature`."""
        assert item.seal is not None
        row = self._key(item.seal[:32])
        if row is None:
            return  # a key that is to come; `check_afterwards` judges it
        if not isinstance(row, KeyRow) or row.role != Role.MONITOR:
            raise Fault(VerdictCode.KEY_NOT_VALID, item.index, "the key that signed is not a monitor's")
        if row.revoked_at is not None:
            raise Fault(VerdictCode.KEY_NOT_VALID, item.index, "the monitor's key was revoked before this entry")
        if row.expires_at is not None and entry.now >= row.expires_at:
            raise Fault(VerdictCode.KEY_NOT_VALID, item.index, "the monitor's key expired before this entry")

    def check_afterwards(self, item: Item, entry: AuditEntry) -> None:
        """Judge the signer again after the entry's event was folded.

        Raises:
            Fault: KEY_NOT_VALID at a rotation that the key which follows did not sign, or at the first entry that was
                signed by a key that did not become the monitor's, or said more than such an entry may.
        """
        assert item.seal is not None
        kid = item.seal[:32]
        if self._awaited is None and self._key(kid) is None:
            self._awaited = kid, item.index
        if self._awaited is not None:
            self._check_awaited(item, entry, *self._awaited)
        elif entry.kind == KeyRotated.__name__ and entry.outcome == Outcome.ACCEPTED:
            self.check_key(item, entry)

    def _check_awaited(self, item: Item, entry: AuditEntry, awaited: bytes, first: int) -> None:
        assert item.seal is not None
        if item.seal[:32] != awaited:
            raise Fault(VerdictCode.KEY_NOT_VALID, item.index, "two keys signed while no monitor key was live")
        if entry.outcome not in {Outcome.REFUSED, Outcome.SKIPPED} and entry.kind not in _REMEDIES:
            detail = f"no monitor key was live, and the entry says {entry.outcome} of {entry.kind}"
            raise Fault(VerdictCode.KEY_NOT_VALID, item.index, detail)
        if has_decision_key(self._tables):
            self._awaited = None
            if self._key(awaited) is None:
                detail = "the key that signed while no monitor key was live is not the one that was registered"
                raise Fault(VerdictCode.KEY_NOT_VALID, first, detail)
            self.check_key(replace(item, index=first), entry)

    def _coming(self, item: Item) -> bytes | None:
        """Return the public key of a signer that a later event brings, None if it may not sign this entry."""
        assert item.seal is not None
        if not len(self._tables.tenant):
            return None
        if has_decision_key(self._tables):
            return self._registry.monitor_key(item.seal[:32], KeyRotated, item.index)
        return self._registry.monitor_key(item.seal[:32], PrincipalRegistered)

    def _key(self, kid: bytes) -> KeyRow | SessionRow | None:
        return self._tables.keys.get(kid) or self._tables.sessions.get(kid)
