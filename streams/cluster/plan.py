"""What a tenant needs of a cluster, topics and access rules together: seen, compared, and mended where that is safe."""

from __future__ import annotations

import time
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

from streams.cluster.access import Access, Grant, access_drift, grants, missing_drift
from streams.cluster.access_cluster import create_grants, read_grants
from streams.cluster.topics import MISSING, Drift, Remedy, TopicPlan

SETTLE_SECONDS = 15.0  # a broker shows what its controller has taken a moment later
SETTLE_PAUSE_SECONDS = 0.1

NO_AUTHORIZER = Drift(
    resource="cluster",
    key="authorizer",
    wanted="present",
    found=MISSING,
    remedy=Remedy.REFUSE,
    why="access.json names who may do what, and this cluster lets everybody do everything: configure an authorizer",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """What is wanted and what was found. `found` is None where the cluster has no authorizer."""

    topics: TopicPlan
    access: Access
    found: frozenset[Grant] | None

    @classmethod
    def read(cls, admin: AdminClient, tenant: str, *, replication: int, access: Access) -> ClusterPlan:
        """Ask a cluster.

        Raises:
            TopicsError, AccessError: it does not show all that must be compared.
        """
        topics = TopicPlan.read(admin, tenant, replication=replication)
        return cls(topics=topics, access=access, found=read_grants(admin))

    @property
    def tenant(self) -> str:
        return self.topics.tenant

    @property
    def drift(self) -> tuple[Drift, ...]:
        """Every difference: topics, then access rules."""
        if self.found is not None:
            return (*self.topics.drift, *access_drift(self.access, self.tenant, self.found))
        # Who has named nobody relies on no rule: a laptop's cluster has no authorizer.
        return (*self.topics.drift, *((NO_AUTHORIZER,) if grants(self.access, self.tenant) else ()))

    @property
    def missing_grants(self) -> frozenset[Grant]:
        """The access rules that the cluster lacks."""
        return frozenset() if self.found is None else grants(self.access, self.tenant) - self.found

    def apply(self, admin: AdminClient) -> tuple[list[Drift], ClusterPlan]:
        """Create what is missing and set what differs; return what was done, and the cluster as it is then.

        Raises:
            TopicsError, AccessError: the cluster does not take a part; what stands before it in the plan is done.
        """
        created = set(self.topics.create(admin))
        done = [d for d in self.topics.drift if d.remedy is Remedy.CREATE and d.resource in created]
        done += self.topics.alter(admin)
        create_grants(admin, self.missing_grants)
        done += map(missing_drift, sorted(self.missing_grants))
        return done, self._settled(admin, done)

    def _settled(self, admin: AdminClient, done: list[Drift]) -> ClusterPlan:
        """Read the cluster again until it shows what was done; what it does not show in time is drift."""
        until = time.monotonic() + SETTLE_SECONDS
        while True:
            now = ClusterPlan.read(admin, self.tenant, replication=self.topics.replication, access=self.access)
            if time.monotonic() > until or not {(d.resource, d.key) for d in now.drift} & {
                (d.resource, d.key) for d in done
            }:
                return now
            time.sleep(SETTLE_PAUSE_SECONDS)
