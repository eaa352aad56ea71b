"""A tenant's policies in force, kept up with its log: read again after each publication, with the entry they are of.

Only entries signed by a live monitor key are believed. A log that ends before an entry that was read is refused.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

from confluent_kafka import Message

from macaw.policies.in_force import PolicyInForce, read_policies
from processors.policy.documents import parse_policy
from processors.policy.index import StoredPolicy, index_stored
from processors.proof.signing import AUDIT_TAG
from producers.home.home import Home, TenantHome
from producers.kafka.registry_view import RegistryView
from producers.kafka.verified import MonitorSigned
from schemas.errors import UnavailableError
from schemas.records import AuditEntry
from schemas.topics import AUDIT
from streams.authzen.standing import PoliciesStanding
from streams.history.kept_log import OpenArchive
from streams.history.topics import TopicReader

_PUBLISHED = b"Policy"  # in the kind of every event that publishes or withdraws


class PoliciesUnknownError(UnavailableError):
    """The log does not tell which policies are in force; the message gives the cause."""


class FollowedPolicies(AbstractContextManager["FollowedPolicies"]):
    """One tenant's policies in force. Not for several threads at once."""

    def __init__(self, home: Home, folder: TenantHome, archive: OpenArchive | None = None) -> None:
        self._home = home
        self._archive = archive
        self._folder = folder
        self._registry = RegistryView.of(home, folder)
        self._trusted = MonitorSigned(self._registry, tenant=folder.tenant, genesis=folder.genesis)
        self._audit = TopicReader(home.bootstrap, AUDIT, folder.tenant, security=home.security)
        self._offset = -1
        self._standing: PoliciesStanding | None = None

    def read(self) -> PoliciesStanding:
        """Return the policies in force now; the same value while the log has not grown.

        Raises:
            PoliciesUnknownError: publications are no longer kept, or the log ends before an entry that was read.
            ReadTimeoutError, RegistryError: the topics cannot be read to their ends.
            UntrustedRecordError: an entry is not signed by the monitor.
        """
        message, entry = self._newest()
        before = self._standing
        if before is None or self._has_publication(message):
            self._standing = self._read_documents(entry)
        elif entry.index != before.as_of:
            self._standing = replace(before, as_of=entry.index, now=entry.now)
        else:
            return before
        self._offset = message.offset() or 0
        return self._standing

    def _newest(self) -> tuple[Message, AuditEntry]:
        found = self._audit.last(1)
        if not found:
            raise PoliciesUnknownError(f"the audit log of {self._folder.tenant} is empty: start a monitor")
        entry: AuditEntry = self._trusted.verify(found[0], AUDIT_TAG, AuditEntry)[0]
        if (found[0].offset() or 0) < self._offset:
            raise PoliciesUnknownError(f"the audit log ends at entry {entry.index}, but a later one was read before")
        return found[0], entry

    def _has_publication(self, newest: Message) -> bool:
        later = self._audit.between(0, self._offset + 1, (newest.offset() or 0) + 1)
        published = [one for one in later if _PUBLISHED in (one.value() or b"")]  # to the end: one consumer reads all
        return bool(published)

    def _read_documents(self, newest: AuditEntry) -> PoliciesStanding:
        found = read_policies(self._home, self._folder, self._archive)
        if found.lost:
            # A lost document may forbid calls that the others allow.
            raise PoliciesUnknownError(
                f"{found.lost} publications are older than the records of intake, and no archive has them, so the "
                "policies are unknown here: give the documents with --policies"
            )
        policies = list(found.policies.values())
        # They were read after the newest entry: a publication in between counts already.
        last = max(policies, key=lambda one: one.audit_index, default=None)
        as_of, now = newest.index, newest.now
        if last is not None and last.audit_index > as_of:
            as_of, now = last.audit_index, last.since
        return PoliciesStanding(index=index_stored(map(_stored, policies)), as_of=as_of, now=now)

    def __exit__(self, *_: object) -> None:
        self._audit.close()
        self._registry.close()


def _stored(policy: PolicyInForce) -> StoredPolicy:
    extends = parse_policy(policy.document.encode(), organisation=True).extends
    return StoredPolicy(policy.policy_id, policy.digest, policy.document, extends)
