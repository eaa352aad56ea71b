"""The calls that observe mode or a break-glass let pass, from the decisions on the log.

A decision counts only if the monitor signed it for its place. Decisions leave the brokers by their retention; what an
archive has is read from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from processors.policy.errors import ResourceInvalidError
from processors.policy.patterns import grants, resource_name
from processors.proof.signing import DECISION_TAG
from producers.home.home import Home, TenantHome
from producers.kafka.registry_view import RegistryView
from producers.kafka.verified import MonitorSigned
from schemas import codec
from schemas.records import Decision
from schemas.topics import DECISIONS
from schemas.words import EnforcementKind
from streams.history.kept_log import KeptLog, OpenArchive, kept_log
from streams.history.records import present


class ObservedGroup(NamedTuple):
    """A group of calls; `outcome` and `reason` are those that enforcement would have given."""

    reason: str
    outcome: str
    principal_id: str
    resource: str


@dataclass(slots=True)
class ObservedCalls:
    """The calls of one group: how many, the log time (ms) of the last, and how many a break-glass let pass."""

    calls: int = 0
    last: int = 0
    event_id: str = ""  # of the last
    glass: int = 0


def read_observed(
    home: Home,
    folder: TenantHome,
    archive: OpenArchive | None,
    *,
    resource: str = "",
    digest: bytes = b"",
    since: int = 0,
) -> dict[ObservedGroup, ObservedCalls]:
    """Return the observed calls of a tenant by group, those with the most calls first.

    With `resource` those of a pattern in grant position count, with `digest` those that a document was asked for, and
    with `since` those decided at this log time (ms) or later.

    Raises:
        UntrustedRecordError: the monitor has not signed a decision that says so.
        ReadTimeoutError, RegistryError: the topics cannot be read to their ends.
        ArchiveDiffersError, ArchiveGapError: the archive is not of this log, or lacks a part.
    """
    found: dict[ObservedGroup, ObservedCalls] = {}
    with (
        closing(RegistryView.of(home, folder)) as registry,
        kept_log(
            home.bootstrap, folder.tenant, archive=archive, security=home.security, set_aside=folder.set_aside
        ) as kept,
    ):
        trusted = MonitorSigned(registry, tenant=folder.tenant, genesis=folder.genesis)
        for decision in _observed(kept, trusted):
            if decision.decided_at >= since and _meets(decision, resource, digest):
                _note(found, decision)
    return dict(sorted(found.items(), key=lambda item: (-item[1].calls, item[0])))


def _observed(kept: KeptLog, trusted: MonitorSigned) -> Iterator[Decision]:
    topic = DECISIONS.of(trusted.tenant)
    for partition in range(DECISIONS.partitions):
        records = kept.as_kept(DECISIONS, partition)
        for record in present(records.read(records.low)):
            try:
                decision: Decision = codec.decode_as(Decision, record.value or b"")
            except codec.SchemaError:
                continue  # another program wrote there; what the monitor did not sign says nothing
            if decision.observed is not None:
                yield trusted.verify_kept(topic, record, DECISION_TAG, Decision)[0]


def _meets(decision: Decision, resource: str, digest: bytes) -> bool:
    if digest and digest not in decision.policies:
        return False
    try:
        return not resource or grants(resource, resource_name(decision.resource))
    except ResourceInvalidError:
        return False


def _note(found: dict[ObservedGroup, ObservedCalls], decision: Decision) -> None:
    one = decision.observed
    assert one is not None  # INVARIANT: `_observed` yields such alone
    calls = found.setdefault(
        ObservedGroup(one.reason, one.outcome, decision.principal_id, decision.resource), ObservedCalls()
    )
    calls.calls += 1
    calls.glass += f"{EnforcementKind.BREAK_GLASS} " in one.detail
    if decision.decided_at >= calls.last:
        calls.last, calls.event_id = decision.decided_at, decision.event_id.hex()
