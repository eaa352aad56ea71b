"""The policies in force, read from the log itself.

`audit` tells the accepted publications, `intake` holds their documents. An entry counts only if a live monitor
key signed it, and a document only if it is the one that the entry names: neither broker nor network can put in another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from processors.intake.identify import event_place
from processors.policy.documents import parse_policy
from processors.proof.signing import AUDIT_TAG
from processors.state.tables import Tables
from processors.text.forms import nfc
from producers.home.home import Home, TenantHome
from producers.kafka.registry_view import RegistryView
from producers.kafka.verified import MonitorSigned
from schemas import codec
from schemas.records import AuditEntry, Event, PolicyPublished, PolicyWithdrawn
from schemas.topics import AUDIT, INTAKE
from schemas.words import Outcome
from streams.history.topics import TopicReader

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
    """Policies by id. `lost` publications are older than the records of intake, so their documents are unknown."""

    policies: Mapping[str, PolicyInForce]
    lost: int = 0

    def digest(self, policy_id: str) -> bytes | None:
        """Return the digest in force under an id."""
        found = self.policies.get(policy_id)
        return found.digest if found else None


def read_policies(home: Home, folder: TenantHome) -> PoliciesInForce:
    """Read audit and intake from their beginnings and return the policies in force now.

    Raises:
        ReadTimeoutError, RegistryError: the topics cannot be read to their ends.
        UntrustedRecordError: an entry is not signed by the monitor.
    """
    genesis, deployment = folder.genesis, home.deployment
    registry = RegistryView(
        home.bootstrap, tenant=folder.tenant, genesis=genesis, deployment=deployment, security=home.security
    )
    try:
        trusted = MonitorSigned(registry, tenant=folder.tenant, genesis=genesis)
        entries = list(_accepted(home, trusted))
        return _documents(home, registry.tables, folder.tenant, {e.offset: e for e in entries})
    finally:
        registry.close()


def _accepted(home: Home, trusted: MonitorSigned) -> Iterator[AuditEntry]:
    """Yield the audit entries of the publications and withdrawals that were accepted, in order."""
    with TopicReader(home.bootstrap, AUDIT, trusted.tenant, security=home.security) as audit:
        for message in audit.all():
            # Most entries are of calls, and a signature check costs more than this look.
            if _PREFIX not in (message.value() or b""):
                continue
            entry: AuditEntry = trusted.verify(message, AUDIT_TAG, AuditEntry)[0]
            if entry.kind in _KINDS and entry.outcome == Outcome.ACCEPTED:
                yield entry


def _documents(home: Home, tables: Tables, tenant: str, entries: Mapping[int, AuditEntry]) -> PoliciesInForce:
    policies: dict[str, PolicyInForce] = {}
    if not entries:
        return PoliciesInForce(policies)
    with TopicReader(home.bootstrap, INTAKE, tenant, security=home.security) as intake:
        low = intake.first_offset()
        wanted = {offset: entry for offset, entry in entries.items() if offset >= low}
        if wanted:
            for message in intake.between(0, min(wanted), max(wanted) + 1):
                if (entry := wanted.get(message.offset() or 0)) is not None:
                    _apply(policies, message, entry, tables)
    return PoliciesInForce(policies, lost=len(entries) - len(wanted))


def _apply(policies: dict[str, PolicyInForce], message: Any, entry: AuditEntry, tables: Tables) -> None:
    """Publish or withdraw the policies of an event, if it is the event that the entry names."""
    schema, body = codec.unframe(message.value())
    event: Event = codec.decode(schema, body)
    if event_place(tables, schema).leaf(body) != entry.event:
        return
    if isinstance(event.body, PolicyWithdrawn):
        policies.pop(nfc(event.body.policy_id), None)
    elif isinstance(event.body, PolicyPublished):
        policies.update(_published(event.body, entry))


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
