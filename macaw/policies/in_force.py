"""The policies in force, read from the log itself.

`audit` tells the accepted publications, `intake` holds their documents. An entry counts only if a live monitor
key signed it, and a document only if it is the one that the entry names: neither broker nor network can put in another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256

from processors.evidence.audit_log import entry_with_leaf
from processors.intake.identify import Received, read
from processors.policy.documents import parse_policy
from processors.proof.signing import AUDIT_TAG
from processors.state.tables import AUDIT_GENESIS_TAG, Tables
from processors.text.forms import nfc
from producers.home.home import Home, TenantHome
from producers.kafka.registry_view import RegistryView
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from schemas import codec
from schemas.records import AuditEntry, PolicyPublished, PolicyWithdrawn
from schemas.topics import AUDIT, INTAKE
from schemas.words import Outcome
from streams.history.folded import readable
from streams.history.kept_log import KeptLog, OpenArchive, kept_log
from streams.history.records import Records, present

_KINDS = frozenset({"PolicyPublished", "PolicyWithdrawn"})
_PREFIX = b"Policy"  # of the kinds PolicyPublished and PolicyWithdrawn


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyInForce:
    """A policy as it was published; `since` is log time in ms."""

    policy_id: str
    digest: bytes
    document: str
    since: int
    audit_index: int


@dataclass(frozen=True, slots=True)
class PoliciesInForce:
    """Policies by id. The events of `lost` publications are kept nowhere, so their documents are unknown."""

    policies: Mapping[str, PolicyInForce]
    lost: int = 0

    def digest(self, policy_id: str) -> bytes | None:
        """Return the digest in force under an id."""
        found = self.policies.get(policy_id)
        return found.digest if found else None


def read_policies(home: Home, folder: TenantHome, archive: OpenArchive | None = None) -> PoliciesInForce:
    """Read audit and intake from their beginnings and return the policies in force now.

    Raises:
        ReadTimeoutError, RegistryError: the topics cannot be read to their ends.
        UntrustedRecordError: an entry is not signed by the monitor.
        TrimmedError, ArchiveGapError: the audit log has lost its beginning.
        ArchiveDiffersError: the archive is not of this log.
    """
    with (
        closing(RegistryView.of(home, folder)) as registry,
        kept_log(
            home.bootstrap, folder.tenant, archive=archive, security=home.security, set_aside=folder.set_aside
        ) as kept,
    ):
        trusted = MonitorSigned(registry, tenant=folder.tenant, genesis=folder.genesis)
        try:
            entries = {entry.offset: entry for entry in _accepted(kept.whole(AUDIT), trusted)}
        except UntrustedRecordError:  # as after the revocation of a stolen decision key
            entries = {entry.offset: entry for entry in _chained(kept.whole(AUDIT), trusted)}
        return _documents(kept, registry.tables, entries)


def _accepted(audit: Records, trusted: MonitorSigned) -> Iterator[AuditEntry]:
    """Yield the audit entries of the publications and withdrawals that were accepted, in order."""
    topic = AUDIT.of(trusted.tenant)
    for record in present(audit.read(audit.low)):
        # Most entries are of calls, and a signature check costs more than this look.
        if _PREFIX not in (record.value or b""):
            continue
        entry: AuditEntry = trusted.verify_kept(topic, record, AUDIT_TAG, AuditEntry)[0]
        if entry.kind in _KINDS and entry.outcome == Outcome.ACCEPTED:
            yield entry


def _chained(audit: Records, trusted: MonitorSigned) -> Iterator[AuditEntry]:
    """Yield the same entries, on the word of the last one: it is signed by a live key, and links to all before it.

    A monitor's key that was revoked vouches for nothing any more, its honest entries included; the chain does.

    Raises:
        UntrustedRecordError: an entry does not link, or the last one is not signed by a live key.
    """
    prev, last = sha256(AUDIT_GENESIS_TAG + trusted.genesis).digest(), None
    for record in present(audit.read(audit.low)):
        entry, leaf = _linked(record, prev)
        prev, last = leaf, record
        if entry.kind in _KINDS and entry.outcome == Outcome.ACCEPTED:
            yield entry
    if last is not None:
        trusted.verify_kept(AUDIT.of(trusted.tenant), last, AUDIT_TAG, AuditEntry)


def _linked(record: Received, prev: bytes) -> tuple[AuditEntry, bytes]:
    try:
        entry, leaf = entry_with_leaf(record.value or b"")
    except codec.SchemaError as exc:
        raise UntrustedRecordError(f"the record at offset {record.offset} is not an audit entry: {exc}") from exc
    if entry.prev != prev:
        raise UntrustedRecordError(
            f"the audit entry at offset {record.offset} does not link to the one before it: `macaw audit foreign` "
            "finds records that a thief of a decision key has written"
        )
    return entry, leaf


def _documents(kept: KeptLog, tables: Tables, entries: Mapping[int, AuditEntry]) -> PoliciesInForce:
    policies: dict[str, PolicyInForce] = {}
    if not entries:
        return PoliciesInForce(policies)
    intake, last, found = kept.as_kept(INTAKE), max(entries), 0
    for record in readable(intake, max(intake.low, min(entries))):
        entry = entries.get(record.offset)
        if entry is not None:
            found += _apply(policies, record, entry, tables)
        if record.offset >= last:
            break
    return PoliciesInForce(policies, lost=len(entries) - found)


def _apply(policies: dict[str, PolicyInForce], record: Received, entry: AuditEntry, tables: Tables) -> bool:
    """Publish or withdraw the policies of an event; return False if it is not the event that the entry names."""
    claim = read(tables, record)
    if claim.leaf != entry.event or claim.event is None:
        return False
    body = claim.event.body
    if isinstance(body, PolicyWithdrawn):
        policies.pop(nfc(body.policy_id), None)
    elif isinstance(body, PolicyPublished):
        policies.update(_published(body, entry))
    return True


def _published(body: PolicyPublished, entry: AuditEntry) -> dict[str, PolicyInForce]:
    found = [(document, parse_policy(document.encode(), organisation=True)) for document in body.documents]
    return {
        policy.policy_id: PolicyInForce(
            policy_id=policy.policy_id,
            digest=policy.digest,
            document=document,
            since=entry.now,
            audit_index=entry.index,
        )
        for document, policy in found
    }
