"""A tenant's topics and access rules on a cluster: read, compared with the table, and corrected where that is safe."""

from __future__ import annotations

import time
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

from streams.cluster.access import Access, AclEntry, access_drift, grants, missing_drift
from streams.cluster.access_cluster import create_grants, read_grants
from streams.cluster.topics import MISSING, Drift, Remedy, TopicPlan

SETTLE_SECONDS = 15.0  # a broker shows a change a moment after its controller has accepted it
SETTLE_PAUSE_SECONDS = 0.1

NO_AUTHORIZER = Drift(
    resource="cluster",
    key="authorizer",
    wanted="present",
    found=MISSING,
    remedy=Remedy.REFUSE,
    why="access.json lists roles, but this cluster has no authorizer and allows every operation: configure one",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """The wanted topics and grants beside those found. `found` is None if the cluster has no authorizer."""

    topics: TopicPlan
    access: Access
    found: frozenset[AclEntry] | None

    @classmethod
    def read(
        cls, admin: AdminClient, tenant: str, *, replication: int, access: Access, verified: int | None = None
    ) -> ClusterPlan:
        """Return the plan for a tenant, with topics and grants as the cluster shows them now.

        `verified` is as in `TopicPlan.read`.

        Raises:
            TopicsError, AccessError: the cluster does not show its topics, settings or access rules.
        """
        topics = TopicPlan.read(admin, tenant, replication=replication, verified=verified)
        return cls(topics=topics, access=access, found=read_grants(admin))

    @property
    def tenant(self) -> str:
        return self.topics.tenant

    @property
    def drift(self) -> tuple[Drift, ...]:
        """Every difference: topics, then access rules."""
        if self.found is not None:
            return (*self.topics.drift, *access_drift(self.access, self.tenant, self.found))
        # An access.json without principals asks for no rule: the cluster of a laptop has no authorizer.
        return (*self.topics.drift, *((NO_AUTHORIZER,) if grants(self.access, self.tenant) else ()))

    @property
    def missing_grants(self) -> frozenset[AclEntry]:
        """The access rules that the cluster lacks."""
        return frozenset() if self.found is None else grants(self.access, self.tenant) - self.found

    def apply(self, admin: AdminClient) -> tuple[list[Drift], ClusterPlan]:
        """Create missing topics and grants and set differing settings; return the corrected drift and the new plan.

        Raises:
            TopicsError, AccessError: the cluster refuses a step; the steps before it in the plan are done.
        """
        created = set(self.topics.create(admin))
        done = [d for d in self.topics.drift if d.remedy is Remedy.CREATE and d.resource in created]
        done += self.topics.alter(admin)
        create_grants(admin, self.missing_grants)
        done += map(missing_drift, sorted(self.missing_grants))
        return done, self._settled(admin, done)

    def _settled(self, admin: AdminClient, done: list[Drift]) -> ClusterPlan:
        """Read the cluster until it shows the corrections, at most SETTLE_SECONDS; the rest stays drift."""
        until = time.monotonic() + SETTLE_SECONDS
        while True:
            now = ClusterPlan.read(
                admin,
                self.tenant,
                replication=self.topics.replication,
                access=self.access,
                verified=self.topics.verified,
            )
            if time.monotonic() > until or not {(d.resource, d.key) for d in now.drift} & {
                (d.resource, d.key) for d in done
            }:
                return now
            time.sleep(SETTLE_PAUSE_SECONDS)
